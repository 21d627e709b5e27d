"""Take the newest frame of ``producer`` again and again, and say which one it is.

Run as ``python viewer.py NAME``. A viewer that is slow, stopped or killed is in
nobody's way; one whose producer is killed waits for the next producer.
"""

import sys

import numpy as np

import sharedmem


def newest(head, ring, seen):
    """The newest frame after the one that was seen: (picture, its number, what is seen now)."""
    while True:
        head.wait(newer_than=seen)
        try:
            (slot, number), seen = head.read()
            picture, _ = ring[slot].read()
        except sharedmem.TornFrameError:
            continue  # the producer died with it: the next one writes it anew
        if (picture == picture[0, 0]).all() and picture[0, 0] >= number:
            return picture, int(picture[0, 0]), seen
        sys.exit(f"frame {number} is torn: {np.unique(picture)}")


def main(name):
    head = sharedmem.attach(f"{name}.head", "r")
    ring = [sharedmem.attach(f"{name}.{slot}", "r") for slot in range(4)]
    seen = 0
    while True:
        _, number, seen = newest(head, ring, seen)
        print(number, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
