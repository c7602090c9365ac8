"""What a requirement of a spec may say: a name with versions, a file of the project, an address with a digest; no options."""

from __future__ import annotations

import posixpath
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from ozrepro.errors import without_login
from ozrepro.project.checking import MOST, shown
from ozrepro.project.gitaddress import CONTROL, check_control

if TYPE_CHECKING:
    from collections.abc import Iterator

    from packaging.markers import Marker

_LOCAL = re.compile(
    r"(?=[./\w])(?P<path>(?:[^\s\[\]\"'#$&*:;<=>?`|\\]| +(?![\s;-]))*?)\s*(?:\[(?P<extras>[A-Za-z0-9._,\s-]+)\])?\Z", re.ASCII
)
"""A folder, which may have spaces in its name, with extras; no character that a shell, a marker or an address has for itself."""
_FOLDER = re.compile(r"(?:[A-Za-z0-9][\w.-]*\s*@\s*)?(?:file:)?(?P<path>(?!/)[^:@;]*/[^:@;]*)\Z", re.ASCII)
"""A relative path, bare or as pip takes it too: `sub/project`, `name @ file:./project`."""
_ARCHIVE = (".whl", ".tar.gz", ".zip")
_OPTION = re.compile(r"(?:(?P<short>-[rce])\s*|(?P<long>--requirement|--constraint|--editable)(?:\s+|=\s*))(?P<value>[^\s-].*)\Z")
_QUOTES = "'\""
_SHORT = {"--requirement": "-r", "--constraint": "-c", "--editable": "-e"}
_GROUP = re.compile(
    r"--group[\s=]\s*(?:(?P<path>[\w./+ -]*pyproject\.toml):)?(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\Z", re.ASCII
)
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
    option, value = option_in(text)
    found = _LOCAL.match(value) if option == "-e" or (not option and text.startswith(".")) else None
    if found is None or found["path"].startswith("/") or text.endswith(_ARCHIVE) or ".." in found["path"].split("/"):
        return None
    parts = [part for part in found["path"].split("/") if part not in ("", ".")]
    extras = {part.strip() for part in (found["extras"] or "").split(",") if part.strip()}
    return LocalProject("/".join(parts), tuple(sorted(extras)))


def option_in(text: str) -> tuple[str, str]:
    """Return `-r`, `-c` or `-e` and what it is given, without the quotes that pip takes there; "" and the line for any other."""
    found = _OPTION.match(text)
    if found is None:
        return "", text
    value = found["value"].strip()
    try:
        words = shlex.split(value) if value[0] in _QUOTES else [value]
    except ValueError:
        words = []
    return found["short"] or _SHORT[found["long"]], words[0] if len(words) == 1 else value


def file_in(text: str) -> str:
    """Return the requirement or constraint file that a line names, as it is written there; "" where it names none."""
    option, value = option_in(text)
    return value if option in ("-r", "-c") else ""


def from_root(text: str, folder: str) -> str:
    """Return a line that counts from a folder of the project as one from its root; one that leads out of it stays as it is."""
    option, value = option_in(text)
    if file_in(text):
        path = posixpath.normpath(posixpath.join(folder, value)) if not value.startswith("~") else value
        return text if leads_out(path) else f"{option} {shlex.quote(path)}"
    if not folder or not (option or text.startswith(".")) or "://" in value or value.startswith("~"):
        return text
    path, mark, extras = value.partition("[")
    path = posixpath.normpath(posixpath.join(folder, path.strip()))
    return text if leads_out(path) else f"{option} {'.' if path == '.' else f'./{path}'}{mark}{extras}".strip()


def leads_out(path: str) -> bool:
    """Say whether a path from the project's root may be of another place."""
    return path.startswith(("/", "~")) or ".." in path.split("/")


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
        return f"{shown(text)} holds a backslash, which installers read in different ways{_spelled(text)}"
    if local_project(text) is not None or group_in(text) is not None:
        return None
    if file := file_in(text):
        return _check_file(file)
    if plain := _almost(text):
        return plain
    if text.startswith("-"):
        return _check_option(text)
    if text.startswith(CONTROL):
        return _check_bare(text)  # a bare one is not a requirement, and what the parser says of it helps nobody
    if _CONDA.match(text):
        return f"{shown(text)} is a conda package: {_instead_of((text,))}"
    return _check_package(text)


def _almost(text: str) -> str:
    """Return what to write instead of a line that is right but for a marker, quotes or how it names a folder, else ""."""
    folder, bare = text.partition(";")[0].strip(), text.strip(_QUOTES)
    if local_project(folder) is not None:
        return f"{shown(text)}: a folder of the project has no marker; write {folder}"
    if text.startswith(tuple(_QUOTES)) and not check_requirement(bare):
        return f"{shown(text)} is in quotes, which installers do not read; write {bare}"
    option, value = option_in(text)
    path = _FOLDER.match(value)
    if path is None or option not in ("", "-e"):
        return ""
    from urllib.parse import unquote  # of no use to other lines

    line = f"{option} ./{posixpath.normpath(unquote(path['path']))}".strip()
    return f"{shown(text)} is not a requirement; a folder of the project is written {line}" if local_project(line) else ""


def _spelled(text: str) -> str:
    """Return the line to write instead of one with backslashes: before a space it is a shell's, elsewhere that of Windows."""
    plain = text.replace("\\ ", " ").replace("\\", "/")
    option, value = option_in(plain)
    line = f'{option} "{value}"' if option and " " in value else plain
    return "" if check_requirement(line) else f"; write {line}"


def _check_file(file: str) -> str | None:
    if leads_out(file):
        return f"{file!r} leaves the project; copy the file into it"
    if _PYLOCK.match(file):
        taken = f"ozrepro lock NAME --from {shlex.quote(file)}"
        return f"{shown(file)} is a lock (PEP 751) and not a requirement file; remove the line, and take the lock over: {taken}"
    return None


def _check_option(text: str) -> str | None:
    if control := _EDITABLE_CONTROL.match(text):
        return _check_bare(control["address"])
    if text.startswith(("-e", "--editable")):
        return f"{text!r} is not a folder of the project; write for example -e . or -e ./FOLDER, with extras as in -e .[plot]"
    if text.startswith("--group"):
        return f"{shown(text)} names no group of dependencies; write for example --group dev or --group sub/pyproject.toml:dev"
    return f"{text!r} is an installer's option; allowed are -r FILE, -c FILE, --group NAME and -e ."


def _check_bare(address: str) -> str:
    """Say what to write instead of an address without a name, or an editable one."""
    problem = check_control(address)
    plain = address.split("#", maxsplit=1)[0]
    return problem or f"{shown(plain)} is an address without a name, or an editable one; write NAME @ {address}"


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
    return check_address(requirement.url, requirement.name) if requirement.url else None


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


def check_requirement_file(text: str, folder: str = "") -> list[str]:
    """Return a line for each entry of a requirement file in `folder` that `requirements` would not take either.

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
        option, _ = option_in(entry.text)
        if file_in(entry.text) and "\\" not in entry.text:
            problem = _check_file(file_in(from_root(entry.text, folder)))
        elif entry.text.startswith("-") and not option:
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
    if "git+" in entry.text:
        return f"{shown(entry.text)} has a --hash, and a repository has no file; remove it: the commit is the digest"
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


def check_address(url: str, name: str = "") -> str | None:
    """Say why a requirement's address is refused, or None; `name` is the requirement's.

    Only https addresses of a wheel or sdist are taken, and those of a git repository at a full commit.
    """
    plain = url.split("#", maxsplit=1)[0]
    if url.startswith(CONTROL):
        return check_control(url, name)
    if not url.startswith("https://"):
        return f"{shown(plain)} is not an https address; give that of a wheel, with #sha256=…, or put the wheel into a wheelhouse"
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
