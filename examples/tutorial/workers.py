"""Work on shared arrays from processes: Pool, ProcessPoolExecutor, Queue.

    python examples/tutorial/workers.py [fork|spawn|forkserver]
"""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

import sharedmem


def double(rows):
    rows *= 2  # in everybody's memory; nothing has to be returned


def column_sums(rows):
    return sharedmem.array(rows.sum(axis=0))  # made here, used where it is received


def turn(orders, results):
    results.put(orders.get()[::-1])  # then this process ends; what is in the queue stays


def main(context):
    table = sharedmem.ones((4, 1000))

    with context.Pool(2) as pool:
        pool.map(double, [table[:2], table[2:]])
    print('Pool:', table[:, 0])

    with ProcessPoolExecutor(2, mp_context=context) as executor:
        sums = executor.submit(column_sums, table).result()
    print('ProcessPoolExecutor:', type(sums).__name__, sums[:3])

    orders, results = context.Queue(), context.Queue()
    worker = context.Process(target=turn, args=(orders, results))
    worker.start()
    orders.put(table)
    worker.join()
    turned = results.get()  # its sender is gone
    turned[-1, 0] = 7
    print('Queue:', table[:, 0])

    names = [table.name, sums.name]
    del table, sums, turned
    print('left behind:', [name for name in names if sharedmem.exists(name)])


if __name__ == '__main__':
    main(multiprocessing.get_context(sys.argv[1] if len(sys.argv) > 1 else None))
