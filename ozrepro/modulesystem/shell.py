"""Functions, aliases and limits that modules give a shell: read from Lmod's bash output as text, for interactive use alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_FUNCTION = re.compile(r"^([A-Za-z_][\w.-]*) \(\) \{ ?(.*?)\n\};?$", re.MULTILINE | re.DOTALL)
_ALIAS = re.compile(r"^alias ([\w.-]+)=((?:\\\n|\\.|'[^']*'|\"(?:[^\"\\]|\\.)*\"|[^;\n\\'\"])*);$", re.MULTILINE)
_LIMIT = re.compile(r"^(ulimit -[a-zA-Z] \w+|umask [0-7]+);?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ShellParts:
    """What only a shell can take: bodies of functions, values of aliases (as the shell's own words), limits."""

    functions: Mapping[str, str]
    aliases: Mapping[str, str]
    limits: tuple[str, ...]


def read_shell(output: str) -> ShellParts:
    """Return the functions, aliases and limits in the output of `lmod bash load …`."""
    return ShellParts(
        functions={found[1]: found[2].strip() for found in _FUNCTION.finditer(output)},
        aliases={found[1]: found[2] for found in _ALIAS.finditer(output)},
        limits=tuple(dict.fromkeys(found[1] for found in _LIMIT.finditer(output))),
    )
