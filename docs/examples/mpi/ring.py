"""Sends a list around all MPI ranks, each of which adds its number."""

import sys

from mpi4py import MPI

ranks = MPI.COMM_WORLD
rank, size = ranks.Get_rank(), ranks.Get_size()

if size == 1:
    sys.exit("this rank is alone: mpiexec -n 4 starts four; srun --mpi=list shows what srun can tell an MPI")

if rank == 0:
    ranks.send([0], dest=1)
passed = ranks.recv(source=(rank - 1) % size)
if rank > 0:
    ranks.send([*passed, rank], dest=(rank + 1) % size)
else:
    print(f"a message went through {len(passed)} ranks of {size}: {passed}")
