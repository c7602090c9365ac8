"""Finds Environment Modules, the Tcl tool, and calls it without a shell, with flags that make its answers depend on modules."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ozrepro import process
from ozrepro.modulesystem import ModuleError, Pitfall, Tool, refusal_hint
from ozrepro.modulesystem.bookkeeping import is_bookkeeping
from ozrepro.modulesystem.paths import TCL
from ozrepro.modulesystem.saved import FOLDERS, exact, tcl_names, text_of
from ozrepro.modulesystem.texts import Text, read_tcl
from ozrepro.modulesystem.tmod_output import index_of, read, read_index, read_uses

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ozrepro.modulesystem.index import Index, IndexedModule
    from ozrepro.modulesystem.reading import Reading

FLAGS = {
    "MODULES_EXTENDED_DEFAULT": "0",  # python/3.10.4 must never be answered by 3.10.4-bare
    "MODULES_IMPLICIT_DEFAULT": "1",  # a modulefile may ask for `gcc`; a spec may not, which is checked with the index
    "MODULES_ADVANCED_VERSION_SPEC": "1",
    "MODULES_AUTO_HANDLING": "1",  # the default of 5.x: what a modulefile requires is loaded
    "MODULES_CONFLICT_UNLOAD": "0",  # a conflict is an error instead of a silent replacement
    "MODULES_PATH_ENTRY_REORDER": "0",
    "MODULES_ICASE": "never",
    "MODULES_SEARCH_MATCH": "starts_with",
    "MODULES_AVAIL_INDEPTH": "1",
    "MODULES_IGNORE_CACHE": "1",
    "MODULES_IGNORE_USER_RC": "1",
    "MODULES_REDIRECT_OUTPUT": "0",
    "MODULES_COLOR": "never",
    "MODULES_PAGER": "",
    "MODULES_TERM_WIDTH": "120",
    "MODULES_VERBOSITY": "normal",
}
"""The flags of every call (EasyBuild sets a like set in its tools/modules.py)."""

SITE_VARIABLES = (
    *("MODULES_SITECONFIG", "MODULERCFILE"),  # Tcl that runs in each call, and the site's aliases, defaults and hidden modules
    *("MODULES_MCOOKIE_CHECK", "MODULES_MCOOKIE_VERSION_CHECK", "MODULES_IMPLICIT_REQUIREMENT"),  # what is a module, and required
    *("MODULES_PROTECTED_ENVVARS", "MODULES_VARIANT_SHORTCUT", "MODULES_UNIQUE_NAME_LOADED", "MODULES_REQUIRE_VIA"),
)
"""The variables that make a site's Environment Modules what it is, whoever calls it. No user's."""

_PLACES = (
    "/usr/share/Modules/libexec/modulecmd.tcl",
    "/usr/lib/x86_64-linux-gnu/modulecmd.tcl",
    "/usr/lib/aarch64-linux-gnu/modulecmd.tcl",
    "/usr/local/Modules/libexec/modulecmd.tcl",
    "/opt/Modules/libexec/modulecmd.tcl",
)
_INTERPRETER = re.compile(r"#!\s*(/\S*tclsh\S*)\s*$")
_REFUSED = re.compile(r"Module evaluation aborted|Module ERROR: ")
"""What is printed where a modulefile was read and ended the load itself, by break, exit or an error."""
_RELEASE = re.compile(r"Modules Release (\d+(?:\.\d+)+)")
_SITECONFIG = re.compile(r"[{\s](/[^{}\s]*)/siteconfig\.tcl[}\s]")
_HOME = re.compile(r"\bhome \{MODULESHOME \{?(/[^{}\s]*)")
_USES = re.compile(rb"\bMODULEPATH\b|\bmodule\b[^\n]{0,40}\buse\b")
_USE_LINE = re.compile(r"^\s*module\s+use\s+(?:(?:--append|--prepend|-a|-p)\s+)?\{?(/[^{}\s;]+)", re.MULTILINE)
_MARK = "/ozrepro/mark"
_LONGEST_SEPARATOR = 4
_DEEPEST = 6
"""Levels of a hierarchy that are followed."""
_MOST = 2_000
"""Chains of modules that are followed."""
_HEAD = 40_000
"""Bytes of the program in which its configuration stands."""
_SHOWN = 600


@dataclass(frozen=True, slots=True)
class EnvironmentModules:
    """The command of Environment Modules: its script, which a tclsh runs."""

    command: str
    kind: ClassVar[str] = "tcl"
    title: ClassVar[str] = "Environment Modules"
    oldest: ClassVar[tuple[int, ...]] = (5, 2)
    endings: ClassVar[tuple[str, ...]] = ("",)
    site: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The caller's SITE_VARIABLES."""
    home: str = ""
    """The folder with its files for shells, as the caller's MODULESHOME says."""
    _known: dict[tuple[str, ...], dict[str, str | None]] = field(default_factory=dict, hash=False, compare=False, repr=False)

    @property
    def identity(self) -> str:
        """What its answers depend on besides the modules: the script, the site's variables, and the files that they name."""
        parts = [self.command, *(f"{name}={value}" for name, value in sorted(self.site.items()))]
        return "\0".join((*parts, *map(_stamp, (self.command, *self.rc_files(), *self.hook_files()))))

    def version(self) -> str:
        """Return its version, from its own words. Raises ModuleError."""
        done = self._ask(("-V",), self._clean())
        found = _RELEASE.search(done.errors + done.output)
        if found is None:
            hint = "check MODULES_CMD"
            raise ModuleError("does not answer with a version: is it Environment Modules?", where=self.command, hint=hint)
        return found[1]

    def given(self, variables: Mapping[str, str]) -> EnvironmentModules:
        """Return the same tool, called with further variables of the site."""
        return replace(self, site={**self.site, **variables})

    def _clean(self) -> dict[str, str]:
        return {"PATH": process.CLEAN_PATH, "HOME": "/nonexistent"}

    def _ask(self, words: Sequence[str], variables: Mapping[str, str]) -> process.Finished:
        """Call the script as a user's bash does."""
        command = [_interpreter(self.command), self.command, "bash", *words]
        return process.run(command, env={**variables, **self.site, **FLAGS}, timeout=600)

    def index(self, modulepath: Sequence[str]) -> Index:
        """Return every module below these directories and below those that modules lead to. Raises ModuleError.

        The tool knows no hierarchy before 5.7: a modulefile whose text may add directories is shown, which says what it adds.
        """
        found: dict[str, tuple[IndexedModule, set[tuple[str, ...]]]] = {}
        seen: dict[tuple[str, ...], tuple[dict[str, IndexedModule], dict[str, list[str]]]] = {}
        wanted: list[tuple[tuple[str, ...], tuple[str, ...]]] = [((), tuple(modulepath))]
        for chain, folders in wanted:
            if folders not in seen:
                listed = self._listed(folders)
                seen[folders] = listed, self._uses(listed)
            for file, module in seen[folders][0].items():
                found.setdefault(file, (module, set()))[1].add(chain)
            for name, more in seen[folders][1].items():
                below = tuple(folder for folder in more if folder not in modulepath)
                if below and name not in chain and len(chain) < _DEEPEST and len(wanted) < _MOST:
                    longer = (*chain, name)
                    wanted.append((longer, below))
        return index_of(found)

    def _listed(self, folders: Sequence[str]) -> dict[str, IndexedModule]:
        base = {**self._clean(), "MODULEPATH": ":".join(folders)}
        done = self._ask(("avail", "--json", "--all"), base)
        if "Invalid option '--all'" in done.errors:  # before 4.6, which shows all that is not hidden
            done = self._ask(("avail", "--json"), base)
        try:
            return read_index(done.errors if done.errors.strip() else done.output)
        except ValueError as error:
            raise ModuleError(str(error), where=self.command, hint="module avail --all") from error

    def _uses(self, modules: Mapping[str, IndexedModule]) -> dict[str, list[str]]:
        """Return the directories that modules add, by name."""
        asked = {file: module.name for file, module in modules.items() if _may_use(file)}
        if not asked:
            return {}
        done = self._ask(("show", *asked), self._clean())
        shown = read_uses(done.errors + "\n" + done.output)
        return {asked[file]: uses for file, uses in shown.items() if file in asked}

    def is_available(self, name: str, variables: Mapping[str, str]) -> bool:
        """Say whether the module can be loaded now."""
        done = self._ask(("is-avail", name), variables)
        return done.status == 0 and read(done.output)[1]

    def load(self, names: Sequence[str], variables: Mapping[str, str]) -> Reading:
        """Return what loading the names does to `variables`, the whole environment of the call, and to a bash.

        Raises ModuleError with the tool's own message when a load fails, and with what it printed when that cannot be read.
        """
        found = self._load_once(names, variables)
        return replace(found, paths=self._paths(tuple(names), variables, found))

    def read_text(self, path: str, content: str) -> Text:
        """Return what a file in Tcl reads."""
        return read_tcl(content)

    def _load_once(self, names: Sequence[str], variables: Mapping[str, str]) -> Reading:
        done = self._ask(("load", *names), variables)
        found, good = read(done.output, clean_message(done.errors), variables.get("HOME", ""))
        if done.status != 0 or not good:  # up to 5.4 only the last statement says that a load failed
            said = clean_message(done.errors) or f"{self.title} printed nothing"
            named = [name for name in names if name in said]
            hint = refusal_hint(named or names) if _REFUSED.search(said) else f"ozrepro spider {(named or list(names))[-1]}"
            raise ModuleError("\n    ".join((f"cannot load {' '.join(names)}:", *said.splitlines())), hint=hint)
        if not found.values.get("LOADEDMODULES"):
            said = (done.errors.strip() or done.output.strip() or "nothing")[-_SHOWN:]
            release = _RELEASE.search(self._ask(("-V",), self._clean()).errors)
            tool = f"{self.title} {release[1]}" if release else self.title
            lines = (f"{tool} does not say what loading {' '.join(names)} does; it printed:", *said.splitlines())
            raise ModuleError("\n    ".join(lines), where=self.command, hint=f"module load {' '.join(names)}")
        return found

    def _paths(self, names: tuple[str, ...], variables: Mapping[str, str], reading: Reading) -> dict[str, str]:
        """Return the path variables among those set, and their separators.

        The tool counts only what was put twice: a load with a mark in each variable shows which of them keep what they had.
        """
        known = self._known.setdefault(names, {})
        asked = [name for name in reading.values if not is_bookkeeping(name) and name not in known]
        groups = [asked, *([name] for name in asked)]
        for group in groups:
            unknown = [name for name in group if name not in known]
            if not unknown:
                continue
            try:
                marked = self._load_once(names, {**variables, **dict.fromkeys(unknown, _MARK)})
            except ModuleError:
                continue  # a modulefile reads one of them: each is then tried alone
            known.update((name, _separator(marked.values.get(name, ""), reading.values[name])) for name in unknown)
        return {"PATH": ":"} | {name: mark for name, mark in known.items() if mark is not None and name in reading.values}

    def base_modulepath(self, environ: Mapping[str, str]) -> tuple[str, ...]:
        """Return MODULEPATH without what loaded modules added, else what the site's own configuration sets.

        Which those are is in __MODULES_LMUSE since 5.5, and in the text of the loaded modulefiles before.
        """
        path = [folder for folder in environ.get("MODULEPATH", "").split(":") if folder]
        if not path:
            etc = self._etc()
            text = "\n".join(map(_text, (f"{etc}/initrc", f"{self._home()}/init/modulerc")))
            lines = [line.partition("#")[0].strip() for line in _text(f"{etc}/modulespath").splitlines()]
            path = [*(folder for line in lines for folder in line.split(":")), *_USE_LINE.findall(text)]
        used = {folder for part in environ.get("__MODULES_LMUSE", "").split(":") for folder in part.split("&")[1:]}
        texts = [] if used else [_text(file) for file in environ.get("_LMFILES_", "").split(":") if file]
        kept = [folder for folder in path if folder not in used and not any(_names(text, folder) for text in texts)]
        return tuple(folder for folder in dict.fromkeys(kept or path) if folder)

    def rc_files(self) -> list[str]:
        """Return the site's rc file and that of MODULERCFILE, a file or a folder with one."""
        named = [path for path in self.site.get("MODULERCFILE", "").split(":") if path]
        return [*(os.path.join(path, "modulerc") if os.path.isdir(path) else path for path in named), f"{self._etc()}/rc"]

    def hook_files(self) -> list[str]:
        """Return the site's Tcl that runs in every call."""
        return [f"{self._etc()}/siteconfig.tcl", *filter(None, (self.site.get("MODULES_SITECONFIG", ""),))]

    def inactive(self, variables: Mapping[str, str]) -> frozenset[str]:
        """Return nothing: the tool unloads what it can no longer keep."""
        return frozenset()

    def collection(self, name: str, environ: Mapping[str, str], modulepath: Sequence[str]) -> tuple[str, ...]:
        """Return the exact names: the file may lack versions that were defaults, which one load from a clean base finds."""
        target = environ.get("MODULES_COLLECTION_TARGET", "")
        text = text_of(name, [os.path.join(environ.get("HOME", ""), FOLDERS[2])], f".{target}" if target else "")
        names, folders = tcl_names(text)
        if not names or all("/" in name for name in names):
            return names
        path = ":".join(dict.fromkeys((*modulepath, *folders)))
        found = self._load_once(names, {**self._clean(), "MODULEPATH": path}).values
        return exact(names, found["LOADEDMODULES"].split(":"), found.get("__MODULES_LMALTNAME", ""))

    def init_file(self, shell: str) -> str:
        """Return the file in the folder `init` of the tool's home."""
        return os.path.join(self._home(), "init", shell)

    def pitfalls(self, environ: Mapping[str, str]) -> list[Pitfall]:
        """Name the caller's settings that are others than those that locks are made with."""
        names = ("MODULES_ICASE", "MODULES_AUTO_HANDLING", "MODULES_PATH_ENTRY_REORDER", "MODULES_CONFLICT_UNLOAD")
        why = "`module` in this shell then answers otherwise than it does for a lock, which is made without it."
        unlike = [name for name in names if environ.get(name, FLAGS[name]) not in (FLAGS[name], "search")]
        return [Pitfall(f"{name}={environ[name][:40]}", why, f"unset {name}") for name in unlike]

    def _etc(self) -> str:
        """Return the folder of the site's configuration, as the script names it."""
        found = _SITECONFIG.search(_text(self.command, _HEAD))
        return found[1] if found else os.path.join(os.path.dirname(os.path.dirname(self.command)), "etc")

    def _home(self) -> str:
        found = _HOME.search(_text(self.command, _HEAD))
        places = (found[1] if found else "", os.path.dirname(os.path.dirname(self.command)), self.home)
        return next((place for place in places if place and os.path.isdir(os.path.join(place, "init"))), places[0] or places[1])


def _separator(marked: str, value: str) -> str | None:
    """Return what separates the entries of a path variable, by its value after a load with a mark in it; None for others."""
    before, mark, after = marked.partition(_MARK)
    size = len(before) + len(after) - len(value)
    if not mark or not 0 < size <= _LONGEST_SEPARATOR or _MARK in after:
        return None
    between = before[-size:] if before else after[:size]
    return between if value in (before + after[size:], before[:-size] + after) and between.isprintable() else None


def _may_use(file: str) -> bool:
    """Say whether a modulefile's text may add directories of modules."""
    try:
        return _USES.search(Path(file).read_bytes()) is not None
    except OSError:
        return False


def _names(text: str, folder: str) -> bool:
    return re.search(rf"(?<![\w./-]){re.escape(folder)}/?(?![\w./-])", text) is not None


def _text(path: str, most: int = 1 << 20) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(most)
    except OSError:
        return ""


def _stamp(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return f"{path}: none"
    return f"{path}: {found.st_mtime_ns} {found.st_size}"


def _interpreter(command: str) -> str:
    """Return the tclsh that runs the script: the one that its first line names, else the first one of the system."""
    named = _INTERPRETER.match(_text(command, 200).partition("\n")[0])
    if named and os.access(named[1], os.X_OK):
        return named[1]
    return process.find_program("tclsh", process.CLEAN_PATH) or "/usr/bin/tclsh"


def clean_message(text: str) -> str:
    """Return what the tool said without blank lines and the site's address."""
    lines = [line.strip() for line in text.splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith(("Please contact", "Loading ")))


def find_environment_modules(environ: Mapping[str, str]) -> EnvironmentModules | None:
    """Return Environment Modules, or None where this machine has none: from MODULES_CMD, MODULESHOME, or the usual places."""
    for command in _commands(environ):
        if os.path.isabs(command) and os.path.isfile(command) and os.access(command, os.R_OK):
            site = {name: environ[name] for name in SITE_VARIABLES if environ.get(name)}
            return EnvironmentModules(command, site=site, home=environ.get("MODULESHOME", ""))
    return None


def _commands(environ: Mapping[str, str]) -> Iterator[str]:
    if environ.get("MODULES_CMD"):
        yield environ["MODULES_CMD"]
    if environ.get("MODULESHOME"):
        yield os.path.join(environ["MODULESHOME"], "libexec", "modulecmd.tcl")
    if environ.get("MODULES_CMD") is None:
        yield from _PLACES


TOOL = Tool(EnvironmentModules.title, find_environment_modules, lambda version: TCL)
