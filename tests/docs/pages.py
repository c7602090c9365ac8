"""Reads a Markdown page: the files that it shows and the commands that it runs, in order.

A page's rules:

- a fenced block whose first line is `# some/file.ext` (in Lua `-- some/file.ext`) is a file of the example's project; the rest of
  the block is its text;
- a fenced block marked `console` holds commands (`$ …`, continued by `> …`) and what they print; `...` stands for any text;
- a fenced block marked `console-session` is a session at a terminal, in a shell of its own: the lines behind the prompts `$ `,
  `(NAME) $ ` and `In [1]: ` are typed, `^D` is the end of file, and the rest is what the terminal shows (`terminal.py`);
- a command that fails must be followed by `$ echo $?`, so that the reader sees the status;
- the comment `<!-- uses: other.md -->` at the top takes over the files of another page;
- what stands below the comment `<!-- on the test site -->` is run where the test site can be made, after what stands above it; the
  names and versions of OzSTAR that it shows stand for the site's true ones (`running.on_the_site`);
- what stands below the comment `<!-- with the conda channel -->` is run where the test channel can be made, which the name
  conda-forge then means, and what stands below `<!-- on the test site, with the conda channel -->` where both can be made and the
  site has an MPI library; a part ends where another begins, and each is run after what stands above them all;
- what stands below the comment `<!-- with Apptainer -->` is run where the tests have a real Apptainer, as an ordinary user, with a
  registry that stands for Docker Hub;
- what stands below the comment `<!-- with Slurm -->` is run where the tests have a real Slurm, as an ordinary user;
- the comment `<!-- example: NAME -->` has the page begin in a copy of `docs/examples/NAME`, whose files a block may only repeat; a
  README.md in such a folder begins in a copy of that one;
- the comment `<!-- tools: NAME REQUIREMENT… -->` puts programs that are not of the session first on PATH (`tests.fake_cluster.tools`);
- the comment `<!-- needs: flavoured -->` asks for the source archive of that package in the project's folder `sources`;
- blocks in other languages (`sh`, `text`, `toml` without a file name) are only shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
"""What a user copies: a folder each."""

_FILE = re.compile(r"(?:#|--) ((?:[\w.-]+/)*(?:[\w-]*\.[\w.]+|Snakefile))$")
_FENCE = re.compile(r"(`{3,})(\S*)\s*$")
_USES = re.compile(r"^<!-- uses: (\S+) -->$", re.MULTILINE)
_NEEDS = re.compile(r"^<!-- needs: (\S+) -->$", re.MULTILINE)
_EXAMPLE = re.compile(r"^<!-- example: (\S+) -->$", re.MULTILINE)
_TOOLS = re.compile(r"^<!-- tools: (\S+) (.+) -->$", re.MULTILINE)

SITE, CHANNEL, BOTH = "on the test site", "with the conda channel", "on the test site, with the conda channel"
APPTAINER, SLURM = "with Apptainer", "with Slurm"
"""The parts of a page that are run only where something can be made."""

_PART = re.compile(rf"^<!-- ({SITE}|{CHANNEL}|{BOTH}|{APPTAINER}|{SLURM}) -->$", re.MULTILINE)


@dataclass(frozen=True)
class Fence:
    """One fenced block: its language, its text, and the page's line on which the text begins."""

    language: str
    text: str
    line: int


@dataclass(frozen=True)
class ShownFile:
    """A file of the example's project."""

    path: str
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """A command and what the page says that it prints."""

    text: str
    expected: str
    line: int
    terminal: bool = False
    """A session at a terminal: `expected` is all that is typed and shown there."""


Step = ShownFile | Command


def fences(text: str) -> list[Fence]:
    """Return all fenced blocks of a page."""
    found: list[Fence] = []
    mark, language, begin, lines = "", "", 0, list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        match = _FENCE.match(line)
        if not mark and match:
            mark, language, begin, lines = match[1], match[2], number + 1, []
        elif mark and line.strip() == mark:
            found.append(Fence(language, "\n".join(lines) + "\n", begin))
            mark = ""
        elif mark:
            lines.append(line)
    assert not mark, f"the fence that opens before line {begin} is never closed"
    return found


def commands(fence: Fence) -> list[Command]:
    """Return the commands of a console block."""
    found: list[Command] = []
    for number, line in enumerate(fence.text.splitlines(), fence.line):
        if line.startswith("$ "):
            found.append(Command(line[2:], "", number))
        elif line.startswith("> ") and found and not found[-1].expected:
            found[-1] = Command(f"{found[-1].text}\n{line[2:]}", "", found[-1].line)
        else:
            assert found, f"line {number}: output before any command"
            found[-1] = Command(found[-1].text, f"{found[-1].expected}{line}\n", found[-1].line)
    return found


def shown_file(fence: Fence) -> ShownFile | None:
    """Return the file that a block shows, or None."""
    first, _, rest = fence.text.partition("\n")
    match = _FILE.match(first)
    if match and first.startswith("--") and fence.language != "lua":
        return None
    return ShownFile(match[1], rest.lstrip("\n"), fence.line) if match and not fence.language.startswith("console") else None


def parts(text: str) -> list[tuple[int, str]]:
    """Return the line behind which each part begins, and which part it is; what stands above them all is the part "", from line 0."""
    return [(0, ""), *((text.count("\n", 0, mark.start()) + 1, mark[1]) for mark in _PART.finditer(text))]


def has_part(page: Path, part: str) -> bool:
    """Say whether a page has such a part."""
    return part in [name for _, name in parts(page.read_text(encoding="utf-8"))]


def needed(page: Path) -> list[str]:
    """Return the packages whose source archives a page asks for."""
    return _NEEDS.findall(page.read_text(encoding="utf-8"))


def example_of(page: Path) -> str:
    """Return the name of the example in whose folder a page begins, "" where it begins in an empty one."""
    if page.parent.parent == EXAMPLES:
        return page.parent.name
    asked = _EXAMPLE.search(page.read_text(encoding="utf-8"))
    return asked[1] if asked else ""


def tools_of(page: Path) -> list[tuple[str, tuple[str, ...]]]:
    """Return the tools that a page asks for: what each is called, and its requirements."""
    return [(name, tuple(words.split())) for name, words in _TOOLS.findall(page.read_text(encoding="utf-8"))]


def steps(page: Path, part: str = "") -> list[Step]:
    """Return what a page writes and runs, in order, after the files of the page that it uses.

    part: also this part, SITE, CHANNEL, BOTH, APPTAINER or SLURM, that is run only where something can be made.
    """
    text = page.read_text(encoding="utf-8")
    begun = parts(text)
    uses = _USES.search(text)
    found: list[Step] = []
    if uses:
        found += [step for step in steps(page.parent / uses[1]) if isinstance(step, ShownFile)]
    for fence in fences(text):
        file = shown_file(fence)
        within = [name for line, name in begun if line < fence.line][-1]
        if within not in ("", part):
            continue
        if file is not None:
            found.append(file)
        elif fence.language == "console":
            found += commands(fence)
        elif fence.language == "console-session":
            found.append(Command("(at a terminal)", fence.text, fence.line, terminal=True))
    return found


def all_pages() -> list[Path]:
    """Return all pages of the documentation."""
    return sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)


def pages_with_examples() -> list[Path]:
    """Return the pages that run a command, whatever machine they are read on."""
    return [page for page in all_pages() if any(isinstance(step, Command) for step in steps(page))]


def pages_with(part: str) -> list[Path]:
    """Return the pages that have such a part."""
    return [page for page in all_pages() if has_part(page, part)]
