"""From spec to environment: what is refused, what is built once, what is reused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conftest import BIN, Project
from tests.wheels import make_wheel


def test_a_session_without_a_lock_is_refused_with_the_command_that_makes_one(small: Project) -> None:
    refused = small.ozrepro("run", "work", "--", "true")
    assert refused.returncode == 3
    assert refused.stderr.splitlines()[-1] == "  try: ozrepro lock work, then commit work.lock"


def test_a_locked_session_is_built_at_its_first_run_and_reused(small: Project) -> None:
    small.done("lock")
    first = small.ozrepro("run", "work", "--", "python", "-c", "import alpha; print(alpha.VERSION)")
    assert first.stdout == "1.0\n"
    assert first.stderr == "ozrepro: building venv.any for work\n"
    again = small.ozrepro("run", "work", "--", "python", "-c", "import alpha; print(alpha.VERSION)")
    assert (again.stdout, again.stderr) == ("1.0\n", "")


def test_a_changed_spec_is_refused_before_anything_runs(built: Project) -> None:
    built.spec('imports = ["alpha"]\n\n[venv]\nrequirements = ["alpha", "beta"]\n')
    refused = built.ozrepro("run", "work", "--", "echo", "ran")
    assert refused.returncode == 3
    assert refused.stdout == ""
    assert "is out of date: sessions/work.toml changed since venv.any was locked" in refused.stderr
    assert "try: ozrepro lock work" in refused.stderr


def test_a_comment_in_the_spec_changes_nothing(built: Project) -> None:
    path = built.root / "sessions" / "work.toml"
    path.write_text(path.read_text() + "# a word\n")
    assert built.ozrepro("run", "work", "--", "true").stderr == ""


def test_a_corrupt_lock_is_refused_before_anything_runs(built: Project) -> None:
    built.lock().write_text(built.lock().read_text()[:-40])
    refused = built.ozrepro("run", "work", "--", "echo", "ran")
    assert refused.returncode == 3
    assert refused.stdout == ""
    assert "is damaged" in refused.stderr


def test_a_lock_copied_from_another_session_is_refused(built: Project) -> None:
    built.spec('imports = ["alpha", "beta"]\n\n[venv]\nrequirements = ["alpha"]\n', "other")
    built.lock("other").write_bytes(built.lock().read_bytes())
    refused = built.ozrepro("run", "other", "--", "true")
    assert refused.returncode == 3
    assert "is the lock of 'work', not of 'other'" in refused.stderr


def test_a_tampered_environment_is_found_named_and_mended(built: Project) -> None:
    module = next(built.prefix().glob("lib/python3*/site-packages/alpha.py"))
    module.chmod(0o644)
    module.write_text("VERSION = 'evil'\n")
    for words in (("store", "verify"), ("verify", "work")):
        found = built.ozrepro(*words)
        assert found.returncode == 1
        assert "site-packages/alpha.py: was changed" in found.stderr
        assert "ozrepro build work --rebuild" in found.stderr
    # uv links files from its cache: the edit changed the cache too, and the rebuild must not take it back.
    built.done("build", "--rebuild")
    built.done("verify", "work", "--level", "2")
    assert built.done("run", "work", "--", "python", "-c", "import alpha; print(alpha.VERSION)") == "1.0\n"


def test_an_environment_that_was_removed_is_built_again(built: Project) -> None:
    subprocess.run(["chmod", "-R", "u+w", str(built.store() / "gens")], check=True)
    subprocess.run(["rm", "-rf", str(built.store() / "gens")], check=True)
    assert built.ozrepro("run", "work", "--", "true").returncode == 0


def test_a_store_elsewhere_is_used_by_several_projects(built: Project, tmp_path: Path) -> None:
    store = tmp_path / "shared store"
    built.done("build", OZREPRO_STORE=str(store))
    assert (store / "names").is_dir()
    other = Project(tmp_path / "second", built.environ)
    (other.root / "sessions").mkdir(parents=True)
    other.spec((built.root / "sessions" / "work.toml").read_text())
    other.lock().write_bytes(built.lock().read_bytes())
    assert "was built before" in other.done("build", OZREPRO_STORE=str(store))
    built.lock().unlink()
    assert "nothing to remove" in built.done("store", "gc", OZREPRO_STORE=str(store)), "another project's lock uses it"


def test_twelve_first_runs_at_once_build_once(small: Project) -> None:
    small.done("lock")
    words = [str(BIN / "ozrepro"), "run", "work", "--", "python", "-c", "import alpha; print(alpha.VERSION)"]
    running = [subprocess.Popen(words, cwd=small.root, env=small.environ, stdout=-1, stderr=-1, text=True) for _ in range(12)]
    ended = [(*process.communicate(), process.returncode) for process in running]
    assert [(out, status) for out, _, status in ended] == [("1.0\n", 0)] * 12
    assert sum("building" in errors for _, errors, _ in ended) == 1
    assert len(list((small.store() / "gens").iterdir())) == 1


def test_a_locked_session_runs_without_network(built: Project) -> None:
    probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("this machine allows no network namespace to this user")
    done = built.run("unshare", "-rn", str(BIN / "ozrepro"), "run", "work", "--", "python", "-c", "import alpha")
    assert done.returncode == 0, done.stderr


def test_a_new_python_gets_its_own_environment_beside_the_old_one(built: Project) -> None:
    """The key holds the interpreter: here a spec that excludes the running one has no other to take."""
    import platform

    built.spec(f'[venv]\npython = "!={platform.python_version()},>=3.10"\nrequirements = ["alpha"]\n', "other")
    done = built.ozrepro("lock", "other", PATH=str(BIN))
    assert done.returncode in (0, 4)


def test_the_warning_about_future_packages_names_them(project: Project) -> None:
    make_wheel(project.wheelhouse, "alpha", tag="cp39-cp39-manylinux2014_x86_64")
    project.spec('[venv]\nrequirements = ["alpha"]\n')
    failed = project.ozrepro("lock")
    assert failed.returncode == 1
    assert "alpha" in failed.stderr
