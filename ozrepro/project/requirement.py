"""What a requirement of a spec may say: a name with versions, a file of the project, an address with a digest; no options."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ozrepro.errors import without_login
from ozrepro.project.checking import MOST, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packaging.markers import Marker

_LOCAL = re.compile(
    r"(?:(?:-e\s*|--editable[\s=]\s*)(?=[./\w])|(?=\.))"
    r"(?P<path>[\w.+/-]*?)\s*(?:\[(?P<extras>[A-Za-z0-9._,\s-]+)\])?\Z",
    re.ASCII,
)
_ARCHIVE = (".whl", ".tar.gz", ".zip")
_FILE = re.compile(r"-[rc]\s*\S.*\Z")
_GROUP = re.compile(
    r"--group[\s=]\s*(?:(?P<path>[\w./+ -]*pyproject\.toml):)?(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\Z", re.ASCII
)
_CONTROL = ("git+", "hg+", "svn+", "bzr+")
_EDITABLE_CONTROL = re.compile(r"(?:-e\s*|--editable[\s=]\s*)(?P<address>(?:git|hg|svn|bzr)\+\S+)")
_PYLOCK = re.compile(r"(?:.*/)?pylock(?:\.[^./]+)?\.toml\Z")
_CONDA = re.compile(r"(?P<name>\w[\w.-]*)\s*=\s*(?P<version>[^\s=;,@]+)(?:=[^\s=]+)?\Z", re.ASCII)
"""A package as `conda list --export` writes it, NAME=VERSION=BUILD, and as conda's command line takes it, NAME=VERSION."""
_LONGEST = 2000
_ADDRESS = re.compile(r"https://[A-Za-z0-9.-]+(:[0-9]+)?/[A-Za-z0-9._~!+=:@/%-]+(#sha256=[0-9a-fA-F]{64})?\Z", re.ASCII)
"""No login, no query (either may be a secret), and no `$`: uv puts the caller's variables, passwords among them, for ${NAME}."""

_HASH = re.compile(r"\s--hash=(\S+)")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}\Z")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a requirement file: the line where it begins, its text without hashes, and what `--hash=` says."""

    line: int
    text: str
    hashes: tuple[str, ...] = ()

    @property
    def sha256(self) -> frozenset[str]:
        """The hashes that a lock can hold, in lower case."""
        return frozenset(text[7:].lower() for text in self.hashes if text.startswith("sha256:"))


@dataclass(frozen=True, slots=True)
class LocalProject:
    """A project of the folder that a requirement asks for: its folder from the project's root, "" for that itself."""

    path: str
    extras: tuple[str, ...] = ()


def local_project(text: str) -> LocalProject | None:
    """Return the local project that a line such as `-e .`, `.[plot]` or `./sub` asks for, None where it asks for none."""
    found = _LOCAL.match(text)
    if found is None or found["path"].startswith("/") or text.endswith(_ARCHIVE) or ".." in found["path"].split("/"):
        return None
    parts = [part for part in found["path"].split("/") if part not in ("", ".")]
    extras = {part.strip() for part in (found["extras"] or "").split(",") if part.strip()}
    return LocalProject("/".join(parts), tuple(sorted(extras)))


def file_in(text: str) -> str:
    """Return the requirement or constraint file that a line names, as it is written there; "" where it names none."""
    return text[2:].strip() if _FILE.match(text) else ""


def group_in(text: str) -> tuple[str, str] | None:
    """Return the file and the name of the group of dependencies that a line such as `--group dev` asks for, or None."""
    found = _GROUP.match(text)
    if found is None or found["name"] is None:
        return None
    path = found["path"] or "pyproject.toml"
    return None if path.startswith("/") or ".." in path.split("/") else (path, found["name"])


def names_package(text: str) -> bool:
    """Say whether a line that was checked is a requirement, and no option and no local project."""
    return not text.startswith(("-", "."))


def check_requirement(text: str) -> str | None:
    """Say what is wrong with one requirement, or None.

    It is a name with version, `-r FILE`, `-c FILE`, `--group NAME`, a project such as `-e .`, or `name @ https://…`.
    """
    if len(text) > _LONGEST:
        return f"{shown(text)} is not a requirement: it is too long"
    if "\\" in text:
        return f"{shown(text)} holds a backslash, which installers read in different ways"
    if local_project(text) is not None:
        return None
    if group_in(text) is not None:
        return None
    if _FILE.match(text):
        return _check_file(text[2:].strip())
    if text.startswith("-"):
        return _check_option(text)
    if text.startswith(_CONTROL):
        return check_address(text)  # a bare one is not a requirement, and what the parser says of it helps nobody
    if _CONDA.match(text):
        return f"{shown(text)} is a conda package: {_instead_of((text,))}"
    return _check_package(text)


def _check_file(file: str) -> str | None:
    if file.startswith(("/", "~")) or ".." in file.split("/"):
        return f"{file!r} leaves the project; name a file inside it, from its root"
    if _PYLOCK.match(file):
        return f"{shown(file)} is a lock (PEP 751) and not a requirement file; take it over: ozrepro lock NAME --from {file}"
    return None


def _check_option(text: str) -> str | None:
    if control := _EDITABLE_CONTROL.match(text):
        return check_address(control["address"])
    if text.startswith(("-e", "--editable")):
        return f"{text!r} is not a folder of the project; write for example -e . or -e ./FOLDER, with extras as in -e .[plot]"
    if text.startswith("--group"):
        return f"{shown(text)} names no group of dependencies; write for example --group dev or --group sub/pyproject.toml:dev"
    return f"{text!r} is an installer's option; allowed are -r FILE, -c FILE, --group NAME and -e ."


def _check_package(text: str) -> str | None:
    try:
        requirement = Requirement(text)
        requirement.specifier.contains("1", prereleases=True)  # a number of 5,000 digits is refused only now
    except (InvalidRequirement, RecursionError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason given"])[0]
        return f'{shown(text)} is not a requirement ({reason}); write for example "numpy>=1.26"'
    if requirement.marker is not None and not is_decidable(requirement.marker):
        return f"{shown(text)} has a marker that cannot be decided"
    if requirement.url and requirement.url.startswith("file:"):
        write = f"{requirement.name}==VERSION (pip list --format=freeze)"
        return f"{shown(text)} names a path of the machine that wrote it; write {write}"
    return check_address(requirement.url) if requirement.url else None


def _instead_of(lines: tuple[str, ...]) -> str:
    """Return what to write instead of conda's lines; the pin is of the first whose name and version an index can have."""
    for line in lines:
        parts = _CONDA.match(line)
        pin = f"{parts['name']}=={parts['version']}" if parts else ""
        try:
            Requirement(pin)
        except InvalidRequirement:
            continue
        return f"name it in dependencies of [conda], or write {pin}"
    return "name it in dependencies of [conda]"


def check_requirement_file(text: str) -> list[str]:
    """Return a line for each entry of a requirement file that `requirements` would not take either.

    Other files and indexes named in it would decide what is locked, and neither the spec's digest nor a build knows them.
    """
    entries = list(entries_of(text))
    mistakes: list[str] = []
    conda = [entry for entry in entries if _CONDA.match(entry.text)]
    if len(conda) > 1:  # one line for the whole list, which has hundreds
        entries = [entry for entry in entries if not _CONDA.match(entry.text)]
        advice = _instead_of(tuple(entry.text for entry in conda)).replace("it", "them", 1)
        mistakes.append(f"line {conda[0].line}: this is a list of conda packages ({len(conda)} lines): {advice}")
    for entry in entries:
        known = local_project(entry.text) is not None or _EDITABLE_CONTROL.match(entry.text)
        if file := file_in(entry.text):
            problem = _check_file(file.replace("../", ""))  # it is from the file's own folder: its reader knows where that leads
        elif entry.text.startswith("-") and not known:
            problem = f"{shown(entry.text)} is an installer's option; name groups in the spec, and indexes in the settings"
        else:
            problem = check_requirement(entry.text) or _check_hashes(entry)
        if problem is not None and len(mistakes) < MOST:
            mistakes.append(f"line {entry.line}: {without_login(problem)}")
    return mistakes


def entries_of(text: str) -> Iterator[Entry]:
    """Yield the entries of a requirement file: lines that end in a backslash are put together, comments left out."""
    began, whole = 0, ""
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = raw.rstrip("\r")
        began = began or number
        if line.endswith("\\"):
            whole += line[:-1] + " "
            continue
        entry = re.sub(r"(^|\s)#.*", "", whole + line).strip()
        place, began, whole = began, 0, ""
        if entry:
            yield Entry(place, _HASH.sub("", entry), tuple(_HASH.findall(entry)))


def _check_hashes(entry: Entry) -> str | None:
    if not entry.hashes:
        return None
    wrong = [text for text in sorted(entry.sha256) if not _SHA256.match(text)]
    if wrong:
        return f"--hash=sha256:{shown(wrong[0])} is not a sha256, which has 64 hexadecimal digits"
    if not entry.sha256:
        return f"--hash={shown(entry.hashes[0])} cannot be compared: a lock holds sha256 alone; add --hash=sha256:…"
    return None


def is_decidable(marker: Marker) -> bool:
    """Say whether a marker has an answer here; `os_name ~= "posix"` and unknown variables have none."""
    try:
        marker.evaluate({"extra": ""})
    except (LookupError, RecursionError, ValueError):
        return False
    return True


def check_address(url: str) -> str | None:
    """Say why a requirement's address is refused, or None. Only https addresses of a wheel or sdist are taken."""
    plain = url.split("#", maxsplit=1)[0]
    if not url.startswith("https://"):
        kind = "a version control address" if url.startswith(_CONTROL) else "not an https address"
        return f"{shown(plain)} is {kind}; give the https address of a wheel, with #sha256=…, or put the wheel into a wheelhouse"
    if "@" in url.split("/")[2]:
        return "the address holds a user name or password; put them into ~/.netrc or the index settings"
    if not _ADDRESS.match(url):
        return f"{shown(plain)} holds more than host, path and #sha256=…, such as a query or a variable"
    if not plain.endswith((".whl", ".tar.gz", ".zip")):
        return f"{shown(plain)} is not a wheel or source archive"
    return None


def package_in(text: str) -> str:
    """Return the name of the package that a requirement asks for, in its normal form; "" where it names none, as `-r FILE`."""
    try:
        return canonicalize_name(Requirement(text).name)
    except (InvalidRequirement, RecursionError):
        return ""
