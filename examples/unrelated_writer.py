"""The first of two unrelated programs: make a named array and keep it.

    python examples/unrelated_writer.py &
    python examples/unrelated_reader.py

It ends when the reader has taken the readings, or after a minute.
"""

import sys
import time

import numpy as np

import sharedmem

NAME = 'example-readings'
READING = [('time', '<f8'), ('celsius', '<f4'), ('taken', '?')]


def main():
    try:
        readings = sharedmem.zeros(100, dtype=READING, name=NAME)
    except sharedmem.SegmentExistsError as error:
        sys.exit(f'writer: is another one running? {error}')
    readings['time'] = time.time() - 36 * np.arange(100)[::-1]
    readings['celsius'] = 20.5
    print(f'writer: {len(readings)} readings under the name {NAME!r}', flush=True)

    for _ in range(600):
        if readings['taken'].all():
            print('writer: all taken, leaving')
            break
        time.sleep(0.1)
    else:
        print('writer: nobody came, leaving')


if __name__ == '__main__':
    main()
