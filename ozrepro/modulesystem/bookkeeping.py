"""Lmod's own variables: which they are, which follow from others, and whether its module table is data and no program.

Lmod loads the variable `_ModuleTable_` as Lua code each time it is called, so that what a lock says there is checked first.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from ozrepro.modulesystem.paths import joined, regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

COUNT = "__LMOD_REF_COUNT_"
STACK = "__LMOD_STACK_"
PUSHED = "__MODULES_PUSHENV_"
TABLE = "_ModuleTable"
PIECE = 512
"""The characters in a piece of the module table, in Lmod 8 (`build_MT_envT` in its utils.lua)."""

_ALPHABET = b"-_"  # Lmod's base64.lua, unlike most
_OWN = (TABLE, "__LMOD_", "LMOD_FAMILY_", "MODULES_FAMILY_", "__MODULES_", "MODULES_LM")
_OWN_ENDS = ("_modshare", "_modquar")  # Environment Modules 4
_OWN_NAMES = frozenset(("LOADEDMODULES", "_LMFILES_", "MODULEPATH", "LMOD_CMD", "LMOD_VERSION"))
_DEEPEST = 32
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\\n]|\\[^\n])*"|\[(?P<level>=*)\[.*?\](?P=level)\])|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])"""
    r"""|(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<mark>[{}\[\],;=]))""",
    re.ASCII | re.DOTALL,
)
_ENTRY = re.compile(r'\bfullName = "((?:[^"\\]|\\.)*)",((?:(?!fullName = ).)*?)\bstatus = "(\w+)"', re.DOTALL)
_LITERAL = '"'
_PLAIN = frozenset((_LITERAL, "true", "false", "nil"))


def is_bookkeeping(name: str) -> bool:
    """Say whether a variable is the module tool's own."""
    return name.startswith(_OWN) or name in _OWN_NAMES or name.endswith(_OWN_ENDS)


def is_text(value: str) -> bool:
    """Say whether a value is text that a lock can hold: UTF-8 and no NUL."""
    return not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in value)


def module_table(variables: Mapping[str, str]) -> str:
    """Return Lmod's own table of loaded modules, as Lua text, "" where nothing is loaded."""
    size = variables.get(f"{TABLE}_Sz_", "")
    if not (size.isascii() and size.isdigit()) or len(size) > 3:
        return ""
    text = "".join(variables.get(f"{TABLE}{number:03}_", "") for number in range(1, int(size) + 1))
    if "+" in text or "/" in text:
        return ""  # Python would read them, Lmod reads something else
    try:
        return base64.b64decode(text, altchars=_ALPHABET, validate=True).decode("utf-8", "surrogateescape")
    except (binascii.Error, ValueError):
        return ""


def asked_for(variables: Mapping[str, str]) -> list[str]:
    """Return the modules loaded by name and not as another's dependency, in load order; all where no tool noted it."""
    loaded = [name for name in variables.get("LOADEDMODULES", "").split(":") if name]
    tags = [entry.split("&") for entry in variables.get("__MODULES_LMTAG", "").split(":")]
    loaded = [name for name in loaded if not any(name == of and "auto-loaded" in words for of, *words in tags)]
    table = {found[1]: found for found in _ENTRY.finditer(module_table(variables))}
    return [name for name in loaded if name not in table or re.search(r"\bstackDepth = 0,", table[name][2])]


def default_modules(variables: Mapping[str, str]) -> list[str]:
    """Return the modules that the site loads for everybody, as the caller's variables name them."""
    return [name for name in variables.get("LMOD_SYSTEM_DEFAULT_MODULES", "").split(":") if name]


def table_variables(text: str, piece: int = PIECE) -> dict[str, str]:
    """Return the variables in which Lmod keeps its table: base64 in pieces, and their number."""
    coded = _coded(text)
    parts = [coded[place : place + piece] for place in range(0, len(coded), piece)]
    found = {f"{TABLE}{number:03}_": part for number, part in enumerate(parts, 1)}
    return {**found, f"{TABLE}_Sz_": str(len(parts))}


def _coded(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogateescape"), altchars=_ALPHABET).decode("ascii")


def stack_entry(value: str) -> str:
    """Return a value as `pushenv` keeps it: base64, which Lmod then cleans as if it were a path."""
    return regular(_coded(value))


AWAY = "?"
"""The end of a stack's template that stands for what the base has of the pushed variable, as Lmod 8.7.51 and later keep it."""


def pushed_away(value: str | None) -> str:
    """Return a variable's value as `pushenv` puts it away since Lmod 8.7.51, None where it is not set."""
    return "false" if value is None else stack_entry(value)


def stack(template: str, name: str, base: Mapping[str, str], result: Mapping[str, str]) -> str:
    """Return the stack that `pushenv` leaves in the variable `name`: the load's own values over those of the base.

    A template that ends with `:` has the base's below it; a `:` alone stands for the pushed variable's final value. Environment
    Modules puts the variable's own value below those of modules.
    """
    if name.startswith(PUSHED):
        variable = name.removeprefix(PUSHED)
        under = base.get(name) or (f"&{base[variable]}" if variable in base else "")
        return ":".join(filter(None, (template, under)))
    variable = name.removeprefix(STACK)
    if template.endswith(AWAY):
        away = pushed_away(base.get(variable))
        return joined([*template[: -len(AWAY)].split(":")[:-1], *filter(None, (away, base.get(name)))], ":")
    if not template.endswith(":"):
        return template
    own = template[:-1].split(":") if template != ":" else [stack_entry(result.get(variable, ""))]
    below = base[name].split(":") if base.get(name) else []
    if name not in base and base.get(variable):
        below = [stack_entry(base[variable])]
    return joined([*own, *below], ":")


def is_lua_data(text: str) -> bool:
    """Say whether a text is one assignment of a table of plain values to `_ModuleTable_`, and so runs nothing when loaded."""
    tokens = _tokens(text)
    try:
        return [next(tokens), next(tokens)] == ["_ModuleTable_", "="] and _is_table(next(tokens), tokens, 0) and not list(tokens)
    except (StopIteration, ValueError):
        return False


def _tokens(text: str) -> Iterator[str]:
    place, end = 0, len(text.rstrip())
    while place < end:
        found = _TOKEN.match(text, place, end)
        if found is None:
            raise ValueError(place)
        place = found.end()
        yield _LITERAL if found["text"] or found["number"] else found["word"] or found["mark"]


def _is_table(word: str, words: Iterator[str], depth: int) -> bool:
    """Say whether a table opens with `word` and is plain values and tables up to its end, each perhaps with a plain key."""
    if word != "{" or depth > _DEEPEST:
        return False
    word = next(words)
    while word != "}":
        word = _after_key(word, words)
        if word not in _PLAIN and not _is_table(word, words, depth + 1):
            return False
        word = next(words)
        if word in (",", ";"):
            word = next(words)
        elif word != "}":
            return False
    return True


def _after_key(word: str, words: Iterator[str]) -> str:
    """Return what stands behind `name =` or `["text"] =`, or the word itself where it is not a key."""
    if word == "[":
        key = [next(words), next(words), next(words)]
        return next(words) if key == [_LITERAL, "]", "="] else ""
    if (word[0].isalpha() or word[0] == "_") and word not in _PLAIN:
        return next(words) if next(words) == "=" else ""
    return word
