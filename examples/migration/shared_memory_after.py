"""Two workers fill one array, with sharedmem.

    python examples/migration/shared_memory_after.py
"""

import multiprocessing

import numpy as np

import sharedmem


def fill(squares, first, last):
    squares[first:last] = np.arange(first, last) ** 2


if __name__ == '__main__':
    squares = sharedmem.zeros(10, np.int64)
    with multiprocessing.Pool(2) as pool:
        pool.starmap(fill, [(squares, 0, 5), (squares, 5, 10)])
    print(squares)
