"""What Dask and submitit start by a launcher, in the jobs of a real Slurm: what it gets, and how it ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.docs.example_projects import Cluster, Example
from tests.fake_cluster import SiteUnavailable
from tests.fake_cluster.containers import QUICK, Containers
from tests.fake_cluster.fixtures import containers
from tests.fake_cluster.tools import make_tools

__all__ = ["containers"]

pytestmark = [pytest.mark.network, pytest.mark.slow]

DASK = """
import json, os, shlex, sys, time
from pathlib import Path
from dask_jobqueue import SLURMCluster
from distributed import Client

def seen():
    import os, sys, dask
    names = ("OZREPRO_SESSION", "PYTHONNOUSERSITE")
    return [sys.prefix, dask.config.get("distributed.comm.timeouts.connect"), *map(os.environ.get, names)]

if __name__ == "__main__":
    cluster = SLURMCluster(
        python=shlex.quote(sys.argv[1]), cores=1, memory="500MB", walltime="00:05:00", log_directory="logs",
        scheduler_options={"dashboard_address": ":0"}, job_extra_directives=["--export=NONE"],
        job_script_prologue=["export DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT=77s"],
    )
    with cluster, Client(cluster) as client:
        cluster.scale(jobs=1)
        client.wait_for_workers(1, timeout=60)
        worker, parent = list(client.run(seen).values()), list(client.run(os.getppid).values())
        nanny = list(client.run(os.getpid, nanny=True).values())
        with open("sessions/pi.toml", "a") as file:
            file.write("# changed while the cluster runs\\n")
        cluster.scale(jobs=2)
        for _ in range(600):
            refused = [path for path in Path("logs").iterdir() if "has changed" in path.read_text()]
            if refused:
                break
            time.sleep(0.1)
        (log,) = refused
        after = client.submit(sum, [1, 2]).result()
        print(json.dumps([worker, parent == nanny, log.name, log.read_text(), after, len(client.scheduler_info()["workers"])]))
"""

SUBMITIT = """
import json, shlex, sys
import submitit
import without_accounting
from submitit.slurm.slurm import SlurmInfoWatcher

submitit.SlurmJob._results_timeout_s = 1

def seen(number):
    import os, sys
    return number, sys.prefix, *map(os.environ.get, ("OZREPRO_SESSION", "SUBMITIT_EXECUTOR", "SLURM_ARRAY_TASK_ID"))

def executor(**more):
    python = shlex.quote(f"{sys.argv[1]}/.ozrepro/bin/{sys.argv[2]}/python")
    made = submitit.AutoExecutor("jobs", cluster="slurm", slurm_python=python)
    # A login shell finds srun on a cluster; the script of a job with --export=NONE has only what that one has.
    made.update_parameters(timeout_min=5, mem_gb=1, slurm_setup=[f"PATH={shlex.quote(sys.argv[3])}:$PATH"], **more)
    return made

def error(job):
    return type(job.exception()).__name__, str(job.exception())

none = {"export": "NONE"}
array = executor(slurm_array_parallelism=2).map_array(seen, range(2))
fails = executor().submit(divmod, 1, 0)
lost = executor(slurm_additional_parameters=none).submit(seen, 0)
handed = executor(slurm_additional_parameters=none, slurm_srun_args=["--export=ALL"]).submit(seen, 0)
found = {"array": [job.result() for job in array], "fails": error(fails), "lost": error(lost), "handed": handed.result()}
with open(f"sessions/{sys.argv[2]}.toml", "a") as file:
    file.write("# changed between two jobs\\n")
refused = executor().submit(seen, 0)
found |= {"refused": error(refused), "number": refused.job_id, "sacct": SlurmInfoWatcher().get_state(refused.job_id, mode="force")}
print(json.dumps(found))
"""

BOX = """
methods = ["container", "venv"]
imports = ["submitit"]

[venv]
python = ">=3.11,<3.12"
requirements = ["submitit==1.5.4"]

[container]
from = "venv"
base = "base.sif"
"""

COUNTED = """
.ozrepro/bin/fit/python count.py >counted 2>said &
until number=$(sed -n 's/^job //p' counted) && [ "$number" ] && grep -qx 2 "jobs/${number}_0_log.out" 2>/dev/null; do sleep 0.1; done
scancel --signal=USR2 "$number"
until scontrol --oneliner show job "$number" | grep -q 'JobState=PENDING .* Restarts=1 '; do
    squeue --me --array --noheader --format=%i | grep -qx "$number" || echo 'not listed'
done
kill $!
.ozrepro/bin/fit/python -c '
import sys
from submitit.core.utils import DelayedSubmission
print("goes on from", DelayedSubmission.load(sys.argv[1]).function.number)
' "jobs/${number}_submitted.pkl"
grep -c 'Calling checkpoint method.' "jobs/${number}_0_log.out"
"""


@pytest.fixture(scope="module")
def drivers() -> Path:
    """Give an environment of the same libraries that no session has a part in: its Python runs the drivers."""
    try:
        return make_tools("drivers", ("dask-jobqueue==0.9.0", "distributed==2026.8.0", "submitit==1.5.4"))
    except SiteUnavailable as reason:
        pytest.skip(str(reason))


def driven(example: Example, drivers: Path, program: str, *words: str | Path) -> Any:
    """Run a driver in the copy of an example, outside of any session, and return what its last line tells."""
    (example.root / "driver.py").write_text(program, encoding="utf-8")
    return json.loads(example.done(drivers / "python", "driver.py", *words).splitlines()[-1])


def test_workers_of_dask_have_the_session_and_start_in_none_that_is_not_as_locked(cluster: Cluster, drivers: Path) -> None:
    example = cluster.copy("dask")
    example.done("ozrepro", "build", "pi")
    python = example.root / ".ozrepro" / "bin" / "pi" / "python"
    worker, below_its_nanny, log, said, after, workers = driven(example, drivers, DASK, python)
    ((place, timeout, session, no_user_site),) = worker
    assert Path(place).is_relative_to(example.root / ".ozrepro")
    assert (timeout, session, no_user_site, below_its_nanny) == ("77s", "pi", "1", True)
    assert "sessions/pi.toml has changed since pi was built\n  try: ozrepro build pi\n" in said
    assert (after, workers) == (3, 1), "a worker that runs goes on"
    (job,) = example.job(log.partition(".")[0].rpartition("-")[2])
    assert job["ExitCode"] == "3:0"


@pytest.mark.parametrize("session", ["fit", "box"])
def test_jobs_of_submitit_have_the_session_and_start_in_none_that_is_not_as_locked(
    session: str, cluster: Cluster, drivers: Path, request: pytest.FixtureRequest
) -> None:
    """Also in an image: `box` is one, made of the same lock."""
    if session == "box":
        image: Containers = request.getfixturevalue("containers")
        example = cluster.copy("submitit", image.bin)
        (example.root / "sessions" / "box.toml").write_text(BOX, encoding="utf-8")
        shutil.copy(image.base, example.root / "base.sif")
        cluster.account.give(example.root)
        example.done("ozrepro", "lock", "box", **QUICK)
    else:
        example = cluster.copy("submitit")
    example.done("ozrepro", "build", session)
    found = driven(example, drivers, SUBMITIT, example.root, session, cluster.slurm.bin)
    places = {place for _, place, *_ in found["array"]}
    assert len(places) == 1
    assert (places == {"/opt/session"}) is (session == "box")
    assert [job[2:] for job in found["array"]] == [[session, "slurm", "0"], [session, "slurm", "1"]]
    assert found["fails"][0] == "FailedJobError"
    assert "ZeroDivisionError" in found["fails"][1]
    # Slurm keeps what the job's script exports from a step of `--export=NONE`, unless srun is told otherwise.
    assert found["lost"][0] == "UncompletedJobError"
    assert "Could not figure out which environment the job is runnning in" in found["lost"][1]
    assert found["handed"][2:4] == [session, "slurm"]
    assert found["refused"][0] == "UncompletedJobError"
    assert (
        f"sessions/{session}.toml has changed since {session} was built\n  try: ozrepro build {session}\n" in found["refused"][1]
    )
    assert example.job(found["number"])[0]["ExitCode"] == "3:0"
    assert found["sacct"] == "UNKNOWN", "without accounting submitit itself would wait for that job for ever"


def test_the_signal_before_a_time_limit_reaches_a_function_whose_job_is_requeued_to_go_on(cluster: Cluster) -> None:
    """Slurm waits two minutes before such a job starts again, and the test does not."""
    example = cluster.copy("submitit")
    example.done("ozrepro", "build", "fit", OZREPRO_PATH=str(cluster.slurm.bin))
    goes_on, calls = example.done("bash", "-ec", COUNTED).splitlines()
    assert (int(goes_on.removeprefix("goes on from ")) >= 2, calls) == (True, "1")
