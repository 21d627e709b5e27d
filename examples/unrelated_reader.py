"""The second of two unrelated programs: attach the array by its name.

Run unrelated_writer.py first. Shape and dtype are read from the segment.
"""

import sys
import time

import sharedmem

NAME = 'example-readings'


def main():
    try:
        readings = sharedmem.attach(NAME)
    except sharedmem.SegmentNotFoundError as error:
        sys.exit(f'reader: is unrelated_writer.py running? {error}')
    print(f'reader: found {readings.shape} of {readings.dtype}')
    print(f"reader: mean {readings['celsius'].mean()} C over "
          f"{(readings['time'][-1] - readings['time'][0]) / 60:.0f} minutes")
    readings['taken'] = True  # the writer sees this

    del readings
    deadline = time.monotonic() + 5
    while sharedmem.exists(NAME) and time.monotonic() < deadline:
        time.sleep(0.05)
    print('reader: when both have left, the segment exists:', sharedmem.exists(NAME))


if __name__ == '__main__':
    main()
