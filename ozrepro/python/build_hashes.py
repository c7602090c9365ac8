"""The arguments by which uv takes only locked build requirements, found out by a trial of the uv that is installed.

Without `--require-build-hashes` uv fetches unlocked build requirements even under `--require-hashes`. The option came with uv
0.13 and is a preview: a later uv may rename or drop it, so that its name, or uv's version, says too little.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import tempfile
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.environment import BASE_PATH
from ozrepro.errors import CommandFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ozrepro.python.packages import LockedPackage
    from ozrepro.python.uv import Uv

_OPTION = "--require-build-hashes"
_SPELLINGS = ((_OPTION, "--preview-features", "build-dependency-hashes"), (_OPTION,))
"""As a preview feature, and as an option like any other."""

_PROJECT = '[build-system]\nrequires = ["trial"]\nbuild-backend = "trial"\n'
_WHEEL = {
    "trial.py": "open('started', 'w').close()\n",
    "trial-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: trial\nVersion: 1\n",
    "trial-1.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: ozrepro\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "trial-1.dist-info/RECORD": "",
}
"""A build backend that only shows that it was started (its current folder is the source tree: PEP 517), and builds nothing."""


@contextmanager
def constraints(uv: Uv, build: Sequence[LockedPackage]) -> Iterator[list[str]]:
    """Give uv's arguments that allow only the locked build requirements, by hash.

    Raises CommandFailed where the installed uv cannot check them.
    """
    option = _working_option(uv.path)
    with tempfile.TemporaryDirectory(prefix="ozrepro-") as name:
        path = Path(name) / "build.txt"
        path.write_text(hashed_lines(build), encoding="utf-8")
        yield ["--build-constraints", str(path), *option]


def hashed_lines(packages: Sequence[LockedPackage]) -> str:
    """Return the packages in the format of a requirement file with hashes (pip's documentation, "Secure installs")."""
    lines: list[str] = []
    for package in packages:
        head = f"{package.name} @ {package.url}" if package.url else f"{package.name}=={package.version}"
        marker = f" ; {package.marker}" if package.marker else ""
        files = package.files if package.commit is None else ()  # a repository has no file whose hash installers could check
        hashes = (f"--hash=sha256:{sha256}" for sha256 in dict.fromkeys(file.sha256 for file in files))
        lines.append(" \\\n    ".join((head + marker, *hashes)))
    return "".join(f"{line}\n" for line in lines)


@functools.cache
def _working_option(path: str) -> tuple[str, ...]:
    """Return the first spelling with which this uv builds with a locked requirement, and not with one that is not locked.

    Raises CommandFailed with uv's last words where there is none. It takes 0.2 seconds, once in a process.
    """
    with tempfile.TemporaryDirectory(prefix="ozrepro-") as name:
        folder = Path(name)
        sha256 = _write_trial(folder)
        told = ""
        for spelling in _SPELLINGS:
            refused = _build(path, folder, "", spelling)
            if refused is not None:
                told = told or refused
                if (taken := _build(path, folder, f"trial==1 --hash=sha256:{sha256}\n", spelling)) is None:
                    return spelling
                told = taken
        version = process.run([path, "--version"], env={"PATH": ":".join(BASE_PATH)}).output.split(" (")[0].strip()
    raise CommandFailed(
        f"{version} cannot check the hashes of build requirements: {told or 'it takes what is not locked'}",
        hint="pip install 'uv>=0.13', or lock versions that have wheels",
    )


def _write_trial(folder: Path) -> str:
    """Write a source tree that needs a backend, and a wheel of that backend; return the sha256 of the wheel."""
    (folder / "tree").mkdir()
    (folder / "tree" / "pyproject.toml").write_text(_PROJECT, encoding="utf-8")
    wheel = folder / "trial-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for member, text in _WHEEL.items():
            archive.writestr(member, text)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def _build(path: str, folder: Path, locked: str, spelling: Sequence[str]) -> str | None:
    """Return None where uv has started the trial's backend, else the first line of why it has not."""
    (folder / "locked.txt").write_text(locked, encoding="utf-8")
    started = folder / "tree" / "started"
    started.unlink(missing_ok=True)
    words = [path, "pip", "install", "--python", sys.executable, "--target", str(folder / "env"), "--no-deps", "--no-index"]
    words += ["--find-links", str(folder), "--build-constraints", str(folder / "locked.txt"), *spelling, str(folder / "tree")]
    variables = {
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "PATH": ":".join(BASE_PATH),
        "TMPDIR": os.environ.get("TMPDIR", tempfile.gettempdir()),
        "UV_CACHE_DIR": str(folder / "cache"),
        "UV_NO_CONFIG": "1",
        "UV_OFFLINE": "1",
        "UV_PYTHON_DOWNLOADS": "never",
    }
    done = process.run(words, env=variables, cwd=folder, timeout=60)
    if started.exists():
        return None
    said = [line.strip() for line in done.errors.splitlines() if line.strip() and not line.startswith("warning: ")]
    return next((line for line in said if line.startswith("error: ")), (said or ["it says nothing"])[-1]).removeprefix("error: ")
