"""Definitions of images with exactly the wheels that a lock names, for any method of Python packages.

What is written is plain Apptainer with public addresses, so that it builds without ozrepro too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from ozrepro.methods.contract import ImageSources
from ozrepro.project.checking import shown
from ozrepro.python.build_hashes import hashed_lines
from ozrepro.python.indexes import find_indexes, link_address
from ozrepro.python.layer import open_uv

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ozrepro.methods.contract import ImageRequest, Say
    from ozrepro.python.layer import LockedLayer
    from ozrepro.python.packages import LockedPackage
    from ozrepro.python.resolve import Wanted
    from ozrepro.site import Site

PREFIX = "/opt/session"
"""Where the environment is in an image."""

PYTHON_BASE = "docker.io/library/python:{minor}-slim"
"""Docker's official image of a Python minor: its `python3` has pip and venv."""

EXACTLY = "--no-cache-dir --no-deps --require-hashes --only-binary :all:"
"""pip's options for installing what a file with hashes names and nothing else."""

WHEEL = re.compile(
    r"(    --hash=sha256:[0-9a-f]{64}|[A-Za-z0-9][A-Za-z0-9._-]*(==| @ https://)[^\s\\]+( ; [^\\]+)?)( \\)?\Z", re.ASCII
)
"""A line of a requirement file with hashes, as `hashed_lines` writes it."""

_MADE, _KEPT = "# Made by ozrepro from ", ": change the lock, not this text."
_TITLE = re.compile(re.escape(_MADE) + r"[A-Za-z0-9_./ -]+" + re.escape(_KEPT) + r"\Z", re.ASCII)
_BEGUN = re.compile(rf"cat > ({PREFIX}\.[a-z]+) <<'(OZREPRO_END_*)'\Z")
_NAME_END, _PINNED = re.compile(r"\s|=="), re.compile(r"[\s;\\]")
"""What ends the name in an entry of a requirement file, and the pinned requirement: a marker, or the backslash before hashes."""


def definition(
    layer: LockedLayer, provides: Mapping[str, str], python: str, minor: str, request: ImageRequest[Any, Any]
) -> list[str]:
    """Return the lines of a definition with the packages of a layer, and the wheels of what is beneath it.

    Args:
        layer: the packages that are locked by their hashes.
        provides: name and version of what is beneath the layer, such as a toolchain's; an index is asked for their wheels.
        python: the range of Pythons that the packages are for, such as `>=3.12,<3.13`.
        minor: the Python of the image, such as `3.12`, where the request names no base.
        request: the base, the title, and where to say what is left out.

    """
    from ozrepro.python.pins import find_exactly

    site, wanted = request.subject.site, _wanted(python, request)
    _say_left_out(layer, request.say)
    toolchain, absent = find_exactly(open_uv(site, request.say), provides, wanted)
    for name in absent:
        request.say(f"{name} {provides[name]} of the modules has no wheel in any index: the image is made without it")
    own = _wheels(layer, wanted)  # a name may be there several times, for several Pythons
    beneath = [item for item in toolchain if item.name not in {package.name for package in own}]
    lines = hashed_lines(sorted((*beneath, *own), key=lambda item: item.name))
    return of_wheels(request.base or usual_base(minor), lines, request.title)


def unlike(
    layer: LockedLayer, provides: Mapping[str, str], python: str, request: ImageRequest[Any, Any], lines: Sequence[str]
) -> list[str]:
    """Return what a definition installs otherwise than `definition` would have it, for the same arguments. Asks no index.

    What is beneath the layer is in no section by its hash: there names and versions are compared.
    """
    if not is_of_wheels(lines):
        return ["is not a definition that ozrepro makes"]
    own = blocks(hashed_lines(_wheels(layer, _wanted(python, request))).splitlines())
    named = {_NAME_END.split(block, maxsplit=1)[0] for block in own}
    written = blocks(files_in(lines).get(f"{PREFIX}.txt", []))
    beneath = {f"{name}=={version}" for name, version in provides.items() if name not in named}
    more = [block for block in written if block not in own and _PINNED.split(block, maxsplit=1)[0] not in beneath]
    return [f"installs {shown(block.split()[0])}, which {request.title} does not have" for block in more] + [
        f"lacks {shown(block.split()[0])} of {request.title}" for block in own if block not in written
    ]


def usual_base(python: str) -> str:
    """Return the image that wheels are installed on where the spec names none; `python` is such as `3.12`."""
    return PYTHON_BASE.format(minor=python)


def at_site(lines: Sequence[str], site: Site, addresses: Iterable[str] = ()) -> ImageSources:
    """Return a definition with pip's configuration for this site's indexes, and the folders that are read meanwhile.

    `addresses` are those that the lines name besides, such as a channel's; of them the folders of this machine are taken.
    """
    indexes = find_indexes(site.settings.root, site.settings.indexes, site.environ)
    # As addresses: pip splits its list at spaces, in a path too.
    others, links = [url for _, url in indexes.pairs[1:]], [link_address(link) for link in indexes.find_links]
    settings = {
        "index-url": indexes.pairs[0][1] if indexes.pairs else "",
        "extra-index-url": "\n    ".join(others),
        "find-links": "\n    ".join(links),
        "no-index": "true" if indexes.no_index else "",
        "trusted-host": "\n    ".join(indexes.trusted),
    }
    pip = "[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items() if value)
    folders = [_folder(word) for word in (*addresses, *links, *(url for _, url in indexes.pairs))]
    return ImageSources(tuple(lines), tuple(dict.fromkeys(filter(None, folders))), pip)


def of_wheels(base: str, requirements: str, title: str) -> list[str]:
    """Return the lines of a definition that installs a requirement file with hashes into a venv of the base's Python."""
    return [
        *head(base, title),
        "%post",
        *write_file(f"{PREFIX}.txt", requirements.splitlines()),
        f"python3 -m venv --without-pip {PREFIX}",
        f"python3 -m pip --python {PREFIX}/bin/python install {EXACTLY} -r {PREFIX}.txt",
        "%environment",
        f"export PATH={PREFIX}/bin:$PATH",
    ]


def is_of_wheels(lines: Sequence[str]) -> bool:
    """Say whether a definition is one that `of_wheels` makes, of whatever packages: a lock's may be a stranger's.

    Above all it has no %setup, which runs on the machine that builds, and nothing of its own in %post and %environment.
    """
    made = made_of(lines)
    packages = files_in(lines).get(f"{PREFIX}.txt", [])
    if made is None or not all(map(WHEEL.match, packages)):
        return False
    return list(lines) == of_wheels(made[0], "\n".join(packages), made[1])


def head(base: str, title: str) -> list[str]:
    """Return the first lines of a definition: what it was made from, and the image it is on, `docker.io/…` or a file `….sif`."""
    local = base.endswith(".sif")
    return [f"{_MADE}{title}{_KEPT}", f"Bootstrap: {'localimage' if local else 'docker'}", f"From: {base}"]


def made_of(lines: Sequence[str]) -> tuple[str, str] | None:
    """Return base and title that the first lines of a definition name as `head` writes them, or None."""
    if len(lines) < 3 or not _TITLE.match(lines[0]):
        return None
    return lines[2].removeprefix("From: "), lines[0].removeprefix(_MADE).removesuffix(_KEPT)


def write_file(path: str, lines: Sequence[str]) -> list[str]:
    """Return the lines of a shell that write a file."""
    end = "OZREPRO_END"
    while end in lines:
        end += "_"
    return [f"cat > {path} <<'{end}'", *(line for line in lines if line.strip()), end]


def files_in(lines: Sequence[str]) -> dict[str, list[str]]:
    """Return the files that lines of a shell write, as `write_file` has them."""
    found: dict[str, list[str]] = {}
    name, end = "", ""
    for line in lines:
        if name and line == end:
            name = ""
        elif name:
            found[name].append(line)
        elif begun := _BEGUN.match(line):
            name, end = begun[1], begun[2]
            found[name] = []
    return found


def blocks(lines: Iterable[str]) -> list[str]:
    """Return the entries of a requirement file, each with the lines of its hashes."""
    found: list[str] = []
    for line in lines:
        if line.startswith(" ") and found:
            found[-1] += f"\n{line}"
        else:
            found.append(line)
    return found


def _wanted(python: str, request: ImageRequest[Any, Any]) -> Wanted:
    from ozrepro.python.resolve import Wanted  # the methods load this module, and few of their commands resolve

    site = request.subject.site
    return Wanted(request.subject.spec.root, ("-",), python, (site.platform,), site.platform)


def _wheels(layer: LockedLayer, wanted: Wanted) -> list[LockedPackage]:
    from ozrepro.python.resolve import narrowed

    narrow = [narrowed(item, wanted) for item in layer.packages]
    return [item for item in narrow if item is not None and item.commit is None and any(file.is_wheel for file in item.files)]


def _say_left_out(layer: LockedLayer, say: Say) -> None:
    for item in layer.packages:
        if not any(file.is_wheel for file in item.files):
            say(f"{item.name} {item.version} is locked as a source archive: the image is made without it")
    say_commits(layer, say)
    for project in layer.projects:
        what = f"of {project.path}" if project.path else "the project itself"
        say(f"{project.name}, {what}, is not in the image: it is seen there at its own path")


def say_commits(layer: LockedLayer, say: Say) -> None:
    """Say which packages an image is made without: pip has no hash of a repository to check."""
    for item in layer.packages:
        if item.commit is not None:
            say(f"{item.name} {item.version} is built from a commit of {item.commit.repository}: the image is made without it")


def _folder(address: str) -> str:
    """Return the folder that an address of this machine means, or "" for any other."""
    if address.startswith("file://"):
        return unquote(urlsplit(address).path)
    return address if address.startswith("/") else ""
