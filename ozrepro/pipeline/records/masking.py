"""Takes out of a command line what no file should keep: values that look like secrets, the home, the login name."""

from __future__ import annotations

import os
import pwd
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from ozrepro.errors import without_login

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

HIDDEN = "***"
_LONGEST_WORD = 4096
_MOST = 1000
"""Characters of a word, and words, that are kept: a record is to be read."""

_ENDS = (
    *("token", "passwd", "password", "passphrase", "secret", "bearer", "cookie", "signature", "credential", "credentials"),
    *("apikey", "accesskey", "secretkey", "privatekey", "authkey", "licensekey"),
)
"""Ends of names, without `-` and `_`, whose value is a secret: `--token`, `HF_TOKEN`, `api-key`; not `tokenizer`, `n-tokens`."""

_AUTH = re.compile(r"(.*[-_.])?auth\Z", re.IGNORECASE | re.DOTALL)
_OPTION = re.compile(r"--?([A-Za-z0-9_.-]+)\Z")
_GIVEN = re.compile(r"(?:--?)?([A-Za-z0-9_.-]+)=")
_NAMED = re.compile(r"(?<![A-Za-z0-9_.-])([A-Za-z0-9_.-]+)[\"'\])]{0,2}\s{0,9}[=:]\s{0,9}[\"']?")
_VALUE = re.compile(r"[^\s\"',;&]+")
_HEADER = re.compile(r"(authorization:\s{0,9}(?:\w{1,40}\s{1,9})?)[^\s\"']+", re.IGNORECASE)
_SHAPES = re.compile(
    r"(?<![A-Za-z0-9])(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{15,}|hf_[A-Za-z0-9]{20,}|sk-[\w-]{20,}"
    r"|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]+"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*)",
    re.ASCII | re.DOTALL,
)
"""How tokens of GitHub, GitLab, Hugging Face, OpenAI, Slack, AWS and Google look, JSON web tokens, and private keys."""


def masked(words: Sequence[str]) -> tuple[str, ...]:
    """Return a command's words with what looks like a secret as `***`: values after names that say so, logins, known tokens."""
    kept: list[str] = []
    is_value = False
    for word in words[:_MOST]:
        shown = word if len(word) <= _LONGEST_WORD else f"{word[:_LONGEST_WORD]}…"
        kept.append(HIDDEN if is_value and not word.startswith("-") else _masked(shown))
        option = _OPTION.match(shown)
        is_value = option is not None and _is_secret(option[1])
    if len(words) > _MOST:
        kept.append(f"… and {len(words) - _MOST} more words")
    return tuple(kept)


def _is_secret(name: str) -> bool:
    return name.lower().replace("-", "").replace("_", "").endswith(_ENDS) or _AUTH.match(name) is not None


def _masked(word: str) -> str:
    given = _GIVEN.match(word)
    if given is not None and _is_secret(given[1]):
        return f"{given[0]}{HIDDEN}"
    word = _without_values(_HEADER.sub(rf"\g<1>{HIDDEN}", word))
    return without_login(_SHAPES.sub(HIDDEN, word))


def _without_values(word: str) -> str:
    """Return a word, which may be a program's text, without what is given to names of secrets in it."""
    parts: list[str] = []
    end = 0
    for name in _NAMED.finditer(word):
        value = _VALUE.match(word, name.end()) if name.start() >= end and _is_secret(name[1]) else None
        if value is not None:
            parts += (word[end : name.end()], HIDDEN)
            end = value.end()
    return "".join((*parts, word[end:]))


class Places:
    """The caller's home and login name, which other people's machines do not have."""

    __slots__ = ("_homes", "_user")

    def __init__(self, homes: Iterable[str], user: str) -> None:
        known = sorted({home.rstrip("/") for home in homes if home.startswith("/")} - {""}, key=len, reverse=True)
        # Behind a letter too, as in -I/home/me/include, but not where another folder is above it.
        before = r"(?:(?<![\w./~-])|(?<=^-[A-Za-z])|(?<=\s-[A-Za-z]))"
        end = r"(?![\w-])(?!\.\w)"
        self._homes = re.compile(rf"{before}(?:{'|'.join(map(re.escape, known))}){end}") if known else None
        self._user = re.compile(rf"(?<=/){re.escape(user)}{end}") if len(user) > 1 and user != "root" else None

    def out_of(self, text: str) -> str:
        """Return a text with `~` for the home, and `$USER` for the login name where it is a part of a path."""
        if self._homes is not None:
            text = self._homes.sub("~", text)
        return self._user.sub("$USER", text) if self._user is not None else text


def places_of(environ: Mapping[str, str]) -> Places:
    """Return the home and the login name of the caller, as the variables and the system have them."""
    homes, user = [environ.get("HOME", "")], environ.get("USER", "")
    with suppress(KeyError):  # a user that this node does not know
        entry = pwd.getpwuid(os.geteuid())
        homes.append(entry.pw_dir)
        user = entry.pw_name
    return Places([*homes, *(os.path.realpath(home) for home in homes if home)], user)
