"""What start-up files of shells do to every shell and every job, and a user's own settings of modules."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ozrepro.frontends.doctor.finding import Finding, fine, note, wrong
from ozrepro.modulesystem import fingerprint, saved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ozrepro.frontends.doctor.surroundings import Surroundings

FILES = (
    *(".bashrc", ".bash_profile", ".bash_login", ".profile"),
    *(".zshrc", ".zprofile", ".zshenv"),
    *(".config/fish/config.fish", ".cshrc", ".tcshrc", ".login"),
)
LONGEST = 60
"""Characters of a line that are shown."""

_START = r"(?:^|&&|\|\||[;({]|\b(?:then|do|else|and|or)\b)\s*"
"""Where a command begins: what stands inside a word, behind `echo` or in an alias is none."""

_HABITS = (
    re.compile(_START + r"((?:module|ml)\s+(?:-\S+\s+)*(?:load|add|try-load|swap|switch|restore|use)\b[^;&|)}]*)"),
    re.compile(
        _START + r"(ml\s+(?!-|list\b|av|spider\b|key|purge\b|unload\b|show\b|help\b|is-|save\b|describe\b)[\w+][^;&|)}]*)"
    ),
    re.compile(_START + r"((?:conda|mamba|micromamba)\s+activate\b[^;&|)}]*)"),
    re.compile(_START + r"((?:source|\.)\s+[^;&|]*\bactivate(?:\.\w+)?[\"']?(?=[\s;&|)}]|$)[^;&|)}]*)"),
    re.compile(_START + r"(export\s+(?:\w+=\S*\s+)*(?:PYTHONPATH|LD_LIBRARY_PATH)\b)"),
    re.compile(_START + r"(setenv\s+(?:PYTHONPATH|LD_LIBRARY_PATH)\b)"),
    re.compile(_START + r"(set\s+(?:-\w+\s+|--\w+\s+)*(?:PYTHONPATH|LD_LIBRARY_PATH)\b)"),
)
_HOOK = re.compile(r"conda['\"]?\s+['\"]?(?:shell\.\w+['\"]?\s+['\"]?hook|shell hook)")
_FUNCTION = re.compile(r"(?:function\s+[\w-]+|[\w-]+\s*\(\s*\))\s*(?:\(\s*\))?\s*(\{)?")
_WHY = (
    "Each shell and each job then starts changed, which no script and no lock says: it gives other results elsewhere and later."
)


def lines_that_hurt(text: str, *, fish: bool = False) -> Iterator[tuple[int, str, bool]]:
    """Yield each line that changes the environment of every shell: its number, its command, whether nothing else is on it.

    Comments and functions are passed over.
    """
    end = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = without_comment(raw)
        if end:
            if line.startswith(end) and not line[len(end) :].strip(" ;"):
                end = ""
            continue
        indent = line[: len(line) - len(line.lstrip())]
        if _FUNCTION.match(line.strip()):
            closed = line.rstrip(" ;").endswith("end" if fish else "}")
            end = "" if closed else indent + ("end" if fish else "}")
            continue
        if found := next((match for habit in _HABITS if (match := habit.search(line))), None):
            yield number, " ".join(found[1].split())[:LONGEST], line.strip() == found[1].strip() and line[-1:] != "\\"


def without_comment(line: str) -> str:
    """Return a shell's line up to the `#` that begins a comment, as bash, zsh, fish and csh read it."""
    quote = ""
    for place, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char == "#" and (place == 0 or line[place - 1] in " \t;&|("):
            return line[:place]
    return line


def check_dotfiles(place: Surroundings) -> list[Finding]:
    """Look for modules, environments and search paths in the files that every shell reads when it starts."""
    found: list[Finding] = []
    for name in FILES:
        text = place.read(place.home / name)
        if text is None:
            continue
        for number, words, alone in lines_that_hurt(text, fish=name.endswith(".fish")):
            # A command that does nothing takes its place: an `if` with only a comment in it is a mistake to bash.
            remedy = f"sed -i --follow-symlinks '{number}s/^/: # /' ~/{name}" if alone else f"${{EDITOR:-vi}} +{number} ~/{name}"
            found.append(wrong(f"~/{name} line {number}: {place.short(words)}", _WHY, remedy))
        if _HOOK.search(text):
            why = "Each shell then starts with conda's base environment first on PATH, unless that is switched off."
            remedy = "conda config --set auto_activate_base false"
            if not re.search(
                r"^auto_activate(?:_base)?:\s*(?:false|no)\b", place.read(place.home / ".condarc") or "", re.MULTILINE
            ):
                found.append(note(f"~/{name} starts conda (conda init)", why, remedy))
    return found or [fine("start-up files of shells load no modules, environments or search paths")]


def check_collections(place: Surroundings) -> list[Finding]:
    """Look for a default collection of modules, which a login loads, and for a user's own names of modules."""
    found: list[Finding] = []
    for folder in saved.FOLDERS:
        for path in sorted((place.home / folder).glob("default*")):
            if path.is_file() and re.fullmatch(r"default(\.\w+)?", path.name):
                why = "A login loads it where the site restores collections, with whatever versions its names then stand for."
                remedy = f"mv ~/{folder}/{path.name} ~/{folder}/was-{path.name}"
                found.append(wrong(f"~/{folder}/{path.name} is a default collection of modules", why, remedy))
    for own in fingerprint.user_rc_files({"HOME": str(place.home)}):
        name = own.rpartition("/")[2]
        why = "It changes which versions names stand for, for you alone; ozrepro's locks pass it over."
        found.append(note(f"~/{name} is your own configuration of modules", why, f"mv ~/{name} ~/was{name}"))
    return found or [fine("no default collection of modules and no configuration of your own")]
