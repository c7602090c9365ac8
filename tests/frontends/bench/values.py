"""Results and rows made by hand, for tests of what is done with them."""

from __future__ import annotations

from ozrepro.frontends.bench.result import About, Counted, Replay, Result, Row


def a_row(candidate: str = "venv", number: int = 1, wall: float = 0.5, **changes: object) -> Row:
    """Return the row of a start that went well."""
    values = {
        "candidate": candidate,
        "workload": "numpy",
        "state": "warm",
        "ranks": 1,
        "round": number,
        "phases": {"environment": 0.0, "interpreter": 0.02, "imports": 0.3, "first_call": 0.1},
        "wall": wall,
        "user": 0.3,
        "system": 0.1,
        "rss": 30_000_000,
        "status": 0,
        "ready": (0.42,),
    }
    return Row(**{**values, **changes})  # type: ignore[arg-type]


def a_result(**changes: object) -> Result:
    """Return a result with one of everything."""
    values = {
        "session": "work",
        "lock": "0" * 64,
        "host": {"name": "node", "cpus": 2},
        "fs": {"type": "ext4", "options": ["rw"]},
        "plan": {"rounds": 2, "cold_rounds": 1, "warmups": 1, "budget_seconds": 60.0},
        "seed": 3,
        "candidates": (About("venv", 12, 3456, {"numpy": "2.0"}, "/usr", "ext4", 1.5), About("conda")),
        "order": (("conda", "venv"), ("venv", "conda")),
        "rows": (a_row(), a_row("conda", wall=0.7), a_row(number=2, phases={"environment": 0.0}, status=-9, ready=(), error="x")),
        "counts": (Counted("venv", "numpy", "cold-client", {"open": 3}, 10, 2, 3, 3, 4096, {"lookup": 10}),),
        "profile": {"name": "quiet"},
        "replay": (Replay("venv", 64, 32, "busy", 12.5, "numpy"),),
        "states": {"warm": {"how": "started before", "leaves": ""}},
        "refused": ("container: no Apptainer here",),
        "notes": ("no counts: strace is not here",),
        "complete": True,
        "why": "",
    }
    return Result(**{**values, **changes})  # type: ignore[arg-type]
