"""The channel's hand-made packages: each shows one thing that a conda environment must get right."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from tests.fake_cluster import SiteUnavailable
from tests.fake_cluster.condapackage import MOMENT, PLACEHOLDER, Package
from tests.fake_cluster.python import run

ODD = "a \"quoted\" $HOME `tick` \\ back; semi & 'single' *? é"
"""The value of ACTIVATES_ODD."""
LINES = "first line\nsecond line"
"""The value of ACTIVATES_LINES."""
NEW = MOMENT + 3 * 365 * 24 * 3600
"""The date of what appeared later, at the end of 2024."""
MPI_LIBRARY = {"openmpi": "libmpi.so.40", "mpich": "libmpi.so.12"}
MPI_VERSION = {"openmpi": "4.1.4", "mpich": "4.0.2"}

_TOOL = '''"""A noarch Python package with an entry point."""

import json
import sys

VERSION = {version!r}


def main():
    print(json.dumps({{"version": VERSION, "words": sys.argv[1:], "prefix": sys.prefix}}))
'''
_ACTIVATE = """export ACTIVATES_HOME="$CONDA_PREFIX/share/activates"
export PATH="$CONDA_PREFIX/share/activates/bin:$PATH"
export ACTIVATES_ODD=%s
export ACTIVATES_LINES=%s
export ACTIVATES_ORDER="1"
"""
_DEACTIVATE = """unset ACTIVATES_HOME ACTIVATES_ODD ACTIVATES_LINES ACTIVATES_ORDER
PATH="${PATH//"$CONDA_PREFIX/share/activates/bin:"/}"
"""
_BINARY = """#include <stdio.h>

/* volatile: a compiler that knew the length would not see the shorter prefix */
static const char *volatile prefix = "%s";
static const char *volatile data = "%s/share/binary-prefix/data.txt";

int main(void) {
    char line[80];
    FILE *file = fopen(data, "r");
    if (!file || !fgets(line, sizeof line, file)) return 1;
    printf("%%s\\n%%s", prefix, line);
    return 0;
}
"""
_USER = """#include <stdio.h>

const char *mpi_library(void);

int main(void) { puts(mpi_library()); return 0; }
"""


def packages(many: int) -> list[Package]:
    """Return all of the main channel's; `many` is the number of files of `many-files`."""
    tools = [noarch_tool("1.0"), noarch_tool("1.1", moment=NEW)]
    return [*_virtual(), *_mpi(), activates(), *_prefixes(), *tools, many_files(many)]


def others() -> list[Package]:
    """Return the second channel's: another build and a newer version of what the first has, and one of its own."""
    return [
        noarch_tool("1.0", build="py_5", number=5),
        noarch_tool("2.0", moment=NEW),
        _simple("only-other", noarch="generic", depends=("noarch-tool",)),
    ]


def noarch_tool(version: str, *, build: str = "py_0", number: int = 0, moment: int = MOMENT, suffix: str = ".conda") -> Package:
    """Return a Python package for every platform, with a program that an installer must write."""
    info = f"site-packages/noarch_tool-{version}.dist-info"
    files = {
        "site-packages/noarch_tool.py": _TOOL.format(version=version),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: noarch-tool\nVersion: {version}\n",
        f"{info}/INSTALLER": "conda\n",
        f"{info}/RECORD": f"noarch_tool.py,,\n{info[14:]}/METADATA,,\n{info[14:]}/INSTALLER,,\n{info[14:]}/RECORD,,\n",
        f"{info}/entry_points.txt": "[console_scripts]\nnoarch-tool = noarch_tool:main\n",
    }
    return Package(
        "noarch-tool",
        version,
        build,
        number,
        depends=("python >=3.8",),
        noarch="python",
        entry_points=("noarch-tool = noarch_tool:main",),
        files=files,
        moment=moment,
        suffix=suffix,
    )


def many_files(count: int, *, version: str = "1.0", suffix: str = ".tar.bz2") -> Package:
    """Return a package of so many small files, a hundred in a folder, no two alike."""
    files = {f"share/many-files/{number // 100:04}/{number:06}.txt": f"{number:06}\n" * 12 for number in range(count)}
    return Package("many-files", version, noarch="generic", files=files, suffix=suffix)


def bad_hash(content: str) -> Package:
    """Return the package whose archive is exchanged after the index was made."""
    return Package("bad-hash", noarch="generic", files={"share/bad-hash/content.txt": content})


def activates() -> Package:
    """Return the package whose scripts run when its environment is activated."""
    quoted = ["'" + text.replace("'", "'\\''") + "'" for text in (ODD, LINES)]
    folder = "etc/conda"
    files = {
        f"{folder}/activate.d/10-activates.sh": _ACTIVATE % tuple(quoted),
        f"{folder}/activate.d/20-activates.sh": 'export ACTIVATES_ORDER="${ACTIVATES_ORDER}2"\n',
        f"{folder}/deactivate.d/10-activates.sh": _DEACTIVATE,
        f"{folder}/env_vars.d/activates.json": json.dumps({"ACTIVATES_JSON": "from env_vars.d"}) + "\n",
        "share/activates/bin/activates-hello": '#!/bin/sh\necho "$ACTIVATES_HOME"\n',
    }
    return Package("activates", noarch="generic", files=files)


def compile_mpi(folder: Path, flavour: str, says: str) -> Path:
    """Compile a stand-in for an MPI library that only says whose it is, and return it: also for a module's lib folder."""
    return _compile(f'const char *mpi_library(void) {{ return "{says}"; }}\n', folder / MPI_LIBRARY[flavour], "-shared", "-fPIC")


def _simple(name: str, build: str = "h0_0", **more: object) -> Package:
    """Return a package that holds one file, which says what build it is."""
    files = {f"share/{name}/build.txt": f"{build}\n"}
    return Package(name, build=build, files=files, **more)  # type: ignore[arg-type]


def _virtual() -> list[Package]:
    """Return packages that ask for something of the machine."""
    return [
        _simple("gpu-thing", "cpu_h0_0"),
        _simple("gpu-thing", "cuda12_h0_1", number=1, depends=("__cuda >=12",)),
        _simple("needs-cuda", "cuda12_h0_0", depends=("__cuda >=12,<13",)),
        _simple("needs-glibc", depends=("__glibc >=2.17",)),
        _simple("needs-new-glibc", depends=("__glibc >=9",)),
    ]


def _mpi() -> list[Package]:
    """Return two MPIs, each as a package and as a promise that the machine has it, and a program for either."""
    found = []
    for number, flavour in enumerate(("mpich", "openmpi")):
        version = MPI_VERSION[flavour]
        mutex = f"mpi 1.0 {flavour}"
        below = f"{int(version[0]) + 1}.0a0"
        found += [
            Package("mpi", build=flavour, noarch="generic"),
            Package(flavour, version, "external_0", depends=(mutex,)),
            Package(flavour, version, "h1_100", 100, depends=(mutex,), files=_compiled(flavour), suffix=".tar.bz2"),
            Package(
                "mpi-user",
                build=f"mpi_{flavour}_h0_{number}",
                number=number,
                depends=(mutex, f"{flavour} >={version},<{below}"),
                files={"bin/mpi-user": _compiled(flavour, program=True)["bin/mpi-user"]},
            ),
        ]
    return found


def _compiled(flavour: str, *, program: bool = False) -> dict[str, bytes]:
    """Return an MPI's library, or the program that is linked to it and finds it beside itself or by LD_LIBRARY_PATH."""
    with tempfile.TemporaryDirectory() as scratch:
        library = compile_mpi(Path(scratch), flavour, f"{flavour} of conda")
        if not program:
            return {f"lib/{library.name}": library.read_bytes()}
        path = _compile(_USER, Path(scratch) / "mpi-user", str(library), "-Wl,-rpath,$ORIGIN/../lib,--enable-new-dtags")
        return {"bin/mpi-user": path.read_bytes()}


def _prefixes() -> list[Package]:
    """Return packages whose files name the prefix: a text, a script's first line, a compiled program."""
    with tempfile.TemporaryDirectory() as scratch:
        path = _compile(_BINARY % (PLACEHOLDER, PLACEHOLDER), Path(scratch) / "binary-prefix")
        binary: dict[str, str | bytes] = {"bin/binary-prefix": path.read_bytes(), "share/binary-prefix/data.txt": "found\n"}
    text: dict[str, str | bytes] = {
        "share/text-prefix/where.txt": f"{PLACEHOLDER}\n{PLACEHOLDER}/share twice: {PLACEHOLDER}\n",
        "bin/text-prefix": f'#!/bin/sh\nexec cat "{PLACEHOLDER}/share/text-prefix/where.txt"\n',
        "bin/text-prefix-python": f"#!{PLACEHOLDER}/bin/python\nimport sys\n\nprint(sys.prefix)\n",
    }
    return [
        Package("text-prefix", files=text, depends=("python",), suffix=".tar.bz2"),
        Package("binary-prefix", files=binary),
    ]


def _compile(source: str, target: Path, *flags: str) -> Path:
    """Compile a C program or library."""
    if not shutil.which("gcc"):
        raise SiteUnavailable("not installed: gcc")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        code = Path(scratch) / "source.c"
        code.write_text(source, encoding="utf-8")
        named = [f"-Wl,-soname,{target.name}"] if "-shared" in flags else []
        run(["gcc", "-O1", "-o", str(target), str(code), *flags, *named], f"compiling {target.name}")
    return target
