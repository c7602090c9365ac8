"""Project-wide settings: `[tool.ozrepro]` in pyproject.toml, `OZREPRO_…` variables, options; the later beats the earlier."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ozrepro.checking import Checker
from ozrepro.errors import SpecError, UsageError
from ozrepro.ready import store_folder
from ozrepro.toml import TOMLDecodeError, loads, read_file

if TYPE_CHECKING:
    from collections.abc import Mapping

METHODS = ("modules", "conda", "container", "venv")
PLATFORMS = ("linux-x86_64", "linux-aarch64", "macos-arm64")
"""The platforms that a lock serves unless `platforms` says otherwise; macOS on Intel and musl must be asked for."""

KNOWN_PLATFORMS = (*PLATFORMS, "macos-x86_64", "linux-ppc64le")
_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z", re.ASCII)
_KEYS = {
    "store": "where built environments live",
    "store-group": "a group whose members may share the store",
    "cache": "where downloaded files are kept",
    "methods": "preferred methods of all sessions",
    "platform": "name of this cluster's software tree in module locks",
    "platforms": "platforms that venv locks serve",
    "modulepath": "the site's module directories, where neither the shell nor Lmod tells them",
    "path": "further directories for PATH, such as Slurm's",
    "locks": "auto, flock or ticket",
    "lock-timeout": "seconds to wait for another build",
    "indexes": "package indexes: NAME = address",
    "channels": "conda channels: NAME = address",
    "registries": "container registries: NAME = address",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the project and the caller have set."""

    root: Path
    store: Path
    store_group: str = ""
    cache: Path | None = None
    method: str | None = None
    methods: tuple[str, ...] = ()
    platform: str = ""
    platforms: tuple[str, ...] = PLATFORMS
    modulepath: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    locks: str = "auto"
    lock_timeout: float = 3600.0
    indexes: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)
    registries: Mapping[str, str] = field(default_factory=dict)


def load_settings(root: Path, environ: Mapping[str, str], *, method: str | None = None) -> Settings:
    """Return the settings of the project at `root`; `method` is the command's option.

    Raises SpecError for mistakes in pyproject.toml (all of them), UsageError for a wrong variable or option.
    """
    path = root / "pyproject.toml"
    text, table = "", dict[str, Any]()
    if path.is_file():
        try:
            text = read_file(path)
            whole = loads(text)
        except (OSError, TOMLDecodeError) as error:
            raise SpecError(str(path), [f"is no valid TOML: {error}"]) from error
        tool = whole.get("tool", {})
        table = tool.get("ozrepro", {}) if isinstance(tool, dict) else {}
    checker = Checker(str(path), text)
    base = ("tool", "ozrepro")
    table = dict(checker.table(table, base, _KEYS))
    for key, variable in (
        ("store", "OZREPRO_STORE"),
        ("store-group", "OZREPRO_STORE_GROUP"),
        ("cache", "OZREPRO_CACHE"),
        ("platform", "OZREPRO_PLATFORM"),
        ("locks", "OZREPRO_LOCKS"),
        ("lock-timeout", "OZREPRO_LOCK_TIMEOUT"),
    ):
        if environ.get(variable):
            table[key] = _number(environ[variable], variable) if key == "lock-timeout" else environ[variable]
    for key, variable, mark in (
        ("methods", "OZREPRO_METHODS", ","),
        ("platforms", "OZREPRO_PLATFORMS", ","),
        ("modulepath", "OZREPRO_MODULEPATH", ":"),
        ("path", "OZREPRO_PATH", ":"),
    ):
        if environ.get(variable):
            table[key] = environ[variable].split(mark)
    cache = checker.text_at(table, (*base, "cache"))
    settings = Settings(
        root=root,
        store=Path(store_folder(str(root), {"store": checker.text_at(table, (*base, "store"))}, environ)),
        store_group=checker.text_at(table, (*base, "store-group")),
        cache=root / os.path.expandvars(os.path.expanduser(cache)) if cache else None,
        method=_method(method, environ),
        methods=checker.texts_at(table, (*base, "methods"), check=one_of(METHODS)),
        platform=_platform(checker, table, (*base, "platform")),
        platforms=tuple(sorted(checker.texts_at(table, (*base, "platforms"), default=PLATFORMS, check=one_of(KNOWN_PLATFORMS)))),
        modulepath=checker.texts_at(table, (*base, "modulepath"), check=_absolute),
        path=checker.texts_at(table, (*base, "path"), check=_absolute),
        locks=_choice(checker, table, (*base, "locks"), ("auto", "flock", "ticket")),
        lock_timeout=_seconds(checker, table, (*base, "lock-timeout")),
        indexes=_addresses(checker, table, (*base, "indexes")),
        channels=_addresses(checker, table, (*base, "channels")),
        registries=_addresses(checker, table, (*base, "registries")),
    )
    for name, chosen in (("store", str(settings.store)), ("cache", str(settings.cache or ""))):
        if "$" in chosen.removeprefix(str(root)):
            checker.wrong((*base, name), f"{chosen!r} names a variable that is not set")
    if checker.mistakes:
        raise SpecError(str(path), checker.mistakes)
    return settings


def one_of(choices: tuple[str, ...]) -> _OneOf:
    """Return a check that a word is one of `choices`."""
    return _OneOf(choices)


@dataclass(frozen=True, slots=True)
class _OneOf:
    choices: tuple[str, ...]

    def __call__(self, word: str) -> str | None:
        return None if word in self.choices else f"{word!r} is not known; write one of: {', '.join(self.choices)}"


def _absolute(path: str) -> str | None:
    if not path.startswith("/") or ":" in path:
        return f"{path!r} is no absolute directory"
    try:
        found = os.stat(path)
    except OSError:
        return None
    return f"{path!r} can be written by everybody" if found.st_mode & 0o002 else None


def _platform(checker: Checker, table: Mapping[str, object], path: tuple[str, ...]) -> str:
    value = checker.text_at(table, path)
    if value and not _SOURCE.match(value):
        checker.wrong(path, f"{value!r} is no name", "letters, digits and ._- only, such as milan")
        return ""
    return value


def _choice(checker: Checker, table: Mapping[str, object], path: tuple[str, ...], choices: tuple[str, ...]) -> str:
    value = checker.text_at(table, path, default=choices[0])
    if value not in choices:
        checker.wrong(path, f"{value!r} is not known", f"write one of: {', '.join(choices)}")
        return choices[0]
    return value


def _seconds(checker: Checker, table: Mapping[str, object], path: tuple[str, ...]) -> float:
    value = table.get(path[-1], 3600)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        checker.wrong(path, f"{value!r} is no time", "write seconds, more than 0")
        return 3600.0
    return float(value)


def _number(text: str, variable: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{variable}={text!r} is no number of seconds", hint=f"unset {variable}") from None


def _addresses(checker: Checker, table: Mapping[str, object], path: tuple[str, ...]) -> dict[str, str]:
    value = table.get(path[-1], {})
    entries = checker.table(value, path, value if isinstance(value, dict) else ())
    found = {name: checker.text_at(entries, (*path, name)) for name in entries}
    for name, address in found.items():
        if not _SOURCE.match(name):
            checker.wrong((*path, name), "is no name", "letters, digits and ._- only")
        host = address.rpartition("://")[2].partition("/")[0]
        if "@" in host or "?" in address or "$" in address or " " in address:
            checker.wrong((*path, name), "holds a login, a query, a variable or a space", "put logins into ~/.netrc")
    return found


def _method(option: str | None, environ: Mapping[str, str]) -> str | None:
    chosen, source = (option, "--method") if option else (environ.get("OZREPRO_METHOD") or None, "OZREPRO_METHOD")
    if chosen is not None and chosen not in METHODS:
        raise UsageError(f"{source} {chosen!r} is no method", hint=f"one of: {', '.join(METHODS)}")
    return chosen
