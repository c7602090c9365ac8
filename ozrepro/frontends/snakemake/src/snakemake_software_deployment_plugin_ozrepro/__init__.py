"""Runs the rules of a Snakemake workflow in locked ozrepro sessions: `software: ozrepro(session="analysis")`.

Snakemake finds the names `common_settings`, `EnvSpec` and `Env` here. Deploying builds the session and writes its start as a
script; a job starts by that script, which needs no Python and compares the lock itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import shlex
import shutil
import subprocess
import sys
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_common.software import SoftwareReport
from snakemake_interface_software_deployment_plugins import DeployableEnvBase, EnvSpecBase
from snakemake_interface_software_deployment_plugins.settings import CommonSettings

from ozrepro import OzreproError, open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Protocol

    from ozrepro import Session

    class Hash(Protocol):
        """What Snakemake gives to be updated."""

        def update(self, data: bytes, /) -> None:
            """Add bytes."""


P = ParamSpec("P")
R = TypeVar("R")

common_settings = CommonSettings(provides="ozrepro")


def _as_errors_of_snakemake(function: Callable[P, R]) -> Callable[P, R]:
    """Have Snakemake print what ozrepro refuses as one of its own errors, without a traceback."""

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except OzreproError as error:
            raise WorkflowError(f"ozrepro: {error}") from error

    return called


class EnvSpec(EnvSpecBase):
    """What a rule says of its software: a session of a project."""

    def __init__(self, session: str, method: str | None = None, project: str = ".") -> None:
        """Take the words of the Snakefile.

        Args:
            session: the session's name.
            method: use only this method; None takes the first that is available.
            project: the folder that has `sessions/`; a relative path is resolved from Snakemake's working directory.

        """
        super().__init__()
        self.session = session
        self.method = method
        self.project = project

    @classmethod
    def identity_attributes(cls) -> Iterable[str]:
        """Return the names of what tells one environment from another."""
        return ("session", "method", "project")

    @classmethod
    def source_path_attributes(cls) -> Iterable[str]:
        """Return nothing: spec and lock are the project's, wherever the rule is written."""
        return ()

    def __str__(self) -> str:
        return f"session {self.session}" if self.method is None else f"session {self.session} ({self.method})"


class Env(DeployableEnvBase):
    """A session's environment, as the lock has it for this machine."""

    spec: EnvSpec

    def _session(self) -> Session:
        return open_session(self.spec.session, self.spec.project, method=self.spec.method)

    @property
    def _script(self) -> Path:
        return Path(self.deployment_path).absolute() / "start.sh"

    def decorate_shellcmd(self, cmd: str) -> str:
        """Return the command in the session.

        The arguments of Snakemake's shell are left out: a login shell would read /etc/profile, which resets PATH.
        """
        shell = (self.shell_executable.executable, self.shell_executable.command_arg, cmd)
        return f"exec bash {shlex.join((str(self._script), *shell))}"

    def contains_executable(self, executable: str) -> bool:
        """Say whether the session finds a program."""
        command = self.decorate_shellcmd(f"command -v {shlex.quote(executable)}")
        done = self.run_cmd(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return bool(done.returncode == 0)

    @_as_errors_of_snakemake
    def record_hash(self, hash_object: Hash) -> None:
        """Add the digest of what is locked for this machine: jobs run again when it changes. Raises WorkflowError."""
        hash_object.update(self._session().digest.encode())

    def record_deployment_hash(self, hash_object: Hash) -> None:
        """Add lock and spec as they are: the script compares their bytes, and is written again when they change."""
        super().record_deployment_hash(hash_object)
        for ending in ("lock", "toml"):
            path = Path(self.spec.project, "sessions", f"{self.spec.session}.{ending}")
            hash_object.update(hashlib.sha256(path.read_bytes()).digest())

    @_as_errors_of_snakemake
    def report_software(self) -> Iterable[SoftwareReport]:
        """Return the locked packages with their versions. Raises WorkflowError."""
        return [SoftwareReport(name, version) for name, version in self._session().packages().items()]

    def is_deployment_path_portable(self) -> bool:
        """Return False: the script holds paths of this machine."""
        return False

    async def deploy(self) -> None:
        """Build the session where it is not built yet, and write the script by which jobs start. Raises WorkflowError."""
        self._script.parent.mkdir(parents=True, exist_ok=True)
        method = () if self.spec.method is None else ("--method", self.spec.method)
        words = ("activate", *method, "--output", str(self._script), self.spec.session)
        command = (sys.executable, "-P", "-m", "ozrepro", "--project", self.spec.project, *words)
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
        if status := await process.wait():
            raise WorkflowError(f"ozrepro {shlex.join(words)}: exit status {status}")

    def remove(self) -> None:
        """Remove the script; the environment stays in the store until `ozrepro store gc`."""
        shutil.rmtree(self.deployment_path, ignore_errors=True)
