"""The work is a nested function that sees the arrays around it: works under fork alone.

    python examples/forkserver/closure_before.py fork
"""

import multiprocessing
import sys

import numpy as np


def main(context):
    image = np.frombuffer(multiprocessing.RawArray('d', 6)).reshape(2, 3)

    def brighten(row, by):
        image[row] += by

    workers = [context.Process(target=brighten, args=(row, 10.0)) for row in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print('image:', image.tolist())


if __name__ == '__main__':
    main(multiprocessing.get_context(sys.argv[1] if len(sys.argv) > 1 else None))
