"""Project-wide settings: `[tool.ozrepro]` in pyproject.toml, `OZREPRO_…` variables, options; the later beats the earlier."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from ozrepro.environment import asked_method
from ozrepro.errors import SpecError, UsageError, without_login
from ozrepro.faststart.ready import store_folder
from ozrepro.project.checking import Checker, one_of_these
from ozrepro.project.files import SMALL, Files
from ozrepro.project.reader import Check, Key, Range, read_table
from ozrepro.project.toml import TOMLDecodeError, loads

PLATFORMS = ("linux-x86_64", "linux-aarch64", "macos-arm64")
"""The platforms that a lock serves unless `platforms` says otherwise; macOS on Intel and musl must be asked for."""

KNOWN_PLATFORMS = (*PLATFORMS, "macos-x86_64", "linux-ppc64le")
_LONGEST = 366 * 86400.0
_PASSED = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?\Z", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
_PERSONAL = ("HOME", "USER", "LOGNAME")
_MINOR = re.compile(r"3\.[0-9]{1,2}\Z", re.ASCII)
_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z", re.ASCII)
_VARIABLES = {
    key: f"OZREPRO_{key.upper().replace('-', '_')}"
    for key in (
        *("store", "store-group", "cache", "form", "platform", "locks", "lock-timeout"),
        *("methods", "platforms", "modulepath", "path", "site-variables", "accept-effects", "module-tool"),
        *("record", "record-with"),
    )
}
_LISTS = {
    **dict.fromkeys(("methods", "platforms", "site-variables", "accept-effects", "record-with"), ","),
    **dict.fromkeys(("modulepath", "path"), ":"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the project and the caller have set. `files` reads the project's files, each once."""

    root: Path
    store: Path
    store_group: str = ""
    cache: Path | None = None
    form: str = ""
    """How environments lie in the store: tree, file or auto; "" for what is built already, else a tree."""
    method: str | None = None
    python: str = ""
    """The minor version of Python that is asked for, such as 3.12, "" where any of a lock's will do."""
    methods: tuple[str, ...] = ()
    platform: str = ""
    platforms: tuple[str, ...] = PLATFORMS
    modulepath: tuple[str, ...] = ()
    site_variables: tuple[str, ...] = ()
    accept_effects: tuple[str, ...] = ()
    module_tool: str = ""
    path: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    locks: str = "auto"
    lock_timeout: float = 3600.0
    record: Path | None = None
    """The folder of the records of runs, None where none are kept."""
    record_with: tuple[str, ...] = ()
    recorded: bool = False
    """Whether the project's file asks for records, whatever the caller's variables say."""
    indexes: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)
    registries: Mapping[str, str] = field(default_factory=dict)
    files: Files = field(default_factory=Files, compare=False, repr=False)
    named_by_project: frozenset[str] = frozenset()
    """Of `path` and `modulepath` those that are in pyproject.toml: programs there are the project's word."""
    unread: tuple[str, ...] = ()
    """The project's `modulepath` where a command only looks: a modulefile is code, which is read when it is asked for."""

    def for_looking(self) -> Settings:
        """Return what a command goes by that only looks: without the directories of programs that the project names."""
        names = self.named_by_project
        return replace(
            self,
            path=() if "path" in names else self.path,
            modulepath=() if "modulepath" in names else self.modulepath,
            unread=self.modulepath if "modulepath" in names else (),
        )


def check_site_variable(name: str) -> str | None:
    """Return why a name cannot be one of the variables that are locked with their value here, or None."""
    if not _VARIABLE.match(name):
        return f"{name!r} is not a variable name; write a name such as CLUSTER"
    if name in _PERSONAL:
        return f"{name} is of one person, and a lock is for all: values that hold it follow who starts the session"
    if name in ("PATH", "MODULEPATH") or name.startswith(("OZREPRO_", "LD_", "PYTHON", "BASH", "_")):
        return f"{name} has a place of its own in a lock"
    return None


def check_passed(name: str) -> str | None:
    """Return what is wrong with an entry of `pass`, None where it is a variable's name or a beginning of names."""
    return None if _PASSED.match(name) else f"{name!r} is not a variable's name; such as MY_DATA, or UCX_* for all that begin so"


def check_minor(text: str) -> str | None:
    """Return what is wrong with a minor version of Python, or None."""
    return None if _MINOR.match(text) else f"{text!r} is not a minor version of Python, such as 3.12"


def one_of(choices: tuple[str, ...]) -> OneOf:
    """Return a check that a word is one of `choices`."""
    return OneOf(choices)


@dataclass(frozen=True, slots=True)
class OneOf:
    """A check that a word is one of several."""

    choices: tuple[str, ...]

    def __call__(self, word: str) -> str | None:
        """Return what is wrong with a word, or None."""
        return None if word in self.choices else f"{word!r} is not known; write one of: {', '.join(self.choices)}"


def _absolute(path: str) -> str | None:
    if not path.startswith("/") or ":" in path:
        return f"{path!r} is not an absolute path"
    try:
        found = os.stat(path)
    except OSError:
        return None
    return f"{path!r} is world-writable" if found.st_mode & 0o002 else None


def _source(name: str) -> str | None:
    return None if _SOURCE.match(name) else "is not a valid name; letters, digits and ._- only"


def _platform(name: str) -> str | None:
    return (
        None if not name or _SOURCE.match(name) else f"{name!r} is not a valid name; letters, digits and ._- only, such as milan"
    )


def _channel(name: str) -> str | None:
    good = all(map(_SOURCE.match, name.split("/")))
    return None if good else "is not a channel's name; write one such as conda-forge, or pkgs/main in quotes"


def _address(address: str) -> str | None:
    host = address.rpartition("://")[2].partition("/")[0]
    if "@" in host or "?" in address or "$" in address or " " in address or without_login(address) != address:
        return "holds a login, a token, a query, a variable or a space; store credentials in ~/.netrc"
    return None


Known = Callable[[Iterable[str]], tuple[str, ...]]
"""Gives the names of methods or module tools that exist, with those of plug-ins where one of the given names is not built in."""

_Folders = tuple[Annotated[str, Check(_absolute)], ...]
_Address = Annotated[str, Check(_address)]
_Addresses = Mapping[Annotated[str, Check(_source)], _Address]


@dataclass(frozen=True, slots=True)
class Table:
    """What `[tool.ozrepro]` may hold; docs/reference/settings.md says what each means."""

    store: str = ""
    store_group: str = ""
    cache: str = ""
    form: Literal["", "tree", "file", "auto"] = ""
    methods: tuple[str, ...] = ()
    platform: Annotated[str, Check(_platform)] = ""
    platforms: tuple[Annotated[str, Check(one_of(KNOWN_PLATFORMS))], ...] = PLATFORMS
    modulepath: _Folders = ()
    site_variables: tuple[Annotated[str, Check(check_site_variable)], ...] = ()
    accept_effects: tuple[str, ...] = ()
    module_tool: str = ""
    path: _Folders = ()
    passed: Annotated[tuple[Annotated[str, Check(check_passed)], ...], Key("pass")] = ()
    locks: Literal["auto", "flock", "ticket"] = "auto"
    lock_timeout: Annotated[float, Range(1e-3, _LONGEST, "seconds")] = 3600.0
    record: str = ""
    record_with: tuple[Literal["host", "user"], ...] = ()
    indexes: _Addresses = field(default_factory=dict)
    channels: Mapping[Annotated[str, Check(_channel)], _Address] = field(default_factory=dict)
    registries: _Addresses = field(default_factory=dict)


_AS_WRITTEN = (
    *("store_group", "form", "methods", "platform", "modulepath", "site_variables", "accept_effects", "module_tool", "path"),
    *("locks", "lock_timeout", "record_with", "indexes", "channels", "registries"),
)
"""The settings that are what the file or a variable says."""


def load_settings(
    root: Path,
    environ: Mapping[str, str],
    known: Known,
    known_tools: Known,
    *,
    method: str | None = None,
    files: Files | None = None,
) -> Settings:
    """Return the settings of the project at `root`; `method` is the command's option.

    `known` gives the methods that exist, `known_tools` the module tools. Raises SpecError for mistakes in pyproject.toml, all of
    them, and UsageError for a wrong variable or option.
    """
    path, files = root / "pyproject.toml", Files() if files is None else files
    text, written = _own_table(path, files)
    given, base = _given(environ), ("tool", "ozrepro")
    checker = Checker(str(path), text, elsewhere={(*base, key): variable for key, (variable, _) in given.items()})
    own = written if isinstance(written, dict) else {}
    values = {**own, **{key: value for key, (_, value) in given.items()}} if isinstance(written, dict) else written
    table = read_table(checker, Table, values, base)
    settings = Settings(
        root=root,
        store=Path(store_folder(str(root), {"store": table.store}, environ)),
        cache=_folder(root, table.cache),
        method=_method(method, environ, known),
        python=_python(environ),
        platforms=tuple(sorted(table.platforms)),
        passed=table.passed + _site_passed(environ),
        record=_folder(root, table.record),
        recorded=bool(own.get("record")),
        **{name: getattr(table, name) for name in _AS_WRITTEN},
        files=files,
        named_by_project=frozenset(key for key in ("path", "modulepath") if key in own and key not in given),
    )
    _check_names(checker, settings, known, known_tools)
    if checker.mistakes:
        of_variables = all(line.startswith("OZREPRO_") for line in checker.mistakes)
        raise SpecError("environment variables" if of_variables else str(path), checker.mistakes)
    return settings


def _check_names(checker: Checker, settings: Settings, known: Known, known_tools: Known) -> None:
    """Note methods and a module tool that do not exist, and folders that name a variable which is not set."""
    base = ("tool", "ozrepro")
    for place, name in enumerate(settings.methods):
        if problem := one_of(known(settings.methods))(name):
            checker.wrong((*base, f"methods[{place}]"), problem)
    if settings.module_tool and (problem := one_of(known_tools((settings.module_tool,)))(settings.module_tool)):
        checker.wrong((*base, "module-tool"), problem)
    folders = {"store": settings.store, "cache": settings.cache, "record": settings.record}
    for name, chosen in ((name, str(folder or "")) for name, folder in folders.items()):
        if "$" in chosen.removeprefix(str(settings.root)):
            checker.wrong((*base, name), f"{chosen!r} names a variable that is not set")


def _folder(root: Path, text: str) -> Path | None:
    """Return a folder that a setting names, `~` and variables filled in; a relative one counts from the project."""
    return root / os.path.expandvars(os.path.expanduser(text)) if text else None


def _own_table(path: Path, files: Files) -> tuple[str, object]:
    """Return the text of pyproject.toml and its `[tool.ozrepro]`; both empty where there is none."""
    try:
        text = files.text(path, SMALL)
        tool = loads(text).get("tool", {})
    except FileNotFoundError:
        return "", {}
    except OSError as error:
        raise SpecError(str(path), [f"cannot be read: {error.strerror}"]) from error
    except TOMLDecodeError as error:
        raise SpecError(str(path), [f"is not valid TOML: {error}"]) from error
    return text, tool.get("ozrepro", {}) if isinstance(tool, dict) else {}


def _given(environ: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """Return the settings that variables give: by key, the variable's name and the value as a file would have it."""
    given: dict[str, tuple[str, Any]] = {}
    for key, variable in _VARIABLES.items():
        text = environ.get(variable)
        if text:
            mark = _LISTS.get(key)
            given[key] = variable, text.split(mark) if mark else _number(text, variable) if key == "lock-timeout" else text
    return given


def _site_passed(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of `OZREPRO_PASS`: a site's own, which a project's list adds to and does not replace."""
    names = tuple(filter(None, map(str.strip, environ.get("OZREPRO_PASS", "").split(","))))
    wrong = next(filter(None, map(check_passed, names)), None)
    if wrong:
        raise UsageError(f"OZREPRO_PASS: {wrong}", hint="export OZREPRO_PASS=SCRATCH,UCX_*")
    return names


def _number(text: str, variable: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{variable}={text!r} is not a number of seconds", hint=f"unset {variable}") from None


def _python(environ: Mapping[str, str]) -> str:
    chosen = environ.get("OZREPRO_PYTHON", "")
    wrong = check_minor(chosen) if chosen else None
    if wrong:
        raise UsageError(
            wrong, where="--python, OZREPRO_PYTHON or python= of a session", hint="ozrepro run --python 3.12 NAME -- CMD"
        )
    return chosen


def _method(option: str | None, environ: Mapping[str, str], known: Known) -> str | None:
    chosen, source = (option, "--method") if option else (asked_method(environ) or None, "OZREPRO_METHOD")
    if chosen is not None and chosen not in known((chosen,)):
        raise UsageError(f"{source}: unknown method {chosen!r}", hint=one_of_these(chosen, known((chosen,))))
    return chosen
