"""`[conda]` of a spec: packages from conda channels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ozrepro.project.requirement import check_requirement
from ozrepro.project.settings import check_passed, one_of
from ozrepro.project.spec import check_module, mapping_at, relative_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ozrepro.project.checking import Checker


@dataclass(frozen=True, slots=True)
class CondaTable:
    """`[conda]`: packages from conda channels."""

    channels: tuple[str, ...] = ("conda-forge",)
    dependencies: tuple[str, ...] = ()
    file: str = ""
    pip: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ("linux-64",)
    virtual_packages: Mapping[str, str] = field(default_factory=dict)
    mpi: tuple[str, ...] = ()
    channel_priority: str = "strict"
    exclude_newer: str = ""
    passed: tuple[str, ...] = ()


_CONDA = (
    *("channels", "dependencies", "file", "pip", "platforms", "virtual-packages"),
    *("mpi", "channel-priority", "exclude-newer", "pass"),
)


def read_table(checker: Checker, value: object) -> CondaTable:
    """Return the table; what is wrong in it is noted."""
    from ozrepro.methods.conda import (
        spec_rules,  # read where the table is there alone; it knows texts, and no other part of the conda method
    )

    path = ("conda",)
    table = checker.table(value, path, _CONDA)
    if "dependencies" not in table and "file" not in table:
        right = 'write dependencies = ["python=3.12", …] or file = "environment.yml"'
        checker.wrong((*path, "dependencies"), "is missing", right)
    if "dependencies" in table and "file" in table:
        checker.wrong((*path, "file"), "stands beside dependencies", "keep one of the two")
    priority = checker.text_at(table, (*path, "channel-priority"), default="strict")
    if priority not in ("strict", "flexible", "disabled"):
        checker.wrong((*path, "channel-priority"), f"{priority!r} is not known", "write strict, flexible or disabled")
    channels = checker.texts_at(table, (*path, "channels"), default=("conda-forge",), check=spec_rules.check_channel)
    listed = table.get("channels", channels)
    words = [word for word in listed if isinstance(word, str)] if isinstance(listed, (list, tuple)) else []
    newest = checker.text_at(table, (*path, "exclude-newer"))
    virtual = mapping_at(checker, table, (*path, "virtual-packages"))
    if problem := spec_rules.check_date(newest):
        checker.wrong((*path, "exclude-newer"), problem)
    for key, problem in spec_rules.check_overrides(virtual).items():
        checker.wrong((*path, "virtual-packages", key), problem)

    def package(text: str) -> str | None:
        return spec_rules.check_spec(text) or (spec_rules.foreign(text, words) if words else None)

    return CondaTable(
        channels=channels,
        dependencies=checker.texts_at(table, (*path, "dependencies"), check=package),
        file=relative_at(checker, table, (*path, "file")),
        pip=checker.texts_at(table, (*path, "pip"), check=check_requirement),
        platforms=checker.texts_at(table, (*path, "platforms"), default=("linux-64",), check=one_of(spec_rules.PLATFORMS)),
        virtual_packages=virtual,
        mpi=spec_rules.read_mpi(checker, table, (*path, "mpi"), check_module),
        channel_priority=priority,
        exclude_newer=newest,
        passed=checker.texts_at(table, (*path, "pass"), check=check_passed),
    )
