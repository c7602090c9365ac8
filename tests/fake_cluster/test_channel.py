"""The conda channels are what they say, as real rattler solves and installs them."""

from __future__ import annotations

import bz2
import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fake_cluster import SiteUnavailable, condapackage, python, smallpackages
from tests.fake_cluster import channel as making
from tests.fake_cluster.channel import Channel, load_channel, make_cached

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fake_cluster.server import Server

# rattler can crash at the interpreter's own end after it was awaited: each call is a child that leaves by os._exit.
WORK = """
import asyncio, datetime, json, os, sys, traceback

from rattler import ChannelPriority, Gateway, MatchSpec, PackageCache, VirtualPackage, VirtualPackageOverrides, install, solve


async def work(asked):
    cut = asked["newest"] and datetime.datetime.fromisoformat(asked["newest"])
    records = await solve(
        asked["channels"],
        [MatchSpec(spec, strict=False) for spec in asked["specs"]],  # strictly, name=version=build is an error
        gateway=Gateway(cache_dir=asked["cache"] + "/repodata", show_progress=False),
        virtual_packages=VirtualPackage.detect(VirtualPackageOverrides.from_env()),
        exclude_newer=cut or None,
        channel_priority=ChannelPriority.Strict,
    )
    if asked["prefix"]:
        cache = PackageCache(asked["cache"] + "/pkgs")
        await install(records, asked["prefix"], package_cache=cache, show_progress=False)
    return {record.name.normalized: [record.version.__str__(), str(record.build), record.url] for record in records}


try:
    print(json.dumps(asyncio.run(work(json.loads(sys.argv[1])))))
    status = 0
except BaseException:
    traceback.print_exc()
    status = 1
sys.stdout.flush()
sys.stderr.flush()
os._exit(status)
"""


@dataclass(frozen=True)
class Rattler:
    """Asks rattler in a child process, with caches of its own."""

    cache: Path

    def run(
        self, *specs: str, channels: list[str], prefix: Path | None = None, newest: str = "", **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Solve, and install when a prefix is given."""
        asked = {"channels": channels, "specs": specs, "prefix": str(prefix or ""), "newest": newest, "cache": str(self.cache)}
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(self.cache), "CONDA_OVERRIDE_CUDA": "", **more}
        command = [sys.executable, "-c", WORK, json.dumps(asked)]
        return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    def done(self, *specs: str, channels: list[str], **more: Any) -> dict[str, list[str]]:
        """Insist that it succeeds and return version, build and address by name."""
        finished = self.run(*specs, channels=channels, **more)
        assert finished.returncode == 0, finished.stderr
        found: dict[str, list[str]] = json.loads(finished.stdout)
        return found


@pytest.fixture
def rattler(tmp_path: Path) -> Rattler:
    """Give a rattler without anything in its caches."""
    (tmp_path / "cache").mkdir()
    return Rattler(tmp_path / "cache")


def output(*command: str | Path, **environ: str) -> str:
    """Run an installed program and return what it printed."""
    found = {"PATH": "/usr/bin:/bin", **environ}
    done = subprocess.run([*map(str, command)], env=found, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_python_with_a_tool_and_numpy_in_a_prefix_with_a_space(channel: Channel, rattler: Rattler, tmp_path: Path) -> None:
    prefix = tmp_path / "an environment"
    specs = (f"python={'.'.join(channel.python_version.split('.')[:2])}", "noarch-tool", "numpy", "scipy", "astropy")
    found = rattler.done(*specs, channels=[channel.url], prefix=prefix)
    assert found["python"][0] == channel.python_version
    assert found["noarch-tool"][0] == "1.1"
    said = json.loads(output(prefix / "bin" / "noarch-tool", "a word"))
    assert said == {"version": "1.1", "words": ["a word"], "prefix": str(prefix)}
    program = "import astropy, astropy.timeseries, numpy, scipy.signal; print(numpy.__version__, scipy.__version__, astropy.__version__, numpy.__file__)"
    versions = output(prefix / "bin" / "python", "-I", "-c", program).strip().split(" ", 3)
    assert versions[:3] == [found[name][0] for name in ("numpy", "scipy", "astropy")]
    assert versions[3].startswith(f"{prefix}/lib/python")
    # A program of a package for one platform, and the interpreter's own settings, were moved to the prefix; Debian's stay.
    assert output(prefix / "bin" / "f2py", "-v").strip() in {found["numpy"][0], "2"}
    settings = "import sysconfig; print(sysconfig.get_config_var('prefix'), sysconfig.get_config_var('LIBDIR'), sep='\\n')"
    place, libraries = output(prefix / "bin" / "python", "-I", "-c", settings).splitlines()
    assert (place, libraries) == (str(prefix), f"{prefix}/lib") or place == "/usr"


def test_compiled_files_are_taken_as_they_came(channel: Channel, rattler: Rattler, tmp_path: Path) -> None:
    rattler.done("numpy", channels=[channel.url], prefix=tmp_path / "env")
    said = subprocess.run(
        [tmp_path / "env" / "bin" / "python", "-I", "-v", "-c", "import numpy, json"], capture_output=True, text=True, check=True
    )
    assert "/numpy/__pycache__/" in said.stderr
    assert "wrote " not in said.stderr
    assert "is stale" not in said.stderr


def test_a_wheel_in_an_environment_is_seen_by_its_python(channel: Channel, rattler: Rattler, tmp_path: Path) -> None:
    found = rattler.done("pip", "python-dateutil", "astropy", channels=[channel.url], prefix=tmp_path / "env")
    program = "import importlib.metadata as m, json; print(json.dumps({d.metadata['Name'].lower().replace('_', '-'): d.version for d in m.distributions()}))"
    installed = json.loads(output(tmp_path / "env" / "bin" / "python", "-I", "-c", program))
    assert installed == {name: entry[0] for name, entry in found.items() if name not in {"python", "python_abi"}}
    assert f"pip {found['pip'][0]}" in output(tmp_path / "env" / "bin" / "pip", "--version")
    output(tmp_path / "env" / "bin" / "python", "-m", "pip", "check")


def test_a_solver_has_a_choice_of_numpy(channel: Channel, rattler: Rattler) -> None:
    older, newer = [entry.version for entry in channel.find("numpy")]
    alone = rattler.done("numpy", channels=[channel.url])
    assert alone["numpy"][0] == newer
    assert rattler.done("numpy", f"numpy=={older}", channels=[channel.url])["numpy"][0] == older
    if channel.python_version.startswith("3.10."):
        assert (older, newer) == ("1.22.3", "1.26.4")
        assert rattler.done("numpy", "scipy", channels=[channel.url])["numpy"][0] == older
        assert (
            rattler.done(
                "numpy",
                channels=[channel.url],
                newest="2023-01-01T00:00:00+00:00",
            )["numpy"][0]
            == older
        )


def test_gpu_builds_follow_the_override(channel: Channel, rattler: Rattler) -> None:
    assert rattler.done("gpu-thing", channels=[channel.url])["gpu-thing"][1] == "cpu_h0_0"
    found = rattler.done("gpu-thing", "needs-cuda", channels=[channel.url], CONDA_OVERRIDE_CUDA="12.4")
    assert (found["gpu-thing"][1], found["needs-cuda"][1]) == ("cuda12_h0_1", "cuda12_h0_0")
    for override in ("", "13.0"):
        refused = rattler.run("needs-cuda", channels=[channel.url], CONDA_OVERRIDE_CUDA=override)
        assert refused.returncode == 1
        assert "__cuda" in refused.stderr


def test_a_package_that_needs_a_newer_c_library_is_not_solved(channel: Channel, rattler: Rattler) -> None:
    assert "needs-glibc" in rattler.done("needs-glibc", channels=[channel.url])
    refused = rattler.run("needs-new-glibc", channels=[channel.url])
    assert refused.returncode == 1
    assert "__glibc" in refused.stderr
    assert rattler.done("needs-new-glibc", channels=[channel.url], CONDA_OVERRIDE_GLIBC="9.1")


@pytest.mark.parametrize("flavour", ["openmpi", "mpich"])
def test_a_program_is_linked_to_conda_s_mpi_or_to_the_machine_s(
    channel: Channel, rattler: Rattler, tmp_path: Path, flavour: str
) -> None:
    version = smallpackages.MPI_VERSION[flavour]
    found = rattler.done("mpi-user", flavour, channels=[channel.url], prefix=tmp_path / "own")
    assert found[flavour][:2] == [version, "h1_100"]
    assert output(tmp_path / "own" / "bin" / "mpi-user").strip() == f"{flavour} of conda"
    external = tmp_path / "external"
    found = rattler.done("mpi-user", f"{flavour}={version}=external_*", channels=[channel.url], prefix=external)
    assert found[flavour][1] == "external_0"
    assert not list(external.glob("lib/libmpi*"))
    smallpackages.compile_mpi(tmp_path / "module" / "lib", flavour, "the module's")
    said = output(external / "bin" / "mpi-user", LD_LIBRARY_PATH=str(tmp_path / "module" / "lib"))
    assert said.strip() == "the module's"
    assert subprocess.run([external / "bin" / "mpi-user"], env={}, capture_output=True, check=False).returncode == 127


def test_prefixes_are_replaced(channel: Channel, rattler: Rattler, tmp_path: Path) -> None:
    prefix = tmp_path / "env"
    rattler.done("text-prefix", "binary-prefix", channels=[channel.url], prefix=prefix)
    assert (prefix / "share/text-prefix/where.txt").read_text().splitlines() == [f"{prefix}", f"{prefix}/share twice: {prefix}"]
    assert output(prefix / "bin" / "text-prefix") == (prefix / "share/text-prefix/where.txt").read_text()
    assert output(prefix / "bin" / "text-prefix-python").strip() == str(prefix)
    assert output(prefix / "bin" / "binary-prefix").splitlines() == [str(prefix), "found"]
    for file in ("bin/text-prefix", "bin/binary-prefix"):
        assert condapackage.PLACEHOLDER.encode() not in (prefix / file).read_bytes()


def test_activation_sets_what_it_says(channel: Channel, rattler: Rattler, tmp_path: Path) -> None:
    prefix = tmp_path / "an environment"
    rattler.done("activates", channels=[channel.url], prefix=prefix)
    scripts = sorted((prefix / "etc/conda/activate.d").iterdir())
    show = "import json, os; print(json.dumps(dict(os.environ)))"
    lines = [f'. "{path}"' for path in scripts] + ["activates-hello", f"'{sys.executable}' -c '{show}'"]
    hello, shown = output("bash", "--noprofile", "--norc", "-ec", "\n".join(lines), CONDA_PREFIX=str(prefix)).split("\n", 1)
    found = json.loads(shown)
    assert hello == found["ACTIVATES_HOME"] == f"{prefix}/share/activates"
    assert (found["ACTIVATES_ODD"], found["ACTIVATES_LINES"]) == (smallpackages.ODD, smallpackages.LINES)
    assert found["ACTIVATES_ORDER"] == "12"
    lines[-2] = f'. "{prefix}/etc/conda/deactivate.d/10-activates.sh"'
    left = json.loads(output("bash", "--noprofile", "--norc", "-ec", "\n".join(lines), CONDA_PREFIX=str(prefix)))
    assert left["PATH"] == "/usr/bin:/bin"
    assert not [name for name in left if name.startswith("ACTIVATES_")]
    assert json.loads((prefix / "etc/conda/env_vars.d/activates.json").read_text()) == {"ACTIVATES_JSON": "from env_vars.d"}


def test_the_package_of_many_files_installs_all_of_them(channel: Channel, rattler: Rattler, tmp_path: Path) -> None:
    rattler.done("many-files", channels=[channel.url], prefix=tmp_path / "env")
    assert sum(1 for path in (tmp_path / "env/share/many-files").rglob("*.txt")) == making.MANY


def test_an_archive_that_is_not_the_index_s_is_refused_over_http(
    channel: Channel, rattler: Rattler, tmp_path: Path, serve: Callable[[Path], Server]
) -> None:
    (archive,) = channel.find("bad-hash")
    raw = channel.path(archive).read_bytes()
    assert len(raw) == archive.size
    assert hashlib.sha256(raw).hexdigest() != archive.sha256
    server = serve(channel.prefix)
    refused = rattler.run("bad-hash", channels=[f"{server.url}/conda-forge"], prefix=tmp_path / "env")
    assert refused.returncode == 1
    assert "hash" in refused.stderr.lower()
    assert not (tmp_path / "env/share/bad-hash").exists()


def test_a_server_s_faults_are_seen_and_pass(
    channel: Channel, rattler: Rattler, tmp_path: Path, serve: Callable[[Path], Server]
) -> None:
    first, mirror = serve(channel.prefix), serve(channel.prefix)

    def tried(server: Server, name: str) -> subprocess.CompletedProcess[str]:
        return rattler.run("binary-prefix", channels=[f"{server.url}/conda-forge"], prefix=tmp_path / name)

    first.cut("*/binary-prefix-*", after=100)
    assert tried(first, "cut").returncode == 1
    first.restore()
    first.fail("*/binary-prefix-*")
    refused = tried(first, "gone")
    assert refused.returncode == 1
    assert "404" in refused.stderr
    first.restore()
    first.change("*/binary-prefix-*", b"something else")
    assert tried(first, "changed").returncode == 1
    first.restore()
    assert tried(first, "whole").returncode == 0
    assert first.asked("*/binary-prefix-*")
    # The package cache is keyed by the package, not by the address: a mirror is asked for its index only.
    assert tried(mirror, "mirrored").returncode == 0
    assert mirror.asked("/conda-forge/noarch/*")
    assert not mirror.asked("*/binary-prefix-*")
    first.stop()
    with pytest.raises(urllib.error.URLError):
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(first.url, timeout=5)


def test_the_first_channel_hides_newer_versions_of_the_second(channel: Channel, rattler: Rattler) -> None:
    def chosen(*channels: str) -> list[str]:
        return rattler.done("noarch-tool", channels=list(channels))["noarch-tool"][:2]

    assert chosen(channel.url, channel.other_url) == ["1.1", "py_0"]
    # With strict priority a channel that has the name hides the other's newer version.
    turned = [channel.other_url, channel.url]
    assert chosen(*turned) == ["2.0", "py_0"]
    assert rattler.done("noarch-tool=1.0", channels=turned)["noarch-tool"][1] == "py_5"
    assert rattler.done("only-other", channels=[channel.url, channel.other_url])["noarch-tool"][0] == "1.1"


def test_the_channel_s_index_has_the_digest_and_size_of_each_archive(channel: Channel) -> None:
    for entry in channel.archives:
        record = condapackage.repodata(channel.prefix / entry.channel, entry.subdir)[entry.file]
        raw = channel.path(entry).read_bytes()
        assert len(raw) == entry.size == record["size"]
        assert (hashlib.sha256(raw).hexdigest() == record["sha256"]) is (entry.name != "bad-hash")
        assert entry.file.startswith(f"{entry.name}-{entry.version}-{entry.build}.")
        assert record["timestamp"] == record["indexed_timestamp"] >= 1_500_000_000_000
    assert {entry.file.partition(entry.build)[2] for entry in channel.archives} == {".conda", ".tar.bz2"}
    (entry,) = channel.find("python")
    record = condapackage.repodata(channel.folder, entry.subdir)[entry.file]
    assert record["python_site_packages_path"].endswith(("/site-packages", "/dist-packages"))
    for subdir in ("noarch", "linux-64"):
        assert {path.name for path in (channel.folder / subdir).glob("repodata*")} >= {"repodata.json", "repodata.json.zst"}
    assert [entry.build for entry in channel.find("openmpi")] == ["external_0", "h1_100"]
    assert [entry.version for entry in channel.find("noarch-tool", channel="other")] == ["1.0", "2.0"]


def test_a_private_channel_takes_a_package_of_a_test_s_own(private_channel: Channel, channel: Channel, rattler: Rattler) -> None:
    package = smallpackages.noarch_tool("1.2", suffix=".tar.bz2")
    condapackage.write_channel(private_channel.folder, [package])
    assert rattler.done("noarch-tool", channels=[private_channel.url])["noarch-tool"][0] == "1.2"
    assert rattler.done("noarch-tool", channels=[channel.url])["noarch-tool"][0] == "1.1"
    (older,) = private_channel.find("noarch-tool", version="1.1")
    assert private_channel.path(older).stat().st_ino != channel.path(older).stat().st_ino
    with pytest.raises(ValueError, match="no tools"):
        condapackage.write(smallpackages.noarch_tool("1.3"), private_channel.folder)
    written = (private_channel.folder / package.subdir / package.file).read_bytes()
    assert b"noarch_tool.py" in bz2.decompress(written)


def test_everybody_may_read_the_channel_and_only_its_owner_write(channel: Channel) -> None:
    for folder, _, files in os.walk(channel.prefix):
        for path in (folder, *(os.path.join(folder, name) for name in files)):
            mode = os.lstat(path).st_mode
            assert mode & 0o022 == 0, path
            assert mode & (0o555 if stat.S_ISDIR(mode) else 0o444), path


def test_everybody_may_read_what_was_installed(channel: Channel, rattler: Rattler, tmp_path: Path) -> None:
    rattler.done("python", "numpy", "noarch-tool", channels=[channel.url], prefix=tmp_path / "env")
    for path in (tmp_path / "env").rglob("*"):
        mode = path.lstat().st_mode
        if not stat.S_ISLNK(mode) and "conda-meta" not in path.parts:
            assert mode & 0o444 == 0o444, path
            assert not stat.S_ISDIR(mode) or mode & 0o111 == 0o111, path


def test_making_the_channel_again_takes_what_is_there(channel: Channel) -> None:
    before = (channel.prefix / making.DESCRIPTION).stat()
    assert make_cached() == channel == load_channel(channel.prefix)
    assert (channel.prefix / making.DESCRIPTION).stat().st_ino == before.st_ino


def test_a_killed_making_of_the_channel_is_not_taken_for_whole(channel: Channel, tmp_path: Path) -> None:
    prefix = tmp_path / "killed"
    command = [sys.executable, "-m", "tests.fake_cluster.channel", "--prefix", str(prefix)]
    root = Path(__file__).parents[2]
    maker = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(prefix.glob(".making-*/*")) and maker.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(maker.pid, signal.SIGKILL)
    maker.wait()
    assert list(prefix.glob(".making-*"))
    with pytest.raises(SiteUnavailable, match="not a finished test channel"):
        load_channel(prefix)
    shutil.rmtree(prefix)


def test_a_folder_of_somebody_s_is_not_replaced(channel: Channel, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    tmp_path.chmod(0o755)
    with pytest.raises(SiteUnavailable, match="not a test site"):
        make_cached(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_where_channels_cannot_be_made_the_reason_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = python.find().executable
    with pytest.raises(SiteUnavailable, match="cannot be packed"):
        making.make_channel(tmp_path, "/bin/false")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda name: None)
        with pytest.raises(SiteUnavailable, match="not installed: gcc"):
            making.make_channel(tmp_path, program)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(SiteUnavailable, match="no network"):
        making.make_channel(tmp_path, program)
    assert not list(tmp_path.glob(".making-*"))


def test_a_broken_description_is_no_channel(tmp_path: Path) -> None:
    (tmp_path / making.DESCRIPTION).write_text("{", encoding="utf-8")
    with pytest.raises(SiteUnavailable, match="not a finished test channel"):
        load_channel(tmp_path)
