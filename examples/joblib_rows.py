"""joblib: rows of a shared array as arguments, results written into another one.

    python examples/joblib_rows.py
"""

from joblib import Parallel, delayed

import sharedmem


def smooth(row, out):
    out[1:-1] = (row[:-2] + row[1:-1] + row[2:]) / 3


if __name__ == '__main__':
    table = sharedmem.ones((8, 100_000))
    result = sharedmem.zeros_like(table)
    Parallel(n_jobs=2)(delayed(smooth)(row, out) for row, out in zip(table, result))
    print('sum:', result.sum())
