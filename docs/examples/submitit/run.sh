#!/bin/bash
# Builds the session where it is not built yet, and starts the driver in it, which submits the jobs.
set -e
cd "$(dirname "$0")"
export OZREPRO_PATH=${OZREPRO_PATH:-$(dirname "$(command -v sbatch)")} # where the driver finds Slurm's commands
ozrepro build fit
.ozrepro/bin/fit/python fit.py
