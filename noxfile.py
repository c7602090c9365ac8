"""This repository's own sessions: the example on real data, and the checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ozrepro

if TYPE_CHECKING:
    import nox


@ozrepro.session
def analysis(session: nox.Session) -> None:
    """Find the period of the solar cycle in 309 years of sunspot numbers."""
    session.run("python", "sessions/analysis.py", *session.posargs)
