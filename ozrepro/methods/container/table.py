"""`[container]` of a spec: an Apptainer image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ozrepro.project.settings import check_passed
from ozrepro.project.spec import check_module, mapping_at, relative_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ozrepro.project.checking import Checker


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


def read_table(checker: Checker, value: object) -> ContainerTable:
    """Return the table; what is wrong in it is noted."""
    path = ("container",)
    keys = ("definition", "image", "from", "base", "module", "gpu", "bind", "build-args", "pass")
    table = checker.table(value, path, keys)
    given = [key for key in ("definition", "image", "from") if key in table]
    if len(given) != 1:
        problem = f"has {' and '.join(given)}" if given else "names no image"
        checker.wrong(path, problem, "write exactly one of definition, image, from")
    words: dict[str, str] = {}
    for key, choices in (("gpu", ("nvidia", "amd")), ("from", ("conda", "modules", "venv"))):
        word = words[key] = checker.text_at(table, (*path, key))
        if word and word not in choices:
            checker.wrong((*path, key), f"{word!r} is not known", f"write one of: {', '.join(choices)}")
    module = checker.text_at(table, (*path, "module"))
    loose = check_module(module) if module else None
    if loose:
        checker.wrong((*path, "module"), loose)
    for key, needed in (("base", "from"), ("build-args", "definition")):
        if key in table and needed not in table:
            checker.wrong((*path, key), f"stands without {needed}", f"remove it, or write {needed}")
    return ContainerTable(
        definition=relative_at(checker, table, (*path, "definition")),
        image=checker.text_at(table, (*path, "image")),
        source=words["from"],
        base=checker.text_at(table, (*path, "base")),
        module=module,
        gpu=words["gpu"],
        bind=checker.texts_at(table, (*path, "bind")),
        build_args=mapping_at(checker, table, (*path, "build-args")),
        passed=checker.texts_at(table, (*path, "pass"), check=check_passed),
    )
