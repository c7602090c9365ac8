"""Reads what `lmod bash …` prints, as data: nothing of it is ever run.

Lmod asked for a bash is what its users have: modulefiles that ask for the shell get the same answer. It writes each variable as
`NAME=value;` and `export NAME;`, with a backslash before every character of a value that a shell would take for its own (its
shells/Bash.lua); then what modulefiles want run. What modulefiles print stands before. A user's shell runs all of it.
"""

from __future__ import annotations

import re

from ozrepro.modulesystem.bookkeeping import is_bookkeeping
from ozrepro.modulesystem.reading import Reading
from ozrepro.modulesystem.shell import Script, unquoted

_NAME = r"[^\s=;(){}'\"\\$`|&<>]+"
_VALUE = r"""(?:\\.|"\n"|[^ ?\t{}|<>!;#^$&*"'`()~\[\]\\])*"""
"""A value as `multiEscaped` in Lmod's string_utils.lua writes it; a newline stands bare before Lmod 8.7.29, in quotes since."""

_QUIET = r" 2> /dev/null \|\| true"
_BASH = r'\[\[ -n "\$\{BASH_VERSION:-\}" \]\] && '
_STATEMENT = re.compile(
    rf"""(?P<set>{_NAME})=(?P<value>{_VALUE});\nexport\ (?P=set);\n
    |unset\ (?P<unset>{_NAME});\n
    |(?P<function>{_NAME})\ \(\)\ \{{\ (?P<body>.*?);\ \n\}};\n
    |alias\ (?P<alias>{_NAME})=(?P<words>{_VALUE});\n
    |{_BASH.replace(" ", chr(92) + " ")}export\ -f\ {_NAME}{_QUIET.replace(" ", chr(92) + " ")};\n
    |{_BASH.replace(" ", chr(92) + " ")}(?P<complete>complete\ [^\n]*);\n
    |(?:unset\ -f|unalias)\ (?P<gone>{_NAME}){_QUIET.replace(" ", chr(92) + " ")};\n""",
    re.VERBOSE | re.DOTALL,
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)


def read(output: str, messages: str = "") -> Reading:
    """Return what Lmod's output for a bash says. Whatever is none of Lmod's own statements is taken as commands for a shell."""
    script = Script()
    said: list[str] = []
    start = place = 0
    while place < len(output):
        found = _STATEMENT.match(output, place)
        if found is None:
            place = _next(output, place)
            continue
        script.take(output[start:place])
        said += _take(script, found)
        start = place = found.end()
    script.take(output[start:])
    script.close()
    more = "\n".join(said)
    return Reading(
        script.values,
        frozenset(script.deleted),
        f"{messages.rstrip()}\n{more}\n" if more else messages,
        script.parts(),
        tuple(dict.fromkeys(script.effects)),
    )


def _next(output: str, place: int) -> int:
    """Return where the next line begins, or, behind text that a modulefile printed without a newline, Lmod's own first words."""
    end = output.find("\n", place)
    if end < 0:
        return len(output)
    if output.startswith("export ", end + 1):
        name = output[end + 8 : output.find("\n", end + 8)].removesuffix(";")
        inside = output.find(f"{name}=", place, end) if name else -1
        if inside > place and _STATEMENT.match(output, inside):
            return inside
    return end + 1


def _take(script: Script, found: re.Match[str]) -> list[str]:
    """Take one of Lmod's statements; return what is to be said of it."""
    name = found["set"] or found["unset"] or found["gone"]
    if found["function"]:
        script.define(found["function"], found["body"])
    elif found["alias"]:
        script.alias(found["alias"], unquoted(found["words"]))
    elif found["complete"]:
        script.effects.append(found["complete"])
    elif found["gone"]:
        script.functions.pop(name, None)
        script.aliases.pop(name, None)
    elif name and not _VARIABLE.match(name):
        return [] if is_bookkeeping(name) else [f"{name} cannot name a variable in a shell, which is not given it"]
    elif found["set"]:
        script.assign(name, unquoted(found["value"]))
    elif found["unset"]:
        script.unset(name)
    return []
