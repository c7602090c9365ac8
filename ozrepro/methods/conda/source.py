"""What `lock --from` is given for conda packages: other tools' locks and lists, and environments that exist."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from ozrepro.errors import SpecError, UsageError, without_login
from ozrepro.faststart.ready import content_of
from ozrepro.methods.conda.channels import without_subdir
from ozrepro.methods.conda.condalock import read_condalock
from ozrepro.methods.conda.environment_yml import read_environment
from ozrepro.methods.conda.explicit import Named, read_explicit, read_url
from ozrepro.project import sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ozrepro.methods.conda.helper import Helper

TAKES = (
    *(sources.ENVIRONMENT, sources.EXPLICIT, sources.CONDA_LOCK),
    *(sources.PIXI_LOCK, sources.ENVIRONMENT_YML, sources.LIST_EXPORT),
)
"""What `read_source` reads."""

_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PINNED = re.compile(
    r"(?:(?P<channel>[^\s:\[\]]+(?:://[^\s\[\]]+?)?)::)?(?P<name>[A-Za-z0-9_.-]+)"
    r"={1,2}(?P<version>[A-Za-z0-9_.+!-]+)=(?P<build>[A-Za-z0-9_.+]+)\Z",
    re.ASCII,
)
_RECORD = 256 << 20
"""Bytes of a package's record at most: it lists all files of the package."""

_SHOWN = 10
"""Names of what is left out that are shown; the count covers the others."""


@dataclass(frozen=True, slots=True)
class Source:
    """What another tool's file or environment has: conda packages, pip's as `name==version`, variables by name, and notes."""

    named: tuple[Named, ...]
    pip: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def rest(self, pip: Sequence[str], variables: Iterable[str]) -> list[str]:
        """Return in words what is there besides conda packages, without the requirements and variables that a spec has itself."""
        known = {canonicalize_name(found[0]) for text in pip if (found := _PROJECT.match(text))}
        packages = [text for text in self.pip if canonicalize_name(text.partition("==")[0]) not in known]
        return counted(packages, [name for name in self.variables if name not in set(variables)])

    def other_versions(self, versions: dict[str, str]) -> list[str]:
        """Return a line for each package of pip that is locked in another version than there."""
        pins = (text.partition("==") for text in self.pip if "==" in text)
        there: dict[str, str] = {canonicalize_name(name): version for name, _, version in pins}
        pairs = ((name, versions[name], there[name]) for name in sorted(versions.keys() & there.keys()))
        return [f"pip's {name} is locked as {mine}, and is {version} there" for name, mine, version in pairs if mine != version]


def counted(packages: Sequence[str], variables: Sequence[str]) -> list[str]:
    """Return how many there are of each, and their names."""
    found: list[str] = []
    for names, one, several in ((packages, "package of pip", "packages of pip"), (variables, "variable", "variables")):
        if names:
            shown = ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
            found.append(f"{len(names)} {one if len(names) == 1 else several} ({shown})")
    return found


def read_source(source: str, platform: str, helper: Helper) -> Source:
    """Return what a source has for a platform. Raises SpecError with every mistake, UsageError for what is not taken."""
    kind = sources.kind_of(source)
    path, environment = sources.split(source)
    if kind == sources.ENVIRONMENT:
        return _of_prefix(Path(path))
    text = sources.read(path)
    if kind == sources.PIXI_LOCK:
        found = _of_pixi(path, environment, platform, helper)
    elif kind == sources.EXPLICIT:
        named, told = read_explicit(text, path)
        if told not in ("", platform):
            raise SpecError(path, [f"is for {told}, and not for {platform}"])
        found = Source(named)
    elif kind == sources.CONDA_LOCK:
        platforms, pip = read_condalock(text, path)
        if platform not in platforms:
            raise _no_platform(path, platform, platforms)
        found = Source(platforms[platform], pip.get(platform, ()))
    elif kind == sources.LIST_EXPORT:
        lines = (line.strip() for line in text.splitlines())
        found = _of_pins([line for line in lines if line and not line.startswith("#")], (), path, kind)
    else:
        file = read_environment(text, path)
        found = replace(_of_pins(file.dependencies, file.pip, path, kind), variables=tuple(sorted(file.variables)))
    plain = text.replace("/t/<TOKEN>", "")
    secret = any(without_login(line) != line for line in re.sub(r"\?[^\s'\"]*", "", plain).splitlines())
    note = "holds logins or tokens in its addresses, which are not used: do not share it"
    return replace(found, notes=(*found.notes, *([note] if secret else [])))


def _no_platform(path: str, platform: str, there: Iterable[str]) -> SpecError:
    return SpecError(path, [f"has no packages for {platform}: only for {', '.join(sorted(there)) or 'none'}"])


def _of_pins(lines: Sequence[str], pip: Sequence[str], path: str, kind: str) -> Source:
    """Return the packages of lines with name, version and build. Raises UsageError for lines that leave one of them open."""
    named: dict[str, Named] = {}
    installed: list[str] = []
    loose: list[str] = []
    for line in lines:
        found = _PINNED.match(line)
        if found is None:
            loose.append(line)
        elif found["build"] in ("pypi_0", "<pip>"):
            installed.append(f"{found['name']}=={found['version']}")
        else:
            name, channel = found["name"].lower(), without_subdir(found["channel"] or "")[0]
            named[name] = Named(name, found["version"], found["build"], channel)
    if loose:
        shown = ", ".join(loose[:3]) + (", …" if len(loose) > 3 else "")
        what = f"is {kind} that does not name version and build of each package ({shown}): it is not a lock"
        hint = 'name it in the description: file = "environment.yml" in [conda]; or take conda list --explicit --md5'
        raise UsageError(what, where=path, hint=hint)
    return Source(tuple(named.values()), (*installed, *pip))


def _of_pixi(path: str, environment: str, platform: str, helper: Helper) -> Source:
    """Return what an environment of a pixi.lock has: the one that is named, else the default one."""
    answer = helper.read_pixi(os.path.abspath(path), environment)
    if "wrong" in answer:
        raise SpecError(path, [f"cannot be read: {answer['wrong']}"])
    if "platforms" not in answer:
        names = ", ".join(answer["environments"]) or "none"
        what = f"has no environment {environment or 'default'!r}: only {names}"
        raise UsageError(what, where=path, hint=f"name one: --from {path}#NAME")
    if platform not in answer["platforms"]:
        raise _no_platform(path, platform, answer["platforms"])
    content = answer["platforms"][platform]
    named: list[Named] = []
    mistakes = [f"{name} is built from source there, and a lock holds archives alone" for name in content["built"]]
    for url, sha256, md5 in content["conda"]:
        try:
            named.append(replace(read_url(url), sha256=sha256, md5=md5))
        except ValueError as error:
            mistakes.append(str(error))
    if mistakes:
        raise SpecError(path, mistakes[:30])
    others = [name for name in answer["environments"] if name not in (environment or "default", "default")]
    note = f"its environment default is taken, and not {' or '.join(others)}: --from {path}#NAME takes another"
    return Source(tuple(named), tuple(content["pip"]), notes=(note,) if others and not environment else ())


def _of_prefix(prefix: Path) -> Source:
    """Return what a conda environment has, as its own records tell it; what no package's record lists, pip has put there."""
    found: list[Named] = []
    mistakes: list[str] = []
    owned: set[str] = set()
    for file in sorted((prefix / "conda-meta").glob("*.json")):
        try:
            record = json.loads(content_of(file, _RECORD))
            address, sha256 = str(record["url"]), str(record.get("sha256") or "")
            found.append(read_url(f"{address}#sha256:{sha256}" if sha256 else address))
            owned.update(path.split("/")[-2] for path in record.get("files", ()) if path.endswith(".dist-info/METADATA"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            mistakes.append(f"{file.name}: {error}")
    if mistakes or not found:
        raise SpecError(os.fspath(prefix), mistakes or ["has no packages"])
    folders = sorted(path.name for path in prefix.glob("lib/python3*/site-packages/*.dist-info") if path.name not in owned)
    pip = (folder.removesuffix(".dist-info").partition("-") for folder in folders)
    return Source(tuple(found), tuple(f"{name}=={version}" for name, _, version in pip), _variables_of(prefix))


def _variables_of(prefix: Path) -> tuple[str, ...]:
    """Return the names of the variables that `conda env config vars set` has noted in an environment."""
    try:
        return tuple(sorted(json.loads(content_of(prefix / "conda-meta" / "state"))["env_vars"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ()
