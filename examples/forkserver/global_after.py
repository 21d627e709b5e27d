"""The rows are arguments: works under every start method.

    python examples/forkserver/global_after.py forkserver
"""

import multiprocessing
import sys

import numpy as np

import sharedmem


def row_sum(row):
    return row.sum()


if __name__ == '__main__':
    table = sharedmem.copy(np.arange(12.0).reshape(3, 4))
    context = multiprocessing.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    with context.Pool(2) as pool:
        print('row sums:', [float(each) for each in pool.map(row_sum, table)])
