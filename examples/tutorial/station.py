"""A program with a named array, which never ends by itself. The other one is visitor.py.

    python examples/tutorial/station.py
"""

import time

import sharedmem


def main():
    level = sharedmem.zeros(24, name='tide')
    while True:
        level[:] = 3.5  # metres, of a very calm sea
        time.sleep(1)


if __name__ == '__main__':
    main()
