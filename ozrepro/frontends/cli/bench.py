"""The command bench: measure the methods of sessions here, compare two results, calibrate the model."""

from __future__ import annotations

import functools
import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError, UsageError
from ozrepro.frontends.cli.benchoptions import (
    FILES,
    check,
    check_file,
    named_profile,
    own_files,
    plan_for,
    plan_of,
    refuse_others,
    split_words,
)
from ozrepro.frontends.cli.call import INTERRUPTED as STATUS_INTERRUPTED
from ozrepro.frontends.cli.call import take_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ozrepro.frontends.bench.candidate import Found
    from ozrepro.frontends.bench.plan import Plan
    from ozrepro.frontends.bench.result import Result
    from ozrepro.frontends.bench.run import OnRound
    from ozrepro.frontends.bench.summary import Summary
    from ozrepro.frontends.bench.verdict import Verdict
    from ozrepro.frontends.cli.call import Add, Arguments, Call
    from ozrepro.methods.contract import Progress
    from ozrepro.store.forms import Form

ROUNDS, BUDGET = 15, 300
"""Rounds and seconds where none are asked for: small, as others wait for the same servers."""


def register(add: Add) -> None:
    """Add the command of this module."""
    made = add("bench", "measure a session's methods here, and say which to take", bench)
    what = "sessions, one after another; or `compare A.json B.json`, two results; or `calibrate DIR`, a file system for the model"
    take_names(made, "+", what)
    made.add_argument("--method", dest="methods", action="append", metavar="M,…", help="use only these methods")
    what = "tree, file, staged: a file copied to the node (default: what is set, else both forms on a cluster's file system)"
    made.add_argument("--form", dest="forms", action="append", metavar="F,…", help=what)
    made.add_argument(
        "--workload",
        dest="workloads",
        action="append",
        metavar="W,…",
        help="what to start: empty, numpy, imports, or a script.py (default: empty,imports)",
    )
    made.add_argument("--state", dest="states", action="append", metavar="S,…", help="warm, cold-client (default: warm)")
    made.add_argument("--fresh-nodes", action="store_true", help="in a job: run each cold-client start on a fresh node")
    made.add_argument("--ranks", metavar="1,2,4", default="1", help="numbers of processes that start at once (default: 1)")
    made.add_argument("--rounds", metavar="N", type=int, help=f"rounds of each state (default: {ROUNDS}, 9 where cold)")
    made.add_argument("--seed", metavar="N", type=int, help="random seed for the run order (default: random, recorded)")
    made.add_argument(
        "--budget", metavar="SECONDS", type=float, default=BUDGET, help=f"stop starting rounds after SECONDS (default: {BUDGET})"
    )
    made.add_argument("--jobs", metavar="N", type=int, default=0, help="number of jobs assumed for the verdict (default: 100)")
    what = "profile of the model: quiet, busy, storm, or a file from calibrate (default: the emulated one, else busy)"
    made.add_argument("--profile", metavar="P", help=what)
    what = "serve the environments from an emulated Lustre of this profile, for this run only"
    made.add_argument("--emulate", metavar="P", help=what)
    for form, words in FILES.items():
        made.add_argument(f"--{form}", dest=f"{form}_file", metavar="FILE", help=words)
    made.add_argument("--output", metavar="FILE", help="calibrate: write the profile to FILE")
    made.set_defaults(anywhere=True)


def bench(call: Call) -> int:
    """Measure sessions, or compare, or calibrate; 1 where a program failed or a file could not be written."""
    _take_signals()
    name, *rest = call.arguments.names
    actions = {"compare": _compare, "calibrate": _calibrate}
    if name in actions and (rest or not (call.root / "sessions" / f"{name}.toml").exists()):
        return actions[name](call, rest)
    return _measure_all(call, tuple(dict.fromkeys(call.arguments.names)))


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _take_signals() -> None:
    """Let the end of a job or of a terminal interrupt as Ctrl-C does. Signals that are ignored already, as by nohup, stay so."""
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(*_: object) -> None:
    """Interrupt, once: a second Ctrl-C would leave behind what the first one has begun to remove."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _measure_all(call: Call, names: Sequence[str]) -> int:
    """Measure one session after the other; return the highest status, or that of an interrupt at once.

    A mistake in the command or in a spec is told before anything is started; of several sessions, what keeps one from being
    measured keeps it alone.
    """
    from ozrepro.frontends.bench import emulation

    given = call.arguments
    own = {name: own_files(given, name) if len(names) > 1 else given for name in names}
    for arguments in own.values():
        check(arguments)
    plan = plan_of(given, os.environ)
    found, status = _find(call, names)
    mistaken = _check_sessions(call, plan, own, found)
    if mistaken:
        return max(status, mistaken)
    found, unbuilt = _build(call, found, alone=len(names) == 1)
    status = max(status, unbuilt)
    if given.emulate and found:
        emulation.enter()
    for place, item in enumerate(found):
        if place:
            call.out.line()
        try:
            ended = _measure(replace(call, arguments=own[item.session.name]), plan, item)
        except OzreproError as error:
            ended = _told(call, item.session.name, error, alone=len(names) == 1)
        if ended == STATUS_INTERRUPTED:
            return ended
        status = max(status, ended)
    return status


def _find(call: Call, names: Sequence[str]) -> tuple[list[Found], int]:
    """Return what can be measured, and the highest status of what cannot."""
    found, status = [], 0
    for name in names:
        try:
            found.append(_looked_for(call, name))
        except OzreproError as error:
            mistake = error.exit_code == UsageError.exit_code
            status = max(status, _told(call, name, error, alone=len(names) == 1 or mistake))
    return found, status


def _looked_for(call: Call, name: str, build: Callable[[str, Form], object] | None = None) -> Found:
    from ozrepro.frontends.bench.candidate import find

    given = call.arguments
    methods, forms = split_words("--method", given.methods), split_words("--form", given.forms)
    return find(call.root, name, os.environ, methods, build, forms, emulated=bool(given.emulate))


def _build(call: Call, found: Sequence[Found], *, alone: bool) -> tuple[list[Found], int]:
    """Build what is locked and not built, and return what can be measured then, with the highest status of what cannot."""
    from ozrepro.pipeline.public import open_session

    kept, status = [], 0
    for item in found:
        name = item.session.name
        if not item.unbuilt:
            kept.append(item)
            continue
        with call.out.progress() as progress:

            def build(method: str, form: Form, name: str = name, progress: Progress = progress) -> object:
                environ = {**os.environ, "OZREPRO_FORM": form}
                return open_session(name, call.root, method=method, environ=environ).build(call.out.say, progress)

            try:
                kept.append(_looked_for(call, name, build))
            except OzreproError as error:
                status = max(status, _told(call, name, error, alone=alone))
    return kept, status


def _check_sessions(call: Call, plan: Plan, own: Mapping[str, Arguments], found: Sequence[Found]) -> int:
    """Say each mistake once, with the sessions that it is one for, and return the status, 0 for none; raise that of one alone."""
    from ozrepro.frontends.bench import emulation

    mistakes: dict[str, list[str]] = {}
    for item in found:
        name = item.session.name
        try:
            plan_for(plan, own[name], item.session)
            if own[name].emulate:
                emulation.check_files(filter(None, (own[name].json_file,)), emulation.folders(item.candidates))
        except UsageError as error:
            if len(own) == 1:
                raise
            mistakes.setdefault(str(error), []).append(name)
    for text, names in mistakes.items():
        _say_of(call, ", ".join(names), text)
    return UsageError.exit_code if mistakes else 0


def _told(call: Call, name: str, error: OzreproError, *, alone: bool) -> int:
    """Say what keeps one of several sessions from being measured, and return its status; raise it where it ends all."""
    if alone:
        raise error
    _say_of(call, name, str(error))
    return error.exit_code


def _say_of(call: Call, name: str, text: str) -> None:
    call.out.say(f"{name}: {text}")


def _measure(call: Call, plan: Plan, found: Found) -> int:
    from ozrepro.frontends.bench import emulation
    from ozrepro.frontends.bench.lustre.profile import BUSY
    from ozrepro.frontends.bench.plan import fresh_words, time_words
    from ozrepro.frontends.bench.prepare import looked_at, setting_for, work_folder
    from ozrepro.frontends.bench.result import Keeper
    from ozrepro.frontends.bench.run import INTERRUPTED, measure
    from ozrepro.frontends.bench.staging import node_copies

    given, say = call.arguments, call.out.say
    if len(given.names) > 1:
        say = functools.partial(_say_of, call, found.session.name)
    emulated = named_profile(given.emulate) if given.emulate else None
    profile = named_profile(given.profile) if given.profile else emulated or BUSY
    keep = Keeper(Path(given.json_file), say) if given.json_file else None
    with work_folder(found, apart=emulated is not None) as work, call.out.progress() as progress:
        plan = plan_for(plan, given, found.session)
        if plan.nodes:
            say(fresh_words(plan))
        began = time.monotonic()
        found = looked_at(found, os.environ, say)
        candidates = found.candidates
        say(time_words(plan, len(candidates), time.monotonic() - began))
        if emulated is not None:
            candidates = tuple(emulation.shown(item) for item in candidates)
        found, written = replace(found, candidates=candidates), filter(None, (given.json_file,))
        with (
            setting_for(found, plan, work, os.environ, profile, emulated=emulated, written=written) as setting,
            node_copies(candidates, os.environ) as started,  # copied from where they are served
        ):
            result = measure(plan, started, setting, _each_round(plan, keep, progress), say)
    failures = _report(call, result)
    if keep is not None and keep.failure is not None:
        failures.append(keep.failure)
    for failure in failures[:-1]:
        say(str(failure))
    if failures:
        raise failures[-1]
    if result.why == INTERRUPTED:
        return STATUS_INTERRUPTED
    return 1 if result.failed or any(row.last is None for row in result.rows) else 0


def _each_round(plan: Plan, keep: OnRound | None, progress: Progress) -> OnRound:
    """Return what is done after each round: the file written, the bar moved."""
    cells = len(plan.workloads) * len(plan.ranks)
    total = sum(plan.rounds_of(state) for state in plan.states)

    def each(result: Result) -> None:
        progress("measuring rounds", len(result.order) // cells, total)
        if keep is not None:
            keep(result)

    return each


def _report(call: Call, result: Result) -> list[OzreproError]:
    """Write the files asked for, then print the report, and return why any of the files could not be written."""
    from ozrepro.frontends.bench.summary import summarise
    from ozrepro.frontends.bench.terminal import terminal_report
    from ozrepro.frontends.bench.verdict import judge

    summary = summarise(result)
    verdict = judge(summary, call.arguments.jobs)
    failures = _write_report(call.arguments, summary, verdict)
    fancy = call.out.is_fancy()
    for line in terminal_report(summary, verdict, plain=not fancy):
        call.out.styled(line.text, {"head": "bold", "strong": "bold green", "soft": "dim"}.get(line.style, ""))
    return failures


def _write_report(given: Arguments, summary: Summary, verdict: Verdict) -> list[OzreproError]:
    """Write the HTML report if it is asked for; return why it could not be written."""
    from ozrepro.frontends.bench.html import html_report
    from ozrepro.frontends.bench.result import write_text

    try:
        if given.html_file:
            write_text(Path(given.html_file), html_report(summary, verdict))
    except OzreproError as error:
        return [error]
    return []


def _compare(call: Call, files: Sequence[str]) -> int:
    from ozrepro.frontends.bench.compare import changes, head, rows, within
    from ozrepro.frontends.bench.result import read_result
    from ozrepro.frontends.bench.summary import case_words, summarise

    refuse_others(call.arguments, "compare")
    if len(files) != 2:
        raise UsageError("two results are compared", hint="ozrepro bench compare A.json B.json")
    first, second = (summarise(read_result(Path(path))) for path in files)
    out = call.out
    for line in head(first, second, files):
        out.line(line)
    found = changes(first, second)
    if not found:
        raise UsageError("the results have no method, workload, state and ranks in common", hint="the same options for both")
    out.table(("METHOD", "START", "FIRST", "SECOND", "THE SECOND IS"), rows(found))
    inside = within(first, second)
    if inside:
        out.line()
        told = [(item.candidate, case_words(item.case), item.first, item.second) for item in inside]
        out.table((f"TO {inside[0].reference}", "START", "IN THE FIRST", "IN THE SECOND"), told)
    return 0


def _calibrate(call: Call, folders: Sequence[str]) -> int:
    from ozrepro.frontends.bench.lustre.calibrate import calibrate
    from ozrepro.frontends.bench.lustre.profile import write_profile

    refuse_others(call.arguments, "calibrate")
    if len(folders) != 1:
        raise UsageError("one folder is calibrated, on the file system in question", hint="ozrepro bench calibrate DIR")
    if not Path(folders[0]).is_dir():
        raise UsageError("not a directory", where=folders[0], hint="ozrepro bench calibrate DIR")
    if call.arguments.output is not None:
        check_file("output", call.arguments.output)
    profile = calibrate(Path(folders[0]), call.out.say)
    try:
        if call.arguments.output:
            write_profile(profile, Path(call.arguments.output))
    finally:  # what took minutes to measure is shown also where it cannot be written
        for name, value in profile.as_dict().items():
            call.out.line(f"{name} = {json.dumps(value)}")
    return 0
