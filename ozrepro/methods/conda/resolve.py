"""The resolving half of the conda method: asks the channels, and the package index for what pip adds."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from ozrepro.errors import BuildError
from ozrepro.methods.conda import python as conda_python
from ozrepro.methods.conda.channels import Channel, find_channels
from ozrepro.methods.conda.helper import Helper, Question, ignore, open_helper
from ozrepro.methods.conda.lock import Locked, channels_of, layer_of, mpi_request, mpi_spec, wanted_of
from ozrepro.methods.conda.matchspec import with_address
from ozrepro.methods.conda.source import Source, read_source
from ozrepro.methods.conda.virtual import needed, offered, overrides
from ozrepro.modulesystem import loading, record
from ozrepro.project.lock import Section
from ozrepro.project.requirement import entries_of
from ozrepro.python import install, layer, repositories
from ozrepro.python import installed as outside
from ozrepro.python.interpreter import running
from ozrepro.python.layer import LockedLayer, open_uv
from ozrepro.python.resolve import Wanted
from ozrepro.python.resolve import resolve as resolve_pip

if TYPE_CHECKING:
    from ozrepro.methods.conda.environment_yml import EnvironmentFile
    from ozrepro.methods.conda.explicit import Named
    from ozrepro.methods.conda.records import LockedRecord
    from ozrepro.methods.conda.table import CondaTable
    from ozrepro.methods.conda.virtual import Virtual
    from ozrepro.methods.contract import Request, Say, Subject
    from ozrepro.modulesystem.record import Record


_OTHERWISE = "name the channels that have them in [conda]; ozrepro lock without --from takes what there is now"
_WHERE = "packages go into pip of [conda], variables into an environment.yml"


@dataclass(frozen=True, slots=True)
class _Task:
    """What is the same for each platform: the request, what its spec asks for, and what stands for this machine."""

    request: Request[CondaTable, Locked]
    wanted: EnvironmentFile
    helper: Helper
    channels: tuple[Channel, ...]
    detected: tuple[Virtual, ...]
    here: str


def resolve(request: Request[CondaTable, Locked], here: str) -> tuple[Section, ...]:
    """Return a section for each platform that the spec names, this machine's first. Raises BuildError, CommandFailed."""
    subject, site, say = request.subject, request.subject.site, request.say
    wanted, helper = wanted_of(subject), open_helper(site, say)
    channels = channels_of(subject, wanted)
    _say_unlisted(subject, wanted, channels, say)
    others = [platform for platform in wanted.platforms if platform != here]
    if others and wanted.pip:
        say(f"{', '.join(others)} must be locked there: what pip adds can be found for this machine alone")
        others = []
    mpi = _load_mpi(subject, say)
    task = _Task(request, wanted, helper, channels, helper.detect(), here)
    sections: list[Section] = []
    looked: set[LockedRecord] = set()
    for platform in (here, *others):
        locked = _resolve_one(task, platform)
        locked = replace(locked, mpi=mpi) if platform == here else locked
        sections.append(Section("conda", platform, request.digest, _content(locked, subject, wanted)))
        fresh = [item for item in locked.records if item not in looked]
        for line in helper.link_scripts(fresh, locked.addresses, ignore) if fresh else ():
            say(line)
        looked |= set(fresh)
    return tuple(sections)


def _load_mpi(subject: Subject[CondaTable], say: Say) -> Record | None:
    asked = mpi_request(subject)
    if asked is None:
        return None
    load = loading.load(asked, subject.site)
    for line in load.told():
        say(line)
    return load.record()


def _resolve_one(task: _Task, platform: str) -> Locked:
    """Return a platform's packages: what its own section has locked stays where it still fits."""
    request, wanted = task.request, task.wanted
    previous = request.old.get(platform)
    source = read_source(request.source, platform, task.helper) if request.source else Source(())
    rest = source.rest(wanted.pip, wanted.variables) if platform == task.here else []
    if rest:
        request.say(f"not taken over from {request.source}: {' and '.join(rest)}; {_WHERE}")
    for line in source.notes if platform == task.here else ():
        request.say(f"{request.source}: {line}")
    locked = _solve(task, platform, _kept(previous, request.upgrade), source.named)
    if not wanted.pip:
        return locked
    on_top = _pip(task, locked, previous)
    for line in source.other_versions(layer.versions_of(on_top.packages)):
        request.say(f"{request.source}: {line}")
    return replace(locked, layer=on_top)


def _say_unlisted(subject: Subject[CondaTable], wanted: EnvironmentFile, channels: tuple[Channel, ...], say: Say) -> None:
    """Say which channels are asked because a dependency names them, and no list does."""
    listed = find_channels(wanted.channels, subject.site.settings.channels, subject.site.environ)
    for channel in channels[len(listed) :]:
        texts = [text for text in wanted.dependencies if with_address(text, channels).startswith(f"{channel.address}::")]
        say(f"the channel {channel.name} is not in channels, and is asked last: {', '.join(texts)} names it")


def _solve(task: _Task, platform: str, kept: tuple[LockedRecord, ...], named: tuple[Named, ...]) -> Locked:
    subject, wanted = task.request.subject, task.wanted
    asked = subject.table
    said = overrides(asked.virtual_packages, subject.site.environ)
    exactly = [item.spec(task.channels) for item in named]
    question = Question(
        channels=task.channels,
        specs=(*wanted.dependencies, *([mpi_spec(asked.mpi[-1])] if asked.mpi else []), *exactly),
        subdir=platform,
        virtual=offered(task.detected, said, platform, task.here),
        priority="disabled" if named else asked.channel_priority,  # each is named, and may come from any of the channels
        exclude_newer=asked.exclude_newer,
        locked=kept,
    )
    question = replace(question, locked=_open_to_gpu(task.helper, question))
    try:
        answer = task.helper.solve(question, ignore)
    except BuildError as error:
        if not named or "cannot be had" not in error.what:
            raise
        raise BuildError(f"the channels do not give what {task.request.source} names: {error.what}", hint=_OTHERWISE) from error
    if named:
        _check_named(named, answer.records, task.channels)
    names = set(needed(line for record in answer.records for line in record.depends))
    virtual = tuple(item for item in question.virtual if item.name in names)
    empty = LockedLayer(subject.spec.imports, asked.passed, (), (), ())
    builds = () if "cuda" in said else answer.cpu_builds
    return Locked(platform, task.channels, virtual, wanted.variables, answer.records, empty, cpu_builds=builds)


def _open_to_gpu(helper: Helper, question: Question) -> tuple[LockedRecord, ...]:
    """Return the locked records that are kept: where a GPU is said or seen now, none that was taken for want of one.

    A build for the CPU fits a machine with a GPU too, so the solver would keep it.
    """
    blind = replace(question, virtual=tuple(item for item in question.virtual if item.name != "__cuda"))
    needy = any("__cuda" in line for record in question.locked for line in record.depends)
    if not question.locked or needy or blind.virtual == question.virtual:
        return question.locked
    try:
        found = helper.solve(blind, ignore).cpu_builds
    except BuildError:
        return ()  # the spec cannot be had without a GPU, and nothing tells which packages differ
    return tuple(record for record in question.locked if record.name not in found)


def _check_named(named: tuple[Named, ...], records: tuple[LockedRecord, ...], channels: tuple[Channel, ...]) -> None:
    """Raise BuildError where what was solved is not exactly what another tool's file names."""
    there = {record.name: record for record in records}
    lines = [line for item in named if item.name in there and (line := item.differs(there[item.name], channels))]
    wanted = {item.name for item in named}
    lines += [f"{name} is needed too, and is not named there" for name in sorted(there.keys() - wanted)]
    if lines:
        raise BuildError("\n  ".join(("the channels do not give what is named:", *lines)), hint=_OTHERWISE)


def _content(locked: Locked, subject: Subject[CondaTable], wanted: EnvironmentFile) -> dict[str, Any]:
    """Return the section's content."""
    site = subject.site
    places = record.places_of(str(site.settings.root), site.environ.get("HOME", ""))
    mpi = record.replaced(locked.mpi.as_table(), lambda text: record.portable(text, places)) if locked.mpi else None
    content: dict[str, Any] = {
        "channels": [channel.as_table() for channel in locked.channels],
        **({"virtual": [item.as_text() for item in locked.virtual]} if locked.virtual else {}),
        **layer_of(subject, wanted).head(locked.layer.projects),
        **({"variables": dict(locked.variables)} if locked.variables else {}),
        **({"cpu-builds": list(locked.cpu_builds)} if locked.cpu_builds else {}),
        "record": [item.as_table() for item in locked.records],
        **({"mpi": mpi} if mpi else {}),
    }
    on_top = locked.layer
    if on_top.packages or on_top.projects:
        content |= layer.packages_table(on_top.packages, on_top.build, on_top.projects)
    return content


def _pip(task: _Task, locked: Locked, previous: Locked | None) -> LockedLayer:
    """Resolve what pip adds in an environment of the records, so that what they provide is neither shadowed nor repeated."""
    request, subject = task.request, task.request.subject
    spec, site, wanted = subject.spec, subject.site, layer_of(subject, task.wanted)
    lines = [entry.text for text in wanted.texts() for entry in entries_of(text)]
    with tempfile.TemporaryDirectory(prefix="ozrepro-") as name:
        prefix = Path(os.path.realpath(name)) / "env"
        task.helper.install(locked.records, locked.addresses, prefix, ignore)
        # Its Python is not started to be asked: this one tells uv where it runs, and the record what it resolves for.
        python = replace(conda_python.recorded(locked), path=running().path)
        provided = outside.distributions([str(install.site_packages(prefix))])
        overridden = outside.demanded(lines, provided, python.markers)
        if overridden:
            names, reasons = ", ".join(overridden), "; ".join(overridden.values())
            raise BuildError(
                reasons.replace("of the modules", "of the conda packages"),
                where=str(spec.path),
                hint=f"ask conda for {names} in this version, under dependencies",
            )
        minor = int(python.minor.split(".")[1])
        uv, before = open_uv(site, request.say), previous.layer if previous else None
        with layer.local_projects(uv, wanted, python, site, request.say) as projects:
            question = Wanted(
                spec.root,
                wanted.requirements,
                f">=3.{minor},<3.{minor + 1}",
                (site.platform,),
                site.platform,
                (),
                provided,
                hashed=wanted.hashed(),
                owner="the conda packages",
                texts=wanted.files(),
                projects=projects,
                limits=wanted.folders().limits(),
            )
            shop = repositories.Workshop(uv, site, request.say)
            question = repositories.with_wheels(question, shop, python, before, request.upgrade)
            resolved = resolve_pip(uv, question, python, before.packages if before else (), request.upgrade, request.say)
            layer.check_resolved(resolved, wanted, site.platform, python.minor)
            build = layer.lock_build_packages(uv, question, resolved, python, before, request.upgrade)
    return replace(locked.layer, projects=resolved.local, packages=resolved.packages, build=build)


def _kept(previous: Locked | None, upgrade: tuple[str, ...] | None) -> tuple[LockedRecord, ...]:
    """Return the records that a new resolution keeps where they still fit: all, none, or all but those named."""
    if previous is None or upgrade == ():
        return ()
    moving = {canonicalize_name(name) for name in upgrade or ()}
    return tuple(record for record in previous.records if canonicalize_name(record.name) not in moving)
