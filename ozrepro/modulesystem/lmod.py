"""Finds Lmod and calls it, without a shell function, with flags that make its answers depend on the modules alone."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ozrepro import process
from ozrepro.modulesystem import ModuleError, Pitfall, Tool, refusal_hint
from ozrepro.modulesystem.bookkeeping import module_table
from ozrepro.modulesystem.index import Index, read_index
from ozrepro.modulesystem.lmod_output import read
from ozrepro.modulesystem.paths import LMOD, LMOD_8_7_22, Arithmetic
from ozrepro.modulesystem.saved import FOLDERS, lmod_names, text_of
from ozrepro.modulesystem.texts import Text, read_lua, read_tcl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ozrepro.modulesystem.reading import Reading

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
    "LMOD_DUPLICATE_PATHS": "no",  # with duplicates nothing is counted, and the counts tell which variables are paths
    "LMOD_TMOD_PATH_RULE": "no",  # an entry that is put in front goes there, also where it stood behind
}
"""The flags of every call (facts measured on 8.6, 8.7 and 9.2; EasyBuild sets a like set in its tools/modules.py)."""

SITE_VARIABLES = (
    *(
        "LMOD_PACKAGE_PATH",
        "LMOD_SITEPACKAGE_LOCATION",
        "SITE_PACKAGE_ROOT",
    ),  # where SitePackage.lua is, whose hooks run in each load
    *("LMOD_CONFIG_DIR", "LMOD_RC", "LMOD_ROOT"),  # lmod_config.lua, properties, and the folder that rc files are looked for in
    *("LMOD_MODULERC", "LMOD_MODULERCFILE", "MODULERCFILE"),  # the site's aliases, defaults and hidden modules
    *("LMOD_ADMIN_FILE", "LMOD_SITE_MSG_FILE"),  # what is said on a load
    *("LMOD_SITE_NAME", "LMOD_SYSTEM_NAME", "LMOD_SYSHOST"),  # names of variables that family() sets, and what modulefiles ask
    *("LMOD_AVAIL_EXTENSIONS", "LMOD_ALLOW_TCL_MFILES", "LMOD_MAXDEPTH", "LMOD_FILE_IGNORE_PATTERNS"),  # what is a module
    *("LMOD_EXACT_MATCH", "LMOD_TMOD_FIND_FIRST"),  # which version a name stands for
    *("LMOD_PREPEND_BLOCK", "LMOD_QUARANTINE_VARS"),  # in which order one line's entries are put, which variables are never set
    *("LMOD_TCLSH", "LMOD_FAST_TCL_INTERP", "LMOD_LD_LIBRARY_PATH", "LMOD_LD_PRELOAD"),  # how Tcl modulefiles are read
    "LMOD_ALLOW_ROOT_USE",
)
"""The variables that make a site's Lmod what it is, whoever calls it. No user's: no home, cache or collections."""

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

_SWAP = re.compile(
    r"Your site prevents the automatic swapping.*?\bmodule swap (\S+) (\S+)"
    r"(?:.*?LMOD_DISABLE_SAME_NAME_AUTOSWAP.*?autoswapping\.)?",
    re.DOTALL,
)
"""What Lmod says where two versions of one module meet. No site prevents it but FLAGS, and its advice is for a prompt."""


_INACTIVE = re.compile(r'\bfullName = "((?:[^"\\]|\\.)*)",(?:(?!fullName = ).)*?\bstatus = "inactive"', re.DOTALL)
_SHOWN = 600
_YES = ("1", "yes", "y", "true", "on")


@dataclass(frozen=True, slots=True)
class Lmod:
    """Lmod's command."""

    command: str
    kind: ClassVar[str] = "lmod"
    title: ClassVar[str] = "Lmod"
    oldest: ClassVar[tuple[int, ...]] = (8, 6)
    endings: ClassVar[tuple[str, ...]] = ("", ".lua")
    site: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The caller's SITE_VARIABLES."""

    @property
    def identity(self) -> str:
        """What its answers depend on besides the modules: the command, the site's variables, and the rc files that they name."""
        names = ("LMOD_MODULERC", "LMOD_MODULERCFILE", "MODULERCFILE")
        files = [path for name in names for path in self.site.get(name, "").split(":") if path]
        parts = [self.command, *(f"{name}={value}" for name, value in sorted(self.site.items()))]
        return "\0".join((*parts, *map(_stamp, files)))

    def version(self) -> str:
        """Return Lmod's version, from the file beside the command or from its own words. Raises ModuleError."""
        with suppress(OSError):
            text = Path(self.command).with_name("Version.lua").read_text(encoding="utf-8", errors="replace")
            if found := re.search(r'return\s+"(\d+(?:\.\d+)+)"', text):
                return found[1]
        done = process.run([self.command, "bash", "--version"], env=self._clean(), timeout=60)
        found = re.search(r"Version\s+(\d+(?:\.\d+)+)", done.errors + done.output)
        if found is None:
            raise ModuleError("does not answer with a version: is it Lmod?", where=self.command, hint="check LMOD_CMD")
        return found[1]

    def given(self, variables: Mapping[str, str]) -> Lmod:
        """Return the same Lmod, called with further variables of the site."""
        return replace(self, site={**self.site, **variables})

    def _clean(self) -> dict[str, str]:
        return {**self.site, **FLAGS, "PATH": process.CLEAN_PATH, "HOME": "/nonexistent"}

    def index(self, modulepath: Sequence[str]) -> Index:
        """Return every module below these directories, from one `spider -o spider-json`. Raises ModuleError."""
        spider = os.path.join(os.path.dirname(self.command), "spider")
        words = [spider, "-o", "spider-json", ":".join(modulepath)]
        done = process.run(words, env=self._clean(), timeout=600)
        if done.status != 0 and not done.output.strip():
            # A modulefile or an rc file that ends Lmod leaves no word on standard output.
            said = clean_message(done.errors) or f"nothing, and ended with status {done.status}"
            what = f"Lmod {self.version()} cannot list the modules; a modulefile or an rc file ended it. It said:"
            hint = "where a variable is asked for, name it in [tool.ozrepro] site-variables; else report it to the site's staff"
            raise ModuleError("\n    ".join((what, *dict.fromkeys(said.splitlines()))), where=spider, hint=hint)
        try:
            return read_index(done.output, done.errors)
        except ValueError as error:
            raise ModuleError(str(error), where=spider, hint="module --ignore_cache spider") from error

    def is_available(self, name: str, variables: Mapping[str, str]) -> bool:
        """Say whether the module can be loaded now; asks no other tree, unlike a load that fails (2 s on 4,200 files)."""
        return self._ask(("is-avail", name), variables).status == 0

    def load(self, names: Sequence[str], variables: Mapping[str, str]) -> Reading:
        """Return what loading the names does to `variables`, the whole environment of the call, and to a bash.

        A modulefile that warns is loaded, although Lmod up to 8.7.32 then ends with status 1; one that fails loads nothing at
        all. Raises ModuleError with Lmod's own message when it fails, and with what it printed when that cannot be read.
        """
        done = self._ask(("load", *names), variables)
        found = read(done.output, done.errors)
        there = found.values.get("LOADEDMODULES", "").split(":")
        if done.status != 0 and not set(names).issubset(there):
            raise _cannot_load(names, done.errors)
        if not found.values:
            said = (done.errors.strip() or done.output.strip() or "nothing")[-_SHOWN:]
            lines = (f"Lmod {self.version()} does not say what loading {' '.join(names)} does; it printed:", *said.splitlines())
            raise ModuleError("\n    ".join(lines), where=self.command, hint=f"module load {' '.join(names)}")
        return replace(found, messages=clean_message(found.messages))

    def read_text(self, path: str, content: str) -> Text:
        """Return what a file in Lua reads, by its ending, or one in Tcl."""
        return read_lua(content) if path.endswith(".lua") else read_tcl(content)

    def _ask(self, words: Sequence[str], variables: Mapping[str, str]) -> process.Finished:
        """Call Lmod as a user's bash does."""
        return process.run([self.command, "bash", *words], env={**variables, **self.site, **FLAGS}, timeout=600)

    def base_modulepath(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """Return what Lmod noted before anything was loaded, else MODULEPATH, else what the profile scripts set.

        A shell with modules loaded has their directories in MODULEPATH too. Lmod keeps the base in its module table, but not one
        that `module use` made: then it is asked for the MODULEPATH without the loaded modules.
        """
        found = re.search(r'systemBaseMPATH = "((?:[^"\\]|\\.)*)"', module_table(environ))
        path = found[1] if found else environ.get("MODULEPATH", "")
        if path and not found and environ.get("LOADEDMODULES"):
            path = read(self._ask(("--force", "purge"), environ).output).values.get("MODULEPATH", path)
        if not path:
            path = ":".join(match[1] for text in _profiles(environ) for match in _PATHS.finditer(text))
        return tuple(folder for folder in dict.fromkeys(path.split(":")) if folder)

    def rc_files(self) -> list[str]:
        """Return the files with the site's aliases, defaults and hidden modules."""
        return [path for name in ("LMOD_MODULERC", "LMOD_MODULERCFILE") for path in self.site.get(name, "").split(":") if path]

    def hook_files(self) -> list[str]:
        """Return the places of SitePackage.lua and lmod_config.lua."""
        folders = [
            *self.site.get("LMOD_PACKAGE_PATH", "").split(":"),
            self.site.get("LMOD_CONFIG_DIR", "/etc/lmod"),
            os.path.dirname(self.command),
        ]
        return [os.path.join(folder, name) for folder in folders if folder for name in ("SitePackage.lua", "lmod_config.lua")]

    def inactive(self, variables: Mapping[str, str]) -> frozenset[str]:
        """Return the modules that Lmod's table calls inactive."""
        return frozenset(_INACTIVE.findall(module_table(variables)))

    def collection(self, name: str, environ: Mapping[str, str], modulepath: Sequence[str]) -> tuple[str, ...]:
        """Return the exact names, which the collection's file has."""
        home, system = environ.get("HOME", ""), environ.get("LMOD_SYSTEM_NAME", "")
        folders = [os.path.join(home, folder) for folder in FOLDERS[:2]]
        return lmod_names(text_of(name, folders, f".{system}" if system else ""))

    def init_file(self, shell: str) -> str:
        """Return the file in the folder `init` beside that of the program."""
        return os.path.join(os.path.dirname(os.path.dirname(self.command)), "init", shell)

    def pitfalls(self, environ: Mapping[str, str]) -> list[Pitfall]:
        """Say whether loads are answered from a cache."""
        if environ.get("LMOD_CACHED_LOADS", "").lower() not in _YES:
            return []
        why = "`module load` then answers from a cache, which may name modules that are gone; ozrepro asks without it."
        return [Pitfall("LMOD_CACHED_LOADS is on", why, "module --ignore_cache load NAME")]


_PROCESSING = "While processing the following module(s)"
"""What Lmod prints where a modulefile was read, and refused."""

_ABSENT = re.compile(r"unknown|cannot be loaded|without these module|Cannot load module|can only have one", re.IGNORECASE)
"""What Lmod says where another module is missing, or one in its place, which `spider` knows (Lmod's messageDir/en.lua)."""


def _cannot_load(names: Sequence[str], errors: str) -> ModuleError:
    said = clean_message(errors) or "Lmod printed nothing"
    if twice := _SWAP.search(said):
        what = f"{twice[1]} and {twice[2]} cannot be loaded together"
        lines = f"{said[: twice.start()]}{what}{said[twice.end() :]}".splitlines()
        hint = "keep one of them in the spec, and no module that loads the other"
        return ModuleError("\n    ".join((f"cannot load {' '.join(names)}:", *lines)), hint=hint)
    named = [name for name in names if re.search(rf"(?<![\w./-]){re.escape(name)}(?![\w./-])", said)]
    refused = _PROCESSING in said and not _ABSENT.search(said)
    hint = refusal_hint(named or names) if refused else f"ozrepro spider {(named or list(names))[-1]}"
    return ModuleError("\n    ".join((f"cannot load {' '.join(names)}:", *said.splitlines())), hint=hint)


def _stamp(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return f"{path}: none"
    return f"{path}: {found.st_mtime_ns} {found.st_size}"


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
            return Lmod(command, site={name: environ[name] for name in SITE_VARIABLES if environ.get(name)})
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


def _arithmetic(version: str) -> Arithmetic:
    numbers = tuple(int(part) for part in re.findall(r"\d{1,6}", version)[:3])
    return LMOD_8_7_22 if numbers >= (8, 7, 22) else LMOD


TOOL = Tool(Lmod.title, find_lmod, _arithmetic)
