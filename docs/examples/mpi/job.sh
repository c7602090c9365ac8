#!/bin/bash
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --time=00:05:00
#SBATCH --mem=500M
#SBATCH --output=ring-%j.out

.ozrepro/bin/ring/ozrepro-check || exit
srun --mpi=pmi2 .ozrepro/bin/ring/python ring.py
