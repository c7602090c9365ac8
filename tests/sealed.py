"""The machine without its cluster: what a test sees is the same on a laptop, in a container and on a login node.

A login node has a scheduler's commands, `module`, conda and Apptainer on PATH, and their variables in every shell. Tests that need
such programs bring their own (`tests.fake_cluster`); the machine's are hidden from all.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import re
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.site.scheduler import COMMANDS

if TYPE_CHECKING:
    from collections.abc import MutableMapping

CLUSTER_PROGRAMS = frozenset(
    {
        *itertools.chain.from_iterable(COMMANDS.values()),
        *("sacct", "salloc", "scancel", "scontrol", "srun"),
        *("lmod", "ml", "module", "modulecmd", "modulecmd.tcl"),
        *("conda", "mamba", "micromamba"),
        *("apptainer", "singularity"),
        *("lctl", "lfs", "quota"),
    }
)
"""Programs that a cluster has on PATH and ozrepro asks, or that its tests would take for their own."""

_VARIABLES = re.compile(
    r"(__)?(LMOD|MODULE|APPTAINER|SINGULARITY|CONDA|MAMBA|SLURM|PBS|SGE|LSB|FLUX)\w*|_LMFILES_|LOADEDMODULES"
    r"|JOB_ID|BASH_ENV|BASH_FUNC_.*|OZREPRO_(?!TEST_)\w*|VIRTUAL_ENV|CI"
)


HOST_LMOD = "OZREPRO_TEST_HOST_LMOD"
"""Keeps the machine's LMOD_CMD for the fake cluster, which can be made with that Lmod."""


def seal(environ: MutableMapping[str, str]) -> None:
    """Take a cluster's variables out of an environment, and its programs off PATH."""
    if environ.get("LMOD_CMD"):
        environ.setdefault(HOST_LMOD, environ["LMOD_CMD"])
    for name in [name for name in environ if _VARIABLES.fullmatch(name)]:
        del environ[name]
    environ["PATH"] = sealed_path(environ.get("PATH", os.defpath))


def hear_signals() -> None:
    """Have the programs that tests start be ended by SIGINT and SIGHUP, also where `nohup` or a shell's `&` has them ignored."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, lambda number, frame: None)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def sealed_path(path: str) -> str:
    """Return a PATH on which no folder has a program of a cluster: for one that has, a folder of links to its other programs."""
    return os.pathsep.join(_sealed(folder) for folder in path.split(os.pathsep))


def system_path() -> str:
    """Return the PATH of a fresh shell, without a cluster's programs."""
    return sealed_path("/usr/local/bin:/usr/bin:/bin")


@functools.cache
def _sealed(folder: str) -> str:
    try:
        names = set(os.listdir(folder or "."))
    except OSError:
        return folder
    if names.isdisjoint(CLUSTER_PROGRAMS):
        return folder
    links = Path(tempfile.mkdtemp(prefix="ozrepro-test-programs-"))
    atexit.register(shutil.rmtree, links, ignore_errors=True)
    links.chmod(0o755)
    for name in names - CLUSTER_PROGRAMS:
        (links / name).symlink_to(os.path.join(folder, name))
    return str(links)
