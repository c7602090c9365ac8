"""What the machine offers to containers, GPU programs and jobs."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import CommandFailed
from ozrepro.frontends.doctor.finding import Finding, fine, note
from ozrepro.modulesystem.site_index import site_modulepath
from ozrepro.process import find_program
from ozrepro.site.scheduler import COMMANDS
from ozrepro.store import forms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ozrepro.frontends.doctor.surroundings import Surroundings

NAMESPACES = "/proc/sys/user/max_user_namespaces"
DRIVER = "/proc/driver/nvidia/version"
_CONTAINERS = ("apptainer", "singularity")
_TOLD = re.compile(
    r"(APPTAINER|SINGULARITY)"
    r"(ENV_\w+|_(BIND|BINDPATH|MOUNT|NO_MOUNT|NV|NVCCLI|ROCM|CLEANENV|CONTAIN|CONTAINALL|HOME|NO_HOME|PWD|CWD|WORKDIR))\Z"
)
"""The variables that stand for options of `exec`, or set one inside (Apptainer user guide, "Environment and Metadata")."""

_SHOWN = 5
_SPARES = "One file spares the servers of a cluster's file system thousands of requests at each start."


def check_apptainer(place: Surroundings) -> list[Finding]:
    """Look for Apptainer, as a program or as a module."""
    found = next((path for name in _CONTAINERS if (path := place.program(name))), None)
    if found is not None:
        done = place.ask(found, "--version")
        words = done.output.strip().splitlines() or [f"its version is not known (status {done.status})"]
        return [fine(f"{found}: {words[0][:80]}"), *_mounting(place, found)]
    offered = sorted(
        {name for folder in _module_folders(place) for name in _CONTAINERS if os.path.isdir(os.path.join(folder, name))}
    )
    if offered:
        why = f'A session takes it from there: module = "{offered[0]}/VERSION" in its table [container].'
        seen = f"Apptainer is not on PATH; the site has it as a module: {', '.join(offered)}"
        return [note(seen, why, f"module spider {offered[0]}")]
    return [fine("no Apptainer here: the container method is not available")]


def _mounting(place: Surroundings, program: str) -> Iterator[Finding]:
    """Say by which way an installation mounts images, as its own `buildcfg` tells."""
    said = place.ask(program, "buildcfg").output
    settings = dict(line.partition("=")[::2] for line in said.splitlines())
    if "LIBEXECDIR" not in settings:
        return
    if any(settings.get(f"{name.upper()}_SUID_INSTALL") == "1" for name in _CONTAINERS):
        yield fine("Apptainer is installed with setuid: the kernel mounts images")
        return
    own = (os.path.join(settings["LIBEXECDIR"], name, "bin") for name in _CONTAINERS)
    folders = ":".join(filter(None, (*own, settings.get("BINDIR"), place.path)))
    if any(find_program(name, folders) for name in ("squashfuse_ll", "squashfuse")):
        yield fine("Apptainer mounts images by squashfuse")
    else:
        why = "It unpacks an image into a folder at each start, which is slow; ask the site's support."
        yield note("Apptainer has neither setuid nor squashfuse", why)


def check_container_variables(place: Surroundings) -> list[Finding]:
    """Look for the variables by which Apptainer is told what an image sees: no session takes them."""
    found = sorted(name for name, value in place.environ.items() if value and _TOLD.match(name))
    if not found:
        return [fine("no variable decides what an image sees")]
    why = "They change what you start by hand, and no session: its spec says what its image sees."
    remedies = []
    if any(name.endswith(("_BIND", "_BINDPATH", "_MOUNT")) for name in found):
        remedies.append('bind = ["/some/folder"]  # in [container] of sessions/NAME.toml')
    if any("ENV_" in name for name in found):
        remedies.append('pass = ["NAME"]  # in [container], for a variable that is set without the prefix')
    return [note(f"set for Apptainer: {', '.join(found[:_SHOWN])}{', …' if len(found) > _SHOWN else ''}", why, *remedies)]


def _module_folders(place: Surroundings) -> tuple[str, ...]:
    return site_modulepath(place.site)


def check_namespaces(place: Surroundings) -> list[Finding]:
    """Try whether an ordinary user may make a user namespace and mount a file, as Apptainer does without root, and so a start."""
    found = [*_namespaces(place), *_fuse()]
    # What is told as absent above says already that it is needed here.
    return [*found, *(_one_file(place) if all(item.level == "fine" for item in found) else ())]


def _one_file(place: Surroundings) -> Iterator[Finding]:
    """Say whether an environment can be kept in one file here, and where it would be built."""
    tools = forms.find_tools(":".join(place.site_folders), place.program("apptainer"))
    why = tools if isinstance(tools, str) else forms.why_no_mount(tools)
    room = forms.place(place.environ)
    if why or isinstance(tools, str) or isinstance(room, str):
        yield note(f"an environment cannot be kept in one file here: {why or room}", _SPARES)
    else:
        yield fine(
            f'an environment can be kept in one file (form = "file"), mounted by {tools.squashfuse}, built in {room.words}'
        )


def _namespaces(place: Surroundings) -> Iterator[Finding]:
    why = "Apptainer without root, and an environment in one file, need them; ask the centre for user.max_user_namespaces."
    try:
        most = Path(NAMESPACES).read_text(encoding="ascii").strip()
    except OSError:
        most = "not known"
    if most == "0":
        yield note(f"user namespaces are switched off ({NAMESPACES} is 0)", why)
        return
    unshare = place.program("unshare")
    if unshare is None:
        yield note(f"no unshare command: user namespaces were not tried (at most {most})")
        return
    done = place.ask(unshare, "-U", "true")
    if done.status == 0:
        yield fine(f"user namespaces can be made (at most {most})")
    else:
        said = (done.errors.strip().splitlines() or ["no reason given"])[-1]
        yield note(f"user namespaces cannot be made: {said[:120]}", why)


def _fuse() -> Iterator[Finding]:
    why = "Apptainer unpacks an image at each start without it, and no environment can be one file; ask the centre for FUSE."
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        yield note("there is no /dev/fuse", why)
    except OSError as error:
        yield note(f"/dev/fuse cannot be opened: {error.strerror}", why)
    else:
        yield fine("/dev/fuse can be opened")


def check_gpu(place: Surroundings) -> list[Finding]:
    """Look for an NVIDIA driver and the newest CUDA that it can run."""
    driver = read_driver(_text(DRIVER))
    program = place.program("nvidia-smi")
    if program is None:
        if driver:
            return [note(f"NVIDIA driver {driver}, and no nvidia-smi to report its CUDA version")]
        return [fine("no NVIDIA GPU here, as on most login nodes")]
    try:
        done = place.ask(program)
    except CommandFailed as error:
        return [note(f"nvidia-smi does not work: {error.what}", "Programs for GPUs cannot run here.")]
    driver, cuda = read_smi(done.output)
    if done.status != 0 or not driver:
        said = ((done.output + done.errors).strip().splitlines() or [f"status {done.status}"])[0]
        return [note(f"nvidia-smi finds no GPU: {said[:120]}", "Programs for GPUs cannot run here; a login node may have none.")]
    return [fine(f"NVIDIA driver {driver}, for CUDA up to {cuda or 'a version that it does not report'}")]


def read_smi(text: str) -> tuple[str, str]:
    """Return the versions of driver and CUDA in the head of what nvidia-smi prints; empty where it does not tell one."""
    driver = re.search(r"Driver Version:\s*([\d.]+)", text)
    cuda = re.search(r"CUDA(?: UMD)? Version:\s*([\d.]+)", text)
    return driver[1] if driver else "", cuda[1] if cuda else ""


def read_driver(text: str) -> str:
    """Return the driver's version in /proc/driver/nvidia/version, or nothing."""
    found = re.search(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)", text)
    return found[1] if found else ""


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def check_scheduler(place: Surroundings) -> list[Finding]:
    """Look for a scheduler's commands, and whether this is a job."""
    inside = f"inside {place.site.job}" if place.site.job else "not inside a job"
    names = [place.site.job.scheduler] if place.site.job else list(COMMANDS)
    for name in names:
        found = {command: path for command in COMMANDS[name] if (path := place.program(command))}
        if not found:
            continue
        words = _version(place, next(iter(found.values()))) if name == "Slurm" else name
        missing = [command for command in COMMANDS[name] if command not in found]
        if missing:
            return [note(f"{words}, {inside}, without {' and '.join(missing)} on PATH")]
        return [fine(f"{words}, {inside}")]
    if place.site.job is None:
        return [fine("no scheduler here")]
    why = "Whether another job's build is still alive then cannot be asked, and is waited for."
    command = COMMANDS[names[0]][-1 if names[0] != "Slurm" else 1]
    seen = f"{inside}, and {names[0]}'s commands are not on PATH"
    return [note(seen, why, f"export OZREPRO_PATH=DIR  # where {command} is")]


def _version(place: Surroundings, command: str) -> str:
    done = place.ask(command, "--version")
    version = re.search(r"slurm\S*\s+(\d+(?:\.\d+)+)", done.output, re.IGNORECASE)
    return f"Slurm {version[1]}" if version else "a scheduler that does not report Slurm's version"
