"""A first shared array: made, viewed, sent by hand, dropped.

    python examples/tutorial/first_array.py
"""

import pickle

import numpy as np

import sharedmem

table = sharedmem.zeros((4, 1000))
table[:, 0] = [0, 1, 2, 3]
print(type(table).__name__, table.shape, table.dtype, 'on', table.backend)

# What NumPy does, it does: a slice is the same memory, a result is an array of one's own.
row = table[3]
row[1] = 30
print('slice is shared:', np.shares_memory(row, table), type(row).__name__)
print('result is not:', type(table * 2).__name__, type(table.sum()).__name__)

# A pickle of it is its name. What is loaded is the same memory, here and in any process.
pickled = pickle.dumps(table[::2, ::-1])
again = pickle.loads(pickled)
again[0, -1] = 100
print('pickle is small:', len(pickled) < 300, 'for', table[::2].nbytes, 'bytes')
print('and the same memory:', table[0, 0])

# It is freed with its last view. `row` and `again` are views.
name = table.name
del table
print('while there is a view:', sharedmem.exists(name))
del row, again
print('after the last one:', sharedmem.exists(name))
