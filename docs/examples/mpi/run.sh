#!/bin/bash
# Builds the environment here, on the login node, and waits for the job.
set -e
cd "$(dirname "$0")"
ozrepro build ring
job=$(sbatch --parsable --wait job.sh)
cat "ring-$job.out"
