"""What the container method keeps in a lock: its section read and checked, and written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping  # noqa: TC003  # the reader looks annotations up
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ozrepro.methods.container.apptainer import Mount, read_bind
from ozrepro.methods.container.contents import Contents
from ozrepro.methods.container.definition import read_definition
from ozrepro.methods.container.reference import DIGEST, read_reference
from ozrepro.methods.container.table import defines_image
from ozrepro.methods.contract import Origin  # noqa: TC001  # the reader looks annotations up
from ozrepro.modulesystem import record
from ozrepro.project.checking import shown
from ozrepro.project.reader import MULTILINE, Check, Key, Range, Read, read_table
from ozrepro.project.spec import digest_of
from ozrepro.python.distributions import Distribution

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ozrepro.modulesystem.record import Record
    from ozrepro.project.checking import Checker
    from ozrepro.project.lock import Section
    from ozrepro.site import Site

_SHA256 = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_!-]{0,99}\Z", re.ASCII)
_TOOL = re.compile(r"(apptainer|singularity) [0-9][A-Za-z0-9.+_~-]{0,60}\Z", re.ASCII)
_PLAIN = {"environment", "help", "labels", "post", "runscript"}


def _matching(pattern: re.Pattern[str], problem: str) -> Check:
    return Check(lambda text: None if pattern.match(text) else f"{shown(text)} {problem}")


def _is_name(text: str) -> bool:
    try:
        reference = read_reference(text)
    except ValueError:
        return False
    return text in (reference.name, f"{reference.host}/{reference.repository}")


def check_bind(text: str) -> str | None:
    """Say what is wrong with an entry of `bind`, or None."""
    try:
        read_bind(text, "/")
    except ValueError as error:
        return f"{shown(text)} {error}"
    return None


@dataclass(frozen=True, slots=True)
class Base:
    """What a stage of a definition is built on: the bootstrap, its source by a public name, and its digest, "" if unpinned."""

    bootstrap: str
    source: Annotated[str, Key("from")] = ""
    digest: str = ""

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong with the digest, and with a name that is not public."""
        if (self.digest or self.bootstrap == "docker") and not DIGEST.match(self.digest):
            yield "digest", "is not a sha256 digest"
        if self.bootstrap == "docker" and not _is_name(self.source):
            yield "from", f"{shown(self.source)} is not an image's public name"

    def as_table(self) -> dict[str, str]:
        """Return the base as it is in the lock."""
        return {"bootstrap": self.bootstrap, "from": self.source, **({"digest": self.digest} if self.digest else {})}

    @property
    def is_open(self) -> bool:
        """Whether what it is may change without a word."""
        return not self.digest and self.bootstrap != "scratch"

    def answers(self, bootstrap: str, source: str) -> bool:
        """Say whether this is the base that a definition or a spec names so. Raises ValueError where that is not a name."""
        if (self.bootstrap, bootstrap) != ("docker", "docker"):
            return (self.bootstrap, self.source) == (bootstrap, source)
        named = read_reference(source)
        return self.source == named.name and named.digest in ("", self.digest)


@dataclass(frozen=True, slots=True)
class Locked:
    """A container section, read and checked.

    Attributes:
        tool: the program that built the image, and its version.
        definition: the definition file's path from the project's root, "" where there is none.
        image: what the spec names instead of a definition.
        source: the method whose lock the definition was made from.
        of: the section that the definition was made from.
        generated: the lines of the definition that was made.
        inputs: a digest of all that the image is built from.
        arguments: values for the definition's arguments.
        bases: what each stage is built on.
        sha256: the image's digest, in hexadecimal.
        size: its bytes.
        contents: what is inside.
        imports: names that are imported as a check.
        gpu: nvidia, amd or "".
        bind: paths of the machine that are seen inside, as the spec writes them.
        passed: the caller's variables that are let through.
        module: the load of Apptainer's own module, None where it is on PATH.

    """

    tool: str
    definition: str
    image: str
    source: str
    of: Origin | None
    generated: tuple[str, ...]
    inputs: str
    arguments: Mapping[str, str]
    bases: tuple[Base, ...]
    sha256: str
    size: int
    contents: Contents
    imports: tuple[str, ...]
    gpu: str
    bind: tuple[str, ...]
    passed: tuple[str, ...]
    module: Record | None = None

    @property
    def is_file(self) -> bool:
        """Whether the image is a file of the user's, which is used where it lies."""
        return bool(self.image) and "://" not in self.image

    def file_from(self, root: Path) -> str:
        """Return the path of an image file of the user's own."""
        return os.path.join(root, os.path.expanduser(self.image))

    def open_bases(self) -> list[str]:
        """Return the bases that are not pinned."""
        return [f"{base.bootstrap} {base.source}".strip() for base in self.bases if base.is_open]

    def mounts(self, root: str) -> tuple[Mount, ...]:
        """Return the paths of `bind`."""
        return tuple(read_bind(text, root) for text in self.bind)


@dataclass(frozen=True, slots=True)
class Entry:
    """A distribution inside; `imports` are its names to import, where they do not follow from its own."""

    name: str
    version: str = ""
    imports: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it is imported by."""
        return tuple((self.imports or self.name.replace("-", "_")).split())

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield that the names are none."""
        own = (self.name.replace("-", "_"),)
        if not self.name or not (all(map(str.isidentifier, self.names)) or self.names == own):
            yield "name", f"{shown(self.name)} is not a distribution with names to import"


_Sha256 = Annotated[str, _matching(_SHA256, "is not a sha256 digest")]


def _kept(_: Checker, value: object, __: tuple[str, ...]) -> object:
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A section as it is in the lock. The load of Apptainer's module has a reader of its own."""

    tool: Annotated[str, _matching(_TOOL, "is not a program with a version")]
    definition: str = ""
    image: str = ""
    source: Annotated[str, Key("from")] = ""
    of: Origin | None = None
    generated: tuple[str, ...] = ()
    inputs: Annotated[str, _matching(DIGEST, "is not a sha256 digest")]
    arguments: Mapping[str, Annotated[str, MULTILINE]] = field(default_factory=dict)
    base: tuple[Base, ...] = ()
    sha256: _Sha256
    size: Annotated[int, Range(1, unit="bytes")]
    tree: _Sha256
    python: Annotated[str, _matching(_VERSION, "is not a version")]
    imports: tuple[str, ...] = ()
    gpu: Literal["", "nvidia", "amd"] = ""
    bind: tuple[Annotated[str, Check(check_bind)], ...] = ()
    passed: Annotated[tuple[str, ...], Key("pass")] = ()
    distribution: tuple[Entry, ...] = ()
    system: tuple[str, ...] = ()
    module: Annotated[Any, Read(_kept)] = None

    def contents(self) -> Contents:
        """Return what is inside."""
        inside = tuple(Distribution(item.name, item.version, item.names) for item in self.distribution)
        return Contents(python=self.python, tree=self.tree, distributions=inside, system=self.system)


def read_section(checker: Checker, section: Section, site: Site) -> Locked:
    """Return the section's content, its places those of this project and caller; what is wrong is noted in `checker`."""
    base = (section.method, section.platform)
    places = record.places_of(str(site.settings.root), site.environ.get("HOME", ""))
    content = read_table(checker, Content, section.content, base)
    locked = Locked(
        tool=content.tool,
        definition=content.definition,
        image=content.image,
        source=content.source,
        of=content.of,
        generated=content.generated,
        inputs=content.inputs,
        arguments=content.arguments,
        bases=content.base,
        sha256=content.sha256,
        size=content.size,
        contents=content.contents(),
        imports=content.imports,
        gpu=content.gpu,
        bind=content.bind,
        passed=content.passed,
        module=record.read_record(checker, content.module, (*base, "module"), places) if content.module else None,
    )
    _check_places(checker, base, locked)
    return locked


def _check_places(checker: Checker, base: tuple[str, ...], locked: Locked) -> None:
    if sum(map(bool, (locked.definition, locked.image, locked.source))) != 1:
        checker.wrong(base, "names not exactly one of definition, image, from")
    if bool(locked.generated) != bool(locked.source):
        checker.wrong((*base, "generated"), "and `from` are given together")
    if locked.source and not (locked.of and locked.of.section.startswith(f"{locked.source}.") and locked.of.digest):
        checker.wrong((*base, "of"), f"names no section of {shown(locked.source)}")
    if locked.source and not defines_image(locked.source):
        checker.wrong((*base, "from"), f"no image can be made from {shown(locked.source)}")
    if locked.definition.startswith(("/", "~")) or ".." in locked.definition.split("/"):
        checker.wrong((*base, "definition"), "leaves the project")
    if "://" in locked.image and not _is_of_image(locked):
        checker.wrong((*base, "base"), "is not what `image` names")
    if locked.generated and not _is_plain(locked.generated):
        checker.wrong((*base, "generated"), "is not a definition that ozrepro makes")


def _is_plain(lines: tuple[str, ...]) -> bool:
    """Say whether a definition has one stage, and no section that the machine which builds would notice, such as %setup.

    What its %post does is compared with the section that it was made from, by the method of that section.
    """
    try:
        stages = read_definition("\n".join(lines) + "\n", {}).stages
    except ValueError:
        return False
    return len(stages) == 1 and {"post"} <= {part.name for part in stages[0].parts} <= _PLAIN


def _is_of_image(locked: Locked) -> bool:
    kind, _, source = locked.image.partition("://")
    try:
        return len(locked.bases) == 1 and locked.bases[0].answers(kind, source)
    except ValueError:
        return False


def as_content(locked: Locked, site: Site) -> dict[str, Any]:
    """Return a section's content as it is in the lock."""
    places = record.places_of(str(site.settings.root), site.environ.get("HOME", ""))
    module = record.replaced(locked.module.as_table(), lambda text: record.portable(text, places)) if locked.module else None
    named = {"definition": locked.definition, "image": locked.image, "from": locked.source}
    lists = {
        "generated": list(locked.generated),
        "imports": list(locked.imports),
        "bind": list(locked.bind),
        "pass": list(locked.passed),
    }
    return {
        "tool": locked.tool,
        **{key: value for key, value in named.items() if value},
        **({"of": {"section": locked.of.section, "digest": locked.of.digest}} if locked.of else {}),
        "inputs": locked.inputs,
        **({"arguments": dict(locked.arguments)} if locked.arguments else {}),
        **({"base": [base.as_table() for base in locked.bases]} if locked.bases else {}),
        "sha256": locked.sha256,
        "size": locked.size,
        "tree": locked.contents.tree,
        "python": locked.contents.python,
        **{key: value for key, value in lists.items() if value},
        **({"gpu": locked.gpu} if locked.gpu else {}),
        "distribution": [_distribution(item) for item in locked.contents.distributions],
        "system": list(locked.contents.system),
        **({"module": module} if module else {}),
    }


def _distribution(item: Distribution) -> dict[str, str]:
    own = " ".join(item.imports) == item.name.replace("-", "_")
    return {"name": item.name, "version": item.version, **({} if own else {"imports": " ".join(item.imports)})}


def digest_of_inputs(text: str, image: str, arguments: Mapping[str, str], files: Mapping[str, str], bases: Iterable[Base]) -> str:
    """Return the digest of all that an image is built from, by which it is kept between lock and build."""
    return digest_of([text, image, dict(arguments), dict(files), [base.as_table() for base in bases]])
