"""Commands that modules want a user's shell to run: whose they are, and whether the spec accepts to lock without them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ozrepro.modulesystem import ModuleError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ozrepro.modulesystem import LoadedModule, ModuleSystem
    from ozrepro.modulesystem.shell import ShellParts

_SHOWN = 300
"""Characters of a command that are shown."""


def by_module(
    effects: Sequence[str],
    modules: Sequence[LoadedModule],
    system: ModuleSystem,
    base: Mapping[str, str],
    marks: Mapping[str, str],
) -> dict[str, tuple[str, ...]]:
    """Return the commands of each module, in load order: those that loading it alone, on all before it, gives.

    A tool tells only what all modules want together. What no module gives alone is counted to the last one. The `marks`
    that variables have in the base stand as `$HOME` in them.
    """
    left = list(dict.fromkeys(effects))
    found: dict[str, tuple[str, ...]] = {}
    environ = dict(base)
    for module in modules:
        if not left:
            break
        try:
            reading = system.load([module.name], environ)
        except ModuleError:
            continue
        environ = {name: value for name, value in {**environ, **reading.values}.items() if name not in reading.deleted}
        if own := tuple(text for text in left if text in reading.effects):
            found[module.name] = own
            left = [text for text in left if text not in own]
    if left and modules:
        found[modules[-1].name] = (*found.get(modules[-1].name, ()), *left)
    return {name: tuple(_line(_marked(text, marks)) for text in texts) for name, texts in found.items()}


def _marked(text: str, marks: Mapping[str, str]) -> str:
    for name, mark in marks.items():
        text = text.replace(mark, f"${name}")
    return text


def told(shell: ShellParts) -> list[str]:
    """Return a line for each command that is not run."""
    lines = [(name, text) for name, texts in shell.effects.items() for text in texts]
    return [f"{name} has the shell run {_short(text)!r}: it is not run" for name, text in lines]


def check_accepted(shell: ShellParts, accepted: Collection[str], key: str) -> None:
    """Raise ModuleError, with all commands, where a module has some that the spec does not accept under `key`."""
    names = [name for name in shell.effects if name not in accepted]
    if names:
        lines = [f"{name}: {_short(text)}" for name in names for text in shell.effects[name]]
        listed = ", ".join(f'"{name}"' for name in names)
        what = "these modules have the shell run commands that a lock cannot keep:"
        raise ModuleError("\n    ".join((what, *lines)), hint=f"add to {key}, to lock without them: {listed}")


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _line(text: str) -> str:
    """Return a command as one line of printable characters."""
    line = "; ".join(part.strip() for part in text.splitlines())
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
