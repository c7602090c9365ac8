#!/bin/bash
#SBATCH --array=1-4%2
#SBATCH --time=00:10:00
#SBATCH --mem=500M
#SBATCH --signal=USR1@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=volume-%A_%a.out

.ozrepro/bin/volume/ozrepro-check || exit
srun .ozrepro/bin/volume/python volume.py "$SLURM_ARRAY_TASK_ID"
status=$?
if [ "$status" -eq 75 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$status"
