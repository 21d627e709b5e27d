"""The old way: a RawArray that forked workers inherit through a global.

    python examples/tutorial/old_way.py
"""

import multiprocessing
from multiprocessing.reduction import ForkingPickler

import numpy as np

ROWS, COLUMNS = 4, 1000


def double(i):
    table[i] *= 2  # the global that the fork has left here


if __name__ == '__main__':
    context = multiprocessing.get_context('fork')  # with any other, `table` is missing
    raw = multiprocessing.RawArray('d', ROWS * COLUMNS)  # before the workers start
    table = np.frombuffer(raw).reshape(ROWS, COLUMNS)  # shape and dtype by hand
    table[...] = np.arange(ROWS)[:, np.newaxis]
    with context.Pool(2) as pool:
        pool.map(double, range(ROWS))  # only an index can be sent
    print('column:', table[:, 0])

    try:
        ForkingPickler.dumps(raw)
    except RuntimeError as error:
        print('send the RawArray:', error)
    sent = bytes(ForkingPickler.dumps(table))
    print('send the array:', 'a copy' if len(sent) > table.nbytes else 'no copy')
