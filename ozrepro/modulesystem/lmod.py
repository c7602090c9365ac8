"""Finds Lmod and calls it, without a shell function, with flags that make its answers depend on the modules alone."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.errors import OzreproError
from ozrepro.modulesystem.index import Index, read_index
from ozrepro.modulesystem.reading import Reading, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FLAGS = {
    "LMOD_EXTENDED_DEFAULT": "no",  # python/3.10.4 must never be answered by 3.10.4-bare
    "LMOD_AUTO_SWAP": "no",  # a conflict is an error instead of a silent replacement
    "LMOD_DISABLE_SAME_NAME_AUTOSWAP": "yes",
    "LMOD_DISABLE_NAME_AUTOSWAP": "yes",  # the name of the same since 9.2.6
    "LMOD_REDIRECT": "no",
    "LMOD_PAGER": "none",
    "LMOD_COLORIZE": "no",
    "LMOD_TERM_WIDTH": "120",  # a fixed width saves two forks
    "LMOD_TERSE_DECORATIONS": "no",
    "LMOD_IGNORE_CACHE": "yes",
}
"""The flags of every call (facts measured on 8.6, 8.7 and 9.2; EasyBuild sets a like set in its tools/modules.py)."""

_PLACES = ("/usr/share/lmod/lmod/libexec/lmod", "/apps/lmod/lmod/libexec/lmod", "/opt/apps/lmod/lmod/libexec/lmod")
_PROFILES = (
    "/etc/profile.d/lmod.sh",
    "/etc/profile.d/z00_lmod.sh",
    "/etc/profile.d/modules.sh",
    "/etc/profile.d/00-modulepath.sh",
)
_COMMAND = re.compile(r"^\s*(?:export\s+)?LMOD_CMD=[\"']?(/[^\"'\s;]+)", re.MULTILINE)
_PACKAGE = re.compile(r"^\s*(?:export\s+)?LMOD_PKG=[\"']?(/[^\"'\s;]+)", re.MULTILINE)
_PATHS = re.compile(r"MODULEPATH=[\"']?(?:\$\([^)]*addto[^)]*MODULEPATH\s+)?(/[^\"'\s;)$]+)")


class ModuleError(OzreproError):
    """A module cannot be found or loaded as asked."""


@dataclass(frozen=True, slots=True)
class Lmod:
    """Lmod's command."""

    command: str
    kind: str = "lmod"

    def version(self) -> str:
        """Return Lmod's version. Raises ModuleError where it does not answer."""
        done = process.run([self.command, "bash", "--version"], env={**FLAGS, "PATH": process.CLEAN_PATH}, timeout=60)
        found = re.search(r"Version\s+(\d+(?:\.\d+)+)", done.errors + done.output)
        if found is None:
            raise ModuleError("does not answer with a version: is it Lmod?", where=self.command, hint="check LMOD_CMD")
        return found[1]

    def index(self, modulepath: Sequence[str]) -> Index:
        """Return every module below these directories, from one `spider -o spider-json`. Raises ModuleError."""
        spider = os.path.join(os.path.dirname(self.command), "spider")
        words = [spider, "-o", "spider-json", ":".join(modulepath)]
        done = process.run(words, env={**FLAGS, "PATH": process.CLEAN_PATH, "HOME": "/nonexistent"}, timeout=600)
        return read_index(done.output, done.errors)

    def is_available(self, name: str, variables: Mapping[str, str]) -> bool:
        """Say whether the module can be loaded now; asks no other tree, unlike a load that fails (2 s on 4,200 files)."""
        done = process.run([self.command, "python", "is-avail", name], env={**variables, **FLAGS}, timeout=600)
        return done.status == 0 and read(done.output).status is not False

    def load(self, names: Sequence[str], variables: Mapping[str, str]) -> Reading:
        """Return what loading the names does to `variables`, the whole environment of the call.

        Raises ModuleError with Lmod's own message when it fails or when it crashed and printed no status.
        """
        done = process.run([self.command, "python", "load", *names], env={**variables, **FLAGS}, timeout=600)
        found = read(done.output, done.errors)
        if done.status != 0 or found.status is not True:
            said = clean_message(done.errors) or "Lmod printed nothing"
            raise ModuleError(
                "\n    ".join((f"cannot load {' '.join(names)}:", *said.splitlines())), hint=f"ozrepro spider {names[-1]}"
            )
        return found


def clean_message(text: str) -> str:
    """Return what Lmod said without blank lines and its standing advice."""
    lines = [line.strip() for line in text.splitlines()]
    drop = (
        "Please check the spelling",
        "It is also possible your cache",
        "$ module --ignore",
        "Also make sure",
        'the string "#%Module"',
    )
    return "\n".join(line for line in lines if line and not line.startswith(drop))


def find_lmod(environ: Mapping[str, str]) -> Lmod | None:
    """Return Lmod, or None where this machine has none.

    Looks at LMOD_CMD, LMOD_DIR, LMOD_PKG, the file in BASH_ENV, the profile scripts, and the usual places. LMOD_CMD must be a
    program: some sites set it to `:` on compute nodes to switch Lmod off.
    """
    for command in _commands(environ):
        if os.path.isabs(command) and os.path.isfile(command) and os.access(command, os.X_OK):
            return Lmod(command)
    return None


def _commands(environ: Mapping[str, str]) -> Iterator[str]:
    if environ.get("LMOD_CMD"):
        yield environ["LMOD_CMD"]
    if environ.get("LMOD_DIR"):
        yield os.path.join(environ["LMOD_DIR"], "lmod")
    if environ.get("LMOD_PKG"):
        yield os.path.join(environ["LMOD_PKG"], "libexec", "lmod")
    for text in _profiles(environ):
        for found in _COMMAND.finditer(text):
            yield found[1]
        for found in _PACKAGE.finditer(text):
            yield os.path.join(found[1], "libexec", "lmod")
    if environ.get("LMOD_CMD") is None:
        yield from _PLACES


def _profiles(environ: Mapping[str, str]) -> Iterator[str]:
    for name in (environ.get("BASH_ENV", ""), *_PROFILES):
        try:
            yield Path(name).read_text(encoding="utf-8", errors="replace") if name else ""
        except OSError:
            continue


def base_modulepath(environ: Mapping[str, str], setting: Sequence[str]) -> tuple[str, ...]:
    """Return the site's own module directories: a setting, what Lmod noted before anything was loaded, or MODULEPATH.

    A shell with modules loaded has their directories in MODULEPATH too; Lmod keeps the base in its module table.
    """
    if setting:
        return tuple(setting)
    noted = module_table(environ)
    found = re.search(r'systemBaseMPATH = "((?:[^"\\]|\\.)*)"', noted)
    path = found[1] if found else environ.get("MODULEPATH", "")
    if not path:
        path = ":".join(match[1] for text in _profiles(environ) for match in _PATHS.finditer(text))
    return tuple(folder for folder in dict.fromkeys(path.split(":")) if folder)


def module_table(variables: Mapping[str, str]) -> str:
    """Return Lmod's own table of loaded modules, as Lua text, "" where nothing is loaded."""
    import base64
    import binascii

    size = variables.get("_ModuleTable_Sz_", "")
    if not size.isdigit():
        return ""
    text = "".join(variables.get(f"_ModuleTable{number:03}_", "") for number in range(1, int(size) + 1))
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return ""
