"""The pages about jobs and the examples that a user copies: run by an ordinary user, in the jobs of a real Slurm.

One file, since each that is run by another process starts a Slurm of its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.example_projects import Cluster, Example
from tests.docs.pages import DOCS, EXAMPLES, SLURM, pages_with
from tests.fake_cluster import Site, SiteUnavailable
from tests.fake_cluster.tools import make_tools
from tests.needs import FUSE
from tests.store.mounted import wait

PROJECTS = sorted(path.parent for path in EXAMPLES.glob("*/sessions"))

PROGRAM = """\
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
names = sorted(name for name in ("HOME", "PATH", "OZREPRO_SESSION", "SECRET") if name in os.environ)
print("ready", os.environ.get("SLURM_RESTART_COUNT", "first"), *names, flush=True)
if "SLURM_RESTART_COUNT" in os.environ or sys.argv[1:] == ["ends"]:
    sys.exit()
signal.sigwait([signal.SIGUSR1])
print("got USR1", flush=True)
sys.exit(75)
"""
JOB = """\
#!/bin/bash
#SBATCH --requeue --open-mode=append
.ozrepro/bin/work/ozrepro-check || exit
{line}
status=$?
[ "$status" -ne 75 ] || scontrol requeue "$SLURM_JOB_ID"
exit "$status"
"""
START = ".ozrepro/bin/work/python program.py"

MODULEFILE = 'prepend_path("LD_LIBRARY_PATH", "{root}/lib")\nprepend_path("PATH", "{root}/bin")\nfamily("mpi")\n'
SPEC = 'imports = ["mpi4py"]\n\n[modules]\nload = [{load}]\n\n[modules.venv]\nrequirements = ["mpi4py"]\n'
LINE = "a message went through {0} ranks of {0}: {1}\n"
ALONE = "this rank is alone: "


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(DOCS))) for page in pages_with(SLURM)])
def test_commands_of_pages_about_jobs_print_what_the_pages_show(page: Path, cluster: Cluster) -> None:
    """A reader on a cluster who types a page's commands, or those of an example's README, sees what it shows."""
    wrong = cluster.play(page)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("project", [pytest.param(path, id=path.name) for path in PROJECTS])
def test_an_example_says_how_it_is_run_and_brings_its_locks(project: Path) -> None:
    assert project / "README.md" in pages_with(SLURM)
    for spec in (project / "sessions").glob("*.toml"):
        assert spec.with_suffix(".lock").is_file(), "a fresh clone builds from the lock, and resolves nothing"


@pytest.fixture
def waiting(cluster: Cluster) -> Example:
    """Give a built session, with a program that waits for a signal and ends with 75, and with 0 when it is started again."""
    example = cluster.copy()
    files = {
        "sessions/work.toml": '[venv]\nrequirements = ["six"]\n',
        "program.py": PROGRAM,
        "srun.sh": JOB.format(line=f"srun {START}"),
        "exec.sh": JOB.format(line=f"exec {START}"),
        "child.sh": JOB.format(line=START),
        "ends.sh": JOB.format(line=f"{cluster.slurm.bin}/srun {START} ends"),
    }
    (example.root / "sessions").mkdir()
    for name, text in files.items():
        (example.root / name).write_text(text, encoding="utf-8")
    cluster.account.give(example.root)
    example.done("ozrepro", "lock")
    example.done("ozrepro", "build")
    return example


def printed(example: Example, name: str) -> str:
    """Return what a job has printed into a file by now."""
    path = example.root / f"{name}.out"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def submitted(example: Example, name: str, *words: str) -> str:
    """Submit a script, wait until its program is ready, and return the job's number."""
    number = example.submitted(f"--output={name}.out", *words, f"{name}.sh")
    assert wait(lambda: "ready" in printed(example, name), 60), example.printed()
    return number


@pytest.mark.network
@pytest.mark.slow
class TestJobs:
    """What the page on arrays says, with a program that waits instead of computing."""

    def test_the_signal_before_a_time_limit_reaches_a_program_behind_srun_and_one_by_exec(self, waiting: Example) -> None:
        """Slurm sends it by its own clock, which looks every half minute: here between 5 and 35 seconds after the start."""
        jobs = {
            name: submitted(waiting, name, "--time=2", f"--signal={signal}")
            for name, signal in (("srun", "USR1@85"), ("exec", "B:USR1@85"))
        }
        assert wait(lambda: all("got USR1" in printed(waiting, name) for name in jobs), 90), waiting.printed()
        (by_exec,) = waiting.ended(jobs["exec"])
        assert (by_exec["JobState"], by_exec["ExitCode"]) == ("FAILED", "75:0"), "the program took the script's place"
        ready = {"JobState": "PENDING", "Reason": "BeginTime", "Restarts": "1"}
        assert wait(lambda: ready.items() <= waiting.job(jobs["srun"])[0].items(), 30), waiting.job(jobs["srun"])
        waiting.done("scontrol", "update", f"JobId={jobs['srun']}", "StartTime=now")
        assert wait(lambda: "ready 1 " in printed(waiting, "srun"), 60), waiting.printed()
        (by_srun,) = waiting.ended(jobs["srun"])
        assert (by_srun["JobState"], by_srun["ExitCode"]) == ("COMPLETED", "0:0")
        assert printed(waiting, "srun").startswith("ready first "), "what the first start printed is kept"

    def test_a_program_that_is_the_script_s_child_gets_no_signal(self, waiting: Example) -> None:
        number = submitted(waiting, "child")
        waiting.run("scancel", "--signal=USR1", number)
        assert waiting.job(number)[0]["JobState"] == "RUNNING"
        waiting.done("scancel", "--batch", "--signal=USR1", number)
        (ended,) = waiting.ended(number)
        assert (ended["JobState"], ended["ExitCode"]) == ("FAILED", "0:10"), "the script itself ended by it"
        assert "got" not in printed(waiting, "child")

    def test_a_launcher_needs_no_variable_of_the_shell_that_submits(self, waiting: Example) -> None:
        number = waiting.submitted("--wait", "--export=NONE", "--output=ends.out", "ends.sh", SECRET="s")
        assert [job["JobState"] for job in waiting.ended(number)] == ["COMPLETED"], waiting.printed()
        assert printed(waiting, "ends").startswith("ready first ")
        names = printed(waiting, "ends").split()[2:]
        assert {"OZREPRO_SESSION", "PATH"} <= {*names} <= {"HOME", "OZREPRO_SESSION", "PATH"}

    def test_the_number_of_an_array_s_last_task_means_the_whole_array_and_its_index_that_task_alone(
        self, waiting: Example
    ) -> None:
        ends = '[ -n "$SLURM_RESTART_COUNT" ] && exit\n[ "$SLURM_ARRAY_TASK_ID" = 2 ] || exit 0\n'
        for name, words, restarts in (
            ("index", '"${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"', {"1": "0", "2": "1"}),
            ("number", '"$SLURM_JOB_ID"', {"1": "1", "2": "1"}),
        ):
            (waiting.root / f"{name}.sh").write_text(f"#!/bin/bash\n{ends}scontrol requeue {words}\nexit 7\n")
            number = waiting.submitted("--requeue", "--array=1-2%1", f"--output={name}.out", f"{name}.sh")

            def has_restarted(number: str = number, restarts: dict[str, str] = restarts) -> bool:
                return {task["ArrayTaskId"]: task["Restarts"] for task in waiting.job(number)} == restarts

            assert wait(has_restarted, 60), (name, waiting.job(number), waiting.printed())
            waiting.done("scancel", number)


def message(count: int) -> str:
    """Return what so many ranks print together."""
    return LINE.format(count, list(range(count)))


@pytest.fixture(scope="module")
def mpich() -> Path:
    """Give the folder of an MPICH that every user can run; one that an index has is as real as one that a site compiles."""
    try:
        return make_tools("mpich", ["mpich==5.0.2"]).parent
    except SiteUnavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def ring(cluster: Cluster, site: Site, mpich: Path) -> Example:
    """Give the example to a user on whose cluster MPICH is a module."""
    example = cluster.copy("mpi")
    tree, root = example.root.parent / "modules", example.root.parent / "mpich"
    (root / "bin").mkdir(parents=True)
    (root / "lib").symlink_to(mpich / "lib")
    for program in mpich.joinpath("bin").glob("*"):
        if program.name.startswith(("mpi", "hydra")):
            (root / "bin" / program.name).symlink_to(program)
    (tree / "mpich").mkdir(parents=True)
    (tree / "mpich" / "5.0.2.lua").write_text(MODULEFILE.format(root=root), encoding="utf-8")
    spec = SPEC.format(load=f'"{site.names["gcc"]}", "{site.names["python"]}", "mpich/5.0.2"')
    (example.root / "sessions" / "ring.toml").write_text(spec, encoding="utf-8")
    (example.root / "sessions" / "ring.lock").unlink()
    cluster.account.give(example.root)
    environ = {**example.environ, "LMOD_CMD": site.lmod_cmd, "MODULEPATH": f"{site.modulepath()}:{tree}"}
    return Example(example.root, cluster, environ)


@pytest.mark.network
@pytest.mark.slow
class TestRanks:
    """Of an MPICH that is a site's module: they exchange a message, or say that they are alone."""

    @pytest.mark.parametrize("form", ["tree", pytest.param("file", marks=FUSE)])
    def test_ranks_of_a_site_s_mpi_exchange_a_message_in_either_form(self, ring: Example, mpich: Path, form: str) -> None:
        form_of = {"OZREPRO_FORM": form}
        ring.done("ozrepro", "lock", "ring")
        ring.done("ozrepro", "build", "ring", **form_of)
        python = ".ozrepro/bin/ring/python"
        number = ring.submitted("--wait", "--output=said.out", "job.sh", **form_of)
        assert (ring.root / "said.out").read_text() == message(4)
        assert [task["JobState"] for task in ring.ended(number)] == ["COMPLETED"]
        assert ring.done(mpich / "bin" / "mpiexec", "-n", "3", python, "ring.py") == message(3)
        alone = ring.run("srun", "--mpi=none", "--ntasks=4", python, "ring.py")
        assert alone.returncode == 1
        assert alone.stderr.count(ALONE) == 4
