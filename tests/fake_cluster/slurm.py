"""A real Slurm, for as long as a `with` lasts: Debian's programs, unpacked into /var/tmp and not installed, on ports of its own.

It has as many nodes as are asked for, n1, n2 and so on, all of them this machine: each has a slurmd of its own, and a step knows
which it is on by SLURMD_NODENAME alone.

Nothing of it is on the machine's PATH, where the rest of the tests would take the machine for a cluster's login node.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.fake_cluster import SiteUnavailable, debian, make

SUITE = "bookworm"
PACKAGES = (
    *("munge", "libmunge2", "libhwloc15", "liblua5.1-0"),
    *("slurm-client", "slurmctld", "slurmd", "slurm-wlm-basic-plugins"),
)
CPUS = 4
MEMORY = 16_000
"""CPUs and MiB of memory that each node claims to have, whatever the machine has."""

_PATIENCE = 30.0
_WHOLE = "whole"


def _programs() -> Path:
    """Return the folder of Debian's programs, unpacked now unless they are there. Raises SiteUnavailable."""
    digest = hashlib.sha256("\0".join((SUITE, *PACKAGES)).encode()).hexdigest()[:12]
    prefix = Path("/var/tmp") / f"ozrepro-test-slurm-{os.geteuid()}-{digest}"
    with make._alone(prefix):
        if not (prefix / _WHOLE).exists() or not make._trusted(prefix):
            make._clear(prefix)
            before = os.umask(0o022)
            try:
                debian.unpack(SUITE, PACKAGES, prefix / "root")
            finally:
                os.umask(before)
            (prefix / _WHOLE).touch()
    return prefix / "root"


class Slurm:
    """Slurm's daemons below a folder, and wrappers of its commands in `bin`. Needs root: a mount of its own hides a fixed path."""

    def __init__(self, folder: Path, nodes: int = 1, private: Sequence[str] = ()) -> None:
        """Take the number of nodes, and the folders of which each node has one of its own, as it has a disk."""
        if os.geteuid() != 0 or not shutil.which("unshare"):
            raise SiteUnavailable("only root can start Slurm's daemons here")
        self.folder = folder
        self.bin = folder / "bin"
        self.nodes = tuple(f"n{number}" for number in range(1, nodes + 1))
        self._private = private
        self._root = Path()
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Slurm:  # noqa: PYI034 - Self is of Python 3.11
        self._root = _programs()
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("run", "state", "spool", "over", "bin"):
            (self.folder / name).mkdir()
        self._configure()
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in reversed(self._daemons):
            os.killpg(daemon.pid, signal.SIGTERM)
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(daemon.pid, signal.SIGKILL)
                daemon.wait()

    def run(self, *words: str, cwd: Path, environ: dict[str, str], nodes: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command in an allocation of so many whole nodes, all of them without a number."""
        command = [str(self.bin / "salloc"), f"--nodes={nodes or len(self.nodes)}", "--exclusive", "--quiet", *words]
        return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=False)

    def root_of(self, node: str) -> Path:
        """Return a path by which root sees the files of a node, those of `private` too."""
        daemon = self._daemons[len(self._daemons) - len(self.nodes) + self.nodes.index(node)]
        return Path(f"/proc/{daemon.pid}/root")

    def _configure(self) -> None:
        run, host = self.folder / "run", socket.gethostname().partition(".")[0]
        plugins = next(self._root.glob("usr/lib/*/slurm-wlm/auth_munge.so")).parent
        ports = _free_ports(1 + len(self.nodes))
        (run / "munge.key").write_bytes(os.urandom(1024))
        (run / "munge.key").chmod(0o400)
        settings = {
            "ClusterName": "tests",
            "SlurmctldHost": host,
            "AuthType": "auth/munge",
            "AuthInfo": f"socket={run}/munge.sock",
            "SlurmUser": "root",
            "SlurmdUser": "root",
            "SlurmctldPort": ports[0],
            "StateSaveLocation": self.folder / "state",
            "SlurmdSpoolDir": self.folder / "spool" / "%n",
            "SlurmctldPidFile": run / "slurmctld.pid",
            "SlurmdPidFile": run / "slurmd.%n.pid",
            "PluginDir": plugins,
            "ProctrackType": "proctrack/linuxproc",
            "TaskPlugin": "task/none",
            "SwitchType": "switch/none",
            "MpiDefault": "none",
            "JobAcctGatherType": "jobacct_gather/none",
            "AccountingStorageType": "accounting_storage/none",
            "ReturnToService": 2,
            "SlurmdParameters": "config_overrides",
            "SchedulerParameters": "batch_sched_delay=0,sched_interval=2",
        }
        lines = [f"{name}={value}" for name, value in settings.items()]
        kind = f"NodeHostname={host} CPUs={CPUS} RealMemory={MEMORY} State=UNKNOWN"
        lines += [f"NodeName={name} Port={port} {kind}" for name, port in zip(self.nodes, ports[1:], strict=True)]
        lines += [f"PartitionName=p Nodes={','.join(self.nodes)} Default=YES State=UP"]
        (self.folder / "slurm.conf").write_text("\n".join(lines) + "\n")
        self._environ = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LD_LIBRARY_PATH": f"{plugins.parent}:{plugins}",
            "SLURM_CONF": str(self.folder / "slurm.conf"),
        }
        sets = " ".join(f"{name}={shlex.quote(value)}" for name, value in self._environ.items() if name != "PATH")
        for name in ("srun", "sbatch", "salloc", "sbcast", "scancel", "scontrol", "squeue", "sinfo", "sacct"):
            script = self.bin / name
            script.write_text(f'#!/bin/sh\n{sets} exec {shlex.quote(str(self._root / "usr" / "bin" / name))} "$@"\n')
            script.chmod(0o755)

    def _start(self) -> None:
        run, programs = self.folder / "run", self._root / "usr" / "sbin"
        files = {
            "socket": "munge.sock",
            "key-file": "munge.key",
            "pid-file": "munged.pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        self._daemon(
            str(programs / "munged"), "--foreground", "--force", *(f"--{key}={run / name}" for key, name in files.items())
        )
        self._await((run / "munge.sock").exists)
        self._daemon(str(programs / "slurmctld-wlm"), "-D", "-c")
        # Debian's slurmd looks for its helper at a fixed path, which is here in a view of the folder that it alone has.
        over, quoted = self.folder / "over", shlex.quote(str(programs))
        own = "".join(f"mount -t tmpfs -o mode=1777 none {shlex.quote(path)}\n" for path in self._private)
        for node in self.nodes:
            self._daemon(
                *("unshare", "--mount", "sh", "-ec"),
                f"mount -t tmpfs none {shlex.quote(str(over))}; cd {shlex.quote(str(over))}; mkdir upper work\n"
                f"mount -t overlay none -o lowerdir={quoted}:/usr/sbin,upperdir=upper,workdir=work /usr/sbin\n"
                f"ln -s slurmstepd-wlm /usr/sbin/slurmstepd\n{own}exec {quoted}/slurmd-wlm -D -N {node}",
            )
        self._await(lambda: self._shown().count("State=IDLE") == len(self.nodes))

    def _shown(self) -> str:
        command = [str(self.bin / "scontrol"), "show", "node"]
        return subprocess.run(command, env=self._environ, capture_output=True, text=True, check=False).stdout

    def _daemon(self, *words: str) -> None:
        with open(self.folder / "run" / "said", "ab") as said:
            self._daemons.append(
                subprocess.Popen(
                    words, env=self._environ, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
                )
            )

    def _await(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not done():
            ended = any(daemon.poll() is not None for daemon in self._daemons)
            if ended or time.monotonic() > deadline:
                raise SiteUnavailable(f"Slurm does not start here: {(self.folder / 'run' / 'said').read_text()[-800:]}")
            time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [item.getsockname()[1] for item in sockets]
    finally:
        for item in sockets:
            item.close()
