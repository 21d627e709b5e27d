"""Hillshade of a real elevation model, band by band, in worker processes.

The elevation and the picture are one shared array each. A task is a pair of
views: a band of elevation with one row of halo on either side, and the rows of
the picture to fill from it. Both go through the queue by name, in some hundred
bytes; nothing is copied, and nothing has to come back.

    python examples/hillshade.py [--scale 15] [--start-method spawn]
"""

import argparse
import math
import multiprocessing
import os
import sys
import time
from multiprocessing.reduction import ForkingPickler

import numpy as np

import sharedmem

METRES_PER_DEGREE = 111_200
ALTITUDE = math.radians(45)  # of the light, which comes from 64 sides around the north-west
AZIMUTHS = [math.radians(315 + degrees) for degrees in np.linspace(-90, 90, 64)]


def enlarging(count, scale):
    """Return the matrix that interpolates `count` values (Keys' cubic convolution)."""
    d = np.abs(np.linspace(0, count - 1, count * scale)[:, np.newaxis] - np.arange(count))
    near, far = (1.5 * d - 2.5) * d * d + 1, ((2.5 - 0.5 * d) * d - 4) * d + 2
    weights = np.where(d < 1, near, np.where(d < 2, far, 0))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def load_elevation(scale):
    """Return the elevation in shared memory and its cell (dy, dx), in metres."""
    from matplotlib.cbook import get_sample_data

    with get_sample_data('jacksboro_fault_dem.npz') as sample:
        heights = sample['elevation'].astype(np.float32)
        dy = METRES_PER_DEGREE * float(sample['dy'])
        dx = METRES_PER_DEGREE * float(sample['dx']) * math.cos(math.radians(sample['ymin']))
    rows, columns = heights.shape
    elevation = sharedmem.empty((rows * scale, columns * scale), np.float32)
    wide = heights @ enlarging(columns, scale).T
    np.matmul(enlarging(rows, scale), wide, out=elevation)
    return elevation, (dy / scale, dx / scale)


def hillshade(elevation, shade, cell):
    """Fill `shade`, which has one row and one column less on each side."""
    south = (elevation[2:, 1:-1] - elevation[:-2, 1:-1]) / np.float32(2 * cell[0])
    east = (elevation[1:-1, 2:] - elevation[1:-1, :-2]) / np.float32(2 * cell[1])
    length = np.sqrt(south * south + east * east + 1) * len(AZIMUTHS)
    shade[...] = 0
    for azimuth in AZIMUTHS:
        facing = south * np.float32(math.cos(ALTITUDE) * math.cos(azimuth))
        facing -= east * np.float32(math.cos(ALTITUDE) * math.sin(azimuth))
        facing += np.float32(math.sin(ALTITUDE))
        shade += np.maximum(facing, 0, out=facing)
    shade /= length


def make_tasks(elevation, shade, rows):
    """Pair bands of elevation, a row of halo on either side, with bands of shade."""
    tops = range(0, len(shade), rows)
    return [(elevation[top:top + rows + 2], shade[top:top + rows]) for top in tops]


def work(tasks, cell):
    for elevation, shade in iter(tasks.get, None):
        hillshade(elevation, shade, cell)


def run_workers(tasks, cell, workers, context):
    queue = context.Queue()
    crew = [context.Process(target=work, args=(queue, cell)) for _ in range(workers)]
    for process in crew:
        process.start()
    for task in tasks + [None] * workers:
        queue.put(task)
    for process in crew:
        process.join()
    if any(process.exitcode for process in crew):
        sys.exit('a worker failed')


def bytes_sent(views):
    """Return how many bytes the views are in a queue."""
    pickles = [bytes(ForkingPickler.dumps(view)) for view in views]
    for pickled in pickles:
        sharedmem.forget(pickled)  # it will not be received
    return sum(map(len, pickles))


def run(options):
    """Compute the hillshade, check it, save it; return the names of the segments."""
    context = multiprocessing.get_context(options.start_method)
    elevation, cell = load_elevation(options.scale)
    rows, columns = elevation.shape
    shade = sharedmem.zeros((rows - 2, columns - 2), np.float32)
    tasks = make_tasks(elevation, shade, options.rows)
    data, sent = elevation.nbytes + shade.nbytes, bytes_sent(sum(tasks, ()))
    print(f'elevation      {rows} x {columns} float32 in a {elevation.backend} segment\n'
          f'data           {data:,} bytes: elevation and shade\n'
          f'through queue  {sent:,} bytes: {len(tasks)} tasks, two views each')

    start = time.perf_counter()
    run_workers(tasks, cell, options.workers, context)
    print(f'by workers     {time.perf_counter() - start:.2f} s: {options.workers} processes, '
          f'their {context.get_start_method()} included')

    alone = np.zeros(shade.shape, np.float32)
    start = time.perf_counter()
    for task in make_tasks(np.asarray(elevation), alone, 2 * options.rows):
        hillshade(*task, cell)
    print(f'serial         {time.perf_counter() - start:.2f} s: in this process, higher bands')
    if not np.array_equal(shade, alone):
        sys.exit('the results differ')
    print('results        equal')

    from matplotlib.image import imsave
    step = max(1, columns // 1600)
    imsave(options.out, alone[::step, ::step], cmap='gray')
    print(f'picture        {os.path.abspath(options.out)}')
    return {elevation.name, shade.name}


def check_nothing_left(names):
    listed = [segment for segment in sharedmem.list_segments() if segment.name in names]
    files = [file for file in os.listdir('/dev/shm') if file.rpartition('.')[2] in names]
    if listed or files:
        sys.exit(f'left behind: {listed} {files}')
    print('left behind    nothing: neither in list_segments() nor in /dev/shm')


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--scale', type=int, default=15, help='enlarge both axes by this (15)')
    parser.add_argument('--rows', type=int, default=128, help='rows of a band (128)')
    parser.add_argument('--workers', type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument('--start-method', choices=multiprocessing.get_all_start_methods())
    parser.add_argument('--out', default='hillshade.png', help='file to write (hillshade.png)')
    check_nothing_left(run(parser.parse_args()))
