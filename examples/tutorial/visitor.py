"""Another program, which knows a name and no more: look at the array of station.py.

    python examples/tutorial/visitor.py
"""

import sys
import time

import sharedmem


def wait_for(name, seconds=20):
    """Attach the array of this name as soon as there is one, and it is filled."""
    array = None
    for _ in range(seconds * 20):
        if array is None and sharedmem.exists(name):
            array = sharedmem.attach(name, 'r')
        if array is not None and array.all():  # it has its name before its values
            return array
        time.sleep(0.05)
    sys.exit(f'visitor: nobody has filled an array named {name!r}')


def main():
    level = wait_for('tide')
    print(f'tide: {level.shape} of {level.dtype}, mean {level.mean():.2f} m')
    try:
        level[0] = 0
    except ValueError as error:
        print('attached with mode r:', error)


if __name__ == '__main__':
    main()
