"""Environment markers without the terms that decide nothing where a lock is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from packaging.markers import Marker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def shorten(marker: str, environments: Sequence[Mapping[str, str]]) -> str:
    """Return `marker` without the terms that decide nothing in any of the environments that the lock serves."""
    if not marker:
        return ""
    terms = _terms(marker)

    def decides(parts: Sequence[str]) -> list[bool]:
        return [not parts or Marker(" and ".join(parts)).evaluate({**environment, "extra": ""}) for environment in environments]

    expected = decides(terms)
    for term in tuple(terms):
        rest = [other for other in terms if other is not term]
        if decides(rest) == expected:
            terms = rest
    return str(Marker(" and ".join(terms))) if terms else ""


def _terms(marker: str) -> list[str]:
    """Split at each `and` outside parentheses; a marker with a bare `or` is one term."""
    terms, depth = [""], 0
    for word in marker.split(" "):
        depth += word.count("(") - word.count(")")
        if word == "or" and depth == 0:
            return [marker]
        if word == "and" and depth == 0:
            terms.append("")
        else:
            terms[-1] = f"{terms[-1]} {word}".strip()
    return terms
