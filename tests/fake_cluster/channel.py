"""Makes the test site's conda channels: `python -m tests.fake_cluster.channel [--prefix DIR]`.

`conda-forge` and `other` are folders of one prefix: a channel alias that names the prefix, by `file://` or through
`tests.fake_cluster.server`, makes them what a spec's channel names mean. The first only bears the name of the real one. Everything
in it is real (Python, numpy, scipy, astropy) or made here to show one thing (`tests.fake_cluster.smallpackages`).

A made channel is kept outside the repository, as the site is; what marks it as whole is its channel.json, renamed there last.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tests.fake_cluster import SiteUnavailable, condapackage, make, pack, python, realpackages, smallpackages
from tests.fake_cluster.condapackage import SUBDIR, Package

DESCRIPTION = "channel.json"
MAIN, OTHER = "conda-forge", "other"
MANY = 5000
_TOOLS = "conda-package-streaming>=0.13,<0.14"
_NAME = "ozrepro-test-channel-"
_WEEK = 7 * 24 * 3600


@dataclass(frozen=True)
class Archive:
    """One package of a channel, as its index has it."""

    channel: str
    name: str
    version: str
    build: str
    build_number: int
    subdir: str
    file: str
    sha256: str
    size: int
    depends: tuple[str, ...]


@dataclass(frozen=True)
class Channel:
    """Two made channels, and what is in them."""

    prefix: Path
    """The folder of both."""
    digest: str
    """Of the scripts that made it and of the interpreter that it packs."""
    python_version: str
    archives: tuple[Archive, ...]

    @property
    def alias(self) -> str:
        """The address to which a channel's name is added."""
        return self.prefix.as_uri()

    @property
    def folder(self) -> Path:
        """The main channel's folder."""
        return self.prefix / MAIN

    @property
    def url(self) -> str:
        """The main channel's address."""
        return f"{self.alias}/{MAIN}"

    @property
    def other(self) -> Path:
        """The second channel's folder."""
        return self.prefix / OTHER

    @property
    def other_url(self) -> str:
        """The second channel's address."""
        return f"{self.alias}/{OTHER}"

    def find(self, name: str, *, version: str = "", build: str = "", channel: str = MAIN) -> list[Archive]:
        """Return the archives of a name, oldest version first; `build` is a part of the build string."""
        found = [entry for entry in self.archives if (entry.channel, entry.name) == (channel, name)]
        return [entry for entry in found if version in {"", entry.version} and build in entry.build]

    def path(self, archive: Archive) -> Path:
        """Return where an archive lies."""
        return self.prefix / archive.channel / archive.subdir / archive.file

    def copy(self, prefix: Path) -> Channel:
        """Copy it all, for a test that removes, adds or changes archives."""
        shutil.copytree(self.prefix, prefix, ignore=shutil.ignore_patterns(DESCRIPTION, ".*"))
        return dataclasses.replace(self, prefix=prefix)


def make_channel(prefix: Path, program: str, *, many: int = MANY, digest: str = "", heavy: bool = False) -> Channel:
    """Make both channels in an empty folder from an interpreter and from wheels.

    `many`: the files of `many-files`. `heavy`: with pandas, matplotlib and what they need.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise SiteUnavailable("the conda channel is made for Linux on x86-64 only")
    source = python._ask(program)
    if source is None:
        raise SiteUnavailable(f"{program} cannot be packed: a CPython with ensurepip and its headers is needed")
    before = os.umask(0o022)
    try:
        with tempfile.TemporaryDirectory(prefix=".making-", dir=prefix) as scratch:
            _fill(prefix, source, Path(scratch), many, heavy=heavy)
    finally:
        os.umask(before)
    return Channel(prefix, digest, source.version, _archives(prefix))


def _fill(prefix: Path, source: python.Interpreter, work: Path, many: int, *, heavy: bool) -> None:
    """Write every package, the large ones first and several at a time, then the indexes."""
    small, others = smallpackages.packages(many), smallpackages.others()
    tools = python.make_tools(source, work / "tools")
    python.install_tool(tools, _TOOLS)
    main = prefix / MAIN

    def from_wheel(wheel: Path) -> None:
        condapackage.write(realpackages.convert(wheel, source, work), main, tools)

    def from_interpreter() -> None:
        for package in realpackages.python_packages(source, tools, work):
            condapackage.write(package, main, tools)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs: list[Future[object]] = [pool.submit(from_interpreter)]
        wheels = realpackages.download(source, tools, work / "wheels", heavy=heavy)
        jobs += [pool.submit(from_wheel, wheel) for wheel in wheels]
        jobs += [pool.submit(condapackage.write, package, main, tools) for package in small]
        jobs += [pool.submit(condapackage.write, package, prefix / OTHER, tools) for package in others]
        for job in jobs:
            job.result()
    good = condapackage.write(smallpackages.bad_hash("as the index has it\n"), main, tools)
    for channel in (main, prefix / OTHER):
        condapackage.index(channel)
    _exchange(good, smallpackages.bad_hash("put there by somebody\n"), tools)


def _exchange(archive: Path, package: Package, tools: Path) -> None:
    """Put another archive of the same length in an archive's place, behind the index's back."""
    before = archive.stat().st_size
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".making-") as scratch:
        other = condapackage.write(package, Path(scratch), tools)
        raw = other.read_bytes()
    room = max(before - len(raw), 0)
    # A zip's last two bytes are the length of the comment that follows them.
    archive.write_bytes(raw[:-2] + room.to_bytes(2, "little") + b" " * room)


def _archives(prefix: Path) -> tuple[Archive, ...]:
    """Read what the indexes say."""
    found = []
    for channel in (MAIN, OTHER):
        for subdir in ("noarch", SUBDIR):
            for file, record in condapackage.repodata(prefix / channel, subdir).items():
                kept = {key: record[key] for key in ("name", "version", "build", "build_number", "subdir", "sha256", "size")}
                found.append(Archive(channel, file=file, depends=tuple(record["depends"]), **kept))
    return tuple(sorted(found, key=lambda entry: (entry.channel, entry.name, _order(entry.version), entry.build_number)))


def _order(version: str) -> list[int]:
    return [int(part) if part.isdigit() else 0 for part in version.split(".")]


def behind_the_site() -> str:
    """Return the interpreter of the site's modules, so that the methods' results compare; else another of this machine."""
    try:
        return make.make().python
    except SiteUnavailable:
        return python.find().executable


def wanted_digest(program: str, many: int, *, heavy: bool = False) -> str:
    """Return what tells one channel from another, as a site's digest does: scripts, interpreter, indexer, but no place."""
    modules = (condapackage, pack, python, realpackages, smallpackages)
    scripts = [Path(str(module.__file__)).read_bytes() for module in modules] + [Path(__file__).read_bytes()]
    scripts += [b"heavy"] if heavy else []
    found = python._ask(program)
    if found is None:
        raise SiteUnavailable(f"{program} cannot be packed: a CPython with ensurepip and its headers is needed")
    here = [found.version.encode(), Path(found.executable).read_bytes(), str(many).encode(), version("py-rattler").encode()]
    return "-".join(hashlib.sha256(b"\0".join(parts)).hexdigest()[:12] for parts in (scripts, here))


def load_channel(prefix: Path) -> Channel:
    """Read a made channel's description; one that was never finished has none."""
    try:
        found = json.loads((prefix / DESCRIPTION).read_text(encoding="utf-8"))
        entries = tuple(Archive(**{**entry, "depends": tuple(entry["depends"])}) for entry in found.pop("archives"))
        return Channel(**{**found, "prefix": prefix, "archives": entries})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise SiteUnavailable(f"{prefix} is not a finished test channel: {error}") from error


def default_prefix(digest: str) -> Path:
    """Return where the channels are kept: the user's own choice, else a folder outside the repository named by the digest."""
    given = os.environ.get("OZREPRO_TEST_CHANNEL")
    return Path(given) if given else Path("/var/tmp") / f"{_NAME}{os.geteuid()}-{digest}"


def make_cached(prefix: Path | None = None, program: str = "", *, many: int = MANY, heavy: bool = False) -> Channel:
    """Return the channels, made now unless whole ones of the same digest are there: heavy ones beside the others."""
    program = program or behind_the_site()
    digest = wanted_digest(program, many, heavy=heavy)
    prefix = Path(os.path.abspath(prefix or default_prefix(digest)))
    with contextlib.suppress(SiteUnavailable):
        if _serves(channel := load_channel(prefix), digest) and make._trusted(prefix):
            with contextlib.suppress(OSError):
                os.utime(prefix / DESCRIPTION)  # still in use
            return channel
    with make._alone(prefix):
        with contextlib.suppress(SiteUnavailable):
            if (channel := load_channel(prefix)).digest == digest:
                return channel  # another process made it meanwhile
        (prefix / DESCRIPTION).unlink(missing_ok=True)  # first of all: what is half removed is not whole
        make._clear(prefix)
        channel = make_channel(prefix, program, many=many, digest=digest, heavy=heavy)
        make._open_to_all(prefix)
        draft = prefix / f"{DESCRIPTION}.new"
        draft.write_text(json.dumps({**dataclasses.asdict(channel), "prefix": str(prefix)}, indent=1) + "\n", encoding="utf-8")
        draft.replace(prefix / DESCRIPTION)
    _forget_old(prefix)
    return channel


def _serves(channel: Channel, digest: str) -> bool:
    """Say whether channels are the wanted ones; those that this user cannot make anew serve with another Python in them."""
    mine = os.access(channel.prefix, os.W_OK)
    return channel.digest == digest or (not mine and channel.digest.split("-")[0] == digest.split("-")[0])


def _forget_old(prefix: Path) -> None:
    """Remove this user's channels of other digests that nothing has used for a week."""
    own = f"{_NAME}{os.geteuid()}-"
    for old in prefix.parent.glob(f"{own}*") if prefix.name.startswith(own) else ():
        with contextlib.suppress(OSError):
            used = old / DESCRIPTION if (old / DESCRIPTION).exists() else old
            if old != prefix and old.is_dir() and make._trusted(old) and time.time() - used.stat().st_mtime > _WEEK:
                shutil.rmtree(old)


def main() -> int:
    """Make the channels and say where they are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefix", type=Path, help="where; else $OZREPRO_TEST_CHANNEL, else a folder below /var/tmp")
    parser.add_argument("--python", default="", help="the interpreter to pack; else the one behind the site's modules")
    parser.add_argument("--many", type=int, default=MANY, help="how many files many-files has")
    parser.add_argument("--heavy", action="store_true", help="with pandas, matplotlib and what they need")
    given = parser.parse_args()
    try:
        channel = make_cached(given.prefix, given.python, many=given.many, heavy=given.heavy)
    except SiteUnavailable as reason:
        print(f"cannot make the conda channel: {reason}", file=sys.stderr)
        return 1
    for entry in channel.archives:
        print(f"{entry.channel:12} {entry.subdir:9} {entry.size:>11,} {entry.file}")
    print(channel.alias)
    return 0


if __name__ == "__main__":
    sys.exit(main())
