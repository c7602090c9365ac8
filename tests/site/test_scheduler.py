"""Which job a process runs in, and what a scheduler's own words prove. Slurm's words are judged with owners of builds."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ozrepro.site.scheduler import Job, has_scheduler, is_over, job_of, running_jobs
from ozrepro.store.owner import is_dead, myself, read_owner

SAY = """#!/bin/sh
echo "$@" >> "$0.asked"
printf '%s' "$ANSWER"
printf '%s' "$ERRORS" >&2
exit "$STATUS"
"""


@pytest.mark.parametrize(
    ("environ", "job"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "12"}, Job("Slurm", "12")),
        ({"PBS_JOBID": "12.gadi-pbs", "PBS_ENVIRONMENT": "PBS_BATCH"}, Job("PBS", "12.gadi-pbs")),
        ({"LSB_JOBID": "12", "LSB_JOBINDEX": "0"}, Job("LSF", "12")),
        ({"LSB_JOBID": "12", "LSB_JOBINDEX": "3"}, Job("LSF", "12[3]")),
        ({"JOB_ID": "12", "SGE_TASK_ID": "undefined"}, Job("SGE", "12")),
        ({"JOB_ID": "12", "SGE_ROOT": "/opt/sge"}, None),
        ({"FLUX_JOB_ID": "ƒ2WT"}, Job("Flux", "ƒ2WT")),
        ({"FLUX_ENCLOSING_ID": "ƒ2WT", "FLUX_URI": "local:///x"}, Job("Flux", "ƒ2WT")),
        ({"FLUX_URI": "local:///x", "PBS_O_WORKDIR": "", "SLURM_JOB_ID": ""}, None),
    ],
)
def test_the_job_is_known_by_its_scheduler_s_variables(environ: dict[str, str], job: Job | None) -> None:
    assert job_of(environ) == job


def test_a_cluster_is_known_by_a_scheduler_s_command_or_a_job(tmp_path: Path) -> None:
    assert not has_scheduler({})
    assert not has_scheduler({"PATH": str(tmp_path)})
    assert has_scheduler({"PBS_JOBID": "12.gadi-pbs"})
    (tmp_path / "sbatch").write_text("")
    (tmp_path / "sbatch").chmod(0o755)
    assert has_scheduler({"PATH": str(tmp_path)})


@pytest.mark.parametrize("name", ["Slurm", "PBS", "LSF", "SGE", "Flux"])
def test_a_job_is_named_in_words(name: str) -> None:
    job = Job(name, "12")
    assert (str(job), job.kind.split(" ", 1)[1]) == (f"{name} job 12", f"{name} job")
    assert job.kind.split()[0] == ("an" if name in ("LSF", "SGE") else "a")


@pytest.fixture
def saying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Put a command of each scheduler on PATH, and none else, that says what ANSWER, ERRORS and STATUS hold."""
    for name in ("qstat", "qselect", "bjobs", "flux"):
        (tmp_path / name).write_text(SAY)
        (tmp_path / name).chmod(0o755)
    for name, value in (("PATH", str(tmp_path)), ("ANSWER", ""), ("ERRORS", ""), ("STATUS", "0")):
        monkeypatch.setenv(name, value)
    return monkeypatch


RUNS = "Job Id: 12.server\n    Job_Name = x\n    job_state = R\n    Variable_List = A=1,\n\tjob_state = F\n"
"""`qstat -f` of PBS Pro; a long value goes on in lines that begin with a tab."""

WORDS = [
    ("PBS", "12.server", "", "qstat: Unknown Job Id 12.server\n", "153", True),
    ("PBS", "12.server", "", "qstat: Unknown Job Id Error 12.server\n", "153", True),
    (
        "PBS",
        "12.server",
        "",
        "qstat: 12.server Job has finished, use -x or -H to obtain historical job information\n",
        "35",
        True,
    ),
    ("PBS", "12.server", "Job Id: 12.server\n    job_state = C\n", "", "0", True),
    ("PBS", "12.server", "Job Id: 12.server\n    job_state = R\n", "", "0", False),
    ("PBS", "12.server", "Job Id: 12.server\n    job_state = E\n", "", "0", False),
    ("PBS", "12.server", RUNS, "", "0", False),
    ("PBS", "12.server", "", "Connection refused\nqstat: cannot connect to server server (errno=15010)\n", "255", False),
    ("LSF", "12[3]", "DONE\n", "", "0", True),
    ("LSF", "12", "EXIT\n", "", "0", True),
    ("LSF", "12", "", "Job <12> is not found\n", "255", True),
    ("LSF", "12", "RUN\n", "", "0", False),
    ("LSF", "12", "DONE\nRUN\n", "", "0", False),
    ("LSF", "12", "", "LSF is down. Please wait ...\n", "255", False),
    ("SGE", "12", "", "Following jobs do not exist: \n12\n", "1", True),
    ("SGE", "12", "", "Following jobs do not exist or permissions are not sufficient: \n12\n", "1", False),
    ("SGE", "12", "job_number:  12\n", "", "0", False),
    ("SGE", "12", "", "error: commlib error: got select error (Connection refused)\n", "1", False),
    ("Flux", "ƒ2WT", "INACTIVE\n", "", "0", True),
    ("Flux", "ƒ2WT", "RUN\n", "", "0", False),
    ("Flux", "ƒ2WT", "", "flux-jobs: ERROR: JobID f2WT unknown\n", "1", False),
]


@pytest.mark.parametrize(("name", "number", "answer", "errors", "status", "over"), WORDS)
def test_a_job_is_over_only_where_its_scheduler_says_so(
    saying: pytest.MonkeyPatch, name: str, number: str, answer: str, errors: str, status: str, over: bool
) -> None:
    for variable, value in (("ANSWER", answer), ("ERRORS", errors), ("STATUS", status)):
        saying.setenv(variable, value)
    assert is_over(Job(name, number)) is over
    asked = next(Path(os.environ["PATH"]).glob("*.asked")).read_text(encoding="utf-8").split()
    assert asked[-1] == number


@pytest.mark.parametrize("name", ["Slurm", "PBS", "LSF", "SGE", "Flux", "Other"])
def test_where_a_scheduler_is_not_here_a_job_counts_as_running(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not is_over(Job(name, "12"))


@pytest.mark.parametrize("number", ["", "-x", "--help", "a b", "12;x", "12\n", "@12"])
def test_what_cannot_be_an_id_is_not_asked_about(saying: pytest.MonkeyPatch, number: str) -> None:
    saying.setenv("ERRORS", "Unknown Job Id")
    saying.setenv("STATUS", "153")
    assert not is_over(Job("PBS", number))
    assert not list(Path(os.environ["PATH"]).glob("*.asked"))


def test_the_owner_of_a_build_in_another_scheduler_s_job_is_judged_by_that_one(saying: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT"):
        saying.delenv(name, raising=False)
    saying.setenv("PBS_JOBID", "12[3].server")
    mine = myself()
    assert mine.describe().endswith(", PBS job 12[3].server")
    found = read_owner(mine.record())
    assert found == mine
    elsewhere = replace(mine, host="another-node")
    assert not is_dead(elsewhere)
    saying.setenv("ERRORS", "qstat: Unknown Job Id 12[3].server\n")
    saying.setenv("STATUS", "153")
    assert is_dead(elsewhere)
    assert not is_dead(elsewhere, ask_scheduler=False)


TABLE = "job-ID  prior  name\n-----------\n     77 0.5 a.sh me r 11/28/2026\n     78 0.5 b.sh me s 11/28/2026\n"


@pytest.mark.parametrize(
    ("commands", "sge", "answer", "errors", "status", "said"),
    [
        (("qselect", "qstat"), "", "77.server\n78.server\n", "", "0", "2 running jobs of yours may run from it"),
        (("qselect", "qstat"), "", "", "", "0", None),
        (("qselect", "qstat"), "", "", "cannot connect\n", "1", "qselect does not answer, and jobs of yours may run"),
        (("qselect", "qstat"), "/opt/sge", TABLE, "", "0", "2 running jobs of yours may run from it"),
        (("qselect", "qstat"), "/opt/sge", "", "", "0", None),
        (("bjobs",), "", "77\n", "", "0", "1 running job of yours may run from it"),
        (("bjobs",), "", "", "No running job found\n", "255", None),
        (("flux",), "", "ƒ2\nƒ3\n", "", "0", "2 running jobs of yours may run from it"),
        ((), "", "", "", "0", None),
    ],
)
def test_running_jobs_are_counted_by_the_scheduler_that_is_here(
    saying: pytest.MonkeyPatch, commands: tuple[str, ...], sge: str, answer: str, errors: str, status: str, said: str | None
) -> None:
    for path in Path(os.environ["PATH"]).iterdir():
        if path.name not in commands:
            path.unlink()
    for variable, value in (("ANSWER", answer), ("ERRORS", errors), ("STATUS", status)):
        saying.setenv(variable, value)
    counted = running_jobs({"SGE_ROOT": sge})
    assert counted == said or (said is not None and counted is not None and said in counted)
