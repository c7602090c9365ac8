#!/bin/bash
# Submits the tasks that have no result, whatever became of them: bash resubmit.sh [options of sbatch]
missing=
for task in 1 2 3 4; do
    [ -e "results/$task.json" ] || missing=$missing,$task
done
missing=${missing#,}
if [ -z "$missing" ]; then
    echo "every task has a result"
else
    echo "tasks without a result: $missing"
    sbatch --array="$missing%2" "$@" job.sh
fi
