"""A definition from another method's section of the same lock, so that one spec gives all methods with the same versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ozrepro.errors import LockError
from ozrepro.methods import registry
from ozrepro.methods.container.table import image_source
from ozrepro.methods.contract import ImageRequest
from ozrepro.project.lock import lock_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ozrepro.methods.container.table import ContainerTable
    from ozrepro.methods.contract import Say, Subject
    from ozrepro.project.lock import Section


def source_section(subject: Subject[ContainerTable], sections: Iterable[Section]) -> Section:
    """Return the section that `from` names for this machine. Raises LockError where there is none."""
    source, spec = subject.table.source, subject.spec
    title = f"{source}.{subject.site.key(registry.load(source).traits.scope)}"
    section = next((item for item in sections if item.title == title), None)
    if section is None:
        raise LockError(
            f"has no section {title}, which the image is made from",
            where=str(lock_file(spec.root, spec.name)),
            hint=f"ozrepro lock {spec.name}, where {source} can be locked",
        )
    return section


def image_request(section: Section, subject: Subject[Any], say: Say) -> ImageRequest[Any, Any]:
    """Return what the method of a section is asked for: a definition on the base of `[container]`, or on the usual one.

    Raises LockError for a section that cannot be read, SpecError where the spec has no table of its method.
    """
    spec, site = subject.spec, subject.site
    where = str(lock_file(spec.root, spec.name))
    return ImageRequest(
        subject=registry.subject_of(section.method, spec, site),
        locked=registry.read_section(section, site, where, spec.name),
        platform=section.platform,
        base=subject.table.base.removeprefix("docker://"),
        title=f"{section.title} of {spec.name}.lock",
        say=say,
    )


def generate(section: Section, subject: Subject[ContainerTable], say: Say) -> tuple[str, ...]:
    """Return the lines of a definition made from a section."""
    return tuple(image_source(section.method).definition(image_request(section, subject, say)))


def unlike_source(generated: tuple[str, ...], section: Section, subject: Subject[ContainerTable]) -> list[str]:
    """Return what a locked definition installs otherwise than the section that it says it was made from. Asks no index."""
    request = image_request(section, subject, _quiet)
    return list(image_source(section.method).unlike_definition(request, generated))


def _quiet(line: str) -> None:
    """Take no notice: it was said when it was locked."""
