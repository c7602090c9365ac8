"""The command doctor: what is wrong with the site or with habits, why it matters, and what fixes it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ozrepro.frontends.cli.call import take_json
from ozrepro.methods.reading import load_settings

if TYPE_CHECKING:
    from ozrepro.frontends.cli.call import Add, Call
    from ozrepro.frontends.doctor.finding import Finding


def register(add: Add) -> None:
    """Add the command of this module."""
    made = add("doctor", "check the setup of this machine for common pitfalls", doctor)
    made.add_argument("--verbose", action="store_true", help="also show what is fine")
    take_json(made)
    made.set_defaults(anywhere=True)


def doctor(call: Call) -> int:
    """Examine the site and the home, change nothing, and return 1 when something is wrong."""
    from ozrepro.frontends.doctor.examination import examine
    from ozrepro.frontends.doctor.surroundings import surroundings

    found = list(examine(surroundings(load_settings(call.root, os.environ), os.environ)))
    wrong = [item for item in found if item.level == "wrong"]
    notes = [item for item in found if item.level == "note"]
    fine = [item for item in found if item.level == "fine"]
    call.out.value({"schema": 1, "wrong": len(wrong), "findings": [_value(item) for item in found]})
    for item in (*wrong, *notes):
        _show(call, item)
    if call.arguments.verbose:
        for item in fine:
            call.out.line(f"fine: {item.seen}")
        call.out.line()
    more = "" if call.arguments.verbose or not fine else " (shown with --verbose)"
    call.out.line(f"{len(wrong)} wrong, {len(notes)} to note, {len(fine)} fine{more}")
    return 1 if wrong else 0


def _value(item: Finding) -> dict[str, Any]:
    return {"check": item.check, "level": item.level, "seen": item.seen, "why": item.why, "remedy": list(item.remedy)}


def _show(call: Call, item: Finding) -> None:
    call.out.line(f"{item.level}: {item.seen}")
    if item.why:
        call.out.line(f"  why: {item.why}")
    for number, words in enumerate(item.remedy):
        call.out.line(f"   or: {words}" if number else f"  try: {words}")
    call.out.line()
