"""One array for all MPI ranks of a node: rank 0 makes it, the others attach what is broadcast.

    mpiexec -n 4 python examples/mpi_ranks.py
"""

from mpi4py import MPI

import sharedmem

world = MPI.COMM_WORLD
node = world.Split_type(MPI.COMM_TYPE_SHARED)  # the ranks that share memory
table = sharedmem.zeros((node.size, 1000)) if node.rank == 0 else None
table = node.bcast(table)  # a name of some 200 bytes travels
table[node.rank] = node.rank + 1
node.Barrier()  # writes are done
if node.rank == 0:
    print('column:', table[:, 0])
node.Barrier()
