"""Each worker is given the array once, when it starts: works under every start method.

    python examples/forkserver/result_after.py forkserver
"""

import multiprocessing
import sys

import sharedmem

counts = None


def start(array):
    global counts
    counts = array


def count(i):
    counts[i] += 1


if __name__ == '__main__':
    array = sharedmem.zeros(4)
    context = multiprocessing.get_context(sys.argv[1] if len(sys.argv) > 1 else None)
    with context.Pool(2, start, (array,)) as pool:
        pool.map(count, range(4))
    print('counts:', array)
    if not array.all():
        sys.exit('the workers have counted somewhere else')
