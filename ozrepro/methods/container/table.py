"""`[container]` of a spec: an Apptainer image."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ozrepro.errors import UsageError
from ozrepro.methods import registry
from ozrepro.methods.contract import DefinesImage
from ozrepro.project.settings import check_passed
from ozrepro.project.spec import check_module, mapping_at, relative_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ozrepro.project.checking import Checker

_GPUS = ("nvidia", "amd")


@dataclass(frozen=True, slots=True)
class ContainerTable:
    """`[container]`: an Apptainer image. `source` is the method whose lock a definition is made from, on the image `base`."""

    definition: str = ""
    image: str = ""
    source: str = ""
    base: str = ""
    module: str = ""
    gpu: str = ""
    bind: tuple[str, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    passed: tuple[str, ...] = ()


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


def read_table(checker: Checker, value: object) -> ContainerTable:
    """Return the table; what is wrong in it is noted."""
    path = ("container",)
    keys = ("definition", "image", "from", "base", "module", "gpu", "bind", "build-args", "pass")
    table = checker.table(value, path, keys)
    given = [key for key in ("definition", "image", "from") if key in table]
    if len(given) != 1:
        problem = f"has {' and '.join(given)}" if given else "names no image"
        checker.wrong(path, problem, "write exactly one of definition, image, from")
    gpu, source = (checker.text_at(table, (*path, key)) for key in ("gpu", "from"))
    if gpu and gpu not in _GPUS:
        checker.wrong((*path, "gpu"), f"{gpu!r} is not known", f"write one of: {', '.join(_GPUS)}")
    if source and not defines_image(source):
        checker.wrong((*path, "from"), f"no image can be made from {source!r}", f"write one of: {', '.join(_sources())}")
    module = checker.text_at(table, (*path, "module"))
    loose = check_module(module) if module else None
    if loose:
        checker.wrong((*path, "module"), loose)
    for key, needed in (("base", "from"), ("build-args", "definition")):
        if key in table and needed not in table:
            checker.wrong((*path, key), f"is given without {needed}", f"remove it, or write {needed}")
    return ContainerTable(
        definition=relative_at(checker, table, (*path, "definition")),
        image=checker.text_at(table, (*path, "image")),
        source=source,
        base=checker.text_at(table, (*path, "base")),
        module=module,
        gpu=gpu,
        bind=checker.texts_at(table, (*path, "bind")),
        build_args=mapping_at(checker, table, (*path, "build-args")),
        passed=checker.texts_at(table, (*path, "pass"), check=check_passed),
    )
