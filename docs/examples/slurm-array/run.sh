#!/bin/bash
# Builds the environment here, on the login node, and waits for the array.
set -e
cd "$(dirname "$0")"
ozrepro build volume
sbatch --wait job.sh
cat results/*.json
