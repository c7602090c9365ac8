"""The OzSTAR-shaped tree: lower-case names, no default versions, core -> compiler -> MPI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.fake_cluster import flavour

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TOOLCHAIN = "foss-2022a"
GCC, OTHER_GCC, OPENMPI, HDF5 = "gcc/11.3.0", "gcc/12.2.0", "openmpi/4.1.4", "hdf5/1.12.2"
INTEL, FOSS = "intel-compilers/2022.1.0", "foss/2022a"


def quote(text: str) -> str:
    """Write a text as a Lua string that any Lua reads back byte for byte."""
    plain = set(range(32, 127)) - set(b'"\\')
    return (
        '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03d}" for byte in text.encode("utf-8", "surrogateescape")) + '"'
    )


def write(tree: Path, name: str, lines: Iterable[str]) -> None:
    """Write a modulefile into a tree."""
    path = tree / f"{name}.lua"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def easybuild_lines(
    name: str, root: Path, body: Iterable[str] = (), packages: Mapping[str, str] | None = None, about: str = ""
) -> list[str]:
    """Return a modulefile's lines in the order and words of EasyBuild's own."""
    title, version = name.split("/")
    shout = title.upper().replace("-", "MIN")
    listed = sorted((packages or {}).items(), key=lambda item: item[0].lower())
    lines = [f"help([==[\n\nDescription\n===========\n{about or title}\n]==])", f"whatis([==[Description: {about or title}]==])"]
    if listed:
        lines.append(f"whatis([==[Extensions: {', '.join(f'{key}-{value}' for key, value in listed)}]==])")
    lines += [f'local root = "{root}"', f'conflict("{title}")']
    if listed:
        lines.append(f'extensions("{",".join(f"{key}/{value}" for key, value in listed)}")')
    lines += body
    lines += [f'setenv("EBROOT{shout}", root)', f'setenv("EBVERSION{shout}", "{version}")']
    lines.append(f'setenv("EBDEVEL{shout}", pathJoin(root, "easybuild", "{title}-{version}-easybuild-devel"))')
    if listed:
        lines.append(f'setenv("EBEXTSLIST{shout}", "{",".join(f"{key}-{value}" for key, value in listed)}")')
    return lines


def prepend(variable: str, folder: str) -> str:
    """Return the line that EasyBuild writes for a folder below the module's root."""
    return f'prepend_path("{variable}", pathJoin(root, "{folder}"))'


class Apps:
    """The site's applications: modulefiles in one folder, software in another, as on OzSTAR."""

    def __init__(self, prefix: Path) -> None:
        self.trees = prefix / "apps" / "modulefiles"
        self.software = prefix / "apps" / "software"

    def add(
        self, tree: str, name: str, body: Iterable[str] = (), packages: Mapping[str, str] | None = None, about: str = ""
    ) -> Path:
        """Write a module and make the folder of its software."""
        root = self.software / name
        (root / "bin").mkdir(parents=True, exist_ok=True)
        write(self.trees / tree, name, easybuild_lines(name, root, body, packages, about))
        return root

    def compilers(self) -> None:
        """Two GCCs of one name, a compiler of the same family, and the toolchain that loads the first."""
        for name in (GCC, OTHER_GCC, INTEL):
            below = self.trees / "compiler" / name
            below.mkdir(parents=True)
            paths = [prepend("CPATH", "include"), prepend("LD_LIBRARY_PATH", "lib64"), prepend("PATH", "bin")]
            self.add("core", name, [f'prepend_path("MODULEPATH", "{below}")', 'family("compiler")', *paths])
        self.add(
            "core", FOSS, [f'depends_on("{GCC}")', f'depends_on("{OPENMPI}")'], about="GCC with Open MPI, FlexiBLAS and FFTW"
        )

    def mpi(self) -> None:
        """One Open MPI and one HDF5 of the same names under each GCC: two chains, other software behind them."""
        for gcc in (GCC, OTHER_GCC):
            below = f"mpi/{gcc}/{OPENMPI}"
            suffix = gcc.replace("/", "-").upper()
            self._variant(
                f"compiler/{gcc}",
                OPENMPI,
                f"GCC-{suffix}",
                [f'prepend_path("MODULEPATH", "{self.trees / below}")', 'family("mpi")'],
            )
            self._variant(below, HDF5, f"gompi-{suffix}", [])

    def _variant(self, tree: str, name: str, suffix: str, first: list[str]) -> None:
        root = self.software / f"{name}-{suffix.lower()}"
        (root / "bin").mkdir(parents=True)
        paths = [
            prepend(variable, folder) for variable, folder in (("CPATH", "include"), ("LD_LIBRARY_PATH", "lib"), ("PATH", "bin"))
        ]
        write(self.trees / tree, name, easybuild_lines(name, root, [*first, *paths]))

    def pythons(self, version: str, packages: Mapping[str, Mapping[str, str]], folders: Mapping[str, Path]) -> dict[str, str]:
        """Python with packages and without, a bundle found by PYTHONPATH, one found by EBPYTHONPREFIXES; return their names."""
        compiler, below = f"compiler/{GCC}", f"mpi/{GCC}/{OPENMPI}"
        names = {"python": f"python/{version}", "python-bare": f"python/{version}-bare"}
        names["python-scientific"] = f"python-scientific/{version}-{TOOLCHAIN}"
        names["pyyaml"] = f"pyyaml/{packages['pyyaml']['pyyaml']}"
        paths = [
            prepend("CPATH", "include"),
            prepend("LD_LIBRARY_PATH", "lib"),
            prepend("LIBRARY_PATH", "lib"),
            prepend("PATH", "bin"),
        ]
        needs = f'depends_on("{names["python"]}")'
        search = prepend("PYTHONPATH", "easybuild/python")
        about = "Python is a programming language that lets you work more quickly"
        self.add(compiler, names["python"], [*paths, search], packages["python"], about)
        self.add(compiler, names["python-bare"], paths, None, about)
        self.add(compiler, names["pyyaml"], [needs, 'prepend_path("EBPYTHONPREFIXES", root)'], packages["pyyaml"])
        bundle = folders["python-scientific"].relative_to(self.software / names["python-scientific"])
        body = [needs, prepend("PATH", "bin"), prepend("PYTHONPATH", str(bundle))]
        self.add(
            below, names["python-scientific"], body, packages["python-scientific"], "Python packages for scientific software"
        )
        return names

    def libraries(self) -> None:
        """Two versions of a small real library."""
        for version in flavour.VERSIONS:
            folders = {"CPATH": "include", "LIBRARY_PATH": "lib", "LD_LIBRARY_PATH": "lib", "PKG_CONFIG_PATH": "lib/pkgconfig"}
            body = [prepend(variable, folder) for variable, folder in folders.items()]
            flavour.make_library(self.add(f"compiler/{GCC}", f"libflavour/{version}", body), version)

    def tools(self) -> None:
        """Make what lives outside the toolchain: conda, which is shell functions, and a door to the machine's Apptainer."""
        root = self.add("core", "conda/latest", ['source_sh("bash", pathJoin(root, "etc/profile.d/conda.sh"))'])
        script = root / "etc" / "profile.d" / "conda.sh"
        script.parent.mkdir(parents=True)
        script.write_text(_CONDA.format(root=root), encoding="utf-8")
        _program(root / "bin" / "conda", 'echo "conda: none is installed behind this module" >&2; exit 1')
        root = self.add("core", "apptainer/latest", [prepend("PATH", "bin"), 'setenv("APPTAINER_BINDPATH", "/fred,/apps")'])
        _program(root / "bin" / "apptainer", _APPTAINER)


# As conda's own script: functions that must run in the caller's shell.
_CONDA = """export CONDA_EXE='{root}/bin/conda'
export CONDA_SHLVL=0
export MAMBA_ROOT_PREFIX='{root}'
__conda_exe() {{
    "$CONDA_EXE" "$@"
}}
conda() {{
    case "${{1-}}" in
        activate|deactivate) export CONDA_DEFAULT_ENV="${{2-}}" ;;
        *) __conda_exe "$@" ;;
    esac
}}
mamba() {{
    conda "$@"
}}
"""
_APPTAINER = """for folder in /usr/local/bin /usr/bin; do
    if [ -x "$folder/apptainer" ]; then exec "$folder/apptainer" "$@"; fi
done
echo "apptainer: none is installed on this machine" >&2
exit 127"""
# EasyBuild's Python reads EBPYTHONPREFIXES in such a file, found through PYTHONPATH.
SITECUSTOMIZE = """import os, site, sys

for prefix in filter(None, os.environ.get("EBPYTHONPREFIXES", "").split(os.pathsep)):
    before = len(sys.path)
    site.addsitedir(os.path.join(prefix, "{folder}"))
    sys.path[:] = sys.path[:1] + sys.path[before:] + sys.path[1:before]
"""


def _program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
