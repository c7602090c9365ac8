"""A definition from another method's section of the same lock, so that one spec gives all methods with the same versions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from ozrepro.errors import BuildError, LockError
from ozrepro.methods import load_method
from ozrepro.methods.conda import lock as conda_lock
from ozrepro.methods.conda.channels import ALIAS, DEFAULTS, address_of, channel_alias
from ozrepro.methods.conda.explicit import write_explicit
from ozrepro.methods.container import generate as write
from ozrepro.methods.container import lock as container_lock
from ozrepro.methods.container.apptainer import Mount
from ozrepro.methods.container.table import ContainerTable
from ozrepro.methods.modules import lock as modules_lock
from ozrepro.modulesystem import record
from ozrepro.project.checking import shown
from ozrepro.python.build_hashes import hashed_lines
from ozrepro.python.indexes import find_indexes, link_address
from ozrepro.python.interpreter import minors_of, running
from ozrepro.python.layer import LockedLayer, open_uv
from ozrepro.python.pins import find_exactly
from ozrepro.python.resolve import Wanted, narrowed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ozrepro.methods import Change, Say
    from ozrepro.project.lock import Section
    from ozrepro.project.spec import Spec
    from ozrepro.python.packages import LockedPackage
    from ozrepro.site import Site


_NAME_END, _PINNED = re.compile(r"\s|=="), re.compile(r"[\s;\\]")
"""What ends the name in an entry of a requirement file, and the pinned requirement: a marker, or the backslash before hashes."""


def source_section(spec: Spec, site: Site, change: Change) -> Section:
    """Return the section that `from` names. Raises LockError where there is none."""
    table = container_lock.described(spec)
    platform = load_method(table.source).platform(site)
    section = change.section(table.source, platform)
    if section is None:
        raise LockError(
            f"has no section {table.source}.{platform}, which the image is made from",
            where=str(spec.root / "sessions" / f"{spec.name}.lock"),
            hint=f"ozrepro lock {spec.name}, where {table.source} can be locked",
        )
    return section


def generate(section: Section, spec: Spec, site: Site, say: Say) -> list[str]:
    """Return the lines of a definition made from a section, on the spec's `base` or the usual image."""
    table = spec.tables.get("container")
    base = table.base.removeprefix("docker://") if isinstance(table, ContainerTable) else ""
    title = f"{section.title} of {spec.name}.lock"
    if section.method == "conda":
        return _of_conda(section, spec, site, base or write.CONDA_BASE, title)
    layer, provides, python, minor = _layer(section, spec, site)
    _say_left_out(layer, say)
    wanted = Wanted(spec.root, ("-",), python, (site.platform,), site.platform)
    toolchain, absent = find_exactly(open_uv(site, say), provides, wanted)
    for name in absent:
        say(f"{name} {provides[name]} of the modules is in no index as a wheel: the image is made without it")
    own = _wheels(layer, wanted)  # a name may stand there several times, for several Pythons
    beneath = [item for item in toolchain if item.name not in {package.name for package in own}]
    lines = hashed_lines(sorted((*beneath, *own), key=lambda item: item.name))
    return write.of_wheels(base or write.PYTHON_BASE.format(minor=minor), lines, title)


def unlike_source(generated: Sequence[str], section: Section, spec: Spec, site: Site) -> list[str]:
    """Return what a locked definition installs otherwise than the section that it says it was made from. Asks no index.

    What a toolchain has besides is in no section by its hash: there names and versions are compared.
    """
    if section.method == "conda":
        same = list(generated) == generate(section, spec, site, _quiet)
        return [] if same else [f"is not what {section.title} gives"]
    layer, provides, python, _ = _layer(section, spec, site)
    own = write.blocks(
        hashed_lines(_wheels(layer, Wanted(spec.root, ("-",), python, (site.platform,), site.platform))).splitlines()
    )
    named = {_NAME_END.split(block, maxsplit=1)[0] for block in own}
    there = write.blocks(write.requirements_in(generated))
    beneath = {f"{name}=={version}" for name, version in provides.items() if name not in named}
    more = [block for block in there if block not in own and _PINNED.split(block, maxsplit=1)[0] not in beneath]
    return [f"installs {shown(block.split()[0])}, which {section.title} does not have" for block in more] + [
        f"lacks {shown(block.split()[0])} of {section.title}" for block in own if block not in there
    ]


def _quiet(line: str) -> None:
    """Take no notice: it was said when it was locked."""


def _layer(section: Section, spec: Spec, site: Site) -> tuple[LockedLayer, Mapping[str, str], str, str]:
    """Return the packages of a venv, those of its toolchain, the Pythons that they are for, and the minor of one of these."""
    where = f"sessions/{spec.name}.lock"
    if section.method == "modules":
        places = record.places_of(str(site.settings.root), site.environ.get("HOME", ""))
        locked = modules_lock.read_section(section, where, spec.name, places)
        minor = int(locked.version.split(".")[1])
        return locked.layer, locked.provides, f">=3.{minor},<3.{minor + 1}", f"3.{minor}"
    from ozrepro.methods.venv import method as venv

    found = venv.read_section(section, where, spec.name)
    covered = found.covers.get(site.platform) or minors_of(found.python)
    own = running().minor
    return found.layer, {}, found.python, own if own in covered else covered[-1]


def _wheels(layer: LockedLayer, wanted: Wanted) -> list[LockedPackage]:
    found = [narrowed(item, wanted) for item in layer.packages]
    return [item for item in found if item is not None and any(file.is_wheel for file in item.files)]


def _say_left_out(layer: LockedLayer, say: Say) -> None:
    for item in layer.packages:
        if not any(file.is_wheel for file in item.files):
            say(f"{item.name} {item.version} is locked as a source archive: the image is made without it")
    if layer.project:
        say(f"{layer.project[0]}, the project itself, is not in the image: it is seen there at its own path")


def _of_conda(section: Section, spec: Spec, site: Site, base: str, title: str) -> list[str]:
    locked = conda_lock.read_section(section, f"sessions/{spec.name}.lock", spec.name, site)
    if locked.mpi is not None:
        raise BuildError(
            "a conda section with the system's MPI cannot be put into an image", hint="write a definition of your own"
        )
    addresses = {item.name: item.written or address_of(item.name, {}, ALIAS) for item in locked.channels}
    explicit = write_explicit(locked.records, addresses, section.platform)
    return write.of_conda(base, explicit, hashed_lines(locked.layer.packages), locked.variables, title)


def at_this_site(text: str, site: Site) -> tuple[str, tuple[Mount, ...], str]:
    """Return a generated definition with this site's channels, the folders that packages come from, and pip's configuration."""
    aliases, alias = site.settings.channels, channel_alias(site.settings.channels, site.environ)
    addresses: dict[str, str] = {}
    for address in write.channels_in(text.splitlines()):
        name = next((name for name, there in DEFAULTS.items() if there == address), address.removeprefix(f"{ALIAS}/"))
        if "://" not in name:
            addresses[address] = address_of(name, aliases, alias)
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
    folders = [_folder(word) for word in (*addresses.values(), *links, *(url for _, url in indexes.pairs))]
    mounts = tuple(Mount(folder, folder, read_only=True) for folder in dict.fromkeys(folders) if folder)
    return write.at_site(text, addresses), mounts, pip


def _folder(address: str) -> str:
    """Return the folder that an address of this machine means, or "" for any other."""
    if address.startswith("file://"):
        return unquote(urlsplit(address).path)
    return address if address.startswith("/") else ""
