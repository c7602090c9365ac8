"""Reads what Environment Modules prints for a bash, and its index, as data: nothing of it is ever run.

Its `renderSettings` (modulecmd.tcl, read in 4.5.2, 5.2.0 and 5.7.0) writes what modulefiles want printed first, then its own
statements in no order, then what modulefiles print, then the status. A value has a backslash before each character that a shell
would take for its own, and since 5.6 is in single quotes; a newline is bare. A user's shell runs all of it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from ozrepro.modulesystem.index import Index, IndexedModule
from ozrepro.modulesystem.paths import TCL, counts_shared, counts_text
from ozrepro.modulesystem.reading import Reading
from ozrepro.modulesystem.shell import Script, unquoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_NAME = r"[^\s=;(){}'\"\\$`|&<>]+"
_WORD = r"(?:\\.|'[^']*'|[^ \\\t{}|<>!;#^$&*?\"'`()])*"
_STATEMENT = re.compile(
    rf"""(?P<set>{_NAME})=(?P<value>{_WORD});\ export\ (?P=set);\n
    |unset\ (?P<unset>{_NAME});\n
    |alias\ (?P<alias>{_NAME})=(?P<words>{_WORD});\n
    |(?P<function>{_NAME})\ \(\)\ \{{\ (?P<body>.*?);\ \}};(?:\ export\ (?:-f\ )?(?P=function);)?\n
    |(?:unset\ -f|unalias)\ (?P<gone>{_NAME});\n""",
    re.VERBOSE | re.DOTALL,
)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z", re.ASCII)
_HOME = re.compile(r"(?:(?<=:)|\A)~(?=[/:]|\Z)")
_OLD = "_modshare"
_LISTS = ("MODULES_LM", "_LMFILES_", "LOADEDMODULES", "MODULEPATH")
_STATUS = re.compile(r"(?:\A|\n)test 0( = 1)?;\n?\Z")
_RULE = re.compile(r"-{20,}\Z")
_USE = re.compile(r"(?:module\s+use|(?:pre|ap)pend-path\s+MODULEPATH)\s+(.+)\Z")
_LIST = re.compile(r"\{([^{}]*)\}|(\S+)")


def read(output: str, messages: str = "", home: str = "") -> tuple[Reading, bool]:
    """Return what the output says, and whether it says that all went well.

    `home` is that of the call: before 5.6 a `~` at the beginning of a value or an entry is one that a shell replaces.
    """
    script = Script()
    said: list[str] = []
    status = _STATUS.search(output)
    end = status.start() + 1 if status and output[status.start()] == "\n" else status.start() if status else len(output)
    start = place = 0
    while place < end:
        found = _STATEMENT.match(output, place, end)
        if found is None:
            after = output.find("\n", place, end)
            place = after + 1 if after >= 0 else end
            continue
        script.take(output[start:place])
        said += _take(script, found, home)
        start = place = found.end()
    script.take(output[start:end])
    script.close()
    for name, counts in [item for item in script.values.items() if item[0].endswith(_OLD)]:
        # Up to 4.8 counts are in another variable, and all of them do.
        pairs = {entry: count for entry, count in counts_shared(counts).items() if count > 1 or not entry}
        if pairs and not name.startswith(_LISTS):
            script.assign(f"{TCL.count}{name.removesuffix(_OLD)}", counts_text(pairs.items(), TCL))
    text = "\n".join((messages.rstrip(), *said)) if said else messages
    effects = tuple(dict.fromkeys(script.effects))
    reading = Reading(script.values, frozenset(script.deleted), text, script.parts(), effects)
    return reading, status is None or not status[1]


def _take(script: Script, found: re.Match[str], home: str) -> list[str]:
    """Take one of the tool's own statements; return what is to be said of it."""
    name = found["set"] or found["unset"] or found["gone"]
    if found["function"]:
        script.define(found["function"], found["body"])
    elif found["alias"]:
        script.alias(found["alias"], unquoted(found["words"]))
    elif found["gone"]:
        script.functions.pop(name, None)
        script.aliases.pop(name, None)
    elif not _VARIABLE.match(name):
        return [f"{name} cannot name a variable in a shell, which is not given it"]
    elif found["set"]:
        word = found["value"]
        bare = word if word.startswith("'") or not home else _HOME.sub(lambda _: _quoted(home), word)
        script.assign(name, unquoted(bare))
    else:
        script.unset(name)
    return []


def _quoted(text: str) -> str:
    return "".join(f"\\{char}" for char in text)


def read_index(output: str) -> dict[str, IndexedModule]:
    """Return the modules in the JSON that `avail --json` printed, by file. Raises ValueError where there is none in it."""
    decoder = json.JSONDecoder(strict=False)
    start = max((found.start() for found in re.finditer(r"^\{", output, re.MULTILINE)), default=-1)
    if start < 0:
        if output.strip():
            raise ValueError(f"the module tool printed no index: {output.strip()[-300:]}")
        return {}
    try:
        table, _ = decoder.raw_decode(output, start)
    except RecursionError:
        raise ValueError("the module tool printed an index that is nested too deeply") from None
    return {module.file: module for module in _modules(table)}


def _modules(table: Mapping[str, Any]) -> Iterator[IndexedModule]:
    for modules in table.values():
        for entry in modules.values() if isinstance(modules, dict) else ():
            if not isinstance(entry, dict) or entry.get("type") != "modulefile":
                continue
            name, file = entry.get("name"), entry.get("pathname")
            if isinstance(name, str) and isinstance(file, str) and name and file.startswith("/"):
                tags = entry.get("tags")
                yield IndexedModule(name, file, hidden=isinstance(tags, list) and "hidden" in tags)


def read_uses(output: str) -> dict[str, list[str]]:
    """Return the directories that each modulefile adds to those of modules, by file, from what `module show` printed."""
    uses: dict[str, list[str]] = {}
    file = ""
    fresh = False
    for line in output.splitlines():
        if _RULE.match(line):
            fresh = True
        elif fresh:
            fresh, file = False, line.removesuffix(":") if line.startswith("/") else ""
        elif file and (found := _USE.match(line)):
            words = [braced or plain for braced, plain in _LIST.findall(found[1])]
            uses.setdefault(file, []).extend(word for word in words if word.startswith("/"))
    return uses


def index_of(modules: Mapping[str, tuple[IndexedModule, set[tuple[str, ...]]]]) -> Index:
    """Return the index of modules by file, each with the chains of modules that lead to it."""
    named: dict[str, list[IndexedModule]] = {}
    for file, (module, chains) in sorted(modules.items()):
        parents = tuple(sorted(chain for chain in chains if chain)) if () not in chains else ()
        named.setdefault(module.name, []).append(IndexedModule(module.name, file, parents, (), module.hidden))
    return Index({name: tuple(entries) for name, entries in sorted(named.items())})
