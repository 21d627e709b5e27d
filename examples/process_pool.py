"""concurrent.futures: shared arrays as arguments and as a result.

A task gets the whole points array and a slice of the distances; the last one
makes a shared array of its own and returns it. None of them is copied.

    python examples/process_pool.py
"""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing.reduction import ForkingPickler

import numpy as np

import sharedmem


def measure(points, distances, first):
    """Fill `distances` with those of points[first:...] from the origin."""
    part = points[first:first + len(distances)]
    np.sqrt((part * part).sum(axis=1), out=distances)


def histogram(distances):
    """Return a new shared array; it outlives the worker that made it."""
    counts, _ = np.histogram(distances, bins=10, range=(0, 1))
    return sharedmem.array(counts)


def main():
    points = sharedmem.copy(np.random.default_rng(0).random((1_000_000, 2)))
    distances = sharedmem.empty(len(points))
    step = 250_000
    with ProcessPoolExecutor(max_workers=2) as pool:
        for future in [pool.submit(measure, points, distances[i:i + step], i)
                       for i in range(0, len(points), step)]:
            future.result()
        counts = pool.submit(histogram, distances).result()

    print('result is a', type(counts).__name__, 'of', counts.sum(), 'points')
    print('pi is about', 4 * counts.sum() / len(points))
    assert np.allclose(distances, np.hypot(points[:, 0], points[:, 1]))

    pickled = bytes(ForkingPickler.dumps(points))
    sharedmem.forget(pickled)  # it was only measured: nobody will receive it
    print(f'points: {points.nbytes:,} bytes, sent as {len(pickled)}')

    names = [points.name, distances.name, counts.name]
    del points, distances, counts
    print('left behind:', [name for name in names if sharedmem.exists(name)])


if __name__ == '__main__':
    main()
