"""Runs that are recorded, by `ozrepro run` and nox, and `ozrepro record`, as a user meets them."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pexpect
import pytest

from ozrepro.pipeline.records.record import line_of
from tests.conftest import BIN, Project
from tests.methods.container.standin import boxed
from tests.pipeline.records.samples import keep, sample
from tests.sealed import system_path
from tests.wheels import make_wheel

SHOW_ID = ("python", "-c", "import os; print(os.environ.get('OZREPRO_RECORD_ID'))")
NOXFILE = """
import ozrepro


@ozrepro.session
def work(session):
    session.run("python", "-c", "import os, sys; print('id', os.environ.get('OZREPRO_RECORD_ID')); sys.exit(sys.argv[1:] == ['fail'])", *session.posargs)


@ozrepro.session(spec="work")
def skips(session):
    session.skip("not today")
"""
WAITS = (
    "import os, signal, time\n"
    "seen = []\n"
    "def note(number, frame):\n"
    "    seen.append(number)\n"
    "    os.write(1, f'got {signal.Signals(number).name} {len(seen)}\\n'.encode())\n"
    "    if number == signal.SIGTERM:\n"
    "        os._exit(40)\n"
    "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):\n"
    "    signal.signal(number, note)\n"
    "print('ready', os.getpid(), os.getppid(), flush=True)\n"
    "signal.alarm(60)\n"
    "while True:\n    time.sleep(0.02)\n"
)
"""Says which signals come to it, and how many there have been; SIGTERM ends it."""


def records(project: Project, path: str = "records") -> list[dict[str, Any]]:
    """Return the records in a folder or file, as `ozrepro record list --json` gives them."""
    found: list[dict[str, Any]] = json.loads(project.done("record", "list", path, "--json"))["records"]
    return found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Give a built project that all tests here share, with a noxfile."""
    folder = tmp_path_factory.mktemp("recorded")
    root, wheels = folder / "a project", folder / "wheels"
    for made in (root / "sessions", folder / "home"):
        made.mkdir(parents=True)
    make_wheel(wheels, "alpha", "1.0")
    index = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": str(wheels), "PIP_NO_INDEX": "1"}
    path = f"{BIN}:{system_path()}"
    project = Project(root, {"HOME": str(folder / "home"), "PATH": path, "LANG": "C.UTF-8", **index})
    project.spec('[venv]\nrequirements = ["alpha"]\n')
    (root / "noxfile.py").write_text(NOXFILE)
    project.done("lock", "work")
    project.done("build", "work")
    return project


@pytest.fixture
def recording(shared: Project, tmp_path: Path) -> Project:
    """Give the project with a variable that asks for records, in the folder `records` of the test."""
    return Project(shared.root, {**shared.environ, "OZREPRO_RECORD": str(tmp_path / "records")})


def test_a_run_in_a_project_that_asks_for_records_leaves_its_start_and_sees_its_id(built: Project) -> None:
    (built.root / "pyproject.toml").write_text('[tool.ozrepro]\nrecord = "records"\n')
    for _ in ("the first start", "a later one"):
        printed = built.done("run", "work", "--", *SHOW_ID).strip()
        assert (built.root / "records" / f"{printed}.json").exists()
    first, second = records(built)
    assert first["start"] <= second["start"]
    assert (first["by"], first["session"], first["method"], first["form"], first["folder"]) == (
        "run",
        "work",
        "venv",
        "tree",
        ".",
    )
    assert first["command"] == list(SHOW_ID)
    assert {"end", "status", "git", "job", "host", "user"}.isdisjoint(first)
    status = json.loads(built.done("status", "work", "--json"))["sessions"][0]["methods"][0]
    assert first["key"] == status["key"]
    assert first["machine"]["cpus"] == len(os.sched_getaffinity(0))
    assert first["machine"]["kernel"] == os.uname().release
    (built.root / "pyproject.toml").unlink()
    assert built.done("run", "work", "--", *SHOW_ID) == "None\n"
    assert records(built) == [first, second]


def test_the_variable_asks_for_records_and_no_environment_is_looked_at_again_for_it(shared: Project, tmp_path: Path) -> None:
    ready = sorted((shared.store() / "ready").iterdir())
    for folder in ("one", "two"):
        shared.done("run", "work", "--", "true", OZREPRO_RECORD=str(tmp_path / folder))
        assert len(records(shared, str(tmp_path / folder))) == 1
    assert shared.done("run", "work", "--", *SHOW_ID) == "None\n"
    assert sorted((shared.store() / "ready").iterdir()) == ready


@pytest.fixture
def runs(tmp_path: Path) -> str:
    """Give the path of a file for records, which is not there yet."""
    return str(tmp_path / "runs.jsonl")


def test_nox_records_the_end_and_the_status_of_each_session(recording: Project, tmp_path: Path) -> None:
    done = recording.run("nox", "-s", "work", "skips", "--", "fail")
    assert done.returncode == 1
    of_session = {item["command"][2]: item for item in records(recording, f"{tmp_path}/records")}
    work, skips = of_session["work"], of_session["skips"]
    assert f"id {work['id']}" in done.stdout
    assert (work["by"], work["command"], work["status"]) == ("nox", ["nox", "-s", "work", "--", "fail"], 1)
    assert work["end"] >= work["start"]
    assert skips["end"]
    assert "status" not in skips
    assert recording.run("nox", "-s", "work").returncode == 0
    assert sorted(item.get("status", -1) for item in records(recording, f"{tmp_path}/records")) == [-1, 0, 1]
    assert "skipped" in recording.done("record", "list")


def test_with_record_the_command_s_end_is_known_and_its_status_is_returned(shared: Project, runs: str, tmp_path: Path) -> None:
    for words, status in (
        (("true",), 0),
        (("sh", "-c", "exit 7"), 7),
        (("nowhere-to-be-found",), 127),
        (("/etc/hostname",), 126),
    ):
        done = shared.ozrepro("run", "--record", runs, "work", "--", *words)
        assert done.returncode == status, done.stderr
    listed = records(shared, runs)
    assert [item["status"] for item in listed] == [0, 7, 127, 126]
    assert all(item["end"] >= item["start"] for item in listed)
    assert len(Path(runs).read_bytes().splitlines()) == 4
    shared.done("run", "--record", f"{tmp_path}/one/", "work", "--", "true")
    assert [item["status"] for item in records(shared, f"{tmp_path}/one")] == [0]
    refused = shared.ozrepro("run", "--record", runs, "work", "--", "pip", "install", "x")
    assert refused.returncode == 1
    assert len(records(shared, runs)) == 4, "what is refused does not run"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_command_that_a_signal_ends_ends_ozrepro_by_the_same_signal(shared: Project, runs: str, number: signal.Signals) -> None:
    done = shared.ozrepro("run", "--record", runs, "work", "--", "sh", "-c", f"kill -{number.value} $$")
    assert done.returncode == -number
    (item,) = records(shared, runs)
    assert (item["status"], item["signal"]) == (128 + number, number.name)


def waiting(project: Project, runs: str) -> tuple[subprocess.Popen[str], int]:
    """Start a recorded command that waits for signals; return ozrepro's process and the command's number."""
    words = [str(BIN / "ozrepro"), "run", "--record", runs, "work", "--", "python", "-c", WAITS]
    process = subprocess.Popen(words, cwd=project.root, env=project.environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    _, command, parent = process.stdout.readline().split()
    assert int(parent) == process.pid
    return process, int(command)


def test_a_signal_to_ozrepro_reaches_the_command_which_may_go_on(shared: Project, runs: str) -> None:
    process, _ = waiting(shared, runs)
    assert process.stdout is not None
    for place, number in enumerate((signal.SIGUSR1, signal.SIGINT, signal.SIGTERM), 1):
        process.send_signal(number)
        assert process.stdout.readline() == f"got {number.name} {place}\n"
    assert process.wait(60) == 40
    process.stdout.close()
    (item,) = records(shared, runs)
    assert (item["status"], "signal" in item) == (40, False)


def test_a_command_does_not_outlive_ozrepro_that_is_killed(shared: Project, runs: str) -> None:
    process, command = waiting(shared, runs)
    watched = os.pidfd_open(command)
    process.kill()
    process.communicate()
    ended, _, _ = select.select([watched], [], [], 30)
    os.close(watched)
    assert ended


def test_at_a_terminal_ctrl_c_comes_to_the_command_once(shared: Project, runs: str) -> None:
    words = ["run", "--record", runs, "work", "--", "python", "-c", WAITS]
    environ = {**os.environ, **shared.environ}
    child = pexpect.spawn(str(BIN / "ozrepro"), words, cwd=str(shared.root), env=environ, encoding="utf-8", timeout=60)
    child.expect("ready ")
    for count in (1, 2):
        child.sendintr()
        child.expect(f"got SIGINT {count}\r")
    child.kill(signal.SIGTERM)
    child.expect("got SIGTERM 3\r")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 40


def test_a_job_of_a_shell_that_is_stopped_goes_on_in_the_foreground(shared: Project, runs: str) -> None:
    environ = {**os.environ, **shared.environ, "PS1": "$ "}
    words = ["--norc", "--noprofile", "-i"]
    child = pexpect.spawn("/bin/bash", words, cwd=str(shared.root), env=environ, encoding="utf-8", timeout=60)
    child.sendline(f"ozrepro run --record '{runs}' work -- sh -c 'echo beg\"\"un; read line; exit 8'")
    child.expect_exact("begun")
    child.sendcontrol("z")
    child.expect("Stopped[^\\n]*\\n")
    child.sendline("fg")
    child.expect_exact("ozrepro run")
    child.sendline("a line")
    child.sendline("echo status=$?; exit")
    child.expect("status=8\r")
    child.expect(pexpect.EOF)
    child.wait()
    assert [item["status"] for item in records(shared, runs)] == [8]


def test_a_record_is_asked_for_by_a_result_and_tells_whether_the_lock_is_the_same(built: Project) -> None:
    write = "import json, os; json.dump({'ozrepro_record': os.environ['OZREPRO_RECORD_ID']}, open('fit.json', 'w'))"
    asked = Project(built.root, {**built.environ, "OZREPRO_RECORD": "records"})
    asked.done("run", "work", "--", "python", "-c", write)
    shown = asked.done("record", "show", "fit.json")
    assert shown.splitlines()[0].startswith("record       20")
    assert "\nlock         sessions/work.lock: as it is now\n" in shown
    assert "\nend          not known: it still runs, or was killed, or was started without --record" in shown
    whole = json.loads(asked.done("record", "show", "fit.json", "--json"))
    assert (whole["lock"], whole["record"]) == ("same", records(asked)[0])
    text = asked.lock().read_text()
    for content, said in (
        (f"{text}\n# edited\n", "has changed since; the section is the same"),
        (text.replace("1.5", "1.6"), "has changed since, and so has the section"),
        ("<<<<<<< HEAD\n", "is there and cannot be read"),
    ):
        asked.lock().write_text(content)
        assert said in asked.done("record", "show", "fit.json")
    asked.lock().unlink()
    assert "is not in this project" in asked.done("record", "show", whole["record"]["id"][:17])


def test_the_commit_the_changes_the_job_and_who_ran_it_are_known_and_no_secret_or_home(built: Project) -> None:
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@t")
    (built.root / ".gitignore").write_text(".ozrepro\nruns*\n")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "one")):
        assert built.run(*git, *words).returncode == 0
    (built.root / "fit.py").write_text("print(1)\n")
    home = built.environ["HOME"]
    job = {"SLURM_JOB_ID": "12", "SLURM_ARRAY_JOB_ID": "10", "SLURM_ARRAY_TASK_ID": "3", "SLURM_RESTART_COUNT": "2"}
    more = {"OMP_NUM_THREADS": "4,2", "OZREPRO_RECORD_WITH": "host,user", "SECRET": "hidden-1", **job}
    command = ("python", "fit.py", "--token", "hidden-2", f"--out={home}/x", "HF_TOKEN=hidden-3")
    built.done("run", "--record", "runs.jsonl", "work", "--", *command, **more)
    text = (built.root / "runs.jsonl").read_text()
    assert "hidden" not in text
    assert home not in text
    (item,) = records(built, "runs.jsonl")
    assert item["git"] == {"revision": built.run("git", "rev-parse", "HEAD").stdout.strip(), "dirty": ["fit.py"]}
    assert item["command"] == ["python", "fit.py", "--token", "***", "--out=~/x", "HF_TOKEN=***"]
    assert item["job"] == {"scheduler": "Slurm", "id": "12", "array": "10", "index": "3", "restarts": 2}
    assert item["machine"]["omp"] == "4,2"
    assert item["host"] == os.uname().nodename
    assert item["user"]
    shown = built.done("record", "show", "runs.jsonl")
    assert "Slurm 12, task 3 of array 10, restarted 2 times\n" in shown
    assert ", and changes in fit.py\n" in shown
    (built.root / ".git" / "HEAD").write_text("nonsense\n")
    done = built.ozrepro("run", "--record", "runs.jsonl", "work", "--", "sh", "-c", "exit 3")
    assert done.returncode == 3, "a repository that git refuses costs the revision alone"
    assert done.stderr.startswith("ozrepro: the record has no revision: asking git for the revision: git ended with status 128")
    assert len(done.stderr.splitlines()) == 1
    assert "git" not in records(built, "runs.jsonl")[1]


def test_a_folder_that_cannot_be_written_fails_no_run(recording: Project, tmp_path: Path) -> None:
    (tmp_path / "records").write_text("a file in its place\n")
    done = recording.ozrepro("run", "work", "--", *SHOW_ID)
    assert (done.returncode, done.stdout) == (0, "None\n")
    assert done.stderr == f"ozrepro: this run is not recorded: {tmp_path / 'records'}: File exists\n"
    done = recording.run("nox", "-s", "work")
    assert done.returncode == 0
    assert "id None" in done.stdout
    assert "this run is not recorded: " in done.stderr
    done = recording.ozrepro("run", "--record", "none/runs.jsonl", "work", "--", "sh", "-c", "exit 3")
    assert done.returncode == 3
    assert done.stderr == "ozrepro: this run is not recorded: none/runs.jsonl: No such file or directory\n"
    done = recording.ozrepro("run", "work", "--", "sh", "-c", "exit 3", OZREPRO_RECORD_WITH="shoes")
    assert done.returncode == 3
    assert "'shoes' is not known; write one of: host, user" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_fails_no_run(recording: Project, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir(mode=0o555)
    done = recording.ozrepro("run", "work", "--", "true")
    assert done.returncode == 0
    assert "Permission denied" in done.stderr


def test_another_session_never_gets_the_id_of_the_record_it_is_started_from(shared: Project, runs: str) -> None:
    inner = ("sh", "-c", 'echo "$OZREPRO_RECORD_ID"; "$@"', "sh", str(BIN / "ozrepro"), "run", "work", "--", *SHOW_ID)
    shown = shared.done("run", "--record", runs, "work", "--", *inner)
    (item,) = records(shared, runs)
    assert shown.splitlines() == [item["id"], "None"]


def test_a_program_in_an_image_sees_the_id(project: Project) -> None:
    image = boxed(project)
    show = ("sh", "-c", 'echo "$APPTAINERENV_OZREPRO_RECORD_ID"')
    printed = image.done("run", "--record", "runs.jsonl", "work", "--", *show)
    (item,) = records(image, "runs.jsonl")
    assert printed == f"{item['id']}\n"
    assert "form" not in item
    body = f"    session.run(*{show!r})\n"
    (image.root / "noxfile.py").write_text(f"import ozrepro\n\n\n@ozrepro.session\ndef work(session):\n{body}")
    done = image.run("nox", "-s", "work", OZREPRO_RECORD="records")
    assert f"{records(image)[0]['id']}\n" in done.stdout, done.stderr


def test_bad_words_get_a_line_each_and_no_traceback(shared: Project) -> None:
    for words, said in (
        (("record", "list"), 'no folder of records is set\n  try: ozrepro record list DIR, or record = "DIR"'),
        (("record", "list", "none"), "none: no such file or folder"),
        (("record", "show", "20261129"), "where records are kept is not known, to look for 20261129"),
        (("record", "show", "nonsense"), "nonsense: is neither a file nor the id of a record"),
        (("record", "show", "."), ".: is a folder, not a record"),
        (("record",), "the following arguments are required: ACTION"),
    ):
        refused = shared.ozrepro(*words)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert said in refused.stderr
    assert shared.done("record", "list", OZREPRO_RECORD="none") == f"no records yet in {shared.root}/none\n"


def test_records_are_read_outside_of_a_project(shared: Project, tmp_path: Path) -> None:
    keep(tmp_path / "records", sample())
    outside = Project(tmp_path, shared.environ)
    assert "fit" in outside.done("record", "list", "records")
    assert ": is not in this project\n" in outside.done("record", "show", "2026", "--records", "records")


def test_a_record_cannot_write_to_the_terminal_and_a_damaged_one_is_named(shared: Project, tmp_path: Path) -> None:
    hostile = replace(sample(command=("\x1b]0;owned\x07", "a\nrecord  b", "\u202e" * 3)), method="\x1b[2J")
    folder = keep(tmp_path / "records", hostile)
    (folder / "half.jsonl").write_bytes(line_of(sample(1))[:100])
    done = shared.ozrepro("record", "list", str(folder))
    assert done.returncode == 1
    assert "half.jsonl: line 1: is cut short, or not JSON" in done.stderr
    shown = shared.done("record", "show", hostile.id, "--records", str(folder))
    for text in (done.stdout, shown):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)
        assert "\\x1b" in text
    assert "a\\nrecord  b" in shown
    assert shared.ozrepro("record", "list", str(folder), "--json").returncode == 1


def test_a_start_that_is_not_recorded_is_a_warm_one(shared: Project) -> None:
    shared.done("run", "work", "--", "true")
    more = {"PYTHONPROFILEIMPORTTIME": "1", "OZREPRO_RECORD": "", "OZREPRO_RECORD_ID": "x", "OZREPRO_RECORD_WITH": "host"}
    done = shared.ozrepro("run", "work", "--", "true", **more)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "ozrepro.faststart.ready" in loaded
    assert not [name for name in loaded if name.startswith(("ozrepro.pipeline", "ozrepro.frontends", "argparse"))]
