"""Calls the helper process in which rattler solves, fetches and installs, and believes only the file that it writes."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ozrepro import process
from ozrepro.environment import BASE_PATH
from ozrepro.errors import BuildError, CommandFailed, without_login
from ozrepro.faststart import ownpath
from ozrepro.methods.conda.channels import Channel, name_of
from ozrepro.methods.conda.installed import Installed, comparing, damaged
from ozrepro.methods.conda.link_scripts import format_scripts, format_unread
from ozrepro.methods.conda.matchspec import moment, with_address
from ozrepro.methods.conda.records import LockedRecord, link_order, repeated, sorted_records
from ozrepro.methods.conda.shared_paths import settle
from ozrepro.methods.conda.virtual import Virtual, quickly
from ozrepro.project.checking import Checker
from ozrepro.project.reader import read_table
from ozrepro.store import caches, states
from ozrepro.store.manifest import Digests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from ozrepro.site import Site

    Progress = Callable[[str, int, int], None]

_KEPT = (
    *("HOME", "LANG", "NETRC", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
    *("RATTLER_AUTH_FILE", "DBUS_SESSION_BUS_ADDRESS"),  # where rattler keeps logins; the second is for a keyring
)
_PURE = re.compile(r"lib/python3\.\d+t?/site-packages/", re.ASCII)
_PYTHON = ("PYTHONHOME",)
"""The helper is this very Python: what finds its standard library here must find it there."""


@dataclass(frozen=True, slots=True)
class Question:
    """What the solver is asked: channels in order, specs, platform, and what it may assume.

    `priority` is strict, flexible (strict, and where that has no answer any channel) or disabled. `locked` are preferred where
    they fit.
    """

    channels: tuple[Channel, ...]
    specs: tuple[str, ...]
    subdir: str
    virtual: tuple[Virtual, ...]
    priority: str = "strict"
    exclude_newer: str = ""
    locked: tuple[LockedRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The records in the lock's order, and the packages taken in a build for the CPU though there are builds for a GPU."""

    records: tuple[LockedRecord, ...]
    cpu_builds: tuple[str, ...]

    def problems(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield each package that comes twice."""
        return repeated(self.records, "records")


@dataclass(frozen=True, slots=True)
class Linked:
    """What was installed: the packages of the environment, and the titles of those that were not in the cache.

    `shared` has a line for each two packages that have the same path with other contents.
    """

    packages: tuple[Installed, ...]
    fetched: tuple[str, ...]
    shared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Helper:
    """The helper, ready to be called: the cache, checked, its whole environment, and whether files are linked from the cache."""

    cache: Path
    variables: Mapping[str, str]
    shares: bool = False

    def solve(self, question: Question, progress: Progress) -> Answer:
        """Return what the specs come to. Raises BuildError with the solver's own explanation, CommandFailed, ValueError never."""
        channels = {channel.name: channel.address for channel in question.channels}
        try:
            cutoff = moment(question.exclude_newer)
            specs = [with_address(text, question.channels) for text in question.specs]
        except ValueError as error:
            raise BuildError(str(error), hint="change [conda] in the spec") from error
        task = {
            "task": "solve",
            "cache": str(self.cache),
            "channels": [channel.address for channel in question.channels],
            "specs": specs,
            "subdir": question.subdir,
            "virtual": [list(item) for item in question.virtual],
            "priority": question.priority,
            "exclude-newer": cutoff.isoformat() if cutoff else "",
            "locked": _tables((item for item in question.locked if item.channel in channels), channels),
            "gpu-check": not any(item.name == "__cuda" for item in question.virtual),
        }
        done = self._call(task, "cannot resolve the conda packages", progress)
        return _answer(done, question.channels)

    def install(
        self,
        records: Sequence[LockedRecord],
        addresses: Mapping[str, str],
        prefix: Path,
        progress: Progress,
        digests: Digests | None = None,
    ) -> Linked:
        """Put into the cache what it lacks, link all packages into a new prefix, and compare each file of them.

        rattler links files from its cache: who edited one in an environment has edited the cache. A package whose files do not
        have the sha256 that it lists is fetched again and the prefix made again. Nothing of the packages' is run. `addresses`
        gives the channels' by name; `digests` gets what was taken. Raises BuildError, CommandFailed; the prefix may then be
        half full.
        """
        task = {
            "task": "install",
            "cache": str(self.cache),
            "records": _tables(records, addresses),
            "forget": [],
            "order": link_order(records),
            "prefix": os.path.abspath(prefix),
            "shares": self.shares,
        }
        fresh, taken = not os.path.lexists(prefix), digests if digests is not None else Digests()
        linked, wrong = self._install(task, progress, prefix, taken)
        if wrong and fresh:
            shutil.rmtree(prefix)
            again, wrong = self._install({**task, "forget": sorted(wrong)}, progress, prefix, taken)
            linked = replace(again, fetched=tuple(sorted({*linked.fetched, *again.fetched})))
        if wrong:
            lines = [f"{title}: {line}" for title, several in wrong.items() for line in several]
            raise BuildError("\n  ".join(("packages do not hold what they list:", *lines[:30])), hint="lock other builds of them")
        return linked

    def _install(
        self, task: Mapping[str, Any], progress: Progress, prefix: Path, digests: Digests
    ) -> tuple[Linked, Mapping[str, Sequence[str]]]:
        with comparing(prefix, digests) as comparison:
            if self.shares:
                # Beside the helper's start: a file that is linked before it is looked at is read.
                comparison.recall([self._note(str(table["sha256"])) for table in task["records"]])
            done = self._call(task, "cannot install the conda packages", progress, comparison.look)
            packages, wrong = comparison.finish()
            digests.settle()
        settled = settle(prefix, packages, task["order"])
        if settled.touched:
            wrong = {title: lines for title, lines in wrong.items() if title not in settled.touched}
            wrong |= damaged(prefix, [item for item in settled.packages if item.title in settled.touched], digests)
        if self.shares:
            pure = {str(table["name"]) for table in task["records"] if table.get("noarch") == "python"}
            digests.noted += [self._noted(package, pure=package.name in pure) for package in settled.packages]
        return Linked(settled.packages, tuple(done["fetched"]), settled.lines), wrong

    def _note(self, sha256: str) -> Path:
        return self.cache.parent / states.FOLDER / sha256

    def _noted(self, package: Installed, *, pure: bool) -> states.Noted:
        """Return what is noted of a package's files; those of a noarch package of Python have other paths in the cache."""
        files = ((file.path, _PURE.sub("site-packages/", file.path) if pure else file.path) for file in package.files)
        return states.Noted(self._note(package.sha256), str(self.cache / "pkgs" / package.title), dict(files))

    def link_scripts(self, records: Sequence[LockedRecord], addresses: Mapping[str, str], progress: Progress) -> list[str]:
        """Return a line for each package with a script that conda would run, and one for those that were not looked into."""
        task = {"task": "link-scripts", "cache": str(self.cache), "records": _tables(records, addresses)}
        done = self._call(task, "cannot look for scripts of packages", progress)
        return [*format_scripts((name, kind) for name, kind in done["scripts"]), *format_unread(done["unread"])]

    def read_pixi(self, path: str, environment: str) -> dict[str, Any]:
        """Return what `pixilock.read` finds in a pixi.lock. Raises CommandFailed where rattler's reader crashes."""
        return self._call({"task": "read-pixi", "path": path, "environment": environment}, "cannot read the pixi.lock", ignore)

    def detect(self, names: Iterable[str] | None = None) -> tuple[Virtual, ...]:
        """Return this machine's virtual packages; without the helper process where those of `names` need none."""
        found = quickly(names) if names is not None else None
        if found is None:
            done = self._call({"task": "virtual-packages"}, "cannot see what this machine offers", ignore)
            found = tuple(Virtual(*item) for item in done["virtual"])
        return found

    def _call(
        self, task: Mapping[str, Any], doing: str, progress: Progress, linked: Callable[[str], None] | None = None
    ) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix="ozrepro-") as folder:
            asked, answered = Path(folder, "task.json"), Path(folder, "result.json")
            asked.write_text(json.dumps(task), encoding="utf-8")
            argv = ownpath.helper("ozrepro.methods.conda.worker", str(asked), str(answered))
            done = process.run(argv, env=self.variables, cwd=folder, on_line=_listener(progress, linked))
            try:
                answer = json.loads(answered.read_bytes())
            except (OSError, ValueError):
                answer = None
        if not isinstance(answer, dict) or not answer.keys() & {"done", "refused"}:
            raise CommandFailed("\n    ".join((f"{doing}: the helper process ended {_how(done.status)}", *_said(done.errors))))
        if "refused" in answer:
            told = answer["refused"]
            raise BuildError(f"{doing}: {told['what']}", where=without_login(told["where"]), hint=told["hint"])
        result: dict[str, Any] = answer["done"]
        return result


def open_helper(site: Site, say: Callable[[str], None] | None = None) -> Helper:
    """Return the helper of this site, its cache checked: rattler believes what it finds there, and never what `.condarc` names.

    `say` is told where another cache had to be taken. Raises StoreError.
    """
    cache = caches.lockable(site.settings, "conda", say)
    return Helper(cache, variables(site.environ, site.settings.path), shares=caches.shares(site.settings, cache))


def without_cache(site: Site) -> Helper:
    """Return a helper for what needs no cache, such as `detect`."""
    return Helper(Path(), variables(site.environ, site.settings.path))


def variables(environ: Mapping[str, str], path: Sequence[str] = ()) -> dict[str, str]:
    """Return the helper's whole environment: transport and logins of the caller, nothing that changes what is solved."""
    proxies = {name: value for name, value in environ.items() if name.lower().endswith("_proxy")}
    kept = {name: environ[name] for name in (*_KEPT, *_PYTHON) if name in environ}
    return {**kept, **proxies, "PATH": ":".join((*path, *BASE_PATH)), "PYTHONUTF8": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _tables(records: Iterable[LockedRecord], addresses: Mapping[str, str]) -> list[dict[str, Any]]:
    tables = []
    for record in records:
        if record.channel not in addresses:
            raise BuildError(
                f"the lock has {record.name} from the channel {record.channel!r}, whose address it does not give",
                hint=f"[tool.ozrepro.channels] {record.channel.partition('/')[0]} = …",
            )
        tables.append({**record.as_table(), "address": addresses[record.channel]})
    return tables


def _answer(done: Mapping[str, Any], channels: Sequence[Channel]) -> Answer:
    """Return the solver's answer, checked as a lock is: a channel's index is a stranger's text too."""
    tables = [{**table, "channel": name_of(table["channel"], channels) or ""} for table in done["records"]]
    checker = Checker("")
    answer = read_table(checker, Answer, {"records": tables, "cpu-builds": done["cpu-builds"]}, ())
    if checker.mistakes:
        raise BuildError("a channel describes packages in a way that cannot be locked:", problems=checker.mistakes)
    return replace(answer, records=sorted_records(answer.records))


def _listener(progress: Progress, linked: Callable[[str], None] | None) -> Callable[[str], None]:
    def on_line(line: str) -> None:
        step = _progress(line)
        if step is None:
            return
        progress(*step[:3])
        if linked is not None and step[3]:
            linked(step[3])

    return on_line


def _progress(line: str) -> tuple[str, int, int, str] | None:
    """Return what a line tells: step, done, total, and the title of the package that was just linked, or ""."""
    if not line.startswith('{"progress": '):
        return None
    try:
        told = json.loads(line)
        step, done, total = told["progress"]
        return str(step), int(done), int(total), os.path.basename(told.get("linked", ""))
    except (ValueError, TypeError, KeyError):
        return None


def _said(errors: str) -> list[str]:
    return [without_login(line) for line in errors.strip().splitlines() if _progress(line) is None][-12:]


def _how(status: int) -> str:
    return f"by signal {-status}" if status < 0 else f"with status {status} and no result"


def ignore(step: str, done: int, total: int) -> None:
    """Take no notice."""
