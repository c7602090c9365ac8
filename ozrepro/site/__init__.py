"""What this machine offers: platform, module system, Apptainer, scheduler, file systems."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ozrepro.faststart.cpu import cpu_flags, cpu_level
from ozrepro.process import find_program
from ozrepro.site.scheduler import Job, job_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ozrepro.project.settings import Settings

Scope = Literal["any", "machine", "cluster"]
"""For which machines a section of a lock serves: all, those of one system and processor, or the nodes of one software tree."""

_TREES = {"linux-x86_64": "linux-64"}
"""conda's names of platforms, where they are not those of wheels."""

_MACHINES = {"amd64": "x86_64", "arm64": "arm64", "aarch64": "aarch64", "x86_64": "x86_64"}


@dataclass(frozen=True, slots=True)
class Site:
    """This machine, as far as the choice of a method and its building need to know it."""

    settings: Settings
    environ: Mapping[str, str]
    """The caller's variables: for index settings and for programs on PATH."""
    platform: str
    """Operating system and machine as wheels mean it, such as `linux-x86_64`."""
    cpu: str
    """x86-64 level (`v2`, `v3`, `v4`) or the machine's name."""
    apptainer: str | None
    in_ci: bool
    job: Job | None
    only_looking: bool = False
    """Whether a command only looks: nothing that a project, a spec or a lock names may then be started."""

    def key(self, scope: Scope) -> str:
        """Return the platform's key in a lock: `any`, conda's name such as `linux-64`, or that and the software tree's.

        The tree's name comes from the settings, else it is the CPU's level: clusters of one site have the same module names with
        other binaries behind them.
        """
        if scope == "any":
            return "any"
        if scope == "machine":
            return subdir_here()
        return f"{_TREES.get(self.platform, self.platform)}/{self.settings.platform or self.cpu}"

    def for_looking(self) -> Site:
        """Return the machine for a command that only looks and starts nothing that a project, a spec or a lock names."""
        return replace(self, settings=self.settings.for_looking(), only_looking=True)


def subdir_here() -> str:
    """Return conda's name of this machine's platform, such as `linux-64`."""
    machine = os.uname().machine.lower()
    if sys.platform == "darwin":
        return "osx-arm64" if machine == "arm64" else "osx-64"
    return f"linux-{ {'x86_64': '64', 'amd64': '64', 'arm64': 'aarch64'}.get(machine, machine) }"


def look_around(settings: Settings, environ: Mapping[str, str]) -> Site:
    """Return what this machine offers. Starts no process."""
    machine = _MACHINES.get(platform.machine().lower(), platform.machine().lower())
    system = {"linux": "linux", "darwin": "macos"}.get(sys.platform, sys.platform)
    path = environ.get("PATH", "")
    return Site(
        settings=settings,
        environ=environ,
        platform=f"{system}-{machine}",
        cpu=cpu_level(cpu_flags()) or machine,
        apptainer=find_program("apptainer", path) or find_program("singularity", path),
        in_ci=bool(environ.get("CI")),
        job=job_of(environ),
    )


def operating_system(release: str | None = None) -> str:
    """Return the system's name and version and its C library's, such as `rocky 9.4, glibc 2.34`.

    `release` is the text of /etc/os-release (os-release(5)); it is read when None.
    """
    if release is None:
        try:
            release = Path("/etc/os-release").read_text(encoding="utf-8", errors="replace")
        except OSError:
            release = ""
    fields = dict(line.partition("=")[::2] for line in release.splitlines())
    name = " ".join(fields[key].strip("\"'") for key in ("ID", "VERSION_ID") if key in fields) or platform.system().lower()
    library = " ".join(platform.libc_ver())
    return f"{name}, {library}" if library.strip() else name


LOCAL = frozenset(("apfs", "btrfs", "ext2", "ext3", "ext4", "overlay", "ramfs", "tmpfs", "xfs", "zfs"))
"""File systems of one machine: nobody else waits for their metadata."""


NETWORKED = frozenset(("lustre", "nfs", "nfs4", "gpfs", "beegfs", "ceph", "fuse.ceph", "panfs", "afs"))
"""File systems of a cluster: each file that is opened asks their servers."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/self/mountinfo: where, which file system, which options."""

    point: str
    kind: str
    options: frozenset[str]


def mount_of(path: Path, mountinfo: str | None = None) -> Mount | None:
    """Return the mount that `path` lies on, or None where the system does not tell.

    `mountinfo` is the text of /proc/self/mountinfo (proc(5)); it is read when None.
    """
    if mountinfo is None:
        try:
            mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return None
    real = os.path.realpath(path)
    best: Mount | None = None
    for line in mountinfo.splitlines():
        mount = _mount(line)
        if mount is None:
            continue
        inside = real == mount.point or real.startswith(mount.point.rstrip("/") + "/")
        if inside and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def _mount(line: str) -> Mount | None:
    left, _, right = line.partition(" - ")
    fields, source = left.split(), right.split()
    if len(fields) < 6 or len(source) < 2:
        return None
    point = fields[4].encode("latin-1", "surrogateescape").decode("unicode_escape") if "\\" in fields[4] else fields[4]
    options = fields[5].split(",") + (source[2].split(",") if len(source) > 2 else [])
    return Mount(point, source[0], frozenset(options))


def home_warning(store: Path, environ: Mapping[str, str]) -> str | None:
    """Return a warning when the store lies in a home that has a quota or is on a network file system, else None.

    A home's quota cannot be read without the site's own tools; what can be seen is a mount of its own with quota options or
    a cluster's file system (Lustre, NFS, GPFS, BeeGFS, CephFS), which is where such quotas are.
    """
    home = environ.get("HOME")
    if not home or home == "/":
        return None
    real, folder = os.path.realpath(home), os.path.realpath(store)
    if folder != real and not folder.startswith(real.rstrip("/") + "/"):
        return None
    mount = mount_of(Path(real))
    if mount is None:
        return None
    networked = mount.kind in NETWORKED
    quotas = {"usrquota", "grpquota", "prjquota", "quota", "uquota", "pquota", "gquota"} & {
        o.split("=")[0] for o in mount.options
    }
    if not (networked or quotas):
        return None
    why = f"a {mount.kind} file system" if networked else "a file system with quotas"
    return f"the store is in your home ({why}): environments have thousands of files; set OZREPRO_STORE to a project directory"
