"""The errors of ozrepro: what happened, where, and the next command to try.

Every error that a user can meet is an `OzreproError`. Its `exit_code` is the status that the command line returns;
design: 1 the work failed, 2 wrong usage or an invalid spec, 3 lock missing or out of date or drift, 4 no method serves.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Iterable

__all__ = [
    "BuildError",
    "CommandFailed",
    "DriftError",
    "LockError",
    "NoMethodError",
    "OzreproError",
    "SpecError",
    "StoreError",
    "UsageError",
]


def without_login(text: str) -> str:
    """Return `text` without the user names, passwords, queries and conda tokens of addresses in it: each may be a secret.

    A token is what follows `/t/`, where `conda list --explicit` leaves it out too; but for a folder of names that begin with t,
    such as `packages/source/t/tqdm`, and but for files of this machine.
    """
    if "://" not in text:
        return text
    import re

    if "git+" in text:  # the part behind @ may be a branch or commit, which is not a login
        text = re.sub(r"(git\+\w+:)//((?:(?!git\+\w+://)[^\s'\"])*)@", _without_git_login, text)
    text = re.sub(r"(?<=://)(?:[^\s/'\":]*:[^\s'\"]*|[^\s/'\"]*)@", "", text).replace("\0", "")
    word = r"(?:<TOKEN>|[A-Za-z0-9._~%-]+)(?=[/?#]|\b|$)"
    text = re.sub(rf"((?<!file)://[^\s'\"?/]+)/t/{word}", r"\1", text)
    text = re.sub(rf"((?<!file)://[^\s'\"?]*?)/t/(?!t(?!k-)[a-z._-]*(?:[/\s'\"]|$)){word}", r"\1", text)
    return re.sub(r"(://[^\s'\"?]*)\?[^\s'\")]*", r"\1", text)


def _without_git_login(found: re.Match[str]) -> str:
    """Return the beginning of a git address up to its last `@`, without a login; marked, so that no more is taken for one.

    What is in front of the last `@` is kept where it is host and path: `h/o/r@main`, `h.org:8443/o/r@main`, `u:word@h/o/r@main`.
    """
    *login, place = found[2].split("@")
    host, slash, _ = place.partition("/")
    name, colon, port = host.partition(":")
    is_place = bool(slash) and (not colon or ("." in name and port.isdigit()) or bool(login))
    return f"{found[1]}\0//{place}@" if is_place else f"{found[1]}\0//"


def visible(text: str) -> str:
    """Return `text` with its control and format characters escaped: what a terminal is shown may be a stranger's text."""
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(char if char in "\n\t" or char.isprintable() else repr(char)[1:-1] for char in text)


class Remedy(str):
    """What to do about a problem, where the session at hand has a part in it: a method knows none, and writes `{session}`."""

    __slots__ = ()

    def for_session(self, name: str) -> str:
        """Return the text for a session."""
        return self.replace("{session}", name)


class OzreproError(Exception):
    """What went wrong, where, and the next command to try.

    `title` is a sentence, `problems` what it names, one line each, and `what` both as text. `where` is a file, key or host,
    `hint` a command or an edit that fixes it.
    """

    exit_code = 1

    def __init__(self, what: str, *, problems: Iterable[str] = (), where: str = "", hint: str = "") -> None:
        self.problems = tuple(map(without_login, problems))
        self.title = without_login(what)
        self.what = "\n  ".join((self.title, *self.problems))
        super().__init__(self.what)
        self.where = without_login(where)
        self.hint = hint if isinstance(hint, Remedy) else without_login(hint)

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return visible(f"{text}\n  try: {self.hint}" if self.hint else text)


class UsageError(OzreproError):
    """The command, an option or a setting is wrong."""

    exit_code = 2


class SpecError(OzreproError):
    """A session's description is wrong; all mistakes of the file are in `problems`."""

    exit_code = 2

    def __init__(self, where: str, mistakes: Iterable[str], *, hint: str = "") -> None:
        mistakes = tuple(mistakes)
        count = f"{len(mistakes)} mistakes" if len(mistakes) > 1 else "1 mistake"
        super().__init__(f"{count}:", problems=mistakes, where=where, hint=hint)


class LockError(OzreproError):
    """The lock is missing, unreadable, of another spec, or out of date."""

    exit_code = 3


class DriftError(LockError):
    """What the lock names is no longer what is on this machine; `problems` has one line for each difference."""


class NoMethodError(OzreproError):
    """No method of the session is available here, or not `who` was asked for; `problems` has one line for each."""

    exit_code = 4

    def __init__(self, session: str, reasons: Iterable[str], *, who: str = "no method", hint: str = "") -> None:
        super().__init__(f"{who} of session {session!r} is available here:", problems=reasons, hint=hint)


class BuildError(OzreproError):
    """An environment could not be built, or did not pass its checks."""


class StoreError(OzreproError):
    """The store cannot be used: unsafe, full, damaged, or busy for too long."""


class NodeError(StoreError):
    """This machine cannot do it, which says nothing of others: who waits there for the same build tries by itself."""


class CommandFailed(OzreproError):
    """A program that ozrepro needs could not be started or failed."""
