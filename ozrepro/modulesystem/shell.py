"""Functions, aliases and limits that modules give a shell: read from Lmod's bash output as text, for interactive use alone.

Lmod writes its statements sorted by name, each variable as `NAME=value;` and `export NAME;`, with a backslash before every
character of a value that a shell would take for its own (Bash.lua); then what modulefiles want executed. What modulefiles print
comes before.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ozrepro.modulesystem.bookkeeping import is_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_WORD = r"(?:\\.|'[^']*'|\"(?:[^\"\\]|\\.)*\"|[^\\;'\"])*"
_ANY = r"[^\s=;(){}'\"\\]+"
"""A name, also one that is not taken over: reading goes on behind it."""

_STATEMENT = re.compile(
    rf"""(?P<function>{_ANY})\ \(\)\ \{{\ (?P<body>.*?);\ \n\}};\n
    |alias\ (?P<alias>{_ANY})=(?P<words>{_WORD});\n
    |(?P<variable>{_ANY})={_WORD};\n(?:export\ (?P=variable);\n)?
    |unset\ (?:-f\ )?(?P<unset>{_ANY})[^\n]*;\n
    |unalias\ (?P<unalias>{_ANY})\ [^\n]*;\n
    |\[\[\ -n\ "\$\{{BASH_VERSION:-\}}"\ \]\]\ &&\ complete\ [^\n]*;\n""",
    re.VERBOSE | re.DOTALL,
)
# A value cannot hold this text: in it, the semicolon would have a backslash.
_ANCHOR = re.compile(rf"LOADEDMODULES={_WORD};\nexport LOADEDMODULES;\n", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z", re.ASCII)
_LIMIT = re.compile(r"^(ulimit -[a-zA-Z] \w+|umask [0-7]+);?$", re.MULTILINE | re.ASCII)
_QUOTED = re.compile(r"\\(.)|'([^']*)'|\"((?:[^\"\\]|\\.)*)\"", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ShellParts:
    """What only a shell can take.

    Attributes:
        functions: the bodies, as they stand between the braces: `NAME () {` and a newline go before, a newline and `}` behind.
        aliases: the values, with no quotes of a shell.
        limits: `ulimit` and `umask` commands.

    """

    functions: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[str, ...] = ()


def read_shell(output: str) -> ShellParts:
    """Return the functions, aliases and limits in the output of `lmod bash load …`.

    Text that modulefiles print is passed over, but for a function printed right before Lmod's own output whose name sorts before
    all of it: that cannot be told from Lmod's.
    """
    functions: dict[str, str] = {}
    aliases: dict[str, str] = {}
    place = 0
    for found in _statements(output, _start(output)):
        place = found.end()
        if not _NAME.match(found["function"] or found["alias"] or "") or not is_text(found.group()):
            continue
        if found["function"] and found["body"].strip():
            functions[found["function"]] = found["body"]
        elif found["alias"]:
            aliases[found["alias"]] = _QUOTED.sub(lambda part: part[1] or part[2] or part[3] or "", found["words"])
    return ShellParts(functions, aliases, tuple(dict.fromkeys(_LIMIT.findall(output, place))))


def _statements(output: str, place: int) -> Iterator[re.Match[str]]:
    """Yield Lmod's statements from `place` on, up to the first thing that is none: there the commands to execute begin."""
    while found := _STATEMENT.match(output, place):
        place = found.end()
        yield found


def _start(output: str) -> int:
    """Return where Lmod's own output begins for sure: at LOADEDMODULES, or before it where all up to there is its statements."""
    anchors = [found.start() for found in _ANCHOR.finditer(output)]
    if not anchors:
        return len(output)
    place = anchors[-1]
    lines = [0, *(found.end() for found in re.finditer("\n", output[:place]))]
    return next((start for start in lines if _is_sorted(output, start, place)), place)


def _is_sorted(output: str, start: int, end: int) -> bool:
    """Say whether a part of the output is nothing but Lmod's statements, in its order."""
    last = ""
    place = start
    while place < end:
        found = _STATEMENT.match(output, place)
        if found is None or found.end() > end:
            return False
        name = found[found.lastgroup or 0] if found.lastgroup not in ("body", "words") else found["function"] or found["alias"]
        # Reference counts stand right before the variable that they count for.
        if not name.startswith("__LMOD_") and name != "_ModuleTable_Sz_":
            if name <= last or name >= "LOADEDMODULES":
                return False
            last = name
        place = found.end()
    return True
