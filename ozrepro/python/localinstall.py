"""Installs the local projects into an environment in editable form: their code is that of the project's folder, as it is now.

What has to be built for it is built in a copy, see `treecopy`. A project of Python alone is an entry in the environment's search
path. One with compiled code is installed as its wheel, of which each file that is in the project's folder too is a link there.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from packaging.utils import canonicalize_name

from ozrepro.errors import BuildError
from ozrepro.python.backend import read_build_system
from ozrepro.python.build_hashes import constraints
from ozrepro.python.compiled import build_wheel
from ozrepro.python.install import site_packages
from ozrepro.python.treecopy import copy_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ozrepro.python.packages import LockedPackage, LockedProject
    from ozrepro.python.uv import Uv

_NATIVE = (".so", ".dylib", ".pyd")
_FINDER = """# Finds the modules that the project's build has written: they are not in the project's folder.
import os
import sys

MODULES = {}


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in MODULES:
            return None
        from importlib.util import spec_from_file_location

        return spec_from_file_location(name, os.path.join(os.path.dirname(__file__), MODULES[name]))


sys.meta_path.append(Finder)
"""

_LARGEST = 1 << 20
"""Bytes of a file in which a backend may have written where the project is."""


def install_projects(
    uv: Uv,
    prefix: Path,
    root: Path,
    projects: Sequence[LockedProject],
    build: Sequence[LockedPackage],
    environ: Mapping[str, str],
    variables: Mapping[str, str],
) -> None:
    """Install local projects of the folder `root`, without what they require. Raises BuildError, CommandFailed.

    `build` are the only packages that building may use, `environ` is the caller's, `variables` are those that compilers get.
    """
    if not projects:
        return
    with copy_of(root, environ) as copy:
        for project in projects:
            tree = copy / project.path
            if not tree.is_dir():
                raise BuildError("is not in the project: it is not copied with it", where=str(root / project.path))
            is_pure = not project.compiles or not _install_wheel(
                uv, prefix, tree, root / project.path, project.name, build, variables
            )
            if is_pure and not _install_editable(uv, prefix, tree, root / project.path, project.name, build):
                _install_wheel(uv, prefix, tree, root / project.path, project.name, build, variables, always=True)


def _install_editable(uv: Uv, prefix: Path, tree: Path, place: Path, name: str, build: Sequence[LockedPackage]) -> bool:
    """Install a project as its backend makes it editable, its paths those of `place`; return whether it compiled nothing."""
    if any(mark in str(place) for mark in "'\"\\\n") or read_build_system(tree)[1].startswith("mesonpy"):
        return False  # a path that is no text of Python as it is; a backend whose editable packages are built when imported
    before = set(_files(tree))
    with constraints(uv, build) as flags:
        words = ["pip", "install", "--python", str(prefix / "bin" / "python"), "--no-deps", "--no-sources", *uv.indexes.flags()]
        uv.run_cached([*words, *flags, "-e", tree.as_uri()], doing="cannot install the project itself")
    info = _info(prefix, name)
    rows = _rows(info)
    made = sorted(set(_files(tree)) - before)
    if any(path.endswith(_NATIVE) for path in (*made, *(row[0] for row in rows))):
        return False
    for row in rows:
        path = info.parent / row[0]
        if path.is_file() and path.stat().st_size <= _LARGEST:
            content = path.read_bytes()
            now = content.replace(os.fsencode(tree), os.fsencode(place)).replace(
                quote(str(tree)).encode(), quote(str(place)).encode()
            )
            if now != content:
                _write(path, now)
                row[1:] = [_digest(now), str(len(now))] if row[1] else row[1:]
    _write_rows(info, [*_keep_modules(info.parent, name, tree, made), *rows])
    return True


def _files(tree: Path) -> Iterator[str]:
    """Yield the files of a tree that may be imported, without those of a backend's own folder for a build."""
    for folder, folders, names in os.walk(tree):
        folders[:] = [name for name in folders if name not in (".git", "build", "__pycache__")]
        yield from (os.path.join(folder, name) for name in names if name.endswith((".py", *_NATIVE)))


def _keep_modules(site: Path, name: str, tree: Path, made: Sequence[str]) -> list[list[str]]:
    """Put the modules that the build has written, such as `_version.py`, where Python finds them after those of the project.

    Returns the rows of RECORD for the files that this takes.
    """
    own = f"_ozrepro_{name.replace('-', '_').replace('.', '_')}"
    modules: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for path in made:
        top = Path(path).parent
        while top != tree and (top / "__init__.py").is_file():
            top = top.parent
        parts = Path(path).relative_to(top).with_suffix("").parts
        if len(parts) > 1 and parts[-1] != "__init__":
            place = f"{own}/{len(modules)}_{parts[-1]}.py"
            modules[".".join(parts)] = place
            files[place] = Path(path).read_bytes()
    if not modules:
        return []
    files[f"{own}.py"] = _FINDER.replace("{}", repr(modules)).encode()
    files[f"{own}.pth"] = f"import {own}\n".encode()
    for place, content in files.items():
        (site / place).parent.mkdir(exist_ok=True)
        (site / place).write_bytes(content)
    return [[place, _digest(content), str(len(content))] for place, content in files.items()]


def _install_wheel(
    uv: Uv,
    prefix: Path,
    tree: Path,
    place: Path,
    name: str,
    build: Sequence[LockedPackage],
    variables: Mapping[str, str],
    *,
    always: bool = False,
) -> bool:
    """Install a project's wheel with links to its sources in `place`, and return True; unless `always`, not one of Python."""
    python = str(prefix / "bin" / "python")
    with tempfile.TemporaryDirectory(prefix="ozrepro-") as folder:
        build_wheel(uv, tree, python, build, variables, Path(folder))
        wheels = list(Path(folder).glob("*.whl"))
        if len(wheels) != 1:
            raise BuildError(f"building {name} gave {len(wheels) or 'no'} wheels where one was expected")
        if wheels[0].name.endswith("-none-any.whl") and not always:
            return False
        words = ["pip", "install", "--python", python, "--no-deps", "--no-index", "--reinstall", str(wheels[0])]
        uv.run(words, doing="cannot install the project itself")
    info = _info(prefix, name)
    rows, sources = _rows(info), _sources(tree)
    for row in rows:
        path = info.parent / row[0]
        source = _same_source(path, row[0], sources, tree, place)
        if source is not None:
            path.unlink()
            path.symlink_to(source)
            row[1:] = ["", ""]
    _write_rows(info, rows)
    return True


def _sources(tree: Path) -> dict[str, list[str]]:
    """Return the files of a tree by their names."""
    found: dict[str, list[str]] = {}
    for folder, folders, names in os.walk(tree):
        folders[:] = [name for name in folders if name not in (".git", "build")]
        for name in names:
            found.setdefault(name, []).append(os.path.relpath(os.path.join(folder, name), tree))
    return found


def _same_source(path: Path, row: str, sources: Mapping[str, list[str]], tree: Path, place: Path) -> Path | None:
    """Return the file of the project that an installed one was copied from: of that path or one that ends so, and the same."""
    if ".dist-info/" in row or row.startswith("../") or row.endswith(_NATIVE):
        return None
    for source in sorted(sources.get(os.path.basename(row), ()), key=len):
        if source == row or source.endswith(f"/{row}"):
            with suppress(OSError):
                content = path.read_bytes()
                if content == (tree / source).read_bytes() and content == (place / source).read_bytes():
                    return place / source
    return None


def _info(prefix: Path, name: str) -> Path:
    """Return the folder of an installed distribution's metadata. Raises BuildError."""
    for path in site_packages(prefix).glob("*.dist-info"):
        if canonicalize_name(path.name.removesuffix(".dist-info").partition("-")[0]) == name:
            return path
    raise BuildError(f"the project was to be {name}, and installs as another; its name has changed", hint="ozrepro lock")


def _rows(info: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO((info / "RECORD").read_text(encoding="utf-8"))))


def _write_rows(info: Path, rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    _write(info / "RECORD", text.getvalue().encode())


def _write(path: Path, content: bytes) -> None:
    """Write a file anew: it may be a link to one of uv's cache."""
    path.unlink()
    path.write_bytes(content)


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
