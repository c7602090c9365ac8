"""What `[container]` of a spec asks for: its files read, its names checked, and the digest of all of it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError, SpecError
from ozrepro.methods import registry
from ozrepro.methods.container.copying import copied
from ozrepro.methods.container.definition import LOCAL, Definition, read_definition
from ozrepro.methods.container.lock import check_bind
from ozrepro.methods.container.reference import read_reference
from ozrepro.methods.contract import Inputs
from ozrepro.modulesystem import loading
from ozrepro.project.checking import shown
from ozrepro.project.files import SMALL

if TYPE_CHECKING:
    from pathlib import Path

    from ozrepro.methods.container.table import ContainerTable
    from ozrepro.methods.contract import Subject

_FEW = 50
"""Files that a definition copies and every start compares."""


def inputs_of(subject: Subject[ContainerTable]) -> Inputs:
    """Return the table, the imports, the definition and what it copies into the image, or the inputs of the method of `from`.

    Raises SpecError, with all mistakes, for what the table says and no image can have.
    """
    table, spec = subject.table, subject.spec
    _check(subject)
    asked: dict[str, object] = {
        "image": table.image,
        "from": table.source,
        "base": table.base,
        "gpu": table.gpu,
        "bind": list(table.bind),
        "arguments": dict(table.build_args),
        "pass": sorted(table.passed),
        "module": table.module,
    }
    files: tuple[Path, ...] = ()
    unchecked: list[str] = []
    if table.definition:
        definition = definition_of(subject)
        files = files_of(subject, definition)
        asked |= {"definition": definition.text, "files": copied(definition, table.definition, spec.root, spec.files)}
        unchecked = [_as_written(spec.root, word) for word in definition.copied() if spec.root / word not in files]
    if table.source:
        asked["source"] = ""
        if table.source in spec.tables:
            source = registry.load(table.source).inputs(registry.subject_of(table.source, spec, subject.site))
            asked["source"] = source.digest
            unchecked = [*(os.path.relpath(path, spec.root) for path in source.files), *source.unchecked]
    return Inputs({"container": asked, "imports": list(spec.imports)}, files, tuple(unchecked), table.passed)


def _as_written(root: Path, word: str) -> str:
    return f"{word.rstrip('/')}/" if (root / word).is_dir() else word


def _check(subject: Subject[ContainerTable]) -> None:
    table, spec = subject.table, subject.spec
    mistakes = [f"container.bind: {problem}" for text in table.bind if (problem := check_bind(text))]
    for key, text in (("image", table.image), ("base", table.base)):
        if text.startswith("docker://"):
            try:
                read_reference(text)
            except ValueError as error:
                mistakes.append(f"container.{key}: {error}")
        elif key == "base" and text and not text.endswith(".sif"):
            mistakes.append(f"container.base: {shown(text)} is neither docker://… nor a file .sif")
    if mistakes:
        raise SpecError(str(spec.path), mistakes, hint=f"edit sessions/{spec.path.name}")


def definition_of(subject: Subject[ContainerTable]) -> Definition:
    """Return the definition that the table names, taken apart. Raises SpecError."""
    table, spec, place = subject.table, subject.spec, "container.definition"
    path = spec.root / table.definition
    if not os.path.realpath(path).startswith(os.path.realpath(spec.root) + os.sep):
        raise SpecError(str(spec.path), [f"{place}: {table.definition}: leads out of the project; copy the file into it"])
    try:
        return read_definition(spec.files.text(path, SMALL), table.build_args)
    except OSError as error:
        hint = "write the definition, or name one of the project"
        raise SpecError(str(spec.path), [f"{place}: {table.definition}: {error.strerror}"], hint=hint) from error
    except ValueError as error:
        raise SpecError(str(path), [str(error)], hint=f"edit {table.definition}") from error


def files_of(subject: Subject[ContainerTable], definition: Definition) -> tuple[Path, ...]:
    """Return the files that every start compares: the definition, and the small files that it copies.

    Folders and large files are compared by lock, status and build: a start must not read gigabytes.
    """
    root = subject.spec.root
    paths = [root / word for word in definition.copied()[:_FEW]]
    small = [path for path in paths if path.is_file() and path.stat().st_size <= SMALL]
    return (root / subject.table.definition, *small)


def missing_image(subject: Subject[ContainerTable]) -> str | None:
    """Return the image file, or the base, that the table or its definition names and this machine does not have, or None."""
    table = subject.table
    names = [table.image, table.base if table.base.endswith(".sif") else ""]
    if table.definition:
        with suppress(OzreproError):  # what is wrong with the definition is told by who reads all of it
            names += [stage.source for stage in definition_of(subject).stages if stage.bootstrap in LOCAL]
    files = (name for name in names if name and "://" not in name)
    return next((name for name in files if not (subject.spec.root / os.path.expanduser(name)).exists()), None)


def module_request(subject: Subject[ContainerTable]) -> loading.Request | None:
    """Return the module that `module` names as it is to be loaded, or None where it names none."""
    module = subject.table.module
    return loading.request_of((module,), "container.module", subject.spec, subject.site) if module else None
