"""A method's table of a spec, as a test looks into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ozrepro.project.spec import Spec


def table_of(spec: Spec, name: str) -> Any:
    """Return the table of a method that the spec describes."""
    return spec.tables[name]
