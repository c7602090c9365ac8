"""A second Lmod beside the machine's: that of Debian 13, unpacked into a folder of its own. Lua and its modules are the machine's."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from tests.fake_cluster import Site, SiteUnavailable, debian, make

SUITE = "trixie"
GIVEN = "OZREPRO_TEST_LMOD"
"""Names the program of one more Lmod to run the same tests on, such as one that was built from its source."""

LMODS = ("installed", "newer", *(("given",) if os.environ.get(GIVEN) else ()))
_KEPT = "ozrepro-test-lmod-"
COMMAND = "share/lmod/lmod/libexec/lmod"
_DONE = "made"


def with_lmod(site: Site, which: str) -> Site:
    """Return the site as one of LMODS serves it."""
    if which == "installed":
        return site
    command = os.environ[GIVEN] if which == "given" else str(newer() / COMMAND)
    spider = str(Path(command).with_name("spider"))
    return dataclasses.replace(site, lmod_cmd=command, spider=spider, lmod_version=make._lmod_version(command))


def newer(prefix: Path | None = None) -> Path:
    """Return the folder of Debian 13's Lmod, unpacked now unless it was before; COMMAND is in it."""
    scripts = b"\0".join(Path(str(module.__file__)).read_bytes() for module in (debian,)) + Path(__file__).read_bytes()
    name = f"{_KEPT}{os.geteuid()}-{hashlib.sha256(scripts).hexdigest()[:12]}"
    prefix = Path(os.path.abspath(prefix or Path("/var/tmp") / name))
    with make._alone(prefix):
        if prefix.is_dir() and make._trusted(prefix) and (prefix / _DONE).exists():
            return prefix
        make._clear(prefix)
        before = os.umask(0o022)
        try:
            _fill(prefix)
        finally:
            os.umask(before)
    for old in prefix.parent.glob(f"{_KEPT}{os.geteuid()}-*") if prefix.name.startswith(_KEPT) else ():
        with contextlib.suppress(OSError):
            if old.name not in (prefix.name, f"{prefix.name}.lock") and old.is_dir() and make._trusted(old):
                shutil.rmtree(old)
    return prefix


def _fill(prefix: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".making-", dir=prefix) as scratch:
        debian.unpack(SUITE, ("lmod",), Path(scratch))
        for name in ("share", "lib"):  # one holds a relative link into the other
            (Path(scratch) / "usr" / name).rename(prefix / name)
    for folder, _, files in os.walk(prefix / "share" / "lmod"):
        for path in (os.path.join(folder, name) for name in files):
            if not os.path.islink(path):
                _move(path, b"/usr/share/lmod/", f"{prefix}/share/lmod/".encode())
    make._open_to_all(prefix)
    prefix.chmod(0o755)
    if not make._lmod_version(str(prefix / COMMAND)):
        raise SiteUnavailable(f"Lmod of Debian {SUITE} does not run here")
    (prefix / _DONE).touch()


def _move(path: str, old: bytes, new: bytes) -> None:
    """Replace the paths in a text file."""
    with open(path, "rb+") as stream:
        text = stream.read()
        if old in text and b"\0" not in text:
            stream.seek(0)
            stream.write(text.replace(old, new))
            stream.truncate()
