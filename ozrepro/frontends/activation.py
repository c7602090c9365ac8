"""A session's environment as text for a shell: to be evaluated, and undone by `ozrepro_deactivate`.

Pure functions over values. Every value is quoted for its shell; nothing of it is ever expanded.
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ozrepro.environment import is_inherited
from ozrepro.modulesystem.tools import COMMAND_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ozrepro.environment import Environment

SHELLS = ("bash", "zsh", "fish")
MARK = "_OZREPRO_SESSION"
"""The variable that names the active session. Not `OZREPRO_…`: all of those count as settings of a start."""

_OF_A_TERMINAL = (
    *(
        "COLORTERM",
        "COLUMNS",
        "LINES",
        "TERM_PROGRAM",
        "TERM_PROGRAM_VERSION",
        "VTE_VERSION",
        "WINDOWID",
        "LS_COLORS",
        "NO_COLOR",
    ),
    *("TMUX", "TMUX_PANE", "STY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS", "GPG_TTY"),
    *("SSH_AGENT_PID", "SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "HOSTNAME", "MAIL", "INPUTRC", "ZDOTDIR"),
    *("EDITOR", "VISUAL", "PAGER", "LESS", "LESSOPEN", "HISTCONTROL", "HISTFILE", "HISTSIZE", "BASH_ENV", "PROMPT_COMMAND"),
    *("PS1", "PS2", "PS4", "PROMPT", *COMMAND_VARIABLES),
)
"""What else of the caller a shell at a prompt keeps: terminal, login, editor, prompt and `module`, which change no result."""

OF_THE_SHELL = ("PWD", "OLDPWD", "SHLVL", "_", "SHELL", "BASHOPTS", "SHELLOPTS", "UID", "EUID", "PPID", "status", "version")
_OWN_WORDS = ("python", "python3", "pip", "pip3", "ipython")
"""Words that an alias of the user's must not take from the environment."""

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Active:
    """A built session for a shell.

    Attributes:
        name: the session's name.
        environment: how its programs run.
        functions: bodies of functions that modules define, in bash's words.
        aliases: values of aliases.
        limits: `ulimit` and `umask` commands.

    """

    name: str
    environment: Environment
    functions: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[str, ...] = ()


def active(name: str, environment: Environment, parts: Mapping[str, Any]) -> Active:
    """Return the value for a session and the table of its shell parts."""
    return Active(name, environment, parts.get("functions", {}), parts.get("aliases", {}), tuple(parts.get("limits", ())))


def is_kept(name: str) -> bool:
    """Say whether a shell at a prompt keeps the caller's variable `name`."""
    prefixes = ("BASH_FUNC_", "XDG_", "LC_", "KITTY_", "ITERM_")
    return is_inherited(name) or name in _OF_A_TERMINAL or name in OF_THE_SHELL or name.startswith(prefixes)


def interactive_variables(session: Active, caller: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a shell at a prompt in the session: what is kept of the caller, then the session's."""
    kept = {name: value for name, value in caller.items() if is_kept(name)}
    return {**kept, **session.environment.variables_for(caller), MARK: session.name}


def quote(shell: str, text: str) -> str:
    """Return a text as one word of a shell, whatever is in it."""
    if shell == "fish":
        # In fish's single quotes only a backslash and a quote are special (its manual, "Quotes").
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return shlex.quote(text)


def activate(shell: str, session: Active, caller: Mapping[str, str]) -> str:
    """Return the text that activates a session in the shell whose exported variables are `caller`, and how it is undone."""
    wanted = interactive_variables(session, caller)
    changed = {name: value for name, value in sorted(wanted.items()) if caller.get(name) != value and VARIABLE.match(name)}
    gone = sorted(name for name in caller if name not in wanted and VARIABLE.match(name))
    write = _Fish() if shell == "fish" else _Bourne(shell)
    undo = [*(write.set(name, caller[name]) if name in caller else write.unset(name) for name in changed)]
    undo += [write.set(name, caller[name]) for name in gone]
    lines = [f"# {session.name}, by `ozrepro activate`; ozrepro_deactivate undoes it"]
    lines += [*map(write.unset, gone), *(write.set(name, value) for name, value in changed.items())]
    parts, undo_parts = write.parts(session)
    lines += [*parts, *write.prompt(session.name), *write.function("ozrepro_deactivate", [*undo_parts, *undo, *write.last()])]
    return "\n".join(lines) + "\n"


def start_lines(shell: str, session: Active, caller: Mapping[str, str], init: str) -> str:
    """Return what a new shell reads after the user's own files: the session again, whatever these did, and the prompt's mark.

    `init` is the module tool's own file for the shell, "" where there is none.
    """
    write = _Fish() if shell == "fish" else _Bourne(shell)
    wanted = interactive_variables(session, caller)
    lines = [write.only(sorted(wanted)), *(write.set(name, value) for name, value in sorted(wanted.items()) if _sets(name))]
    lines.append(write.plain(_OWN_WORDS))
    if init:
        lines.append(write.source_once("module", init))
    return "\n".join((*lines, *write.parts(session)[0], *write.prompt(session.name))) + "\n"


def _sets(name: str) -> bool:
    return (
        VARIABLE.match(name) is not None and name not in OF_THE_SHELL and name not in ("PS1", "PROMPT", "PROMPT_COMMAND", "TERM")
    )


class _Bourne:
    """Writes bash and zsh."""

    def __init__(self, shell: str) -> None:
        self.shell = shell

    def set(self, name: str, value: str) -> str:
        return f"export {name}={shlex.quote(value)}"

    def unset(self, name: str) -> str:
        return f"unset -v {name}"

    def function(self, name: str, lines: Iterable[str]) -> list[str]:
        return [f"{name} () {{", *(f"    {line}" if "\n" not in line else line for line in lines), "}"]

    def only(self, names: Iterable[str]) -> str:
        """Unset what is exported and not among the names: what the user's files set must not change a result."""
        listed = "$(compgen -e)" if self.shell == "bash" else '"${(@k)parameters[(R)*export*]}"'
        kept = "|".join((*names, *OF_THE_SHELL, *_OF_A_TERMINAL, "BASH_FUNC_*", "XDG_*", "LC_*"))
        return (
            f"for _ozrepro_name in {listed}; do case $_ozrepro_name in {kept}) ;; "
            '*) unset -v "$_ozrepro_name" 2>/dev/null ;; esac; done; unset -v _ozrepro_name'
        )

    def plain(self, words: Iterable[str]) -> str:
        return f"unalias {' '.join(words)} 2>/dev/null"

    def source_once(self, name: str, path: str) -> str:
        return f"typeset -f {name} >/dev/null || {{ [ -r {shlex.quote(path)} ] && . {shlex.quote(path)}; }}"

    def parts(self, session: Active) -> tuple[list[str], list[str]]:
        lines: list[str] = []
        undo: list[str] = []
        for name, body in session.functions.items():
            saved = f"_ozrepro_f_{_plain(name)}"
            lines += [f'{saved}="$(typeset -f {name} 2>/dev/null)"', f"unalias {name} 2>/dev/null; {name} () {{\n{body}\n}}"]
            undo += [f'unset -f {name}; [ -n "${{{saved}-}}" ] && eval "${saved}"; unset -v {saved}']
        for name, value in session.aliases.items():
            saved = f"_ozrepro_a_{_plain(name)}"
            listing = "alias -L" if self.shell == "zsh" else "alias"
            lines.append(f'{saved}="$({listing} {name} 2>/dev/null)"; alias {name}={shlex.quote(value)}')
            undo.append(f'unalias {name} 2>/dev/null; [ -n "${{{saved}-}}" ] && eval "${saved}"; unset -v {saved}')
        for number, limit in enumerate(session.limits):
            saved, words = f"_ozrepro_l_{number}", limit.split()
            if words[0] == "umask":
                lines.append(f"{saved}=$(umask); {limit}")
                undo.append(f'umask "${saved}"; unset -v {saved}')
            else:
                # Only the soft limit: a hard one could not be raised again.
                lines.append(f"{saved}=$(ulimit -S {words[1]}); ulimit -S {words[1]} {words[2]} 2>/dev/null")
                undo.append(f'ulimit -S {words[1]} "${saved}" 2>/dev/null; unset -v {saved}')
        return lines, undo

    def prompt(self, name: str) -> list[str]:
        if self.shell == "zsh":
            return [
                "_ozrepro_ps1=${PS1-}",
                f"_ozrepro_mark () {{ case $PS1 in '({name}) '*) ;; *) PS1='({name}) '$PS1 ;; esac; }}",
                "autoload -Uz add-zsh-hook && add-zsh-hook precmd _ozrepro_mark",
            ]
        return [
            "_ozrepro_ps1=${PS1-} _ozrepro_pc=${PROMPT_COMMAND-}",
            f"_ozrepro_mark () {{ case ${{PS1-}} in '({name}) '*) ;; *) PS1='({name}) '${{PS1-}} ;; esac; }}",
            "case $- in *i*) PROMPT_COMMAND=${PROMPT_COMMAND:+$PROMPT_COMMAND$'\\n'}_ozrepro_mark ;; esac",
        ]

    def last(self) -> list[str]:
        if self.shell == "zsh":
            hook = "autoload -Uz add-zsh-hook && add-zsh-hook -d precmd _ozrepro_mark"
            return [hook, "PS1=$_ozrepro_ps1; unset -v _ozrepro_ps1; unset -f _ozrepro_mark ozrepro_deactivate"]
        back = 'if [ -n "$_ozrepro_pc" ]; then PROMPT_COMMAND=$_ozrepro_pc; else unset -v PROMPT_COMMAND; fi'
        prompt = 'if [ -n "$_ozrepro_ps1" ]; then PS1=$_ozrepro_ps1; else unset -v PS1; fi'
        names = "unset -v _ozrepro_ps1 _ozrepro_pc; unset -f _ozrepro_mark ozrepro_deactivate"
        return [f"case $- in *i*) {back}; {prompt} ;; esac", names]


class _Fish:
    """Writes fish. Functions of modules are bash's and have no place in it."""

    def set(self, name: str, value: str) -> str:
        return f"set -gx {name} {quote('fish', value)}"

    def unset(self, name: str) -> str:
        return f"set -e {name}"

    def function(self, name: str, lines: Iterable[str]) -> list[str]:
        return [f"function {name}", *(f"    {line}" if "\n" not in line else line for line in lines), "end"]

    def only(self, names: Iterable[str]) -> str:
        kept = " ".join((*names, *OF_THE_SHELL, *_OF_A_TERMINAL))
        test = f"contains -- $_n {kept}; or string match -qr '^(XDG_|LC_)' -- $_n"
        return f"for _n in (set -nx); {test}; or set -e $_n; end; set -e _n"

    def plain(self, words: Iterable[str]) -> str:
        return f"functions -e {' '.join(words)}"

    def source_once(self, name: str, path: str) -> str:
        return f"functions -q {name}; or begin; test -r {quote('fish', path)}; and source {quote('fish', path)}; end"

    def parts(self, session: Active) -> tuple[list[str], list[str]]:
        lines = [f"# the function {name} of a module is written in bash and is left out" for name in session.functions]
        undo: list[str] = []
        for name, value in session.aliases.items():
            lines.append(f"alias {name} {quote('fish', value)}")
            undo.append(f"functions -e {name}")
        for limit in session.limits:
            words = limit.split()
            lines.append(limit if words[0] == "umask" else f"ulimit -S {words[1]} {words[2]} 2>/dev/null")
        return lines, undo

    def prompt(self, name: str) -> list[str]:
        own = f"echo -n {quote('fish', f'({name}) ')}; functions -q _ozrepro_prompt; and _ozrepro_prompt"
        return [
            "functions -q fish_prompt; and functions -c fish_prompt _ozrepro_prompt",
            f"function fish_prompt; {own}; end",
        ]

    def last(self) -> list[str]:
        return [
            "functions -e fish_prompt",
            "functions -q _ozrepro_prompt; and functions -c _ozrepro_prompt fish_prompt; and functions -e _ozrepro_prompt",
            "functions -e ozrepro_deactivate",
        ]


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def own_shell(caller: Mapping[str, str]) -> str:
    """Return the caller's login shell if it is one that sessions can run in, else bash."""
    name = os.path.basename(caller.get("SHELL", ""))
    return name if name in SHELLS else "bash"
