"""The options of `bench`: what they mean, and what is wrong in them before anything is started."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError, UsageError
from ozrepro.frontends.cli.call import Arguments
from ozrepro.methods import registry
from ozrepro.project.checking import one_of_these

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.frontends.bench.lustre.profile import Profile
    from ozrepro.frontends.bench.plan import Plan
    from ozrepro.pipeline.session import Session

FILES = {
    "json": "the result, after every round",
    "html": "the whole report",
}
"""The files that a result is written to, as options, and what each has."""


def own_files(given: Arguments, name: str) -> Arguments:
    """Return the arguments with files that are one session's own: its name goes in front of the ending.

    What is not a file name stays as it is, for `check` to refuse.
    """
    files = {f"{form}_file": getattr(given, f"{form}_file") for form in FILES}
    paths = {key: Path(text) for key, text in files.items() if text and not os.path.isdir(text)}
    own = {key: str(path.with_name(f"{path.stem}-{name}{path.suffix}")) for key, path in paths.items()}
    return Arguments(**{**vars(given), **own})


def split_words(option: str, given: Sequence[str] | None) -> list[str]:
    """Return the words of an option, none where it was not given. Raises UsageError where nothing is in it."""
    words = list(dict.fromkeys(word.strip() for text in given or () for word in text.split(",") if word.strip()))
    if given and not words:
        raise UsageError(f"{option} is empty", hint=f"ozrepro bench NAME without {option}")
    return words


def refuse_others(given: Arguments, action: str) -> None:
    """Raise UsageError for an option that was given to an action for which it does nothing."""
    names = {"methods": "method", "forms": "form", "workloads": "workload", "states": "state"}
    plain = ("fresh_nodes", "rounds", "seed", "jobs", "profile", "emulate")
    names.update({name: name.replace("_", "-") for name in plain})
    names.update({f"{form}_file": form for form in FILES})
    for name, option in names.items():
        if getattr(given, name) not in (None, False, 0):
            raise UsageError(f"--{option} has no effect on {action}", hint=f"ozrepro bench {action}, without it")
    if action == "compare" and given.output is not None:
        raise UsageError("--output is for calibrate", hint="ozrepro bench compare A.json B.json >FILE")


def named_profile(word: str) -> Profile:
    """Return the preset of this name, or the profile in this file. Raises UsageError."""
    from ozrepro.frontends.bench.lustre.profile import PRESETS, read_profile

    if word in PRESETS:
        return PRESETS[word]
    try:
        return read_profile(Path(word))
    except OzreproError as error:
        raise UsageError(error.what, where=error.where, hint=error.hint) from error


def check(given: Arguments) -> None:
    """Raise UsageError for what could only be found wrong after minutes of measuring."""
    from ozrepro.frontends.bench.forms import VARIANTS

    unknown = [method for method in split_words("--method", given.methods) if not registry.is_method(method)]
    if unknown:
        raise UsageError(f"unknown method {unknown[0]!r}", hint=one_of_these(unknown[0], registry.BUILTIN))
    split_words("--workload", given.workloads)
    unknown = [form for form in split_words("--form", given.forms) if form not in VARIANTS]
    if unknown:
        raise UsageError(f"unknown form {unknown[0]!r}", hint=f"one of: {', '.join(VARIANTS)}")
    for word in (given.emulate, given.profile):
        if word is not None:
            named_profile(word)
    if given.output is not None:
        raise UsageError("--output is for calibrate", hint="--json FILE, for a result")
    if given.fresh_nodes and "cold-client" not in split_words("--state", given.states):
        raise UsageError("--fresh-nodes is a way to a cold client", hint="--state warm,cold-client --fresh-nodes")
    if given.fresh_nodes and given.emulate:
        raise UsageError("--fresh-nodes is for real file systems: --emulate has clients of its own", hint="one of the two")
    if given.jobs < 0:
        raise UsageError("--jobs must be at least 1", hint="--jobs 100")
    _check_files(given)


def _check_files(given: Arguments) -> None:
    """Raise UsageError for a file that could not be written, or would be written over."""
    seen: set[str] = set()
    for form in FILES:
        path = getattr(given, f"{form}_file")
        if path is None:
            continue
        check_file(form, path)
        if os.path.realpath(path) in seen:
            raise UsageError("two results would be written to the same file", where=path, hint="a file for each")
        seen.add(os.path.realpath(path))


def check_file(option: str, path: str) -> None:
    """Raise UsageError for a file of an option that could not be written."""
    if not path:
        raise _nameless(option)
    if os.path.isdir(path):
        raise UsageError("is a directory", where=path, hint=f"--{option} FILE, a file in it")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise UsageError(
            "cannot be written: the directory is missing or not writable",
            where=path,
            hint=f"--{option} FILE, in a directory of yours",
        )


def _nameless(option: str) -> UsageError:
    return UsageError(f"--{option} needs a file name", hint=f"--{option} FILE, or leave it out")


def plan_of(given: Arguments, environ: Mapping[str, str]) -> Plan:
    """Return the plan of the options, its workloads by name alone: `plan_for` has those of a session.

    Raises UsageError for what makes no plan, or one that is too large for this place.
    """
    from ozrepro.frontends.bench.host import look_at_place
    from ozrepro.frontends.bench.nodes import nodes_of_job
    from ozrepro.frontends.bench.plan import Plan, check_place
    from ozrepro.frontends.bench.workload import Workload

    try:
        ranks = tuple(int(word) for word in split_words("--ranks", [given.ranks]))
    except ValueError as error:
        raise UsageError(f"--ranks must be numbers of processes, not {given.ranks!r}", hint="--ranks 1,2,4") from error
    rounds = {"rounds": given.rounds, "cold_rounds": given.rounds} if given.rounds is not None else {}
    place = look_at_place(environ)
    plan = Plan(
        tuple(Workload(word) for word in _workloads(given)),
        states=tuple(split_words("--state", given.states)) or ("warm",),
        ranks=ranks,
        budget_seconds=given.budget,
        nodes=nodes_of_job(place, environ) if given.fresh_nodes else None,
        **rounds,
    )
    check_place(plan, place)
    return plan


def plan_for(plan: Plan, given: Arguments, session: Session) -> Plan:
    """Return a session's own plan, with a seed drawn where none is given. Raises UsageError for a workload that is none here."""
    from ozrepro.frontends.bench.workload import read_workloads

    return replace(
        plan,
        workloads=read_workloads(_workloads(given), session.spec.imports, session.root),
        seed=given.seed if given.seed is not None else int.from_bytes(os.urandom(4), "big"),
    )


def _workloads(given: Arguments) -> list[str]:
    return split_words("--workload", given.workloads) or ["empty", "imports"]
