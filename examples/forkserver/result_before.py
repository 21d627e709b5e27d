"""Workers write into a module's RawArray: under forkserver each has one of its own.

    python examples/forkserver/result_before.py fork
"""

import multiprocessing
import sys

import numpy as np

counts = np.frombuffer(multiprocessing.RawArray('d', 4))  # once in every process that imports this


def count(i):
    counts[i] += 1


if __name__ == '__main__':
    context = multiprocessing.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    with context.Pool(2) as pool:
        pool.map(count, range(4))
    print('counts:', counts)
    if not counts.all():
        sys.exit('the workers have counted somewhere else')
