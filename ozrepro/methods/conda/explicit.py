"""`@EXPLICIT` files: one address of an archive a line, with its hash; conda, mamba, micromamba and rattler read them.

The grammar is that of conda's own reader (and of the draft at conda/ceps#79): `#` and 32 hexadecimal digits are an md5, `#` and
64 a sha256, which `sha256:` may precede. conda reads a sha256 since 24.9 (conda/conda#14048), and fails on one before that; an
md5 is read by every version.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from ozrepro.errors import BuildError, SpecError, without_login
from ozrepro.methods.conda.channels import SUBDIRS, check_channel, normal
from ozrepro.methods.conda.matchspec import NAME
from ozrepro.methods.conda.records import topological
from ozrepro.project.checking import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ozrepro.methods.conda.channels import Channel
    from ozrepro.methods.conda.records import LockedRecord

_LINE = re.compile(
    r"(?P<base>.+)/(?P<subdir>[^/]+)/(?P<file>(?P<title>[^/\\#]+)(?:\.tar\.bz2|\.conda))"
    r"(?:#(?:(?P<md5>[0-9a-f]{32})|(?:sha256:)?(?P<sha256>[0-9a-f]{64})))?\Z",
    re.ASCII,
)
_TITLE = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)-(?P<build>[^-]+)\Z")
_LARGEST = 4 << 20


@dataclass(frozen=True, slots=True)
class Named:
    """One package that another tool's file names: enough to ask the channels for exactly this one.

    What the file does not tell is "". `channel` is an address, of whichever host the file was made with, or a name.
    """

    name: str
    version: str
    build: str
    channel: str = ""
    subdir: str = ""
    file: str = ""
    sha256: str = ""
    md5: str = ""

    def spec(self, channels: Iterable[Channel]) -> str:
        """Return the text that asks the solver for this package and no other. A digest says which, else the channel's name."""
        hashes = [f"{key}={value}" for key, value in (("sha256", self.sha256), ("md5", self.md5)) if value]
        inside = ",".join((f'version="=={self.version}"', f'build="{self.build}"', *hashes))
        channel = next((item.name for item in channels if not hashes and self._is_of(item)), "")
        return f"{channel}{'::' if channel else ''}{self.name}[{inside}]"

    def differs(self, record: LockedRecord, channels: Iterable[Channel]) -> str | None:
        """Say what a record has otherwise than the file says, or None. Hosts are not compared: a mirror has the same files."""
        pairs = [("version", self.version, record.version), ("build", self.build, record.build)]
        pairs += [("file", self.file or record.file, record.file), ("sha256", self.sha256 or record.sha256, record.sha256)]
        pairs.append(("md5", self.md5 if record.md5 else "", record.md5 if self.md5 else ""))
        lines = [f"{key} is {there}, named is {mine}" for key, mine, there in pairs if mine != there]
        if self.channel and not (self.sha256 or self.md5):
            there = next(item for item in channels if item.name == record.channel)
            if not self._is_of(there):
                lines.append(f"comes from the channel {record.channel}, and without a hash must come from {self.channel}")
        return f"{self.name}: {'; '.join(lines)}" if lines else None

    def _is_of(self, channel: Channel) -> bool:
        """Say whether the address may be the channel's: it has the name, on any host."""
        return self.channel in (channel.name, channel.address, channel.public) or self.channel.endswith(f"/{channel.name}")


def write_explicit(records: Iterable[LockedRecord], addresses: Mapping[str, str], platform: str) -> str:
    """Return the file's text, packages behind what they depend on. `addresses` gives the channels' by name."""
    lines = ["# Written by `ozrepro export`. To make the same environment:", "# conda create --name <env> --file <this file>"]
    lines += [f"# platform: {platform}", "@EXPLICIT"]
    lines += [f"{url_of(record, addresses)}#sha256:{record.sha256}" for record in topological(records)]
    return "\n".join(lines) + "\n"


def url_of(record: LockedRecord, addresses: Mapping[str, str]) -> str:
    """Return the address of a record's archive. Raises BuildError where the channel's is not known."""
    if record.channel not in addresses:
        raise BuildError(f"the address of the channel {record.channel!r} is not known")
    return f"{addresses[record.channel]}/{record.subdir}/{quote(record.file, safe='+!_.-')}"


def read_explicit(text: str, where: str) -> tuple[tuple[Named, ...], str]:
    """Return the packages of a file and its platform, "" where it does not tell.

    Raises SpecError with every mistake and its line.
    """
    if len(text) > _LARGEST:
        raise SpecError(where, [f"is larger than {_LARGEST >> 20} MiB"])
    lines = [line.strip() for line in text.removeprefix("\ufeff").splitlines()]
    mistakes = [] if "@EXPLICIT" in lines else ["has no line @EXPLICIT: it is not an explicit file"]
    platform = next((line.partition(":")[2].strip() for line in lines if line.startswith("# platform:")), "")
    if platform and platform not in SUBDIRS:
        mistakes.append(f"{shown(platform)} is not a platform")
    found: dict[str, Named] = {}
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#") or line == "@EXPLICIT":
            continue
        try:
            named = read_url(line)
            if named.name in found:
                raise ValueError(f"{named.name} is listed twice")
            found[named.name] = named
        except ValueError as error:
            mistakes.append(f"line {number}: {error}")
    if mistakes:
        raise SpecError(where, [*mistakes[:30], *(["… and more"] if len(mistakes) > 30 else [])])
    return tuple(found.values()), platform


def read_url(line: str) -> Named:
    """Return the package that an archive's address names, with the hash behind it. Raises ValueError saying what is wrong."""
    plain = re.sub(r"\?[^#]*", "", line)
    match = _LINE.match(plain) if len(line) < 2000 else None
    if match is None:
        raise ValueError(
            f"{shown(line)} is not the address of a conda archive: CHANNEL/PLATFORM/NAME-VERSION-BUILD.conda#sha256:…"
        )
    title = _TITLE.match(unquote(match["title"]))
    if title is None or not NAME.match(title["name"].lower()) or match["subdir"] not in SUBDIRS:
        raise ValueError(f"{shown(line)} names no package of a platform that is known")
    base = without_login(match["base"])
    problem = check_channel(base) if "://" in base else f"{shown(line)} is a path on one machine; write its file:///… address"
    if problem:
        raise ValueError(problem)
    file = unquote(match["file"])
    # The text goes to the solver and into messages: what a version or build never has must not get that far.
    if not re.fullmatch(r"[A-Za-z0-9_.+!-]+", file):
        raise ValueError(f"{shown(line)} has a file name that no package has")
    name = title["name"].lower()
    parts = (name, title["version"], title["build"], normal(base), match["subdir"], file)
    return Named(*parts, match["sha256"] or "", match["md5"] or "")
