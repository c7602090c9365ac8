"""The same lock through the real index, a wheelhouse and the cache; a flipped hash is refused in each."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import BIN, Project

pytestmark = pytest.mark.network
SPEC = 'imports = ["idna", "six"]\n\n[venv]\nrequirements = ["idna", "six==1.16.0"]\n'


def user_settings() -> dict[str, str]:
    """Return the index settings of whoever runs the tests: their mirror and their certificates."""
    kept = ("SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC")
    return {
        name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_INDEX", "UV_DEFAULT")) or name in kept
    }


@pytest.fixture
def online(project: Project) -> Project:
    """Give a project that takes its packages from the real index, locked; skip where there is none."""
    environ = {name: value for name, value in project.environ.items() if not name.startswith("PIP_")}
    found = dataclasses.replace(project, environ={**environ, **user_settings()})
    found.spec(SPEC)
    locked = found.ozrepro("lock")
    if locked.returncode != 0 and ("Request failed" in locked.stderr or "dns error" in locked.stderr):
        pytest.skip("no package index can be reached")
    assert locked.returncode == 0, locked.stderr
    return found


def no_network(project: Project, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ozrepro where there is no network at all."""
    return project.run("unshare", "-rn", str(BIN / "ozrepro"), *words, UV_HTTP_RETRIES="0", **more)


@pytest.fixture(autouse=True)
def _namespaces() -> None:
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine allows no network namespace to this user")


def wheelhouse(project: Project, folder: Path) -> dict[str, str]:
    """Fill a wheelhouse with the lock's files, as a user would, and return the settings that use it alone."""
    project.done("export", "work", "--format", "requirements", "--output", "needs.txt")
    words = ["python", "-m", "pip", "download", "-q", "--no-deps", "--require-hashes", "-d", str(folder), "-r", "needs.txt"]
    done = project.run(*words)
    assert done.returncode == 0, done.stderr
    return {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": str(folder), "PIP_NO_INDEX": "1", "PIP_EXTRA_INDEX_URL": ""}


def flip(project: Project) -> None:
    """Change one digit of the hash of six's wheel."""
    text = project.lock().read_text()
    at = text.index('sha256 = "', text.index("six-1.16.0")) + len('sha256 = "')
    project.lock().write_text(text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :])


def test_one_lock_builds_from_the_index_the_cache_and_a_wheelhouse(online: Project, tmp_path: Path) -> None:
    online.done("build")
    again = no_network(online, "build", "--rebuild")
    assert again.returncode == 0, again.stderr
    settings = wheelhouse(online, tmp_path / "a house")
    fresh = {**settings, "OZREPRO_STORE": str(tmp_path / "another store")}
    built = no_network(online, "build", **fresh)
    assert built.returncode == 0, built.stderr
    ran = no_network(online, "run", "work", "--", "python", "-c", "import six, idna; print(six.__version__)", **fresh)
    assert ran.stdout == "1.16.0\n"


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace")
def test_what_was_never_installed_is_fetched_by_the_first_call_of_uv(online: Project, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    words = ("strace", "-f", "-qq", "-e", "trace=execve", "-e", "status=successful", "-o", str(trace))
    done = online.run(*words, str(BIN / "ozrepro"), "build", PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL="")
    assert done.returncode == 0, done.stderr
    calls = [line.partition("execve(")[2] for line in trace.read_text().splitlines()]
    assert [call.split(", ")[2].strip('"') for call in calls if call.partition('",')[0].endswith("/uv")] == ["venv", "pip"]


def test_without_a_network_a_cache_serves_whose_notes_are_lost(online: Project) -> None:
    online.done("build")
    (notes,) = (online.store() / "cache").glob("*/wheels")
    shutil.rmtree(notes)
    again = no_network(online, "build", "--rebuild", PIP_FIND_LINKS="", PIP_EXTRA_INDEX_URL="")
    assert again.returncode == 0, again.stderr


def test_a_flipped_hash_is_refused_from_the_index_the_cache_and_a_wheelhouse(online: Project, tmp_path: Path) -> None:
    settings = wheelhouse(online, tmp_path / "a house")
    online.done("build")
    flip(online)
    for failed in (
        online.ozrepro("build"),
        online.ozrepro("build", OZREPRO_STORE=str(tmp_path / "empty store")),
        no_network(online, "build"),
        no_network(online, "build", OZREPRO_STORE=str(tmp_path / "other empty store"), **settings),
    ):
        assert failed.returncode == 1
        assert failed.stdout == ""
        assert "six" in failed.stderr
    assert len(list((online.store() / "gens").iterdir())) == 1


def test_the_lock_names_no_host_and_serves_other_pythons_and_platforms(online: Project) -> None:
    text = online.lock().read_text()
    assert "://" not in text
    assert 'linux-aarch64 = ["3.10", "3.11"' in text
    assert 'macos-arm64 = ["3.10", "3.11"' in text


def test_an_exported_pylock_is_installed_by_pip_and_by_uv(online: Project, tmp_path: Path) -> None:
    online.done("export", "work", "--format", "pylock", "--output", "pylock.work.toml")
    text = (online.root / "pylock.work.toml").read_text()
    assert text.count("sha256 = ") == online.lock().read_text().count("sha256 = ")
    assert online.run("python", "-m", "venv", str(tmp_path / "e")).returncode == 0
    done = online.run("uv", "pip", "sync", "--python", str(tmp_path / "e"), "pylock.work.toml", UV_PYTHON_DOWNLOADS="never")
    assert done.returncode == 0, done.stderr
    # pip reads PEP 751 files since 26.1; the one that Python brings may be older.
    done = online.run("uv", "pip", "install", "-q", "--python", str(tmp_path / "e"), "pip>=26.1", UV_PYTHON_DOWNLOADS="never")
    assert done.returncode == 0, done.stderr
    pip = [str(tmp_path / "e" / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path / "t")]
    done = online.run(*pip, "-r", "pylock.work.toml")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "t" / "six.py").exists()
