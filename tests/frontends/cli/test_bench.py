"""`ozrepro bench` as a user types it: one method alone, files, mistakes, Ctrl-C, and how little it opens."""

from __future__ import annotations

import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ozrepro.frontends.bench.result import write_result
from tests.conftest import BIN, Project
from tests.faststart import strace
from tests.frontends.bench.made import made

pytestmark = pytest.mark.slow

QUICK = ("--rounds", "6", "--budget", "60")
OPENED = 700
"""Paths that the command may open before its first measurement (issue 7)."""

_REASON = strace.why_not()
needs_strace = pytest.mark.skipif(bool(_REASON), reason=_REASON or "strace works")


def refused(project: Project, status: int, *words: str, **more: str) -> str:
    """Run `ozrepro bench`, insist on its exit status, and return what it said."""
    done = project.ozrepro("bench", *words, **more)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_bench_of_one_method_says_what_the_others_need(built: Project) -> None:
    """On a machine with nothing but Python."""
    text = " ".join(built.done("bench", "work", *QUICK, "--seed", "4").split())
    assert "There is nothing to choose: venv is the only method that was measured." in text
    assert "Start-up of imports: warm, venv takes" in text
    assert "Not measured: container: work.toml has no [container]" in text
    assert "its build took" in text
    assert not [path for path in built.store().iterdir() if path.name.startswith("bench-")]


def test_a_described_method_that_is_not_locked_is_told_with_what_it_needs(built: Project) -> None:
    """The tool that is missing here, so the user knows what to ask for."""
    spec = built.root / "sessions" / "work.toml"
    spec.write_text(spec.read_text() + '\n[container]\nimage = "hello.sif"\n')
    done = built.ozrepro("bench", "work", *QUICK, PATH=str(BIN))
    assert done.returncode == 0, done.stderr
    assert "not measured: container: not locked for this platform (linux-64): no Apptainer here" in done.stderr
    assert "strace is not here" in done.stdout


def test_bench_writes_the_files_that_it_is_asked_for(built: Project, tmp_path: Path) -> None:
    """JSON with every row, and HTML; no other output than the report."""
    names = {form: tmp_path / f"a.{form}" for form in ("json", "html")}
    words = [word for form, path in names.items() for word in (f"--{form}", str(path))]
    built.done(
        "bench", "work", *QUICK, "--workload", "empty", "--ranks", "1,2", "--state", "warm,cold-client", "--seed", "9", *words
    )
    found = json.loads(names["json"].read_text())
    assert (found["schema"], found["seed"], found["complete"]) == (1, 9, True)
    assert {(row["state"], row["ranks"]) for row in found["rows"]} == {
        (state, n) for state in ("warm", "cold-client") for n in (1, 2)
    }
    assert len(found["rows"]) == 4 * 6
    assert str(Path(built.environ["HOME"])) not in names["json"].read_text()
    assert names["html"].read_text().startswith("<!DOCTYPE html>")


def test_copies_on_another_file_system_than_that_under_test_are_told(built: Project, small_disk: Path) -> None:
    """Where the store is another's: a cold start from there says nothing of the store's file system."""
    subprocess.run(["mount", "-o", "remount,size=200M", str(small_disk)], check=True)
    subprocess.run(["chmod", "0777", str(small_disk)], check=True)
    code = "import pathlib, sys\nmade = pathlib.Path.mkdir\ndef mkdir(self, *words, **more):\n"
    code += "    if self.name.startswith('bench-'): raise PermissionError('read-only')\n    return made(self, *words, **more)\n"
    code += "pathlib.Path.mkdir = mkdir\nfrom ozrepro.__main__ import main\nsys.argv[0] = 'ozrepro'\nmain()\n"
    words = ("bench", "work", "--rounds", "1", "--workload", "empty", "--state")
    done = built.run("python", "-c", code, *words, "cold-client", TMPDIR=str(small_disk))
    assert done.returncode == 0, done.stderr
    assert "(tmpfs): another file system than that of the environments" in " ".join(done.stdout.split())
    assert "another file system" not in built.run("python", "-c", code, *words, "warm", TMPDIR=str(small_disk)).stdout


def test_bench_says_its_load_on_the_file_system_before_making_it(built: Project) -> None:
    """Processes, and requests if this were Lustre."""
    done = built.ozrepro("bench", "work", *QUICK, "--workload", "empty")
    assert "processes, at most 1 at once" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "docker"), "unknown method 'docker'\n  try: one of: modules, conda, container, venv"),
        (("--method", "conda"), "session 'work' describes no method 'conda'"),
        (("--workload", "tensor"), "unknown workload 'tensor'"),
        (("--workload", "nix.py"), "nix.py: cannot be read"),
        (("--state", "tepid"), "unknown state 'tepid'"),
        (("--ranks", "two"), "--ranks must be numbers of processes, not 'two'"),
        (("--ranks", "0"), "--ranks must be from 1"),
        (("--rounds", "0"), "--rounds must be at least 1"),
        (("--budget", "-1"), "--budget must be more than 0 seconds"),
        (("--jobs", "-3"), "--jobs must be at least 1"),
        (("--profile", "nix.toml"), "nix.toml: cannot read the profile"),
        (("--json", "nix/a.json"), "nix/a.json: cannot be written: the directory is missing"),
        (("--html", "sessions"), "sessions: is a directory\n  try: --html FILE, a file in it"),
        (("--json", "./"), "./: is a directory\n  try: --json FILE"),
        (("--fresh-nodes",), "a way to a cold client\n  try: --state warm,cold-client --fresh-nodes"),
        (("--state", "cold-client", "--fresh-nodes"), "this is none\n  try: salloc --nodes=8"),
        (("nix",), "there is no session 'nix'"),
        (("--method", ""), "--method is empty"),
        (("--workload", ","), "--workload is empty"),
        (("--state", ""), "--state is empty"),
        (("--emulate", ""), "cannot read the profile"),
        (("--json", ""), "--json needs a file name"),
        (("--json", "a", "--html", "./a"), "two results would be written to the same file"),
        (("--output", "a.toml"), "--output is for calibrate"),
    ],
)
def test_wrong_usage_of_bench_is_told_with_what_would_be_right(built: Project, words: tuple[str, ...], said: str) -> None:
    """Status 2, before anything is started."""
    text = refused(built, 2, "work", *words)
    assert said in text
    assert "at most 1 at once" not in text


def test_a_blank_after_a_comma_is_no_part_of_a_word(built: Project) -> None:
    """In no option."""
    words = ("--state", "warm, cold-client", "--ranks", "1, 2", "--workload", " empty , numpy", "--method", " venv,")
    built.ozrepro("bench", "work", *words, "--rounds", "1", "--json", "a.json")
    found = json.loads((built.root / "a.json").read_text())
    assert set(found["states"]) == {"warm", "cold-client"}
    assert {row["workload"] for row in found["rows"]} == {"empty", "numpy"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema = 1\nname = 3\n", "a profile's name is a text, not 3"),
        ("schema = 1\nmds_us = -1\n", "mds_us is at least 0, not -1"),
        ("schema = 1\nmds = 1\n", "a profile has no mds"),
        ("mds_us = [", "profile"),
    ],
)
def test_a_bad_profile_is_told_with_its_file(built: Project, text: str, said: str) -> None:
    """Status 2."""
    (built.root / "own.toml").write_text(text)
    told = refused(built, 2, "work", "--profile", "own.toml")
    assert "own.toml" in told
    assert said in told


def test_bench_of_a_session_without_imports_says_what_to_write(built: Project) -> None:
    """With the edit that mends it, and the option that does without."""
    built.spec('[venv]\nrequirements = ["alpha"]\n')
    built.done("lock", "work")
    built.done("build", "work")
    text = refused(built, 2, "work")
    assert "the session's spec has no imports to time" in text
    assert "--workload numpy" in text


def _as_run(project: Project, method: str, status: int, **more: str) -> str:
    """Insist that `run`, `build` and `bench` with a method end with the same status, and return what `bench` said."""
    for words in (("run", "work", "--method", method, "--", "true"), ("build", "work", "--method", method)):
        done = project.ozrepro(*words, **more)
        assert done.returncode == status, (words, done.stderr)
    return refused(project, status, "work", "--method", method, **more)


def test_a_method_that_cannot_be_measured_ends_as_run_does(built: Project) -> None:
    """Status 4 where it is not locked or its tool is missing, 3 where the lock is missing or no longer holds; a hint in each."""
    spec = built.root / "sessions" / "work.toml"
    first = spec.read_text()
    spec.write_text(first + '\n[conda]\ndependencies = ["python=3.12"]\n\n[container]\nimage = "hello.sif"\n')
    text = _as_run(built, "conda", 4)
    assert "conda: not locked for this platform (linux-64)" in text
    assert "try: ozrepro lock work --method conda" in text
    text = _as_run(built, "container", 4, PATH=str(BIN))
    assert "container: not locked for this platform (linux-64): no Apptainer here" in text
    assert "try: ozrepro status work" in text
    spec.write_text(first.replace('"alpha"]\n', '"alpha", "beta"]\n'))
    text = _as_run(built, "venv", 3)
    assert "is out of date" in text
    assert "try: ozrepro lock work" in text
    built.lock().unlink()
    assert "no lock file" in _as_run(built, "venv", 3)


def test_bench_builds_what_is_not_built_but_not_for_a_mistaken_command_and_says_first_how_long_it_takes(small: Project) -> None:
    small.done("lock", "work")
    assert "building" not in refused(small, 2, "work", "--workload", "absent.py")
    done = small.ozrepro("bench", "work", "--workload", "empty", *QUICK)
    assert done.returncode == 0, done.stderr
    order = [
        done.stderr.index(text) for text in ("building venv.any for work", "1 environment, 12 starts each: about ", "at once")
    ]
    assert order == sorted(order)
    assert "venv is the only method that was measured" in " ".join(done.stdout.split())


def test_bench_refuses_an_unknown_session_and_a_folder_without_a_project(built: Project, tmp_path: Path) -> None:
    """Status 2 with what there is."""
    assert "there is no session 'nix'" in refused(built, 2, "nix")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "there is no session 'work'" in refused(Project(empty, built.environ), 2, "work")


def test_a_workload_that_fails_is_reported_and_the_status_tells(built: Project) -> None:
    """Its last line is in the report; nothing is recommended."""
    (built.root / "fit.py").write_text("raise ValueError('no data here')\n")
    done = built.ozrepro("bench", "work", *QUICK, "--workload", "fit.py")
    assert done.returncode == 1, done.stderr
    text = " ".join(done.stdout.split())
    assert "Nothing can be recommended" in text
    assert "venv failed in 1 start (fit.py, warm, 1 rank): ValueError: no data here" in text


def test_a_script_that_ends_itself_fails_the_bench(built: Project) -> None:
    """It tells no times, so nothing is known of it, whatever its own status."""
    (built.root / "fit.py").write_text("import os\nos._exit(0)\n")
    done = built.ozrepro("bench", "work", *QUICK, "--workload", "fit.py")
    assert done.returncode == 1, done.stderr
    assert "venv failed in 1 start (fit.py, warm, 1 rank): it ended before it reported its times" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compare", "a.json", "b.json", "--html", "a.html"), "--html has no effect on compare"),
        (("compare", "a.json", "b.json", "--output", "a"), "--output is for calibrate"),
        (("calibrate", ".", "--emulate", "busy"), "--emulate has no effect on calibrate"),
        (("calibrate", ".", "--output", "nix/a.toml"), "nix/a.toml: cannot be written: the directory is missing"),
        (("calibrate", ".", "--output", "sessions"), "sessions: is a directory\n  try: --output FILE, a file in it"),
        (("calibrate", ".", "--output", ""), "--output needs a file name"),
        (("calibrate", "nix"), "nix: not a directory"),
    ],
)
def test_bench_refuses_an_option_of_another_action_and_a_wrong_place(small: Project, words: tuple[str, ...], said: str) -> None:
    """Status 2 with what would be right, before a file is read or written."""
    text = refused(small, 2, *words)
    assert said in text
    assert "try: " in text
    assert "operations a second" not in text


def test_several_sessions_are_measured_each_with_its_report_and_files(built: Project) -> None:
    """One after the other; the name stands in each file's name."""
    built.spec((built.root / "sessions" / "work.toml").read_text(), "other")
    built.done("lock", "other")
    built.done("build", "other")
    words = ("--rounds", "1", "--workload", "empty", "--json", "a.b.json", "--html", "all")
    done = built.ozrepro("bench", "work", "other", *words)
    assert done.returncode == 0, done.stderr
    heads = [line.split(":")[0] for line in done.stdout.splitlines() if "compared on" in line]
    assert heads == ["work", "other"]
    assert [json.loads((built.root / f"a.b-{name}.json").read_text())["session"] for name in ("work", "other")] == [
        "work",
        "other",
    ]
    assert (built.root / "all-work").exists()
    assert not (built.root / "a.b.json").exists()
    assert "ozrepro: other: 4 processes, at most 1 at once" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--workload", "imports"), "ozrepro: bare: the session's spec has no imports to time\n  try: "),
        (("--state", "hot"), "ozrepro: unknown state 'hot'\n  try: "),
        (("--rounds", "0"), "ozrepro: --rounds must be at least 1\n  try: "),
        (("--workload", "tensor"), "ozrepro: work, bare: unknown workload 'tensor'\n  try: "),
        (("--json", "./"), "ozrepro: ./: is a directory\n  try: "),
        (("--html", "sessions"), "ozrepro: sessions: is a directory\n  try: "),
    ],
)
def test_a_mistake_is_told_once_and_before_any_session_is_measured(built: Project, words: tuple[str, ...], said: str) -> None:
    """Also one that only the last session makes."""
    built.spec('[venv]\nrequirements = ["alpha"]\n', "bare")
    built.done("lock", "bare")
    built.done("build", "bare")
    done = built.ozrepro("bench", "work", "bare", "--rounds", "1", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 2


def test_of_several_sessions_those_that_can_be_are_measured_and_the_status_is_the_highest(built: Project) -> None:
    """A session without a lock keeps no other from its report; a name that is none ends all before a start."""
    built.spec((built.root / "sessions" / "work.toml").read_text(), "other")
    done = built.ozrepro("bench", "other", "work", "--rounds", "1", "--workload", "empty")
    assert done.returncode == 3, done.stderr
    assert "ozrepro: other: " in done.stderr
    assert "try: ozrepro lock other" in done.stderr
    assert "work: 1 compared on" in done.stdout
    assert "there is no session 'nix'" in refused(built, 2, "work", "nix")


def _started(project: Project, *words: str) -> subprocess.Popen[str]:
    """Start a long measurement and return when its rounds begin."""
    command = [str(BIN / "ozrepro"), "bench", "work", "--rounds", "100000", "--workload", "empty", "--budget", "3000", *words]
    process = subprocess.Popen(
        command, cwd=project.root, env=project.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "processes, at most" in line:
            return process
    raise AssertionError(process.communicate())


def _rows(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["rows"]
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_bench_reports_what_it_has_measured(built: Project, tmp_path: Path, number: signal.Signals) -> None:
    """Status 130, a whole file that says why, the report, and nothing left behind; Slurm ends a job by SIGTERM."""
    path = tmp_path / "a.json"
    process = _started(built, "--json", str(path))
    while not _rows(path):
        assert process.poll() is None
    process.send_signal(number)
    out, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    found = json.loads(path.read_text())
    assert (found["complete"], found["why"]) == (False, "interrupted")
    assert found["rows"]
    assert "The run is not complete: interrupted." in out
    assert not [item for item in built.store().iterdir() if item.name.startswith("bench-")]


def test_a_second_interrupt_loses_neither_the_report_nor_the_cleaning(built: Project, tmp_path: Path) -> None:
    """The impatient's: in the middle of a fresh copy's start."""
    path = tmp_path / "a.json"
    process = _started(built, "--json", str(path), "--state", "cold-client")
    while not _rows(path):
        assert process.poll() is None
    for _ in range(20):
        process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "The run is not complete: interrupted." in out
    assert not [item for item in built.store().iterdir() if item.name.startswith("bench-")]


def test_an_interrupt_while_modules_are_loaded_is_said_in_a_line(small: Project) -> None:
    """Loading takes seconds where the file system is cold; a finder that stands for the user's key."""
    code = "import sys\nclass Key:\n    def find_spec(self, name, *_):\n        if name == 'ozrepro.frontends.cli.bench': raise KeyboardInterrupt\n"
    code += "sys.meta_path.insert(0, Key())\nsys.argv = ['ozrepro', 'bench', 'work']\nfrom ozrepro.__main__ import main\nmain()\n"
    done = small.run("python", "-c", code)
    assert (done.returncode, done.stderr) == (130, "ozrepro: interrupted\n")


def test_a_file_that_can_no_longer_be_written_ends_with_an_error_and_a_report(built: Project, tmp_path: Path) -> None:
    """The measuring goes on, and what was measured is shown."""
    folder = tmp_path / "results"
    folder.mkdir()
    process = _started(built, "--json", str(folder / "a.json"))
    shutil.rmtree(folder)
    assert process.stderr is not None
    line = next(line for line in process.stderr if "a.json" in line)
    assert "measuring goes on" in line
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert "a.json" in said
    assert "venv takes" in out


def test_a_file_that_cannot_be_written_keeps_no_other_from_being_written(built: Project, tmp_path: Path) -> None:
    """Nor the report from being printed; each is told."""
    folder = tmp_path / "results"
    folder.mkdir()
    process = _started(built, "--json", str(tmp_path / "a.json"), "--html", str(folder / "a.html"))
    shutil.rmtree(folder)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert "a.html" in said
    assert (tmp_path / "a.json").exists()
    assert "The run is not complete: interrupted." in out


def test_a_terminal_that_closes_is_an_interrupt_and_loses_no_file(built: Project, tmp_path: Path) -> None:
    """Its end is a signal, and an error for all that is printed from then on."""
    names = {form: tmp_path / f"a.{form}" for form in ("json", "html")}
    words = [word for form, path in names.items() for word in (f"--{form}", str(path))]
    command = [str(BIN / "ozrepro"), "bench", "work", "--rounds", "100000", "--workload", "empty", "--budget", "3000", *words]
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *command],
        cwd=built.root,
        env={**built.environ, "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    while not names["json"].exists() or not _rows(names["json"]):
        assert process.poll() is None
        if select.select([ours], [], [], 0.1)[0]:
            os.read(ours, 65536)
    os.close(ours)
    assert process.wait(timeout=120) == 130
    assert json.loads(names["json"].read_text())["why"] == "interrupted"
    assert names["html"].read_text().startswith("<!DOCTYPE html>")
    assert not [item for item in built.store().iterdir() if item.name.startswith("bench-")]


def test_an_interrupt_that_also_ends_the_reader_is_an_interrupt(built: Project, tmp_path: Path) -> None:
    """Ctrl-C goes to all of `| tee log`."""
    process = _started(built, "--html", str(tmp_path / "a.html"))
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.send_signal(signal.SIGINT)
    with process.stderr:
        said = process.stderr.read()
    assert process.wait(timeout=120) == 130, said
    assert "Traceback" not in said
    assert (tmp_path / "a.html").exists()


def test_a_reader_that_goes_away_loses_neither_a_file_nor_a_session(built: Project) -> None:
    """`| head -1`: the measuring takes minutes, and its files are wanted all the same. Each write is tried at once."""
    built.spec((built.root / "sessions" / "work.toml").read_text(), "other")
    built.done("lock", "other")
    built.done("build", "other")
    forms = ("json", "html")
    words = ["--rounds", "1", "--workload", "empty", *(word for form in forms for word in (f"--{form}", f"a.{form}"))]
    read, write = os.pipe()
    os.close(read)
    command = [str(BIN / "ozrepro"), "bench", "work", "other", *words]
    environ = {**built.environ, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(command, cwd=built.root, env=environ, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 141, done.stderr
    assert "Traceback" not in done.stderr
    for name in ("work", "other"):
        assert [form for form in forms if not (built.root / f"a-{name}.{form}").exists()] == []


def test_bench_compares_two_results(built: Project, tmp_path: Path) -> None:
    """Anywhere, without a project; what is not alike comes first."""
    fast = {"modules": {"warm": 0.3}, "conda": {"warm": 0.3}}
    slow = {"modules": {"warm": 0.9}, "conda": {"warm": 0.3}}
    empty = tmp_path / "empty"
    empty.mkdir()
    write_result(empty / "a.json", made(speed=fast, ranks=(1,)))
    write_result(empty / "b.json", made(speed=slow, ranks=(1,), fs={"type": "ext4", "options": ["rw", "flock"]}))
    done = Project(empty, built.environ).done("bench", "compare", "a.json", "b.json")
    lines = done.splitlines()
    assert lines[:2] == ["first: a.json, analysis, on node, lustre", "second: b.json, analysis, on node, ext4"]
    assert lines[2] == "not alike: file system type: lustre, then ext4"
    assert lines[3].split() == ["METHOD", "START", "FIRST", "SECOND", "THE", "SECOND", "IS"]
    assert "slower by" in lines[4]
    assert "no clear difference" in lines[5]
    assert lines[7].startswith("TO modules")


def test_a_script_that_was_changed_between_two_results_is_told(built: Project) -> None:
    """The result keeps what the script was, and not where: the folder is one person's."""
    script = built.root / "fit.py"
    for name, text in (("a", "import json\n"), ("b", "import json, decimal\n")):
        script.write_text(text)
        built.done("bench", "work", "--rounds", "1", "--workload", "fit.py,empty", "--json", f"{name}.json")
        found = json.loads((built.root / f"{name}.json").read_text())["scripts"]
        assert found == {"fit.py": hashlib.sha256(text.encode()).hexdigest()}
    [told] = [line for line in built.done("bench", "compare", "a.json", "b.json").splitlines() if line.startswith("not alike")]
    assert told.startswith("not alike: fit.py: another text, sha256 ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid JSON"),
        ("[]", "no schema"),
        ('{"schema": 99}', "has schema 99"),
        ('{"schema": 1}', "the file: lacks session, "),
    ],
)
def test_bench_refuses_to_compare_a_file_that_is_no_result(built: Project, text: str, said: str) -> None:
    """Status 2 with its name."""
    write_result(built.root / "a.json", made(speed={"venv": {"warm": 1.0}}, rounds=1))
    (built.root / "b.json").write_text(text)
    told = refused(built, 2, "compare", "a.json", "b.json")
    assert "b.json" in told
    assert said in told


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("host", None, "host: is null; write a table"),
        (
            "rows",
            [{**made(speed={"venv": {"warm": 1.0}}, rounds=1).as_dict()["rows"][0], "ready": [0.0]}],
            "rows[0].ready[0]: is 0.0",
        ),
    ],
)
def test_a_result_that_was_edited_is_told_with_the_key(built: Project, key: str, value: object, said: str) -> None:
    """Status 2, the file, and what to try."""
    result = made(speed={"venv": {"warm": 1.0}}, rounds=1)
    write_result(built.root / "a.json", result)
    (built.root / "b.json").write_text(json.dumps({**result.as_dict(), key: value}))
    told = refused(built, 2, "compare", "a.json", "b.json")
    assert "b.json: invalid result:" in told
    assert said in told
    assert "try: correct these values, or measure again: ozrepro bench NAME --json FILE" in told


def test_a_name_in_a_result_cannot_write_to_the_terminal(built: Project) -> None:
    """Two results may be a stranger's, and so are the names in them."""
    name = "venv\x1b]0;owned\a"
    write_result(built.root / "a.json", made(speed={"modules": {"warm": 1.0}, name: {"warm": 1.0}}, rounds=6, ranks=(1,)))
    write_result(built.root / "b.json", made(speed={name: {"warm": 1.0}, "conda\x1b": {"warm": 1.0}}, rounds=6, ranks=(1,)))
    told = built.done("bench", "compare", "a.json", "b.json")
    assert "\x1b" not in told
    assert "\a" not in told
    assert r"venv\x1b]0;owned\x07" in told


def test_bench_calibrates_a_folder(built: Project, tmp_path: Path) -> None:
    """The profile is printed, written, and taken by the next measurement; nothing is left in the folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    done = built.ozrepro("bench", "calibrate", str(folder), "--output", "own.toml")
    assert done.returncode == 0, done.stderr
    assert 'name = "data"' in done.stdout.splitlines()
    assert list(folder.iterdir()) == []
    built.done("bench", "work", *QUICK, "--workload", "empty", "--profile", "own.toml", "--json", "a.json")
    profile = json.loads((built.root / "a.json").read_text())["profile"]
    assert profile["name"] == "data"
    assert f"mds_us = {profile['mds_us']}" in done.stdout.splitlines()
    assert "try: ozrepro bench calibrate DIR" in refused(built, 2, "calibrate", "nix")
    assert "try: ozrepro bench calibrate DIR" in refused(built, 2, "calibrate")


def test_a_profile_that_cannot_be_written_is_printed_all_the_same(small: Project, tmp_path: Path) -> None:
    """Status 1: it takes a while to measure. A link to nowhere is found out only then."""
    (small.root / "own.toml").symlink_to(tmp_path / "nix" / "own.toml")
    (tmp_path / "data").mkdir()
    done = small.ozrepro("bench", "calibrate", str(tmp_path / "data"), "--output", "own.toml")
    assert done.returncode == 1, done.stderr
    assert "own.toml: cannot write the profile" in done.stderr
    assert 'name = "data"' in done.stdout.splitlines()


def test_bench_compare_needs_two_results(built: Project) -> None:
    """Status 2 with the form."""
    assert "try: ozrepro bench compare A.json B.json" in refused(built, 2, "compare", "a.json")
    assert "cannot be read" in refused(built, 2, "compare", "a.json", "b.json")
    write_result(built.root / "a.json", made(speed={"venv": {"warm": 1.0}}, rounds=1))
    write_result(built.root / "b.json", made(speed={"conda": {"warm": 1.0}}, rounds=1))
    assert "have no method, workload, state and ranks in common" in refused(built, 2, "compare", "a.json", "b.json")


@needs_strace
def test_few_paths_are_opened_before_the_first_measurement(built: Project, capsys: pytest.CaptureFixture[str]) -> None:
    """A benchmark of start-up must not be slow to start: all opens of its own processes, found or not, until the probe runs."""
    words = [str(BIN / "ozrepro"), "bench", "work", "--workload", "empty", "--rounds", "1"]
    traced = strace.trace(words, "%file", cwd=built.root, env=built.environ)
    assert traced.status == 0, traced.output
    python = f"{built.prefix()}/bin/python"
    probe = next(
        at
        for at, call in enumerate(traced.calls)
        if call.name == "execve" and python in call.paths and "Runs inside a candidate" in call.text
    )
    theirs = {call.pid for call in traced.calls[:probe] if call.name == "execve" and python in call.paths}
    opened = [call for call in traced.calls[:probe] if call.name.startswith("open") and call.pid not in theirs]
    with capsys.disabled():
        print(f"\n  ozrepro bench: {len(opened)} paths opened before the first measurement")
    assert 0 < len(opened) < OPENED


def test_no_other_command_loads_the_benchmark(built: Project) -> None:
    """Nor does the benchmark's own help load what measures."""
    code = "import sys; from ozrepro.frontends.cli.program import parser; parser({!r}); print([m for m in sys.modules if 'bench' in m or 'lustre' in m])"
    for command, loaded in (("status", "[]"), ("bench", "['ozrepro.frontends.cli.benchoptions', 'ozrepro.frontends.cli.bench']")):
        assert built.run("python", "-c", code.format(command)).stdout.strip() == loaded
