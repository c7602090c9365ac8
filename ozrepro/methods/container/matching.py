"""A container section against the spec that it claims to answer: it may have been edited, or be a stranger's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ozrepro.methods.container.plan import refused_program
from ozrepro.methods.container.table import image_source
from ozrepro.methods.reading import load_lock

if TYPE_CHECKING:
    from ozrepro.methods.container.lock import Locked
    from ozrepro.methods.container.table import ContainerTable
    from ozrepro.methods.contract import Subject

_TOLD = 30


def mismatches(subject: Subject[ContainerTable], locked: Locked) -> list[str]:
    """Return what the section holds and the spec does not ask for, and where its module or its definition cannot be its own."""
    table = subject.table
    pairs: tuple[tuple[str, object, object], ...] = (
        ("definition", locked.definition, table.definition),
        ("image", locked.image, table.image),
        ("from", locked.source, table.source),
        ("gpu", locked.gpu, table.gpu),
        ("bind", locked.bind, table.bind),
        ("pass", locked.passed, table.passed),
        ("imports", locked.imports, subject.spec.imports),
        ("arguments", dict(locked.arguments), dict(table.build_args)),
        ("module", locked.module.load[-1] if locked.module is not None else "", table.module),
    )
    lines = [f"container.{key}: the lock has {has!r}, and the spec {asked!r}" for key, has, asked in pairs if has != asked]
    if lines:
        return lines
    if table.source and not _is_base_of(table, locked):
        lines.append(f"container.base: the lock has {[base.source for base in locked.bases]!r}, which the spec does not ask for")
    refused = refused_program(locked.module, subject.site) if locked.module is not None else None
    return [*lines, *filter(None, (refused,)), *_unlike_source(subject, locked)]


def _unlike_source(subject: Subject[ContainerTable], locked: Locked) -> list[str]:
    """Return what a definition that was made installs and the section that it names does not have."""
    spec = subject.spec
    lock = load_lock(spec.root, spec.name, spec.files) if locked.of is not None else None
    if lock is None or locked.of is None:
        return []
    named = (locked.of.section, locked.of.digest)
    source = next((item for item in lock.sections if (item.title, item.digest) == named), None)
    if source is None:
        return []  # there is none, or it is another now, which is told as that
    from ozrepro.methods.container.from_lock import unlike_source

    return [f"container.generated: {line}" for line in unlike_source(locked.generated, source, subject)[:_TOLD]]


def _is_base_of(table: ContainerTable, locked: Locked) -> bool:
    """Say whether a definition that was made is on the image that the spec names, or on the usual one."""
    minor = locked.contents.python.rpartition(".")[0]
    named = table.base.removeprefix("docker://") or image_source(table.source).usual_base(minor)
    kind = "localimage" if named.endswith(".sif") else "docker"
    return len(locked.bases) == 1 and locked.bases[0].answers(kind, named)
