"""Workers read a global that the parent filled: works under fork alone.

    python examples/forkserver/global_before.py fork
"""

import multiprocessing
import sys

import numpy as np

table = None


def row_sum(i):
    return table[i].sum()


if __name__ == '__main__':
    table = np.arange(12.0).reshape(3, 4)
    context = multiprocessing.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    with context.Pool(2) as pool:
        print('row sums:', [float(each) for each in pool.map(row_sum, range(3))])
