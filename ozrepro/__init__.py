"""Named, locked Python sessions for supercomputers.

The public names are `session`, `open_session`, `renew_launchers`, `Environment` and the errors. They load on first use (PEP 562):
`ozrepro run` imports no nox.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ozrepro.environment import Environment
    from ozrepro.errors import (
        BuildError,
        CommandFailed,
        DriftError,
        LockError,
        NoMethodError,
        OzreproError,
        SpecError,
        StoreError,
        UsageError,
    )
    from ozrepro.frontends.launchers import renew_launchers
    from ozrepro.frontends.nox import session
    from ozrepro.pipeline.public import Built, Session, State, open_session
    from ozrepro.pipeline.records.writing import Recording

__version__ = "0.1.0"

__all__ = [
    "BuildError",
    "Built",
    "CommandFailed",
    "DriftError",
    "Environment",
    "LockError",
    "NoMethodError",
    "OzreproError",
    "Recording",
    "Session",
    "SpecError",
    "State",
    "StoreError",
    "UsageError",
    "open_session",
    "renew_launchers",
    "session",
]

_HOMES = {
    "Environment": "environment",
    "Recording": "pipeline.records.writing",
    "renew_launchers": "frontends.launchers",
    "session": "frontends.nox",
    **dict.fromkeys(("Built", "Session", "State", "open_session"), "pipeline.public"),
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'ozrepro' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"ozrepro.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
