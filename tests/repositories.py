"""Real git repositories that real git finds at an https address, by a setting of the user's: no server is needed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.wheels import BACKEND

HOST = "https://git.example.org"
NEEDS_GIT = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
_SYSTEM = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def git(folder: Path, *words: str) -> str:
    """Run git in a folder and return what it printed."""
    who = [
        "-c",
        "user.name=n",
        "-c",
        "user.email=n@example.org",
        "-c",
        "init.defaultBranch=main",
        "-c",
        "protocol.file.allow=always",
    ]
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_repository(hub: Path, name: str, version: str = "1.0", *, folder: str = "", backend: str = "") -> str:
    """Make or change the repository `lab/NAME` with a project whose backend asks for helper-tool; return the commit."""
    root = hub / "lab" / name
    tree = root / folder
    tree.mkdir(parents=True, exist_ok=True)
    (tree / "pyproject.toml").write_text(f'[project]\nname = "{name}"\nversion = "{version}"\n{_SYSTEM}', encoding="utf-8")
    fixed = BACKEND.replace(
        "archive.writestr(path, text)", "archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)"
    )
    (tree / "backend.py").write_text((backend or fixed).format(name=name, version=version), encoding="utf-8")
    return commit(root)


def commit(root: Path) -> str:
    """Commit all that is in a folder and return the commit."""
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--allow-empty", "-m", "work")
    return git(root, "rev-parse", "HEAD")


def seen_at(hub: Path, host: str = HOST) -> dict[str, str]:
    """Return the variables by which a user's git finds the repositories of a folder at an address."""
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{hub.as_uri()}/.insteadOf", "GIT_CONFIG_VALUE_0": f"{host}/"}


def address(name: str, commit: str, folder: str = "") -> str:
    """Return the address of a commit of a repository as a requirement has it."""
    return f"git+{HOST}/lab/{name}@{commit}" + (f"#subdirectory={folder}" if folder else "")
