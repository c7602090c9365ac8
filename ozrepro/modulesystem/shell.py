"""What loading modules makes a bash do, read as text and never run: assignments, functions, aliases, limits, and the rest.

A plain command says all that it does: `export NAME=value` with a value that needs no shell to know, `umask 027`. Any other, such
as `source /opt/x/activate`, is an effect: it is kept as text, for a user to decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ozrepro.modulesystem.bookkeeping import is_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
_WORD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:+-]*\Z", re.ASCII)
_QUOTED = r"""\\[^\n]|'[^']*'|"(?:[^"\\$`]|\\[^\n])*\""""
_PLAIN = rf"""(?:{_QUOTED}|[^\s;&|<>(){{}}\[\]$`'"\\*?~#!])+"""
"""A word that a shell takes as it stands, its quotes aside: nothing in it is replaced."""
_WORDS = re.compile(_PLAIN)
_PHRASE = rf"{_PLAIN}(?:[ \t]+{_PLAIN})*"
_COMMANDS = re.compile(rf"[ \t]*{_PHRASE}[ \t]*(?:;[ \t]*(?:{_PHRASE}[ \t]*|\Z))*\Z")
_COMMAND = re.compile(rf"[ \t]*({_PHRASE})[ \t]*;?")
_PIECE = re.compile(r"""\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*)\"""", re.DOTALL)
_IN_QUOTES = re.compile(r"""\\([$`"\\])|\\\n""")
_ANY_QUOTED = re.compile(r"""\\[^\n]|'[^']*'|"(?:[^"\\]|\\.)*\"""")
_COMPOUND = re.compile(r"(?:^|[;&|({])\s*(?:if|then|else|elif|fi|for|while|until|do|done|case|esac|select|function)\b")
_GOES_ON = re.compile(r"""['"]|\\\Z|<<|(?:\||&&|[({])\s*\Z""")
_LIMIT = re.compile(r"(?:ulimit -[a-zA-Z] \w+|umask [0-7]{1,4})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class ShellParts:
    """What only a shell can take.

    Attributes:
        functions: the bodies, as they stand between the braces: `NAME () {` and a newline go before, a newline and `}` behind.
        aliases: the values, with no quotes of a shell.
        limits: `ulimit` and `umask` commands.
        effects: commands of each module that are kept as text and never run.

    """

    functions: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    effects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def unquoted(word: str) -> str:
    """Return a plain word as a shell reads it."""
    return _PIECE.sub(_unquoted_piece, word)


def _unquoted_piece(piece: re.Match[str]) -> str:
    if piece[1] is not None:
        return piece[1]
    return piece[2] if piece[2] is not None else _IN_QUOTES.sub(lambda part: part[1] or "", piece[3])


@dataclass(slots=True)
class Script:
    """What a bash would have after the commands that it was given; `effects` are those that say not all that they do."""

    values: dict[str, str] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    functions: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    limits: list[str] = field(default_factory=list)
    effects: list[str] = field(default_factory=list)
    _local: dict[str, str] = field(default_factory=dict)

    def assign(self, name: str, value: str) -> None:
        """Set and export a variable."""
        self.values[name] = value
        self.deleted.discard(name)

    def unset(self, name: str) -> None:
        """Unset a variable."""
        self.values.pop(name, None)
        self._local.pop(name, None)
        self.deleted.add(name)

    def define(self, name: str, body: str) -> None:
        """Define a function; one that a lock cannot hold is an effect."""
        if _WORD_NAME.match(name) and is_text(body) and body.strip():
            self.functions[name] = body
        else:
            self.effects.append(f"{name} () {{ {body.strip()}; }}")

    def alias(self, name: str, value: str) -> None:
        """Define an alias; one that a lock cannot hold is an effect."""
        if _WORD_NAME.match(name) and is_text(value):
            self.aliases[name] = value
        else:
            self.effects.append(f"alias {name}={value}")

    def take(self, text: str) -> None:
        """Take commands as they are in a script. What begins on a line that does not end a command is one effect to its end."""
        lines = text.split("\n")
        for number, line in enumerate(lines):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            if not _is_whole(line):
                self.effects.append("\n".join(lines[number:]).strip())
                return
            if _COMMANDS.match(line):
                for found in _COMMAND.finditer(line):
                    self._run(found[1])
            else:
                self.effects.append(line.strip().rstrip(";"))

    def parts(self) -> ShellParts:
        """Return the functions, aliases and limits."""
        return ShellParts(self.functions, self.aliases, tuple(dict.fromkeys(self.limits)))

    def close(self) -> None:
        """Take the end of the script: what was assigned and never exported is an effect."""
        self.effects += [f"{name}={value}" for name, value in self._local.items()]
        self._local.clear()

    def _run(self, command: str) -> None:
        """Take one plain command."""
        name, *rest = words = [unquoted(word) for word in _WORDS.findall(command)]
        pairs = [word.partition("=")[::2] for word in words if "=" in word]
        if name == "unset" and rest and all(map(_NAME.match, rest)):
            for key in rest:
                self.unset(key)
        elif name == "alias" and rest and len(pairs) == len(rest):
            for key, value in pairs:
                self.alias(key, value)
        elif _LIMIT.match(" ".join(words)):
            self.limits.append(" ".join(words))
        elif not (self._export(rest) if name == "export" else self._assign(words)) and name not in (":", "true", "false"):
            self.effects.append(command)

    def _export(self, words: list[str]) -> bool:
        """Take the words of an `export`; say whether they were names and values, the names known."""
        pairs = [word.partition("=") for word in words]
        if not pairs or not all(_NAME.match(name) and (mark or name in self._local) for name, mark, _ in pairs):
            return bool(words) and all(word in self.values for word in words)
        for name, mark, value in pairs:
            self.assign(name, value if mark else self._local.pop(name))
        return True

    def _assign(self, words: list[str]) -> bool:
        """Take assignments without `export`; say whether they were."""
        pairs = [word.partition("=") for word in words]
        if not all(_NAME.match(name) and mark for name, mark, _ in pairs):
            return False
        for name, _, value in pairs:
            # A variable that is exported already stays so.
            (self.values if name in self.values else self._local)[name] = value
        return True


def _is_whole(line: str) -> bool:
    """Say whether a line's commands end with it: no quote, bracket, loop or document goes on behind it."""
    bare = _ANY_QUOTED.sub("_", line)
    if _GOES_ON.search(bare) or _COMPOUND.search(bare) or bare.count("`") % 2:
        return False
    return bare.count("(") == bare.count(")") and bare.count("{") == bare.count("}")
