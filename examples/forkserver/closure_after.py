"""The work is a function of the module, and gets what it works on: works under every start method.

    python examples/forkserver/closure_after.py forkserver
"""

import multiprocessing
import sys

import sharedmem


def brighten(row, by):
    row += by


def main(context):
    image = sharedmem.zeros((2, 3))
    workers = [context.Process(target=brighten, args=(row, 10.0)) for row in image]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print('image:', image.tolist())


if __name__ == '__main__':
    main(multiprocessing.get_context(sys.argv[1] if len(sys.argv) > 1 else None))
