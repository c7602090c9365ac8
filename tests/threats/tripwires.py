"""Locks whose every path names a program that tells when it runs, and every looking command on one, as strace saw it."""

from __future__ import annotations

import hashlib
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.conftest import Project
from tests.faststart.strace import Traced, trace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Table = dict[str, Any]

WIRE = "TRIPWIRE"
"""Stands in every path of a tripwire: no call of a looking command may have it among a program's words or variables."""

NAMES = (
    *("python", "python3", f"python3.{sys.version_info.minor}", "apptainer", "singularity", "ldd", "uv", "git", "bash", "sh"),
    *("env", "lmod", "spider", "squeue", "sinfo", "sbatch", "quota", "lfs", "nvidia-smi", "unshare", "mpirun", "gcc", "conda"),
)
LOADED = ("LD_PRELOAD", "LD_AUDIT", "BASH_ENV", "ENV", "PYTHONSTARTUP", "PYTHONHOME", "LUA_INIT", "GIT_SSH", "MPI_HOME")
"""Variables that make a program run another's code."""

LOOKING = (
    ("status",),
    ("status", "work", "--json"),
    ("diff", "work"),
    ("diff", "work", "HEAD"),
    ("diff", "work", "modules", "venv"),
    ("diff", "work", "venv", "conda"),
    ("diff", "work", "container", "venv"),
    ("lock", "work", "--check"),
    *(("verify", "work", "--level", level) for level in "012"),
    *(("verify", "work", "--method", method, "--level", "2") for method in ("modules", "conda", "container", "venv")),
    *(("export", "work", "--format", form) for form in ("requirements", "pylock", "environment.yml", "conda-explicit", "def")),
    ("export", "work", "--format", "conda-lock"),
    *(("export", "work", "--format", "cyclonedx", "--method", name) for name in ("modules", "conda", "container", "venv")),
    ("spider", "python"),
    ("spider", "--refresh"),
    ("doctor",),
    ("store", "list"),
    ("store", "verify"),
    ("bench", "work", "--method", "modules,conda,container,venv", "--workload", "none.py"),
)
"""Every command that only looks. The last one is refused after it has found what there is to measure."""

_DRIVER = """
import sys
from ozrepro.frontends.cli.program import run_program
for line in sys.stdin.read().splitlines():
    try:
        print(line, run_program(line.split()), flush=True)
    except SystemExit as ended:
        print(line, ended.code, flush=True)
"""


@dataclass(frozen=True)
class Wires:
    """Tripwires in a folder: programs by name in `bin`, and a file for each path of a lock."""

    folder: Path

    def program(self, name: str, then: str = "") -> Path:
        """Write a program that notes that it ran, and becomes another where `then` names one."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        become = f'exec "{then}" "$@"\n' if then else ""
        path.write_text(f"#!/bin/sh\necho '{name}' >> '{self.folder}/ran'\n{become}", encoding="utf-8")
        path.chmod(0o755)
        return path

    @property
    def bin(self) -> Path:
        """A folder with a tripwire for each of NAMES."""
        return self.folder / "bin"

    def make(self) -> Wires:
        """Write what is in `bin`, and a sitecustomize.py that notes that it was imported."""
        for name in NAMES:
            self.program(f"bin/{name}")
        text = f"open({str(self.folder / 'ran')!r}, 'a').write('sitecustomize\\n')\n"
        for name in ("sitecustomize.py", "usercustomize.py"):
            (self.folder / name).write_text(text, encoding="utf-8")
        return self

    def ran(self) -> list[str]:
        """Return the names of those that ran."""
        file = self.folder / "ran"
        return file.read_text(encoding="utf-8").split() if file.exists() else []

    def forget(self) -> None:
        """Forget who ran: a build may."""
        (self.folder / "ran").unlink(missing_ok=True)


def with_loaded_variables(change: Table, wires: Wires) -> None:
    """Have a lock's change of an environment set each of LOADED, and put tripwires first in PATH and PYTHONPATH."""
    change.setdefault("set", {}).update({name: f"{wires.folder}/{name}" for name in LOADED})
    paths = change.setdefault("path", {})
    for name, first in (("PATH", wires.bin), ("PYTHONPATH", wires.folder), ("LD_LIBRARY_PATH", wires.folder)):
        entry = paths.setdefault(name, {})
        entry["prepend"] = [str(first), *entry.get("prepend", [])]


def with_every_path(value: Any, wires: Wires) -> Any:
    """Return a part of a lock in which each text that is a path names a tripwire, with its sha256 where it has one."""
    if isinstance(value, str):
        return str(wires.program(f"paths/{_short(value)}")) if value.startswith(("/", "<project>", "<home>")) else value
    if isinstance(value, list):
        return [with_every_path(item, wires) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {key: with_every_path(item, wires) for key, item in value.items()}
    for key in ("path", "file"):
        if "sha256" in changed and str(changed.get(key, "")).startswith("/"):
            changed["sha256"] = digest(changed[key])
    return changed


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def digest(path: str | Path) -> str:
    """Return a file's sha256 in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def look(project: Project, commands: Sequence[Sequence[str]] = LOOKING) -> Traced:
    """Carry out looking commands one after the other, and return each program that was started, with its variables."""
    python = shutil.which("python", path=str(project.environ["PATH"])) or sys.executable
    assert Path(python).parent == Path(sys.executable).parent
    lines = "\n".join(" ".join(words) for words in commands)
    words = [sys.executable, "-c", _DRIVER]
    return trace(words, "execve,execveat", cwd=project.root, env=project.environ, options=("-v",), text=lines)


def check_untouched(found: Traced, wires: Wires) -> None:
    """Insist that no tripwire ran, and that no program was started with one among its words or variables."""
    assert "Traceback" not in found.output, found.output[-3000:]
    assert len(found.calls) > 1, found.output
    # The name that the kernel is asked for, then words and variables: all stands in the text of the call.
    touched = [call.text[:2000] for call in found.calls if WIRE in call.text]
    assert touched == [], touched
    assert wires.ran() == []


def rewrite(project: Project, change: Callable[[Table], None]) -> None:
    """Change a lock as a stranger would, in all of its sections."""
    from tests.threats.locks import edited

    project.lock().write_text(edited(project.lock().read_text(encoding="utf-8"), change), encoding="utf-8")
