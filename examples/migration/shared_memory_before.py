"""Two workers fill one array, with multiprocessing.shared_memory.

    python examples/migration/shared_memory_before.py
"""

import multiprocessing
from multiprocessing.shared_memory import SharedMemory

import numpy as np


def fill(name, shape, dtype, first, last):
    shm = SharedMemory(name=name)
    squares = np.ndarray(shape, dtype, buffer=shm.buf)
    squares[first:last] = np.arange(first, last) ** 2
    del squares  # or close() raises BufferError
    shm.close()


if __name__ == '__main__':
    shape, dtype = (10,), np.dtype(np.int64)
    shm = SharedMemory(create=True, size=shape[0] * dtype.itemsize)
    try:
        squares = np.ndarray(shape, dtype, buffer=shm.buf)
        with multiprocessing.Pool(2) as pool:
            pool.starmap(fill, [(shm.name, shape, dtype, 0, 5), (shm.name, shape, dtype, 5, 10)])
        print(squares)
        del squares
    finally:
        shm.close()
        shm.unlink()  # by one process, once, when nobody will attach any more
