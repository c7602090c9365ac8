"""`[venv]` of a spec: a plain virtual environment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.specifiers import SpecifierSet

from ozrepro.project.settings import KNOWN_PLATFORMS, check_passed, one_of
from ozrepro.project.spec import check_distribution, requirements_at

if TYPE_CHECKING:
    from ozrepro.project.checking import Checker


@dataclass(frozen=True, slots=True)
class VenvTable:
    """`[venv]`: a plain virtual environment."""

    python: str = ""
    requirements: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()


def read_table(checker: Checker, value: object, path: tuple[str, ...] = ("venv",)) -> VenvTable:
    """Return the table; what is wrong in it is noted."""
    table = checker.table(value, path, ("python", "requirements", "build", "platforms", "pass"))
    python = checker.text_at(table, (*path, "python"))
    try:
        SpecifierSet(python).contains("3.10.0", prereleases=True)
    except ValueError:
        checker.wrong((*path, "python"), f"{python!r} is no version range", 'write for example ">=3.10" or ">=3.10,<3.13"')
    return VenvTable(
        python=python,
        requirements=requirements_at(checker, table, path),
        build=checker.texts_at(table, (*path, "build"), check=check_distribution),
        platforms=checker.texts_at(table, (*path, "platforms"), check=one_of(KNOWN_PLATFORMS)),
        passed=checker.texts_at(table, (*path, "pass"), check=check_passed),
    )


