"""The command for Jupyter: kernel."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from ozrepro.errors import LockError, UsageError
from ozrepro.frontends.cli.adding import way_to_add
from ozrepro.frontends.cli.call import take_json, take_name
from ozrepro.frontends.cli.launching import ready_or_built
from ozrepro.frontends.cli.sessions import looked_at
from ozrepro.frontends.kernels import (
    PACKAGE,
    ask_kernel,
    check_display_name,
    kernel_name,
    kernels_folder,
    kernels_in,
    remove_kernel,
    shown_places,
    why_not,
    write_kernel,
)
from ozrepro.frontends.launchers import keep_launchers
from ozrepro.pipeline import describing
from ozrepro.pipeline.choice import chosen_section
from ozrepro.project.checking import one_of_these
from ozrepro.project.spec import session_names
from ozrepro.site.scheduler import has_scheduler

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ozrepro.frontends.cli.call import Add, Call
    from ozrepro.frontends.kernels import Kernel


def register(add: Add) -> None:
    """Add the command of this module."""
    made = add("kernel", "give Jupyter a kernel that runs in a session", kernel)
    made.set_defaults(anywhere=True)
    take_name(made, "?")
    does = made.add_mutually_exclusive_group()
    does.add_argument("--display-name", metavar="TEXT", help="what Jupyter shows; by default NAME and the project's folder")
    does.add_argument("--remove", action="store_true", help="remove the session's kernel, or one by its name in --list")
    does.add_argument("--list", dest="listed", action="store_true", help="list ozrepro's kernels, and whether they can start")
    take_json(made)


def kernel(call: Call) -> int:
    """Write, remove or list kernelspecs."""
    folder = kernels_folder(os.environ)
    if call.arguments.listed:
        return _list(call, folder)
    if not call.arguments.name:
        raise UsageError("name a session", hint=one_of_these("", session_names(call.root)) or "ozrepro kernel --list")
    return (_remove if call.arguments.remove else _write)(call, folder)


def _write(call: Call, folder: Path) -> int:
    name, given = call.arguments.name, call.arguments.display_name
    shown = f"{name} ({call.root.name})" if given is None else check_display_name(given)
    _refuse_lacking(call, name)
    python = keep_launchers(call.root, name, lambda: ready_or_built(call, name), os.environ).folder / "python"
    metadata, is_image = ask_kernel(python, name, os.environ), ready_or_built(call, name).environment.is_image
    made = write_kernel(folder, call.root, name, python, shown, metadata, shown_places(os.environ), is_image=is_image)
    call.out.value({"schema": 1, "kernels": [_as_json(made)]})
    call.out.line(f"{name}: kernel {made.name} written, which Jupyter shows as {made.display_name}")
    plain = kernel_name(call.root.name, name)
    if made.name != plain:
        call.out.say(f"{name}: the kernel is {made.name}, since {plain} is another's")
    if has_scheduler(os.environ):
        call.out.say(_over_sockets(os.environ))
    return 0


def _refuse_lacking(call: Call, name: str) -> None:
    """Raise LockError where the lock says that the session has no ipykernel; where it does not say, the environment will."""
    session = looked_at(call, name)
    section = chosen_section(session)
    if describing.versions(session, section) and describing.lacking(session, section, [PACKAGE]):
        raise LockError(
            f"{PACKAGE} is not locked for {section.method}, and Jupyter starts a Python kernel by it",
            where=f"session {name!r}",
            hint=way_to_add(session, section.method, PACKAGE),
        )


def _over_sockets(environ: Mapping[str, str]) -> str:
    """Return the advice for a machine of many users."""
    config = environ.get("JUPYTER_CONFIG_DIR") or "~/.jupyter"
    shown = config if config.startswith("~") else shlex.quote(config)
    line = shlex.quote('c.KernelManager.transport = "ipc"')
    return (
        "by default Jupyter reads a kernel's output from a TCP port, as other users of this machine can\n"
        f"  try: mkdir -p {shown} && echo {line} >> {shown}/jupyter_config.py"
    )


def _remove(call: Call, folder: Path) -> int:
    """Remove the kernels of a session of this project, or the one with this name."""
    name, known = call.arguments.name, kernels_in(folder)
    chosen = [item for item in known if (item.project, item.session) == (str(call.root), name)]
    chosen = chosen or [item for item in known if item.name == name]
    if not chosen:
        foreign = "/" not in name and (folder / name / "kernel.json").is_file()
        what = f"ozrepro did not write the kernel {name}, and keeps it" if foreign else f"ozrepro has no kernel {name!r}"
        hint = f"jupyter kernelspec remove {shlex.quote(name)}" if foreign else "ozrepro kernel --list"
        raise UsageError(what, where=str(folder), hint=hint)
    for item in chosen:
        whole = remove_kernel(item)
        call.out.line(f"{item.session}: kernel {item.name} removed")
        if not whole:
            call.out.say(f"{item.file.parent} is left, since it has other files")
    call.out.value({"schema": 1, "removed": [_as_json(item) for item in chosen]})
    return 0


def _list(call: Call, folder: Path) -> int:
    name = call.arguments.name
    known = [item for item in kernels_in(folder) if not name or name in (item.session, item.name)]
    reasons = {item.name: why_not(item, os.environ) for item in known}
    values = [{**_as_json(item), "can_start": not reasons[item.name], "reason": reasons[item.name] or None} for item in known]
    call.out.value({"schema": 1, "folder": str(folder), "kernels": values})
    rows = [(item.name, item.session, item.project, reasons[item.name] or "yes") for item in known]
    if rows:
        call.out.table(("KERNEL", "SESSION", "PROJECT", "CAN START"), rows)
    else:
        call.out.line(f"ozrepro has written no kernel in {folder}")
    return 0


def _as_json(item: Kernel) -> dict[str, str]:
    return {
        "kernel": item.name,
        "session": item.session,
        "project": item.project,
        "display_name": item.display_name,
        "file": str(item.file),
    }
