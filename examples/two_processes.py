"""Two processes, one array: each writes, each sees what the other wrote.

    python examples/two_processes.py
"""

import multiprocessing

import sharedmem


def answer(connection):
    """Receive a view, write into it, send another view back."""
    squares = connection.recv()
    squares[:] = [i * i for i in range(len(squares))]
    connection.send(squares[::-1])


def main():
    table = sharedmem.zeros((2, 10), dtype=int)
    here, there = multiprocessing.Pipe()
    child = multiprocessing.Process(target=answer, args=(there,))
    child.start()
    here.send(table[1])
    back = here.recv()
    child.join()

    print('table, of which the child wrote row 1:')
    print(table)
    print('what came back is the same memory, reversed:', back)
    back[0] = -1
    print('set its first element to -1, and the table has', table[1, -1])
    assert table[1].sum() == sum(i * i for i in range(9)) - 1

    name = table.name
    del table, back
    print('after the last view is dropped, the segment exists:', sharedmem.exists(name))


if __name__ == '__main__':
    main()
