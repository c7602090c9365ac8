"""libflavour: a real shared library in two versions, and a Python package whose extension compiles against either."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from tests.fake_cluster.python import run

VERSIONS = ("1.0", "2.0")


def make_library(prefix: Path, version: str) -> None:
    """Compile one version of the library: a name and a symbol of its own, so that what was linked can be seen."""
    own = f"flavour_{version.replace('.', '_')}"
    soname = f"libflavour.so.{version.split('.', maxsplit=1)[0]}"
    for folder in ("include", "lib/pkgconfig"):
        (prefix / folder).mkdir(parents=True)
    header = f'#define FLAVOUR_VERSION "{version}"\n#define FLAVOUR_OWN {own}\nconst char *{own}(void);\nconst char *flavour_version(void);\n'
    (prefix / "include" / "flavour.h").write_text(header, encoding="utf-8")
    source = prefix / "flavour.c"
    body = f"const char *{own}(void) {{ return FLAVOUR_VERSION; }}\nconst char *flavour_version(void) {{ return {own}(); }}\n"
    source.write_text(f'#include "include/flavour.h"\n{body}', encoding="utf-8")
    library = prefix / "lib" / soname
    run(["gcc", "-shared", "-fPIC", "-O1", f"-Wl,-soname,{soname}", "-o", str(library), str(source)], "compiling libflavour")
    (prefix / "lib" / "libflavour.so").symlink_to(soname)
    pkgconfig = (
        f"Name: flavour\nDescription: a flavour\nVersion: {version}\nLibs: -L{prefix}/lib -lflavour\nCflags: -I{prefix}/include\n"
    )
    (prefix / "lib" / "pkgconfig" / "flavour.pc").write_text(pkgconfig, encoding="utf-8")


_SETUP = """
from setuptools import Extension, setup

setup(ext_modules=[Extension("flavoured", ["flavoured.c"], libraries=["flavour"])])
"""
_EXTENSION = """
#include <Python.h>
#include <flavour.h>

static PyObject *built(PyObject *self, PyObject *none) { return PyUnicode_FromString(FLAVOUR_VERSION); }
static PyObject *linked(PyObject *self, PyObject *none) { return PyUnicode_FromString(FLAVOUR_OWN()); }
static PyMethodDef methods[] = {
    {"built", built, METH_NOARGS, "The version of the header."},
    {"linked", linked, METH_NOARGS, "The version of the library that is loaded."},
    {NULL, NULL, 0, NULL}
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "flavoured", NULL, -1, methods};
PyMODINIT_FUNC PyInit_flavoured(void) { return PyModule_Create(&module); }
"""


def make_sdist(
    folder: Path, name: str = "flavoured", version: str = "1.0", *, requires: tuple[str, ...] = ("setuptools",)
) -> Path:
    """Write an sdist that compiles against libflavour, whichever a module offers through CPATH and LIBRARY_PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    system = f'[build-system]\nrequires = {list(requires)!r}\nbuild-backend = "setuptools.build_meta"\n'
    files = {
        "pyproject.toml": f'{system}\n[project]\nname = "{name}"\nversion = "{version}"\n',
        "setup.py": _SETUP,
        "flavoured.c": _EXTENSION,
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for inner, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{inner}")
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return path
