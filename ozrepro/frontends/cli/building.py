"""The commands about environments: status, build, run."""

from __future__ import annotations

import os
from itertools import combinations
from typing import TYPE_CHECKING, Any

from ozrepro import open_session
from ozrepro.errors import DriftError, LockError, OzreproError, UsageError
from ozrepro.faststart.ready import find_ready
from ozrepro.frontends.cli.call import take_form, take_json, take_method, take_name, take_names, take_python, take_quiet
from ozrepro.frontends.cli.launching import keep_after_build
from ozrepro.frontends.cli.recording import execute_recorded, take_record
from ozrepro.frontends.cli.sessions import looked_at, names_of, started_from, try_each
from ozrepro.frontends.keptout import kept_out, listed
from ozrepro.frontends.launchers import renew_launchers
from ozrepro.methods import comparing
from ozrepro.pipeline import describing
from ozrepro.pipeline.checks import check_section, kept_lines, warnings_of
from ozrepro.pipeline.choice import candidates, unavailable
from ozrepro.pipeline.generations import built_generation, kept_by
from ozrepro.project.formatting import contents_words
from ozrepro.store.publish import read_generation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ozrepro.frontends.cli.call import Add, Call
    from ozrepro.methods.comparing import Inside
    from ozrepro.pipeline.session import Session
    from ozrepro.project.lock import Lock
    from ozrepro.store.publish import Generation


def register(add: Add) -> None:
    """Add the commands of this module."""
    made = add("status", "show each session's methods, lock and environment", status)
    take_names(made)
    take_json(made)
    made.add_argument("--verbose", action="store_true", help="also name the job's variables that a session does not get")
    made = add("build", "build now from the lock, so that jobs only use it", build)
    take_names(made)
    take_method(made)
    take_python(made)
    take_quiet(made)
    take_form(made)
    made.add_argument("--rebuild", action="store_true", help="rebuild even if a complete environment exists")
    made = add("run", "run a command in a session's environment", run)
    take_name(made)
    take_method(made)
    take_python(made)
    take_quiet(made)
    take_record(made)
    made.usage = "ozrepro run [-h] [--plain] [--method METHOD] [--python 3.N] [-q] [--record FILE] NAME -- CMD …"


def build(call: Call) -> int:
    """Build the sessions named, or all of the project, from their locks."""
    return try_each(call, names_of(call), lambda name: _build(call, name))


def _build(call: Call, name: str) -> int:
    session = open_session(name, call.root, method=call.arguments.method, environ=call.environ)
    with call.out.progress() as progress:
        built = session.build(call.out.say, progress, rebuild=call.arguments.rebuild)
    for line in () if call.arguments.quiet else built.skipped:
        call.out.say(f"{name}: skipping {line}")
    what = "built" if built.is_new else "was built before"
    call.out.line(f"{name}: {built.method} {what} ({contents_words(built.bytes, built.files, built.inside)})")
    keep_after_build(call, name)
    form = call.arguments.form
    if form and started_from(call, name) != built.prefix:
        call.out.say(f'{name}: a start takes this one with form = "{form}" in [tool.ozrepro], or OZREPRO_FORM={form}')
    return 0


def run(call: Call) -> int:
    """Replace this process by a command in the session's environment, or wait for it where `--record` is given."""
    command = call.arguments.words
    if not command:
        raise UsageError("no command given", hint=f"ozrepro run {call.arguments.name} -- python script.py")
    session = open_session(call.arguments.name, call.root, method=call.arguments.method, environ=call.environ)
    built = session.ready()  # a run that is recorded comes here though it is built
    if built is None:
        with call.out.progress() as progress:
            built = session.build(call.out.say, progress)
        renew_launchers(call.root, session.name, os.environ, call.out.say, is_new=built.is_new)
    for line in () if call.arguments.quiet else built.skipped:
        call.out.say(f"skipping {line}")
    return execute_recorded(session, built.environment, command, call.arguments.record, call.out.say)


def status(call: Call) -> int:
    """Show, for each session and method, whether it is available, is locked, and is built."""
    names, code = names_of(call), 0
    found: list[dict[str, Any]] = []
    for name in names:
        try:
            session = looked_at(call, name)
            found.append(_status(session))
            left = kept_out(os.environ, _passed(session)) if call.arguments.verbose else []
            if left:
                call.out.say(f'kept out of {name}: {listed(left)}; pass = ["{left[0]}"] in the spec lets it in')
        except OzreproError as error:
            if len(names) == 1:
                raise
            nothing: dict[str, list[str]] = {"methods": [], "unlike": []}
            broken: dict[str, Any] = {
                "session": name,
                "description": "",
                "methods": [],
                "taken": None,
                "same": nothing,
                "error": str(error),
            }
            found.append(broken)
            code = max(code, error.exit_code)
        else:
            code = max(code, 3 if found[-1]["error"] else 0)
    call.out.value({"schema": 1, "project": str(call.root), "sessions": found})
    rows = [
        (item["session"], method["method"], method["lock"], method["environment"], _here(method))
        for item in found
        for method in item["methods"]
    ]
    call.out.table(("SESSION", "METHOD", "LOCK", "ENVIRONMENT", "AVAILABLE"), rows)
    for item in found:
        _below(call, item)
    return code


def _below(call: Call, item: Mapping[str, Any]) -> None:
    """Print what is below the table of one session: the method taken, how the locked ones differ, and what to know."""
    if len(item["methods"]) > 1 and item["taken"]:
        call.out.line(f"{item['session']}: {item['taken']} is taken")
    if len(item["same"]["methods"]) > 1:
        call.out.line(_same_words(item["session"], item["same"]))
    warnings = [line for method in item["methods"] for line in method.get("warnings", ())]
    for line in (*warnings, *filter(None, [item["error"]])):
        call.out.say(f"{item['session']}: {line}")


def _here(method: Mapping[str, Any]) -> str:
    """Return why a method is not available, or yes, and which bases of its image may be other ones when it is built again."""
    if method["reason"]:
        return f"{method['reason']}; run takes what is built" if "generation" in method else str(method["reason"])
    names = method.get("unpinned", ())
    verb = "base is" if len(names) == 1 else "bases are"
    return f"yes; its {verb} not pinned: {', '.join(names)}" if names else "yes"


def _passed(session: Session) -> tuple[str, ...]:
    names = (name for method in candidates(session) for name in session.inputs(method).passed)
    return (*session.site.settings.passed, *names)


def _status(session: Session) -> dict[str, Any]:
    error: str | None = None
    try:
        lock = session.lock()
    except LockError as problem:
        lock, error = None, str(problem)
    methods: list[dict[str, Any]] = []
    for name in candidates(session):
        try:
            methods.append(_method_status(session, name, lock))
        except LockError as problem:
            methods.append(
                {"method": name, "lock": "refused", "environment": "-", "reason": "its lock is refused, see below", "covers": {}}
            )
            error = error or str(problem)
    same = _same(session, lock) if error is None and lock is not None else {"methods": [], "unlike": [], "alone": []}
    state = "locked" if lock is not None else "none"
    taken = next((item["method"] for item in methods if item["lock"] == state and item["reason"] is None), None)
    described = {"session": session.name, "description": session.spec.description}
    return {**described, "methods": methods, "taken": taken, "same": same, "error": error}


def _same(session: Session, lock: Lock) -> dict[str, list[str]]:
    """Return which methods are locked here, the packages of which they have different versions, and those that not all have."""
    sides: dict[str, Inside] = {}
    for name in candidates(session):
        section = session.section(name, lock)
        if section is not None:
            sides[name] = describing.foretold(session, section)
    alone = {
        item.what
        for pair in combinations(sides.values(), 2)
        for item in comparing.differences_of_locks(*pair)[0]
        if not (item.left and item.right)
    }
    unlike = comparing.unlike({name: side.named for name, side in sides.items()})
    return {"methods": list(sides), "unlike": unlike, "alone": sorted(alone)}


def _same_words(session: str, same: Mapping[str, list[str]]) -> str:
    methods, unlike = same["methods"], same["unlike"]
    if not unlike:
        return f"{session}: {len(methods)} methods, same versions{' of what they share' if same['alone'] else ''}"
    names = ", ".join(unlike[:5]) + (" …" if len(unlike) > 5 else "")
    what = f"{len(unlike)} package{'s' if len(unlike) != 1 else ''} in different versions"
    return f"{session}: {len(methods)} methods, {what} ({names}): ozrepro diff {session} {methods[0]} {methods[1]}"


def _method_status(session: Session, name: str, lock: Lock | None) -> dict[str, Any]:
    section = session.section(name, lock)
    reason = unavailable(session, name, lock)
    found: dict[str, Any] = {"method": name, "lock": "none", "environment": "-", "covers": {}}
    found["reason"] = reason.what if reason is not None else None
    if section is None:
        return found
    found |= describing.details(session, section)
    found["warnings"] = warnings_of(session, section)
    try:
        check_section(session, section)
        found["lock"] = "locked"
    except LockError as problem:
        drifted = isinstance(problem, DriftError)
        lines = problem.problems if drifted else (problem.title, *problem.problems)
        more = f", and {len(lines) - 1} more: ozrepro diff {session.name}" if len(lines) > 1 else ""
        found["lock"], found["reason"] = "drifted" if drifted else "out of date", f"{lines[0]}{more}"
        return found
    generation = built_generation(session, section) if reason is None else _ready_generation(session, name)
    if generation is not None:
        kept = kept_by(session, section)
        idle = [kept.without_effect] if kept is not None and generation.form == "tree" else []
        found["warnings"] += [f"{section.title}: {line}" for line in (*idle, *kept_lines(session, section))]
        files, size = generation.card["files"], generation.card["bytes"]
        found["environment"] = f"built, {contents_words(size, files, generation.inside)}"
        found |= {"files": files, "bytes": size, "generation": str(generation.folder), "key": generation.card["key"]}
        found |= {"form": generation.form, "inside": generation.inside}
        found |= describing.programs(session, section, generation)
    elif reason is None:
        found["environment"] = "not built"
    return found


def _ready_generation(session: Session, name: str) -> Generation | None:
    """Return what `ozrepro run` starts by its record of an earlier start, though the method could not be chosen again here."""
    for option in (None, name):
        found = find_ready(str(session.root), session.name, option, session.site.environ)
        if found is not None and found.method == name:
            return read_generation(session.store, found.key)
    return None
