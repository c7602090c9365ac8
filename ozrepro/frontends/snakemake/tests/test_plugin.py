"""The interface's own tests of a plug-in, and what this one does besides."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_software_deployment_plugins.registry import SoftwareDeploymentPluginRegistry
from snakemake_interface_software_deployment_plugins.tests import TestSoftwareDeploymentBase
from snakemake_software_deployment_plugin_ozrepro import Env, EnvSpec

INTERFACE = tuple(map(int, version("snakemake-interface-software-deployment-plugins").split(".")))
SPEC = '[venv]\nrequirements = ["six=={}"]\n'


def write_spec(folder: Path, six: str) -> None:
    """Write the description of the session `analysis`, and its lock."""
    (folder / "sessions").mkdir(exist_ok=True)
    (folder / "sessions" / "analysis.toml").write_text(SPEC.format(six), encoding="utf-8")
    words = (sys.executable, "-P", "-m", "ozrepro", "--project", str(folder), "lock")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@functools.cache
def project() -> Path:
    """Return the folder of a project with a locked session, whose path has a space."""
    folder = Path(tempfile.mkdtemp(prefix="a project "))
    write_spec(folder, "1.17.0")
    return folder


def spec_of(folder: Path, session: str = "analysis") -> EnvSpec:
    """Return what a rule says of its software, as Snakemake would have it."""
    spec = EnvSpec(session=session, project=str(folder))
    spec.technical_init()
    return spec


class TestPlugin(TestSoftwareDeploymentBase):
    __test__ = True
    asked: EnvSpec | None = None

    def get_env_spec(self) -> EnvSpec:
        return self.asked or spec_of(project())

    def get_env_cls(self) -> type[Env]:
        return Env

    def get_test_cmd(self) -> str:
        return 'python -c \'import six, os; assert (six.__version__, os.environ["OZREPRO_SESSION"]) == ("1.17.0", "analysis")\''

    def get_settings(self) -> None:
        return None

    def get_settings_cls(self) -> None:
        return None

    def get_contained_executable(self) -> str:
        return "python"

    def env(self, tmp_path: Path, folder: Path, session: str = "analysis") -> Env:
        """Return the environment of a project's session as it is now."""
        self.asked = spec_of(folder, session)
        env = self._get_env(tmp_path)
        assert isinstance(env, Env)
        return env

    def test_the_hash_follows_what_is_locked_for_this_machine_and_nothing_else(self, tmp_path: Path) -> None:
        write_spec(tmp_path, "1.17.0")
        env = self.env(tmp_path, tmp_path)
        locked, deployed = env.hash(), env.deployment_hash()
        lock = tmp_path / "sessions" / "analysis.lock"
        lock.write_text(f"{lock.read_text()}\n# another method's section could be here\n")
        env = self.env(tmp_path, tmp_path)
        assert env.hash() == locked
        assert env.deployment_hash() != deployed
        write_spec(tmp_path, "1.16.0")
        assert self.env(tmp_path, tmp_path).hash() != locked

    def test_the_report_lists_the_locked_packages(self, tmp_path: Path) -> None:
        reported = {(item.name, item.version) for item in self.env(tmp_path, project()).report_software()}
        assert ("six", "1.17.0") in reported

    def test_a_command_is_run_as_it_is_written_and_gives_its_status(self, tmp_path: Path) -> None:
        env = self.env(tmp_path, project())
        asyncio.run(env.deploy())
        command = env.managed_decorate_shellcmd("printf '%s|' \"a  b\" '$HOME' \"it's\"; type -P python; exit 42")
        done = subprocess.run(("bash", "-c", command), env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.partition("/")[0]) == (42, "a  b|$HOME|it's|"), done.stderr
        assert done.stdout.rstrip().endswith("/env/bin/python")
        assert not env.contains_executable("no such program")

    def test_a_job_does_not_start_when_the_lock_has_changed_since(self, tmp_path: Path) -> None:
        write_spec(tmp_path, "1.17.0")
        env = self.env(tmp_path, tmp_path)
        asyncio.run(env.deploy())
        command = env.managed_decorate_shellcmd("echo ran")
        write_spec(tmp_path, "1.16.0")
        done = subprocess.run(("bash", "-c", command), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (3, "")
        assert "has changed since" in done.stderr

    def test_what_is_deployed_can_be_removed(self, tmp_path: Path) -> None:
        env = self.env(tmp_path, project())
        asyncio.run(env.deploy())
        env.managed_remove()
        assert not env.deployment_path.exists()

    def test_a_session_without_a_lock_is_told_with_what_to_do(self, tmp_path: Path) -> None:
        (tmp_path / "sessions").mkdir()
        (tmp_path / "sessions" / "other.toml").write_text(SPEC.format("1.17.0"), encoding="utf-8")
        for ask in (Env.hash, Env.report_software):
            with pytest.raises(WorkflowError, match="ozrepro lock other"):
                ask(self.env(tmp_path, tmp_path, "other"))


@pytest.mark.skipif(INTERFACE < (0, 18, 3), reason="this registry loads base classes in place of a plug-in's own")
def test_snakemake_finds_the_plugin_by_its_name() -> None:
    plugin = SoftwareDeploymentPluginRegistry().get_plugin("ozrepro")
    assert (plugin.env_cls, plugin.env_spec_cls, plugin.common_settings.provides) == (Env, EnvSpec, "ozrepro")
