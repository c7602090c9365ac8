"""The commands about the store: list, verify, gc."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

from ozrepro.errors import OzreproError, StoreError, UsageError
from ozrepro.frontends.cli.call import take_json
from ozrepro.methods.reading import load_settings
from ozrepro.pipeline.references import wanted_by
from ozrepro.project.checking import one_of_these
from ozrepro.project.formatting import size_words
from ozrepro.store import audit, collect, failed, store_of
from ozrepro.store.publish import Generation, built_for, read_generation

if TYPE_CHECKING:
    from ozrepro.frontends.cli.call import Add, Call
    from ozrepro.store import Store

_SHORTEST = 4
"""Digits of a key that are taken for its beginning."""


def register(add: Add) -> None:
    """Add the commands of this module."""
    actions = add("store", "list, verify or clean what is built", store).add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    for name, summary in (
        ("list", "list what is built, and which lock uses it"),
        ("verify", "check every file of every environment against its manifest"),
        ("remove", "show what is built for sessions, or by keys; remove it with --yes"),
        ("gc", "show what no lock needs; remove it with --yes"),
    ):
        action = actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        action.add_argument("--plain", action="store_true", help="no colours, no progress bars")
        take_json(action)
        if name == "remove":
            words = "sessions, or the beginnings of keys as `store list` shows them"
            action.add_argument("names", metavar="NAME", nargs="*", help=words)
            action.add_argument("--all", dest="everything", action="store_true", help="all that is built in the store")
        if name in ("gc", "remove"):
            action.add_argument("--yes", action="store_true", help="remove what was shown")
            action.add_argument("--even-with-jobs", action="store_true", help="also while jobs of yours are running")


def store(call: Call) -> int:
    """Carry out one of the store's actions."""
    settings = load_settings(call.root, os.environ)
    place = store_of(settings)
    if not place.folder.is_dir():
        nothing: dict[str, list[str]] = {"environments": [], "unreadable": [], "problems": [], "leftovers": []}
        call.out.value({"schema": 1, "store": str(place.folder), **nothing})
        call.out.line(f"there is no store yet at {place.folder}")
        return 0
    place.check_readable()
    place.open()
    try:
        return {"list": _list, "verify": _verify, "remove": _remove, "gc": _gc}[call.arguments.action](call, place)
    except PermissionError as error:
        raise failed("read the store", place.folder, error) from error


def _generations(place: Store) -> list[tuple[str, Generation]]:
    keys = sorted(path.name for path in (place.folder / "names").iterdir() if not path.name.startswith("."))
    return [(key, found) for key in keys if (found := read_generation(place, key)) is not None]


def _list(call: Call, place: Store) -> int:
    wanted, unreadable = wanted_by(place, call.root)
    entries: list[dict[str, Any]] = []
    for key, generation in _generations(place):
        card = generation.card
        elsewhere = built_for(place, generation)
        user = None if elsewhere else wanted(key, str(card.get("section")))
        kept = {name: card[name] for name in ("session", "method", "platform", "files", "bytes")}
        kept |= {"form": generation.form, "inside": generation.inside}
        entries.append(
            {
                "key": key,
                **kept,
                "form": generation.form,
                "inside": generation.inside,
                "generation": str(generation.folder),
                "used_by": user,
                "built_for": elsewhere or None,
            }
        )
    call.out.value({"schema": 1, "store": str(place.folder), "environments": entries, "unreadable": unreadable})
    # What no readable lock names may be named by one of these.
    unused = "unknown" if unreadable else "no lock"
    rows = [
        (
            item["key"][:12],
            item["session"],
            item["method"],
            size_words(item["bytes"]),
            f"{item['inside']} in one file" if item["inside"] else str(item["files"]),
            f"built for {item['built_for']}" if item["built_for"] else item["used_by"] or unused,
        )
        for item in entries
    ]
    if rows:
        call.out.table(("KEY", "SESSION", "METHOD", "SIZE", "FILES", "USED BY"), rows)
    else:
        call.out.line(f"nothing is built in {place.folder}")
    for line in unreadable:
        call.out.say(f"cannot be read: {line}")
    return 0


def _verify(call: Call, place: Store) -> int:
    found, records = audit.environments(place), audit.records(place)
    problems: dict[str, list[str]] = {key: wrong for key, (_, wrong) in found.items() if wrong}
    problems |= {f"ready/{path.name}": [why] for path, why in records.items()}
    call.out.value({"schema": 1, "store": str(place.folder), "problems": problems})
    lines: list[str] = []
    hints: list[str] = []
    for key, (generation, wrong) in found.items():
        if generation is None:
            call.out.line(f"{key[:12]}: not usable")
            lines.append(f"names/{key}: {wrong[0]}")
            hints.append("ozrepro build, for what a lock needs, then: ozrepro store gc --yes")
            continue
        card = generation.card
        call.out.line(f"{key[:12]} {card['session']} {card['method']}: {'changed' if wrong else 'whole'}")
        if wrong:
            hints.append(f"ozrepro build {card['session']} --rebuild")
            more = [f"… and {len(wrong) - 10} more"] if len(wrong) > 10 else []
            base = generation.prefix if generation.form == "tree" else generation.folder
            lines += [f"{base}/{line}" for line in wrong[:10]] + more
    lines += [f"ready/{path.name}: {why}" for path, why in records.items()]
    hints += [f"rm -r {shlex.quote(str(path))}" for path in records]
    if lines:
        hint = "; ".join(dict.fromkeys(hints))
        raise StoreError("holds what is not as it was published:", problems=lines, where=str(place.folder), hint=hint)
    return 0


def _gc(call: Call, place: Store) -> int:
    wanted, unreadable = wanted_by(place, call.root)
    if unreadable:
        raise OzreproError(
            "what is needed is unknown while a lock cannot be read:",
            problems=unreadable,
            hint="fix it, or leave it to a user who may read it, then: ozrepro store gc",
        )
    return _carry_out(call, place, collect.plan(place, wanted, even_with_jobs=call.arguments.even_with_jobs), "gc")


def _remove(call: Call, place: Store) -> int:
    words, keys = call.arguments.names, _named(call, place)
    plan = collect.named(place, keys, even_with_jobs=call.arguments.even_with_jobs)
    return _carry_out(call, place, plan, shlex.join(("remove", *(words or ["--all"]))))


def _named(call: Call, place: Store) -> list[str]:
    """Return the keys of the environments that the words name. Raises UsageError for a word that names none."""
    words, built = call.arguments.names, _generations(place)
    if bool(words) == call.arguments.everything:
        raise UsageError("name sessions or keys, or say --all", hint="ozrepro store list")
    keys = {word: [key for key, item in built if word == item.card["session"] or _begins(key, word)] for word in words}
    unknown = [word for word, some in keys.items() if not some]
    if unknown:
        hint = one_of_these(unknown[0], dict.fromkeys(str(item.card["session"]) for _, item in built)) or "ozrepro store list"
        raise UsageError(f"nothing is built for {', '.join(unknown)} in {place.folder}", hint=hint)
    return list(dict.fromkeys(key for some in keys.values() for key in some)) if words else [key for key, _ in built]


def _begins(key: str, word: str) -> bool:
    """Say whether a word is the beginning of a key, long enough to be meant as one."""
    return len(word) >= _SHORTEST and key.startswith(word)


def _carry_out(call: Call, place: Store, plan: list[collect.Leftover], again: str) -> int:
    """Print what would be removed, or remove it with --yes; what stays is said with the reason."""
    going = [item for item in plan if item.remove]
    done = call.arguments.yes
    call.out.value(
        {"schema": 1, "removed": done, "leftovers": [{"path": str(i.path), "reason": i.reason, "remove": i.remove} for i in plan]}
    )
    for item in plan:
        word = ("removed" if done else "would remove") if item.remove else "keeps"
        call.out.line(f"{word} {item.path.relative_to(place.folder)}: {item.reason}")
        if done and item.remove:
            collect.remove(place, item)
    if not going:
        call.out.line("nothing to remove")
    elif not done:
        call.out.line(f"nothing was removed yet: ozrepro store {again} --yes")
    return 0
