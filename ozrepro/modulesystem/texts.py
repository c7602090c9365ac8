"""What the text of a modulefile, an rc file or a hook reads besides itself: variables by name, values it compares them with.

A name that is found here and has no effect costs one line, one that is missed costs a wrong environment: these patterns take
rather too much than too little. Whether a name matters is then measured by loads (see `states`).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ozrepro.modulesystem.bookkeeping import is_bookkeeping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_LARGEST = 1 << 20
_MOST_LITERALS = 12
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_UPPER = re.compile(r"\b[A-Z][A-Z0-9_]{2,}\b", re.ASCII)

# Comments and long strings, which hold help texts, are taken out; short strings stay.
_LUA_TOKENS = re.compile(
    r"""(?P<keep>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|--\[(?P<a>=*)\[.*?\](?P=a)\]|--[^\n]*|\[(?P<b>=*)\[.*?\](?P=b)\]""",
    re.DOTALL,
)
_LUA_NAMES = re.compile(rf"""getenv\s*\(?\s*["']({_NAME})["'](?!\s*\.\.)""", re.ASCII)
_LUA_MADE = re.compile(r"""getenv\s*\(\s*(?:[A-Za-z_(]|["'][^"'\n]*["']\s*\.\.)""")
_LUA_RUNS = re.compile(r"""\b(capture|subprocess|io\.popen|os\.execute)\s*(?=[("'\[])\(?\s*(?:["']([^"'\n]{1,60}))?""")
_LUA_CALLS = {
    re.compile(r"\bos\.(?:time|date|clock)\b"): "asks the clock",
    re.compile(r"\buserInGroups?\b"): "asks for the groups of the user",
    re.compile(r"\bio\.(?:open|lines)\b"): "reads a file",
    re.compile(r"\bposix\.\w+|\blfs\.\w+"): "asks the operating system",
}
_LUA_LITERALS = (
    re.compile(r"""[=~]=\s*["']([^"'\n]{1,40})["']"""),
    re.compile(r"""["']([^"'\n]{1,40})["']\s*[=~]="""),
    re.compile(r"""\b(?:match|find)\s*\(\s*(?:[\w.]+\s*,\s*)?["']\^?([\w .+/-]{1,40})\$?["']"""),
)
_LUA_KEYS = re.compile(r"""(?:\[\s*["']([\w.+-]{1,40})["']\s*\]|[{,]\s*([A-Za-z_]\w{0,39}))\s*=(?!=)""")
_LUA_INDEXED = re.compile(r"\w\s*\[\s*(?:os\.getenv|\w+)\b")
_LUA_SCRIPTS = re.compile(r"""\bsource_sh\s*\(?\s*["']\w+["']\s*,\s*["']([^"'\s]+)""")

_TCL_COMMENT = re.compile(r"^\s*#[^\n]*|;\s*#[^\n]*", re.MULTILINE)
_TCL_NAMES = re.compile(rf"\benv\(({_NAME})\)|\b(?:getenv|isDefined)\s+({_NAME})", re.ASCII)
_TCL_MADE = re.compile(r"\benv\([^)]*[$\[]|\bgetenv\s+[$\[]|\barray\s+(?:names|get)\s+(?:::)?env\b")
_TCL_RUNS = re.compile(r"(?:^|[\[;{])\s*(exec|system)\s+([^\]\n;}]{1,60})", re.MULTILINE)
_TCL_CALLS = {
    re.compile(r"\bopen\s+[\"{]?\|"): "runs a program",
    re.compile(r"\bclock\s+(?:seconds|format|milliseconds|microseconds|clicks)\b"): "asks the clock",
    re.compile(r"\binfo\s+hostname\b|\buname\s+(?:nodename|domain)\b"): "asks for the host",
    re.compile(r"\[\s*pid\s*\]"): "asks for the number of the process",
    re.compile(r"\bopen\s+(?![\"{]?\|)"): "reads a file",
}
_TCL_LITERALS = (
    re.compile(r"""(?:==|!=|\beq\b|\bne\b|\bin\b)\s*["{]?([\w.+/-]{1,40})"""),
    re.compile(r"""\b(?:equal|compare|match)\s+(?:-nocase\s+)?["{]?\*?([\w.+/-]{1,40})\*?["}]?\s"""),
)
_TCL_CASES = re.compile(
    r"""^\s*(?!(?:if|else|elseif|proc|foreach|for|while|switch)\b)["{]?([\w.+-]{1,40})["}]?\s+\{""", re.MULTILINE
)
_TCL_SCRIPTS = re.compile(r"\bsource-sh\s+\w+\s+([^\s\"'\]]+)")
_NUMBERS = re.compile(r"(?:[<>]=?|[=~!]=)\s*(\d{1,6})\b")
_SHELL_NAMES = re.compile(rf"\$\{{?({_NAME})", re.ASCII)

_OWN = ("LMOD_", "MODULES_", "__", "BASH", "LD_", "PYTHON", "OZREPRO_")
_OWN_NAMES = frozenset(("HOME", "PATH", "PWD", "OLDPWD", "SHLVL", "_", "ENV", "MANPATH", "PS1", "IFS"))


MADE = "reads variables whose names it puts together"


@dataclass(frozen=True, slots=True)
class Text:
    """What one file reads.

    Attributes:
        names: variables that it names where it reads them.
        guessed: further words that may be names of variables: some are put together at run time, or are in a sourced script.
        literals: what it compares values with.
        unfollowed: what else decides, and cannot be followed: a program that it runs, the clock.

    """

    names: frozenset[str] = frozenset()
    guessed: frozenset[str] = frozenset()
    literals: tuple[str, ...] = ()
    unfollowed: tuple[str, ...] = ()


def texts_of(files: Iterable[str], read: Callable[[str, str], Text]) -> dict[str, Text]:
    """Return what each of the files reads, as `read` tells by path and content.

    One that cannot be read as text reads nothing: the module tool said so.
    """
    found: dict[str, Text] = {}
    for path in dict.fromkeys(files):
        content = _content(path)
        scripts = {script: _content(script) for script in _scripts(content, path) if os.path.isabs(script)}
        text = read(path, content)
        sourced = {name for script in scripts.values() for name in _SHELL_NAMES.findall(script)}
        found[path] = Text(text.names, text.guessed | _followable(sourced), text.literals, text.unfollowed)
    return found


def _content(path: str) -> str:
    try:
        with open(path, "rb") as stream:
            return stream.read(_LARGEST).decode("utf-8", "replace")
    except OSError:
        return ""


def _scripts(content: str, path: str) -> list[str]:
    return (_LUA_SCRIPTS if path.endswith(".lua") else _TCL_SCRIPTS).findall(content)


def read_lua(content: str) -> Text:
    """Return what a modulefile in Lua reads."""
    code = _LUA_TOKENS.sub(lambda found: found["keep"] or " ", content)
    words = re.sub(r""""(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", '""', code)
    made = _LUA_MADE.search(code) is not None
    literals = [word for pattern in _LUA_LITERALS for word in pattern.findall(code)]
    if _LUA_INDEXED.search(words):
        literals += [quoted or bare for quoted, bare in _LUA_KEYS.findall(code)]
    runs = [f"runs {argument!r}" if argument else f"runs a program ({verb})" for verb, argument in _LUA_RUNS.findall(code)]
    quoted = re.findall(r"""["']([A-Z][A-Z0-9_]{2,})["']""", code) if made else []
    return _text(_LUA_NAMES.findall(code), quoted, [*literals, *_numbers(words)], runs, _LUA_CALLS, words, made=made)


def read_tcl(content: str) -> Text:
    """Return what a modulefile in Tcl reads."""
    code = _TCL_COMMENT.sub(" ", content)
    made = _TCL_MADE.search(code) is not None
    literals = [word for pattern in _TCL_LITERALS for word in pattern.findall(code)]
    if "switch" in code:
        literals += _TCL_CASES.findall(code)
    runs = [f"runs {argument.strip()!r}" for _, argument in _TCL_RUNS.findall(code)]
    names = [bracketed or word for bracketed, word in _TCL_NAMES.findall(code)]
    return _text(names, _UPPER.findall(code) if made else [], [*literals, *_numbers(code)], runs, _TCL_CALLS, code, made=made)


def _text(
    names: Iterable[str],
    guessed: Iterable[str],
    literals: Iterable[str],
    runs: Iterable[str],
    calls: dict[re.Pattern[str], str],
    code: str,
    *,
    made: bool,
) -> Text:
    unfollowed = [*runs, *(what for pattern, what in calls.items() if pattern.search(code))]
    if made:
        unfollowed.append(MADE)
    read = _followable(names)
    compared = tuple(dict.fromkeys(word for word in literals if word.isprintable()))[:_MOST_LITERALS]
    return Text(read, _followable(guessed) - read, compared, tuple(dict.fromkeys(unfollowed)))


def _numbers(code: str) -> list[str]:
    return [str(number) for text in _NUMBERS.findall(code) for number in (int(text), int(text) + 1)]


def is_followable(name: str) -> bool:
    """Say whether a locked run may follow a variable: not one of the module tool, the loader, the shell and the interpreter."""
    return not (name in _OWN_NAMES or name.startswith(_OWN) or is_bookkeeping(name) or len(name) > 64)


def _followable(names: Iterable[str]) -> frozenset[str]:
    return frozenset(filter(is_followable, names))
