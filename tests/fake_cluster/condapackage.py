"""Writes conda packages, and indexes a channel of them.

`.tar.bz2` needs nothing but the standard library, so that a test can add a package to a channel of its own within
milliseconds; `.conda` needs the tools of a making (`conda_package_streaming`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fake_cluster.python import clean_environ, run

MOMENT = 1640995200
"""2022-01-01: the date of every packed file, and of packages that say none. Compiled Python files hold it."""
PLACEHOLDER = ("/ozrepro-test-channel/" + "placehold_" * 30)[:254] + "x"
"""What an installer replaces by the prefix: 255 characters, as conda-build's own."""
SUBDIR = "linux-64"
_INDEX = """
import asyncio, os, sys
from rattler.index import index_fs
asyncio.run(index_fs(sys.argv[1], force=True))
sys.stdout.flush()
os._exit(0)  # the interpreter's own end can crash after rattler has been awaited
"""


@dataclass(frozen=True)
class Package:
    """What a package is and holds."""

    name: str
    version: str = "1.0"
    build: str = "h0_0"
    number: int = 0
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    noarch: str = ""
    """`generic` or `python`; else it is for linux-64."""
    entry_points: tuple[str, ...] = ()
    """Of a noarch Python package: `program = module:function`."""
    files: Mapping[str, str | bytes] = field(default_factory=dict, hash=False)
    """Contents by path below the prefix. What stands in bin/ or begins with `#!` can be executed."""
    tree: Path | None = None
    """A folder that holds files already, to which `files` and `info/` are added."""
    moment: int = MOMENT
    """When it was built, in seconds: what `exclude-newer` looks at."""
    index: Mapping[str, object] = field(default_factory=dict, hash=False)
    """More keys of index.json."""
    suffix: str = ".conda"
    """`.conda` or `.tar.bz2`."""

    @property
    def subdir(self) -> str:
        """The channel's folder that it belongs into."""
        return "noarch" if self.noarch else SUBDIR

    @property
    def file(self) -> str:
        """The archive's name."""
        return f"{self.name}-{self.version}-{self.build}{self.suffix}"

    def index_json(self) -> dict[str, object]:
        """Return what the index says of it."""
        found: dict[str, object] = {
            "arch": None if self.noarch else "x86_64",
            "build": self.build,
            "build_number": self.number,
            "constrains": list(self.constrains),
            "depends": list(self.depends),
            "license": "LicenseRef-test",
            "name": self.name,
            "platform": None if self.noarch else "linux",
            "subdir": self.subdir,
            "timestamp": self.moment * 1000,
            "version": self.version,
            **self.index,
        }
        return {**found, "noarch": self.noarch} if self.noarch else found


def write(package: Package, channel: Path, tools: Path | None = None) -> Path:
    """Write a package's archive into a channel's folder and return its path; `.conda` needs the tools. Index afterwards."""
    (channel / package.subdir).mkdir(parents=True, exist_ok=True)
    archive = channel / package.subdir / package.file
    with tempfile.TemporaryDirectory(prefix=".making-", dir=channel) as scratch:
        folder = package.tree or Path(scratch) / "tree"
        draft = Path(scratch) / package.file
        _stage(package, folder)
        if package.suffix == ".tar.bz2":
            _pack_bz2(folder, draft)
        elif tools is None:
            raise ValueError(f"{package.file}: no tools to write a .conda archive; use suffix='.tar.bz2'")
        else:
            run([str(tools / "bin" / "python"), str(Path(__file__).with_name("pack.py")), str(folder), str(draft)], "packing")
        draft.replace(archive)
    return archive


def write_channel(folder: Path, packages: Iterable[Package], tools: Path | None = None) -> Path:
    """Write packages into a channel, make its index anew, and return its folder."""
    for package in packages:
        write(package, folder, tools)
    index(folder)
    return folder


def index(channel: Path) -> None:
    """Make a channel's index anew, by the names and bytes of the archives that are there now.

    The indexer writes when it first saw an archive, and solvers prefer that to the build's date when they look for what
    is newer than a day. It keeps what it finds, so the second run makes the whole index say the build's date for both.
    """
    for subdir in ("noarch", SUBDIR):
        (channel / subdir).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-I", "-c", _INDEX, str(channel)]
    run(command, "indexing the channel")
    for subdir in ("noarch", SUBDIR):
        path = channel / subdir / "repodata.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        for record in [*found["packages"].values(), *found["packages.conda"].values()]:
            record["indexed_timestamp"] = record["timestamp"]
        _write_json(path, found)
    run(command, "indexing the channel")


def repodata(channel: Path, subdir: str) -> dict[str, dict[str, Any]]:
    """Return the index's records of a subdir, by file name."""
    found = json.loads((channel / subdir / "repodata.json").read_text(encoding="utf-8"))
    return {**found["packages"], **found["packages.conda"]}


def compile_tree(python: str, tree: Path) -> None:
    """Date a staged tree's files and compile its Python files, as packages for one platform are shipped."""
    for path in _paths(tree):
        os.utime(path, (MOMENT, MOMENT), follow_symlinks=False)
    folders = [str(path) for path in tree.glob("lib/python*") if path.is_dir()]
    # A template that is not valid Python is reported and left out; it does not spoil the package.
    command = [python, "-I", "-m", "compileall", "-q", "-s", str(tree), "-x", r"/_sysconfigdata[^/]*\.py$", *folders]
    subprocess.run(command, env=clean_environ(), capture_output=True, check=False)


def _stage(package: Package, folder: Path) -> None:
    """Put the package's files and its info/ into a folder."""
    for name, content in package.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = content.encode() if isinstance(content, str) else content
        path.write_bytes(raw)
        path.chmod(0o755 if raw.startswith(b"#!") or name.startswith("bin/") else 0o644)
    folder.mkdir(parents=True, exist_ok=True)
    entries = [_entry(path, folder) for path in _paths(folder)]
    info = folder / "info"
    info.mkdir()
    _write_json(info / "index.json", package.index_json())
    _write_json(info / "paths.json", {"paths": entries, "paths_version": 1})
    _write_json(info / "about.json", {"summary": f"{package.name}, made for tests"})
    if package.noarch == "python":
        noarch = {"entry_points": list(package.entry_points), "type": "python"}
        _write_json(info / "link.json", {"noarch": noarch, "package_metadata_version": 1})
    (info / "files").write_text("".join(f"{entry['_path']}\n" for entry in entries), encoding="utf-8")
    marked = [entry for entry in entries if "prefix_placeholder" in entry]
    if marked:
        lines = [f'"{entry["prefix_placeholder"]}" "{entry["file_mode"]}" "{entry["_path"]}"\n' for entry in marked]
        (info / "has_prefix").write_text("".join(lines), encoding="utf-8")
    for path in _paths(folder):
        os.utime(path, (MOMENT, MOMENT), follow_symlinks=False)


def _entry(path: Path, folder: Path) -> dict[str, object]:
    """Return a file's line of paths.json, with how its prefix is to be replaced where it holds one."""
    raw = path.read_bytes()
    found: dict[str, object] = {
        "_path": str(path.relative_to(folder)),
        "path_type": "softlink" if path.is_symlink() else "hardlink",
        "sha256": hashlib.sha256(raw).hexdigest(),
        "size_in_bytes": len(raw),
    }
    if PLACEHOLDER.encode() in raw and not path.is_symlink():
        mode = "binary" if b"\0" in raw else "text"
        found |= {"file_mode": mode, "prefix_placeholder": PLACEHOLDER}
    return found


def _paths(folder: Path) -> list[Path]:
    """Return the files and links of a tree, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _pack_bz2(folder: Path, archive: Path) -> None:
    """Write the older kind of archive: one tar, info/ first."""

    def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(archive, "w:bz2") as tar:
        for path in sorted(_paths(folder), key=lambda path: (path.relative_to(folder).parts[0] != "info", path)):
            tar.add(path, str(path.relative_to(folder)), recursive=False, filter=anonymous)


def conda_spec(name: str, clauses: str) -> str:
    """Return a requirement of a wheel in conda's words: `numpy`, `<2,>=1.22` → `numpy >=1.22,<2`."""
    plain = re.sub(r"[-_.]+", "-", name).lower()
    parts = sorted(filter(None, (part.strip() for part in clauses.split(","))), key=lambda part: not part.startswith(">"))
    return f"{plain} {','.join(parts)}".strip()
