"""The commands as a user types them: what they print, their exit status, their JSON."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ozrepro.faststart.ready import find_ready
from ozrepro.faststart.start import split
from ozrepro.frontends.cli.program import parser
from tests.conftest import BIN, Project
from tests.store.running import children_of, wait_for_end
from tests.wheels import make_wheel


def test_lock_says_what_it_wrote_and_then_that_nothing_changed(small: Project) -> None:
    assert small.done("lock") == "work: sessions/work.lock written (venv)\n"
    assert small.done("lock", "work") == "work: sessions/work.lock unchanged (venv)\n"


def test_lock_check_compares_and_changes_nothing(small: Project) -> None:
    assert small.ozrepro("lock", "--check").returncode == 3
    small.done("lock")
    assert small.done("lock", "--check") == "work: lock is up to date\n"
    small.spec('[venv]\nrequirements = ["beta"]\n')
    before = small.lock().read_bytes()
    refused = small.ozrepro("lock", "--check")
    assert refused.returncode == 3
    assert "venv.any: was locked for another version of work.toml" in refused.stderr
    assert small.lock().read_bytes() == before


def test_a_package_to_upgrade_that_is_not_locked_is_named(small: Project) -> None:
    small.done("lock")
    refused = small.ozrepro("lock", "work", "--upgrade", "alhpa")
    assert refused.returncode == 2
    assert "no package alhpa is locked in work" in refused.stderr
    assert "did you mean alpha?" in refused.stderr


def test_locking_never_overwrites_a_lock_that_it_cannot_read(small: Project) -> None:
    small.lock().write_text("<<<<<<< HEAD\n")
    refused = small.ozrepro("lock")
    assert refused.returncode == 3
    assert "line 1 is a merge conflict marker" in refused.stderr
    assert small.lock().read_text() == "<<<<<<< HEAD\n"


def test_several_sessions_are_locked_and_one_failure_does_not_stop_the_others(small: Project) -> None:
    small.spec('[venv]\nrequirements = ["nowhere-to-be-found"]\n', "bad")
    failed = small.ozrepro("lock")
    assert failed.returncode == 1
    assert "bad: cannot find versions that fit" in failed.stderr
    assert small.lock().exists()
    assert not small.lock("bad").exists()


def test_status_shows_each_method_with_its_reason(built: Project) -> None:
    built.spec(
        'methods = ["modules", "venv"]\nimports = ["alpha", "beta"]\n[modules]\nload = ["gcc/11"]\n[venv]\nrequirements = ["alpha"]\n'
    )
    lines = built.done("status", "--plain", OZREPRO_PLATFORM="milan").splitlines()
    assert lines[0].split() == ["SESSION", "METHOD", "LOCK", "ENVIRONMENT", "AVAILABLE"]
    assert lines[1].split(maxsplit=4) == ["work", "modules", "none", "-", "not locked for this platform (linux-64/milan)"]
    assert lines[2].startswith("work     venv     locked  built, ")
    found = json.loads(built.done("status", "work", "--json"))
    method = found["sessions"][0]["methods"][1]
    assert method["files"] > 10
    assert method["reason"] is None


def test_status_of_a_damaged_lock_says_so_and_exits_3(built: Project) -> None:
    built.lock().write_text("schema = 1\n")
    found = built.ozrepro("status")
    assert found.returncode == 3
    assert "is the lock of None" in found.stderr


def test_diff_between_lock_and_machine(built: Project) -> None:
    assert built.done("diff", "work") == "no difference\n"
    built.done("store", "gc", "--yes")
    shutil.rmtree(built.store() / "names")
    assert "locked -> not built here" in built.done("diff", "work")


def test_diff_between_a_file_a_revision_and_the_lock(built: Project) -> None:
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C", str(built.root)]
    (built.root / ".gitignore").write_text(".ozrepro\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True, env=built.environ, capture_output=True)
    old = built.root / "old.lock"
    old.write_bytes(built.lock().read_bytes())
    make_wheel(built.wheelhouse, "beta", "2.0")
    built.spec('imports = ["alpha", "beta"]\n\n[venv]\nrequirements = ["alpha", "beta>1.5"]\n')
    built.done("lock")
    assert built.done("diff", "work", "HEAD").splitlines() == ["~ beta 1.5 -> 2.0"]
    assert built.done("diff", "work", "old.lock").splitlines() == ["~ beta 1.5 -> 2.0"]
    assert built.done("diff", "work", "old.lock", "HEAD") == "no difference\n"
    found = json.loads(built.done("diff", "work", "HEAD", "--json"))
    assert found["differences"] == [{"left": "1.5", "right": "2.0", "what": "beta"}]
    refused = built.ozrepro("diff", "work", "no-such-revision")
    assert refused.returncode == 2


def test_verify_finds_at_each_level_what_it_promises(built: Project) -> None:
    for level in ("0", "1", "2"):
        assert f"level {level}" in built.done("verify", "work", "--level", level)
    assert json.loads(built.done("verify", "work", "--json"))["problems"] == []


def test_verify_of_what_is_not_built_says_how_to_build_it(small: Project) -> None:
    small.done("lock")
    failed = small.ozrepro("verify", "work")
    assert failed.returncode == 1
    assert "try: ozrepro build work" in failed.stderr


@pytest.mark.parametrize(
    ("words", "status"),
    [(("false",), 1), (("sh", "-c", "exit 42"), 42), (("nowhere-to-be-found",), 127), (("/etc/hostname",), 126)],
)
def test_run_returns_the_command_s_own_status(built: Project, words: tuple[str, ...], status: int) -> None:
    assert built.ozrepro("run", "work", "--", *words).returncode == status
    # the long way, through the parser, gives the same
    assert built.ozrepro("--project", str(built.root), "run", "work", "--", *words).returncode == status


def test_run_hands_every_argument_on_unchanged(built: Project) -> None:
    words = ["a b", "$HOME", "`x`", "'q'", '"', "\n", "--", "-h", "--method", "é"]
    code = "import json, sys; print(json.dumps(sys.argv[1:]))"
    assert json.loads(built.done("run", "work", "--", "python", "-c", code, *words)) == words


def test_export_as_requirements_has_a_hash_for_each_file(built: Project) -> None:
    text = built.done("export", "work", "--format", "requirements")
    assert text.count("--hash=sha256:") == 2
    assert text.splitlines()[1] == "alpha==1.0 \\"


def test_an_exported_pylock_is_taken_by_packaging_and_by_uv(built: Project, tmp_path: Path) -> None:
    from packaging.pylock import Pylock

    from ozrepro.project.toml import loads

    built.done("export", "work", "--format", "pylock", "--output", "pylock.work.toml")
    file = built.root / "pylock.work.toml"
    pylock = Pylock.from_dict(loads(file.read_text()))
    assert [(package.name, str(package.version)) for package in pylock.packages] == [("alpha", "1.0"), ("beta", "1.5")]
    assert built.run("uv", "venv", "-q", str(tmp_path / "e"), UV_PYTHON_DOWNLOADS="never").returncode == 0
    words = ("uv", "pip", "sync", "--preview-features", "pylock", "--python", str(tmp_path / "e"), str(file))
    done = built.run(*words, UV_PYTHON_DOWNLOADS="never")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "e").glob("lib/python*/site-packages/*.py") if path.name[0] != "_") == [
        "alpha.py",
        "beta.py",
    ]


def test_a_pylock_under_a_name_that_installers_refuse_is_refused(built: Project) -> None:
    refused = built.ozrepro("export", "work", "--format", "pylock", "--output", "mine.toml")
    assert refused.returncode == 2
    assert "--output pylock.work.toml" in refused.stderr


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("no/such.txt", "No such file or directory"),
        (".", "Is a directory"),
        ("sessions/work.toml/x", "Not a directory"),
    ],
)
def test_an_export_that_cannot_be_written_is_named_with_the_reason(built: Project, output: str, why: str) -> None:
    for words in (("export", "work", "--format", "requirements"), ("activate", "work")):
        refused = built.ozrepro(*words, "--output", output)
        assert refused.returncode == 1
        assert refused.stderr.startswith(f"ozrepro: {output}: cannot be written: {why}\n  try: --output FILE")


class TestTheStore:
    @pytest.fixture(autouse=True)
    def _no_jobs(self, project: Project, tmp_path: Path) -> None:
        """Put a `squeue` in front that knows of no job: a machine's own may know of some, or not answer."""
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "squeue").write_text("#!/bin/sh\n")
        (tmp_path / "bin" / "squeue").chmod(0o755)
        project.environ["PATH"] = f"{tmp_path / 'bin'}:{project.environ['PATH']}"

    def test_what_is_built_is_listed_with_the_lock_that_uses_it(self, built: Project) -> None:
        line = built.done("store", "list", "--plain").splitlines()[1].split(maxsplit=6)
        assert line[1:3] == ["work", "venv"]
        assert line[-1] == f"work in {built.root}"
        found = json.loads(built.done("store", "list", "--json"))
        assert found["environments"][0]["files"] > 10

    def test_a_clean_up_shows_first_and_removes_only_what_no_lock_names(self, built: Project) -> None:
        assert built.done("store", "gc") == "nothing to remove\n"
        make_wheel(built.wheelhouse, "gamma")
        built.spec('[venv]\nrequirements = ["gamma"]\n')
        built.done("lock")
        built.done("build")
        shown = built.done("store", "gc")
        assert "no lock names it" in shown
        assert shown.endswith("nothing was removed yet: ozrepro store gc --yes\n")
        assert len(list((built.store() / "gens").iterdir())) == 2
        built.done("store", "gc", "--yes")
        assert len(list((built.store() / "gens").iterdir())) == 1
        assert built.done("run", "work", "--", "python", "-c", "import gamma; print(gamma.VERSION)") == "1.0\n"
        assert built.done("store", "gc") == "nothing to remove\n"

    def test_after_a_rename_the_environment_of_the_old_path_is_told_and_goes(self, built: Project) -> None:
        renamed = Project(built.root.with_name("renamed"), built.environ)
        built.root.rename(renamed.root)
        renamed.done("build")
        users = sorted(line.split(maxsplit=6)[-1] for line in renamed.done("store", "list").splitlines()[1:])
        assert users == [f"built for {built.store()}", f"work in {renamed.root}"]
        found = json.loads(renamed.done("store", "list", "--json"))["environments"]
        assert sorted((item["used_by"] or "", item["built_for"] or "") for item in found) == [
            ("", str(built.store())),
            (f"work in {renamed.root}", ""),
        ]
        assert f": was built for {built.store()}\n" in renamed.done("store", "gc", "--yes")
        assert len(list((renamed.store() / "gens").iterdir())) == 1
        assert renamed.done("run", "work", "--", "python", "-c", "import alpha; print(alpha.VERSION)") == "1.0\n"
        assert renamed.done("store", "gc") == "nothing to remove\n"

    def test_no_clean_up_while_a_lock_cannot_be_read(self, built: Project) -> None:
        built.lock().write_text("<<<<<<< HEAD\n")
        refused = built.ozrepro("store", "gc", "--yes")
        assert refused.returncode == 1
        assert "what is needed is unknown while a lock cannot be read" in refused.stderr
        assert len(list((built.store() / "gens").iterdir())) == 1

    def test_store_commands_without_a_store_have_nothing_to_do(self, project: Project) -> None:
        project.spec("[venv]\n")
        assert project.done("store", "list").startswith("there is no store yet at ")


def test_a_command_outside_a_project_says_how_to_make_one(tmp_path: Path, project: Project) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused = Project(empty, project.environ).ozrepro("status")
    assert refused.returncode == 2
    assert "no sessions/*.toml here or above" in refused.stderr


def test_commands_work_from_a_folder_inside_the_project(built: Project) -> None:
    inner = built.root / "data" / "raw"
    inner.mkdir(parents=True)
    there = Project(inner, built.environ)
    assert there.done("run", "work", "--", "pwd") == f"{inner}\n"
    assert there.ozrepro("status").returncode == 0


def test_a_closed_pipe_is_no_error(built: Project) -> None:
    done = built.run("sh", "-c", "ozrepro status | true")
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_python_m_is_the_same_program(built: Project) -> None:
    assert built.run("python", "-m", "ozrepro", "--version").stdout.startswith("ozrepro 0")


def test_options_of_run_may_stand_behind_the_name_also_before_anything_is_built(small: Project) -> None:
    small.done("lock")
    assert small.done("run", "work", "--method", "venv", "--", "echo", "--plain") == "--plain\n"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("run work python -V", "run work -- python -V"),
        ("run --method venv work python -m work 'a b'", "run --method venv work -- python -m work 'a b'"),
        ("run work work", "run work -- work"),
        ("run run -x run", ""),
        ("run work nice -- python", "run work -- nice python"),
        ("shell work python -V", "shell work -- python -V"),
        ("run work --metod venv", ""),
        ("build work --metod venv", ""),
    ],
)
def test_a_command_without_the_two_dashes_before_it_is_told_where_they_go(small: Project, typed: str, meant: str) -> None:
    refused = small.ozrepro(*shlex.split(typed))
    assert refused.returncode == 2
    wanted = f"put -- before the command: ozrepro {meant}\n" if meant else "unrecognized arguments: -"
    assert f"ozrepro: error: {wanted}" in refused.stderr


def test_an_empty_command_is_refused_without_a_traceback(built: Project) -> None:
    refused = built.ozrepro("run", "work", "--", "")
    assert refused.returncode in (126, 127)
    assert "Traceback" not in refused.stderr


def test_a_session_of_the_project_above_is_found_the_same_way_cold_and_warm(small: Project) -> None:
    inner = Project(small.root / "inner", small.environ)
    (inner.root / "sessions").mkdir(parents=True)
    inner.spec("[venv]\n", "other")
    small.done("lock")
    for _ in range(2):
        assert inner.ozrepro("run", "work", "--", "true").returncode == 0


def test_a_file_whose_name_cannot_be_a_session_is_named(small: Project) -> None:
    path = small.spec("[venv]\n", "my+work")
    refused = small.ozrepro("lock")
    assert refused.returncode == 2
    assert f"my+work: {path}: 'my+work' cannot name a session\n  try: rename it: " in refused.stderr
    assert "; or move it out of sessions/" in refused.stderr
    assert small.lock().exists()
    assert "try: at most 64 ASCII letters" in small.ozrepro("run", "my+other+work", "--", "true").stderr


def test_a_session_with_dashes_is_taken_everywhere(small: Project) -> None:
    small.spec('[venv]\nrequirements = ["alpha"]\n', "my-work")
    (small.root / "noxfile.py").write_text(
        'import ozrepro\n\n\n@ozrepro.session(name="my-work")\ndef other(session):\n    session.run("python", "-c", "import alpha")\n'
    )
    assert small.run("nox", "-s", "my-work").returncode == 0
    small.done("lock", "my-work", "--check")
    for words in (("build", "my-work"), ("status", "my-work"), ("run", "my-work", "--", "true"), ("activate", "my-work")):
        small.done(*words)
    script = small.root / "job.sh"
    small.done("activate", "my-work", "--output", str(script))
    assert small.run("bash", str(script), "python", "-c", "import alpha").returncode == 0
    assert find_ready(str(small.root), "my-work", None, small.environ) is not None
    assert split(["run", "my-work", "--", "true"]) is not None


def test_a_word_that_is_not_known_is_answered_by_the_one_that_is_like_it(small: Project) -> None:
    small.done("lock")
    for words, expected in (
        (("statsu",), "did you mean status?"),
        (("lock", "wrok"), "did you mean work?"),
        (("lock", "work", "--method", "vnev"), "did you mean venv?"),
        (("export", "work", "--format", "pylok"), "did you mean pylock?"),
        (("frobnicate",), "try: one of: activate, add, bench,"),
    ):
        refused = small.ozrepro(*words)
        assert refused.returncode == 2
        assert expected in refused.stderr, words


@pytest.mark.parametrize("words", [("lock",), ("lock", "--check"), ("build",), ("status",)])
def test_a_mistake_in_one_spec_does_not_stop_the_other_sessions(built: Project, words: tuple[str, ...]) -> None:
    path = built.spec("x = 1\n", "other")
    found = built.ozrepro(*words)
    assert found.returncode == 2
    assert f"other: {path}: 2 mistakes:" in found.stderr
    assert "work" in found.stdout
    assert "ozrepro: other: " not in built.ozrepro(*words, "other").stderr


def test_status_as_json_has_a_session_that_cannot_be_read_with_its_error(built: Project) -> None:
    built.spec("x = 1\n", "other")
    found = json.loads(built.ozrepro("status", "--json").stdout)["sessions"]
    assert [(item["session"], len(item["methods"]), bool(item["error"])) for item in found] == [
        ("other", 0, True),
        ("work", 1, False),
    ]


def test_a_mistake_in_the_settings_is_told_once(small: Project) -> None:
    small.spec("[venv]\n", "other")
    (small.root / "pyproject.toml").write_text("[tool.ozrepro]\nx = 1\n")
    for command in ("status", "lock", "build"):
        found = small.ozrepro(command)
        assert found.returncode == 2
        assert found.stderr.count("unknown key") == 1


def test_a_store_named_by_an_unset_variable_is_refused(small: Project) -> None:
    (small.root / "pyproject.toml").write_text('[tool.ozrepro]\nstore = "$NOT_SET/store"\n')
    refused = small.ozrepro("status")
    assert refused.returncode == 2
    assert "names a variable that is not set" in refused.stderr


def test_verify_tells_of_a_card_a_name_and_a_record_and_what_to_do(built: Project) -> None:
    (name,) = (built.store() / "names").iterdir()
    generation = name.resolve()
    built.done("run", "work", "--", "true")
    (record,) = (built.store() / "ready").iterdir()
    record.write_text("{}", encoding="utf-8")
    told = built.ozrepro("store", "verify")
    assert (told.returncode, f"ready/{record.name}: is damaged" in told.stderr) == (1, True)
    assert f"rm -r '{record}'" in told.stderr
    assert built.ozrepro("verify", "work").returncode == 1
    subprocess.run(["sh", "-c", f"rm -r '{record}'"], check=True)
    assert built.ozrepro("store", "verify").returncode == 0
    (generation / "generation.json").write_text("", encoding="utf-8")
    for words in (("store", "verify"), ("verify", "work")):
        told = built.ozrepro(*words)
        assert (told.returncode, "generation.json or env cannot be read" in told.stderr) == (1, True), told.stderr
        assert "try: ozrepro build" in told.stderr
    built.done("build", "work")
    assert name.resolve() != generation
    built.done("verify", "work")
    built.done("store", "gc", "--yes")
    built.done("store", "verify")
    assert not generation.exists()


@pytest.mark.parametrize("mark", [":", "\n", "\t", "\r"])
def test_a_path_in_which_no_environment_works_is_refused_before_anything_is_built(small: Project, mark: str) -> None:
    small.done("lock", "work")
    odd = replace(small, root=small.root.with_name(f"we{mark}ird"))
    small.root.rename(odd.root)
    shutil.rmtree(odd.store())
    for words in (("build", "work"), ("run", "work", "--", "true"), ("lock", "work", "--upgrade")):
        told = odd.ozrepro(*words)
        assert (told.returncode, "no environment works in a path with" in told.stderr) == (1, True), told.stderr
        assert "rename the project's folder" in told.stderr
    assert not odd.store().exists()
    odd.root.rename(small.root)
    told = small.ozrepro("build", "work", OZREPRO_STORE=str(small.root.with_name(f"st{mark}ore")))
    assert (told.returncode in (1, 2), "OZREPRO_STORE" in told.stderr, "Traceback" in told.stderr) == (True, True, False)


def test_with_an_open_umask_nothing_is_open_and_each_start_is_a_short_one(small: Project) -> None:
    before = os.umask(0)
    try:
        for words in (("lock", "work"), ("build", "work"), ("build", "work", "--rebuild"), ("run", "work", "--", "true")):
            small.done(*words)
        found = subprocess.run(
            ["find", small.root, "-perm", "-002", "!", "-type", "l"], capture_output=True, text=True, check=True
        )
        # uv gives its empty lock files this mode by itself, in folders that nobody else may write to.
        opened = [line for line in found.stdout.splitlines() if ".ozrepro" in line and not line.endswith(".lock")]
        assert opened == []
        (umask,) = small.done("run", "work", "--", "sh", "-c", "umask").split()
        assert int(umask, 8) == 0, "the program has the caller's umask"
    finally:
        os.umask(before)
    assert find_ready(str(small.root), "work", None, small.environ) is not None


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("words", [("ozrepro", "build", "work"), ("nox", "-s", "work")], ids=["ozrepro", "nox"])
def test_a_build_ended_with_its_job_leaves_nothing(small: Project, words: tuple[str, ...], number: int, status: int) -> None:
    (small.root / "noxfile.py").write_text("import ozrepro\n\n\n@ozrepro.session\ndef work(session): ...\n", encoding="utf-8")
    small.done("lock", "work")
    shutil.rmtree(small.store())
    (wheel,) = small.wheelhouse.glob("beta-*")
    wheel.unlink()
    os.mkfifo(wheel)
    builder = subprocess.Popen([str(BIN / words[0]), *words[1:]], cwd=small.root, env=small.environ)
    with open(wheel, "wb"):  # opened only once the installer reads it, which then waits
        installer = children_of(builder.pid)
        assert installer
        builder.send_signal(number)
        assert builder.wait() == (status if words[0] == "ozrepro" else 130)
        wait_for_end(installer)
    for name in ("gens", "names", "owners", "trash"):
        assert list((small.store() / name).iterdir()) == []
    assert {path.suffix for path in (small.store() / "locks").iterdir()} <= {".flock"}


def test_what_is_built_for_a_session_is_removed_by_its_name_or_its_key(built: Project) -> None:
    shown = built.done("store", "remove", "work")
    assert ": is named\n" in shown
    assert shown.endswith("nothing was removed yet: ozrepro store remove work --yes\n")
    key = json.loads(built.done("store", "list", "--json"))["environments"][0]["key"]
    for words, expected in (
        (("wrok",), "did you mean work?"),
        ((), "name sessions or keys, or say --all"),
        (("ab",), "nothing is built for ab"),
    ):
        refused = built.ozrepro("store", "remove", *words, "--yes")
        assert refused.returncode == 2
        assert expected in refused.stderr
    assert built.done("store", "remove", key[:12], "--yes").startswith("removed gens/")
    assert built.done("store", "list") == f"nothing is built in {built.store()}\n"
    assert list((built.store() / "ready").iterdir()) == []
    built.done("build", "work")
    built.done("store", "remove", "--all", "--yes")
    assert list((built.store() / "gens").iterdir()) == []


def test_an_environment_in_use_is_not_removed_by_its_name(built: Project) -> None:
    program = subprocess.Popen(
        [BIN / "ozrepro", "run", "work", "--", "python", "-c", "print(flush=True); input()"],
        cwd=built.root, env=built.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert program.stdout is not None
    program.stdout.readline()
    kept = built.done("store", "remove", "work", "--yes")
    assert "is named, but a program here runs from it" in kept
    assert "nothing to remove" in kept
    program.communicate(b"\n")
    assert built.done("store", "remove", "work", "--yes").startswith("removed gens/")


@pytest.mark.parametrize("words", [("rm", "-rf", "."), ("git", "clean", "-xdfq")])
def test_a_project_s_store_is_thrown_away_by_ordinary_commands(built: Project, words: tuple[str, ...]) -> None:
    """By its owner, who is not root: with rights over all files nothing can be refused."""
    subprocess.run(["git", "init", "-q"], cwd=built.root, check=True)
    command = [*words[:-1], str(built.root)] if words[0] == "rm" else list(words)
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--", *command]
    done = subprocess.run(command, cwd=built.root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not built.store().exists()


def test_an_installer_is_refused_and_what_it_puts_in_otherwise_is_noticed(built: Project) -> None:
    refused = built.ozrepro("run", "work", "--", "pip", "install", "beta")
    assert refused.returncode == 1
    assert "pip install cannot add to a locked environment" in refused.stderr
    assert "try: ozrepro add work PKG" in refused.stderr
    (packages,) = built.prefix().glob("lib/python3.*/site-packages")
    built.done("run", "work", "--", "sh", "-c", f"touch '{packages}/planted.py'")
    for words in (("verify", "work"), ("store", "verify")):
        wrong = built.ozrepro(*words)
        assert (wrong.returncode, "site-packages/planted.py: was added" in wrong.stderr + wrong.stdout) == (1, True)
    (packages / "planted.py").unlink()
    assert "site-packages: packages were put in or taken out again" in built.ozrepro("verify", "work").stderr
    (packages / "planted.py").touch()
    again = built.ozrepro("run", "work", "--", "python", "-c", "import planted")
    assert "cannot be used: packages were put into lib/python3." in again.stderr
    assert "No module named 'planted'" in again.stderr


ZEROS = "0" * 64
TWO = 'methods = ["modules", "venv"]\nimports = ["alpha"]\n[modules]\nload = ["gcc/11"]\n[venv]\nrequirements = ["alpha"]\n'


def test_lock_check_asks_only_whether_the_lock_answers_the_spec(small: Project) -> None:
    """The same on every machine; what is not locked for this one is asked for by --here."""
    small.spec(TWO)
    small.done("lock")
    assert small.done("lock", "--check") == "work: lock is up to date; not locked: modules\n"
    assert small.done("lock", "--check", OZREPRO_PLATFORM="another") == "work: lock is up to date; not locked: modules\n"
    assert small.ozrepro("lock", "--check", "--here").returncode == 0  # modules are not available here
    assert small.ozrepro("lock", "--here").returncode == 2
    text = small.lock().read_text()
    small.lock().write_text(text.replace("[venv.any]", f'[modules."linux-64/there"]\nspec = "sha256:{ZEROS}"\n\n[venv.any]'))
    refused = small.ozrepro("lock", "--check")
    assert refused.returncode == 3
    assert "modules.linux-64/there: was locked for another version of work.toml" in refused.stderr


def test_a_lock_without_a_section_of_any_method_of_the_spec_does_not_answer_it(small: Project) -> None:
    small.done("lock")
    small.spec('[conda]\ndependencies = ["six"]\n')
    refused = small.ozrepro("lock", "--check")
    assert refused.returncode == 3
    assert "no section of conda" in refused.stderr


def test_status_says_which_method_is_taken_and_where_other_tools_find_it(built: Project) -> None:
    found = json.loads(built.done("status", "work", "--json"))["sessions"][0]
    (method,) = found["methods"]
    assert found["taken"] == "venv"
    assert (method["python"], method["image"]) == (str(built.prefix() / "bin" / "python"), None)
    assert method["key"] == json.loads(built.done("store", "list", "--json"))["environments"][0]["key"]
    built.spec(TWO.replace('["alpha"]\n[modules]', '["alpha", "beta"]\n[modules]'))
    assert built.done("status", "work").splitlines()[-1] == "work: venv is taken"


def test_a_method_that_is_locked_elsewhere_is_said_to_be_skipped_and_not_with_quiet(built: Project) -> None:
    built.spec(TWO)
    built.done("lock")
    text = built.lock().read_text()
    built.lock().write_text(text.replace("[venv.any]", f'[modules."linux-64/there"]\nspec = "sha256:{ZEROS}"\n\n[venv.any]'))
    for _ in ("the long way", "the warm path"):
        done = built.ozrepro("run", "work", "--", "true", OZREPRO_PLATFORM="here")
        assert "ozrepro: skipping modules: not locked for this platform (linux-64/here)" in done.stderr.splitlines()
        for quiet in ("-q", "--quiet"):
            assert "skipping" not in built.ozrepro("run", quiet, "work", "--", "true", OZREPRO_PLATFORM="here").stderr


def test_ozrepro_alone_prints_the_help_in_the_order_of_use_with_an_example_and_exit_codes(small: Project) -> None:
    commands = {name for action in parser()._actions if isinstance(action, argparse._SubParsersAction) for name in action.choices}
    alone, helped = small.ozrepro(), small.done("--help")
    assert (alone.returncode, alone.stdout, alone.stderr) == (2, "", helped)
    names = [line.split()[0] for line in helped.partition("\noptions:")[0].splitlines() if line.startswith("  ")]
    assert names[:6] == ["init", "add", "lock", "nox", "run", "shell"]
    assert set(names) - {"nox"} == commands, "each command is listed"
    assert "ozrepro run NAME -- python script.py" in helped
    assert "  3  the lock is missing or out of date" in helped
    assert max(map(len, helped.splitlines())) < 100
