"""A lock written in another tool's format: by the method that has it, or as a definition or an inventory of any method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ozrepro.errors import NoMethodError, UsageError
from ozrepro.methods import registry
from ozrepro.methods.contract import DefinesImage, Derives, ExportRequest, ImageRequest, ListsComponents
from ozrepro.pipeline.checks import check_answers, check_section
from ozrepro.pipeline.choice import candidates, check_matches
from ozrepro.pipeline.cyclonedx import document
from ozrepro.project.checking import one_of_these

if TYPE_CHECKING:
    from ozrepro.methods.contract import Say
    from ozrepro.pipeline.session import Session
    from ozrepro.project.lock import Lock, Section

DEFINITION = "def"
"""The format of any method whose sections can be put into an image: Apptainer's definition."""

CYCLONEDX = "cyclonedx"
"""The format of any method whose sections name their components: an inventory for scanners."""

RO_CRATE = "ro-crate"
"""The format of a recorded run, which `publishing` writes."""


def formats() -> tuple[str, ...]:
    """Return the names of the formats, in order."""
    return (*registry.formats(), DEFINITION, CYCLONEDX, RO_CRATE)


def export(session: Session, lock: Lock, name: str, say: Say) -> str:
    """Return the lock in a format. Raises NoMethodError where it has no section for it, UsageError, LockError."""
    if name == DEFINITION:
        return _definition(session, lock, say)
    if name == CYCLONEDX:
        return _inventory(session, lock, say)
    if name not in registry.formats(name):
        raise UsageError(f"{name!r} is not a format", hint=one_of_these(name, formats()))
    form = registry.formats(name)[name]
    section = session.section(form.method, lock)
    if section is None:
        reason = f"{session.lock_path} has no {form.method} section for {session.key(form.method)} to export"
        raise NoMethodError(session.name, [reason], hint=f"ozrepro lock {session.name} --method {form.method}")
    check_matches(session, section)
    check_section(session, section)
    sections = {item.platform: session.read(item) for item in lock.of_method(form.method)}
    return form.write(ExportRequest(session.subject(form.method), sections, section.platform, say))


def _inventory(session: Session, lock: Lock, say: Say) -> str:
    """Return an inventory of the first section that is locked here. What the machine has now plays no part in it."""
    sections = [section for name in candidates(session) if (section := session.section(name, lock)) is not None]
    if not sections:
        keys = ", ".join(f"{name}.{session.key(name)}" for name in candidates(session))
        raise NoMethodError(session.name, [f"{session.lock_path} has no section {keys}"], hint=f"ozrepro lock {session.name}")
    section, *others = sections
    check_matches(session, section)
    check_answers(session, section)
    method = registry.load(section.method)
    if not isinstance(method, ListsComponents):
        raise UsageError(f"the method {section.method!r} cannot list its components", hint="--method METHOD names another one")
    if others:
        names = ", ".join(item.method for item in others)
        say(f"{session.name}: {CYCLONEDX} lists {section.title}; --method METHOD lists another: {names}")
    return document(session.name, section, method.components(session.read(section)))


def _definition(session: Session, lock: Lock, say: Say) -> str:
    """Return a definition made from the section that the spec's image is made from, else from the first that can be."""
    spec = session.spec
    derived = [name for name in spec.tables if isinstance(registry.load(name), Derives)]
    named = [source for name in derived for source in _sources(session, name)]
    asked = named or [name for name in spec.tables if isinstance(registry.load(name), DefinesImage)]
    section = next((item for name in asked if name in spec.tables and (item := session.section(name, lock))), None)
    if section is None:
        reason = f"{session.lock_path} has no section here of {', '.join(asked) or 'any method'} to make an image from"
        raise NoMethodError(session.name, [reason], hint=f"ozrepro lock {session.name}")
    check_matches(session, section)
    check_section(session, section)
    return "\n".join(_lines(session, section, derived, say)) + "\n"


def _sources(session: Session, name: str) -> list[str]:
    method = registry.load(name)
    return list(method.sources(session.spec.tables[name])) if isinstance(method, Derives) else []


def _lines(session: Session, section: Section, derived: list[str], say: Say) -> list[str]:
    method = registry.load(section.method)
    assert isinstance(method, DefinesImage), "only such methods are asked"
    base = next((str(getattr(session.spec.tables[name], "base", "")) for name in derived), "").removeprefix("docker://")
    title = f"{section.title} of {session.name}.lock"
    request = ImageRequest(session.subject(section.method), session.read(section), section.platform, base, title, say)
    return list(method.definition(request))
