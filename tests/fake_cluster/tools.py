"""Other people's tools in environments of their own, at exact versions: Snakemake, Jupyter, Dask and the like.

Kept in /var/tmp as the other parts are, named by a digest of what is wanted. They come from a package index, so a test that
asks for one has the marker `network`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fake_cluster import BASE_PATH, SiteUnavailable, make
from tests.python.test_unreachable_index import user_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

PYTHON = "/usr/bin/python3"
"""One that every user of the machine can run; the tests' own may lie where nobody else can look."""
_KEPT = "ozrepro-test-tools-"
_WHOLE = "whole"
_WEEK = 7 * 24 * 3600


def make_tools(name: str, requirements: Sequence[str], *, python: str = PYTHON) -> Path:
    """Return the bin folder of a venv with these distributions, made now unless a whole one is there.

    Args:
        name: what it is called, such as `snakemake`.
        requirements: what is installed, each with its exact version: `snakemake==9.27.1`.
        python: the interpreter that it is of.

    Raises SiteUnavailable where the interpreter or the packages cannot be had.

    """
    parts = [name, os.path.realpath(python), *sorted(requirements), Path(__file__).read_text(encoding="utf-8")]
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
    prefix = Path("/var/tmp") / f"{_KEPT}{os.geteuid()}-{name}-{digest}"
    mark = prefix / _WHOLE
    with make._alone(prefix):
        if mark.exists() and make._trusted(prefix):
            os.utime(mark)  # still in use
            return prefix / "venv" / "bin"
        make._clear(prefix)
        before = os.umask(0o022)
        try:
            _install(prefix / "venv", requirements, python)
        finally:
            os.umask(before)
        make._open_to_all(prefix)
        prefix.chmod(0o755)
        mark.touch()
    _forget_old(prefix)
    return prefix / "venv" / "bin"


def _install(venv: Path, requirements: Sequence[str], python: str) -> None:
    """Make the venv by uv, which comes with ozrepro, and install into it, bytecode too: every start of a test is shorter by it."""
    uv = Path(sys.prefix) / "bin" / "uv"
    environ = {"PATH": BASE_PATH, "LANG": "C.UTF-8", "HOME": os.environ.get("HOME", "/"), **user_settings()}
    install = ["pip", "install", "-q", "--compile-bytecode", "--link-mode=copy", "--python", str(venv / "bin" / "python")]
    for words in (["venv", "-q", "--no-python-downloads", "--python", python, str(venv)], [*install, *requirements]):
        done = subprocess.run([str(uv), *words], env=environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SiteUnavailable(f"no {requirements[0]} (no network?): {done.stderr.strip()[-800:]}")


def _forget_old(prefix: Path) -> None:
    """Remove this user's venvs that nothing has used for a week."""
    own = f"{_KEPT}{os.geteuid()}-"
    for old in prefix.parent.glob(f"{own}*"):
        with contextlib.suppress(OSError):
            used = old / _WHOLE if (old / _WHOLE).exists() else old
            if old != prefix and old.is_dir() and make._trusted(old) and time.time() - used.stat().st_mtime > _WEEK:
                shutil.rmtree(old)
