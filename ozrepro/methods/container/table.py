"""`[container]` of a spec: an Apptainer image."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  # the reader looks annotations up
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from ozrepro.errors import UsageError
from ozrepro.methods import registry
from ozrepro.methods.contract import DefinesImage, Reason
from ozrepro.project import reader
from ozrepro.project.reader import Check, Key
from ozrepro.project.spec import ModuleName, PassedNames, PathInside  # noqa: TC001  # the reader looks annotations up

if TYPE_CHECKING:
    from ozrepro.project.checking import Checker


def image_source(name: str) -> DefinesImage:
    """Return the method of this name, from whose sections images can be made. Raises UsageError for any other."""
    method: object = registry.load(name)
    if not isinstance(method, DefinesImage):
        raise UsageError(f"no image can be made from {name!r}", hint=f"one of: {', '.join(_sources())}")
    return method


def defines_image(name: str) -> bool:
    """Say whether an image can be made from the sections of a method of this name."""
    return registry.is_method(name) and isinstance(registry.load(name), DefinesImage)


def _sources() -> list[str]:
    names: list[str] = []
    for name in registry.known(("",)):
        with suppress(UsageError):  # a plug-in that cannot be loaded is told where it is named
            names += [name] if defines_image(name) else []
    return sorted(names)


def _check_source(name: str) -> str | None:
    problem = f"no image can be made from {name!r}; write one of: {', '.join(_sources())}"
    return None if not name or defines_image(name) else problem


@dataclass(frozen=True, slots=True)
class ContainerTable:
    """`[container]`: an Apptainer image. `source` is the method whose lock a definition is made from, on the image `base`."""

    definition: PathInside = ""
    image: str = ""
    source: Annotated[str, Check(_check_source), Key("from")] = ""
    base: str = ""
    module: ModuleName = ""
    gpu: Literal["", "nvidia", "amd"] = ""
    bind: tuple[str, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    passed: PassedNames = ()


def read_table(checker: Checker, value: object) -> ContainerTable:
    """Return the table; what is wrong in it is noted."""
    path, given = ("container",), value if isinstance(value, dict) else {}
    named = [key for key in ("definition", "image", "from") if key in given]
    if len(named) != 1 and isinstance(value, dict):
        problem = f"has {' and '.join(named)}" if named else "names no image"
        checker.wrong(path, problem, "write exactly one of definition, image, from")
    for key, needed in (("base", "from"), ("build-args", "definition")):
        if key in given and needed not in given:
            checker.wrong((*path, key), f"is given without {needed}", f"remove it, or write {needed}")
    return reader.read_table(checker, ContainerTable, value, path)


def package_list(table: ContainerTable) -> Reason:
    """Return why no package can be added to an image by its name; `PKG` in the remedy stands for the package."""
    if table.source:
        return Reason(f"its image is made from {table.source}", f"add PKG to {table.source}")
    if table.definition:
        return Reason(
            f"its packages are in {table.definition}",
            f"add PKG to %post of {table.definition}, such as: python3 -m pip install PKG",
        )
    return Reason(f"its image is {table.image}", "name an image that has PKG")
