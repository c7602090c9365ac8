"""Jupyter kernels of sessions: kernelspecs in the user's own Jupyter folder, each of which starts a session's launcher.

A kernelspec says what starts a kernel. By what Jupyter talks to it, ports or sockets, is a setting of Jupyter's alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import stat
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import CommandFailed, OzreproError, StoreError, UsageError
from ozrepro.frontends.launcherscript import CHECK
from ozrepro.process import run
from ozrepro.project.checking import hidden_character
from ozrepro.store import failed, read_json
from ozrepro.store.claim import closed_to_others
from ozrepro.store.writing import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PACKAGE = "ipykernel"
"""The distribution by which Jupyter starts a Python kernel."""

SETTING = "JUPYTER_DATA_DIR"
"""Jupyter's variable for the folder in which it looks for a user's kernels."""

_RUNTIME = "JUPYTER_RUNTIME_DIR"
"""Jupyter's variable for the folder in which it writes a kernel's connection file."""

_FILE = "kernel.json"
_MARK = "ozrepro"
_OPTION = "-Xfrozen_modules=off"
"""What ipykernel itself writes behind a Python: its debugger stops in no module that is frozen."""

_START = ("-m", "ipykernel_launcher")
_CONNECTION = ("-f", "{connection_file}")

_START_IN_IMAGE = (
    "-c",
    """
import os, runpy, select, threading, time
parent = int(os.environ.get("JPY_PARENT_PID") or 0)

def end_with_parent():
    try:
        select.select([os.pidfd_open(parent)], [], [])
    except (AttributeError, OSError):
        while os.path.exists("/proc/%d" % parent):
            time.sleep(1)
    os._exit(1)

if parent > 1 and os.path.exists("/proc/%d" % parent):
    threading.Thread(target=end_with_parent, daemon=True).start()
runpy.run_module("ipykernel_launcher", run_name="__main__", alter_sys=True)
""",
)
"""Starts a kernel that ends with its Jupyter: Apptainer stays between the two, and ipykernel looks at its own parent alone."""

_REPLACED = re.compile(r"\{[A-Za-z0-9_]+\}")
"""What Jupyter may replace in the words of a kernelspec (jupyter_client.manager.KernelManager.format_kernel_cmd)."""

_LONGEST = 100
"""Characters of what Jupyter shows, and of each part of a kernel's name."""

_ASK = """
import json
from ipykernel.kernelspec import get_kernel_dict
print("\\n" + json.dumps(get_kernel_dict().get("metadata", {})))
"""
"""Asks the environment's own ipykernel what it can do: be debugged, and encrypt what it sends."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernelspec that ozrepro wrote.

    Attributes:
        name: by which Jupyter knows it, the name of its folder.
        file: its kernel.json.
        project, session: whose it is.
        display_name: what Jupyter shows.
        launcher: the Python that it starts.

    """

    name: str
    file: Path
    project: str
    session: str
    display_name: str
    launcher: Path


def kernels_folder(environ: Mapping[str, str], system: str = sys.platform) -> Path:
    """Return the folder in which Jupyter looks for a user's kernels, by the rules of `jupyter_core.paths.jupyter_data_dir`."""
    home = Path(os.path.realpath(environ.get("HOME") or os.path.expanduser("~")))
    given = environ.get(SETTING)
    if given:
        data = Path(given)
    elif system == "darwin":
        data = home / "Library" / "Jupyter"
    else:
        data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "jupyter"
    return Path(os.path.abspath(data)) / "kernels"


def shown_places(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a kernelspec by which an image is shown the folder of connection files, where it would not be.

    Jupyter names such a file by its real path, and an image has the user's home by its usual one. `$` is doubled for Jupyter.
    """
    given = environ.get(_RUNTIME, "")
    real = os.path.realpath(given or kernels_folder(environ).parent / "runtime")
    home = os.path.abspath(environ.get("HOME") or os.path.expanduser("~"))
    return {} if real == given or f"{real}/".startswith(f"{home}/") else {_RUNTIME: real.replace("$", "$$")}


def kernels_in(folder: Path) -> list[Kernel]:
    """Return the kernelspecs in a folder that ozrepro wrote, by name. Raises StoreError where it cannot be read."""
    try:
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise failed("read the kernels", folder, error, setting=SETTING) from error
    return [kernel for name in names if (kernel := _read(folder / name)) is not None]


def _read(folder: Path) -> Kernel | None:
    """Return a folder's kernelspec where ozrepro wrote it, None for all else."""
    try:
        if folder.is_symlink():
            return None
        spec = read_json(folder / _FILE)
        mark = spec["metadata"][_MARK]
        texts = [mark["project"], mark["session"], spec["display_name"], spec["argv"][0]]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    if not all(isinstance(text, str) and "\0" not in text for text in texts):
        return None
    project, session, shown, launcher = texts
    return Kernel(folder.name, folder / _FILE, project, session, shown, Path(launcher))


def check_display_name(text: str) -> str:
    """Return what Jupyter is to show, without spaces around it. Raises UsageError for what cannot be shown on one line."""
    hidden = hidden_character(text)
    if hidden is not None:
        raise UsageError(f"--display-name has a {hidden}, which cannot be shown", hint="a name in printable characters")
    text = text.strip()
    if not 0 < len(text) <= _LONGEST:
        raise UsageError(f"--display-name takes 1 to {_LONGEST} characters", hint="a short name")
    return text


def kernel_name(project: str, session: str) -> str:
    """Return the name of a kernel: of a project's folder and a session, in the letters that Jupyter takes."""
    parts = (re.sub(r"[^a-z0-9._-]+", "-", text.lower())[:_LONGEST].strip("-.") for text in (project, session))
    return "-".join(filter(None, parts))


def ask_kernel(python: Path, session: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the metadata that a session's own ipykernel gives a kernelspec. Starts its Python. Raises OzreproError."""
    try:
        done = run([str(python), "-c", _ASK], env=environ, cwd="/", timeout=300)
        metadata = json.loads(done.output.rstrip().rpartition("\n")[2]) if done.status == 0 else None
        why = (done.errors.strip() or f"it ended with {done.status}").splitlines()[-1]
    except CommandFailed as error:
        metadata, why = None, error.what
    except ValueError:
        metadata, why = None, "what it says of itself cannot be read"
    if not isinstance(metadata, dict):
        hint = f"ozrepro run {session} -- python -m ipykernel_launcher --version"
        raise OzreproError(f"{PACKAGE} does not start: {why}", where=f"session {session!r}", hint=hint)
    return metadata


def write_kernel(
    folder: Path,
    root: Path,
    session: str,
    launcher: Path,
    display_name: str,
    metadata: Mapping[str, Any],
    variables: Mapping[str, str],
    *,
    is_image: bool = False,
) -> Kernel:
    """Write the kernelspec of a session, whole or not at all; the one that it has is replaced, one of another's never.

    Args:
        folder: where Jupyter looks for kernels.
        root: the project's folder.
        session: the session's name.
        launcher: the Python that is started.
        display_name: what Jupyter shows.
        metadata: what ipykernel says of itself.
        variables: what Jupyter sets for the kernel.
        is_image: whether the kernel runs in an image.

    Raises StoreError where nothing can be written, UsageError where no name is free or Jupyter would not start the launcher.

    """
    if _REPLACED.search(str(launcher)):
        raise UsageError("Jupyter replaces what has braces in this path", where=str(launcher), hint="rename the project's folder")
    spec = {
        "argv": [str(launcher), _OPTION, *(_START_IN_IMAGE if is_image else _START), *_CONNECTION],
        "display_name": display_name,
        "interrupt_mode": "signal",
        "language": "python",
        "metadata": {**metadata, _MARK: {"project": str(root), "session": session}},
        **({"env": dict(variables)} if variables else {}),
    }
    try:
        with closed_to_others():
            folder.mkdir(parents=True, exist_ok=True)
            if folder.stat().st_mode & stat.S_IWOTH:
                raise StoreError("can be written by everybody", where=str(folder), hint=f"chmod o-w {shlex.quote(str(folder))}")
            place = _place(folder, root, session)
            _write(place, spec)
    except OSError as error:
        raise failed("write the kernel", folder, error, setting=SETTING) from error
    return Kernel(place.name, place / _FILE, str(root), session, display_name, launcher)


def _write(place: Path, spec: Mapping[str, Any]) -> None:
    try:
        write_whole(place / _FILE, f"{json.dumps(spec, indent=1, ensure_ascii=False)}\n".encode())
    except BaseException:
        with suppress(OSError):
            place.rmdir()
        raise


def _place(folder: Path, root: Path, session: str) -> Path:
    """Return the folder of a session's kernel: the one that it has, else one that is made now. Raises UsageError, OSError."""
    for kernel in kernels_in(folder):
        if (kernel.project, kernel.session) == (str(root), session):
            return kernel.file.parent
    name = kernel_name(root.name, session)
    other = f"{name}-{hashlib.sha256(f'{root}/{session}'.encode()).hexdigest()[:8]}"
    for place in (folder / name, folder / other):
        with suppress(OSError):
            place.rmdir()  # an empty one was left by a killed process
        if place.name in {each.lower() for each in os.listdir(folder)}:
            continue  # Jupyter makes no difference between capital letters and small ones
        with suppress(FileExistsError):
            place.mkdir()
            return place
    raise UsageError(
        "ozrepro did not write this kernel, and keeps it", where=str(folder / other), hint=f"jupyter kernelspec remove {other}"
    )


def remove_kernel(kernel: Kernel) -> bool:
    """Remove a kernelspec; return whether nothing else was in its folder, which then goes too. Raises StoreError."""
    try:
        kernel.file.unlink(missing_ok=True)
    except OSError as error:
        raise failed("remove the kernel", kernel.file, error, setting=SETTING) from error
    try:
        kernel.file.parent.rmdir()
    except OSError:
        return False
    return True


def why_not(kernel: Kernel, environ: Mapping[str, str]) -> str:
    """Return why a kernel cannot start here, "" where it can. Starts the launcher that says so."""
    try:
        done = run([str(kernel.launcher.with_name(CHECK))], env=environ, cwd="/", timeout=60)
    except CommandFailed as error:
        return f"{kernel.launcher} is not there" if not kernel.launcher.exists() else error.what
    if done.status == 0:
        return ""
    said = [line.removeprefix("ozrepro: ") for line in done.errors.splitlines() if line.startswith("ozrepro: ")]
    return said[0] if said else f"{CHECK} ended with {done.status}"
