"""Traces for tests: of real programs by strace, and made up by hypothesis."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import strategies as st

from ozrepro.frontends.bench.lustre.trace import CALLS, Event


def strace(out: Path, *words: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Return what strace says about a program; skip the test where there is no strace, or none may trace."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("there is no strace here")
    command = [program, "-f", "-y", "-e", f"trace={CALLS}", "-o", str(out), *words]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr and "not permitted" in done.stderr:
        pytest.skip("processes may not be traced here")
    assert done.returncode == 0, done.stderr
    return out.read_text(encoding="utf-8", errors="surrogateescape")


FOLDERS = ("/fs/a", "/fs/a/b", "/fs/c")
FILES = tuple(f"{folder}/{name}" for folder in FOLDERS for name in ("x.py", "y.so", "z"))
MISSING = tuple(f"{folder}/none{number}" for folder in FOLDERS for number in (1, 2))

_of_file = st.builds(Event, st.sampled_from(["stat", "open", "exec", "close", "read", "map"]), st.sampled_from(FILES), st.just(True), st.integers(0, 1 << 24))  # fmt: skip
_of_folder = st.builds(Event, st.sampled_from(["dir", "opendir", "close", "readdir", "access"]), st.sampled_from(FOLDERS))
_of_nothing = st.builds(Event, st.just("missing"), st.sampled_from(MISSING), st.just(False))

event = st.one_of(_of_file, _of_folder, _of_nothing)
events = st.lists(event, max_size=40)
