#!/bin/bash
# Builds the session from its lock, and has Slurm run the workflow.
set -e
ozrepro build nights
snakemake --profile slurm --quiet all
