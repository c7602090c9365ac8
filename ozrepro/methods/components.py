"""What a section of a lock is made of, as software inventories name it: components with package URLs (purl)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ozrepro.modulesystem.record import Record
    from ozrepro.python.layer import LockedLayer
    from ozrepro.python.packages import LockedPackage


@dataclass(frozen=True, slots=True)
class Component:
    """A piece of software that a section names.

    Attributes:
        name: as its own packager writes it.
        version: "" where the lock has none.
        purl: its package URL, "" where no type of purl fits.
        files: the sha256 of each file that may be installed, by name.
        kind: CycloneDX's type.
        license: as its packager writes it.
        properties: what else the lock says, by name.
        depends: the names of the components that it needs; None where the lock does not know.
        builds: whether it only builds others, and is not in the environment.

    """

    name: str
    version: str = ""
    purl: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    kind: str = "library"
    license: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    depends: tuple[str, ...] | None = None
    builds: bool = False


def purl(kind: str, name: str, version: str = "", **qualifiers: str) -> str:
    """Return a package URL in its canonical form (https://github.com/package-url/purl-spec), "" for an empty name.

    Args:
        kind: the purl's type, such as `pypi`.
        name: the name, with a namespace before it and `/` between.
        version: "" for none.
        qualifiers: what else tells it apart; empty ones are left out.

    """
    path = "/".join(quote(part, safe=":") for part in name.split("/") if part)
    if not path:
        return ""
    marked = f"@{quote(version, safe=':')}" if version else ""
    more = "&".join(f"{key}={quote(value, safe=':/')}" for key, value in sorted(qualifiers.items()) if value)
    return f"pkg:{kind}/{path}{marked}" + (f"?{more}" if more else "")


def of_layer(layer: LockedLayer) -> Iterator[Component]:
    """Yield the Python packages of a layer, what builds those that are compiled, and the projects of the folder."""
    for package in layer.packages:
        yield of_package(package)
    for package in layer.build:
        yield of_package(package, builds=True)
    for project in layer.projects:
        marker = {"marker": project.marker} if project.marker else {}
        yield Component(project.name, kind="application", properties={"folder": project.path or ".", **marker})


def of_package(package: LockedPackage, *, builds: bool = False) -> Component:
    """Return a Python package; one of an address or a commit says so, and one that is compiled here has its wheel too."""
    commit = package.commit
    qualifiers = {"vcs_url": commit.address} if commit else {"download_url": package.url}
    files = (*package.files, *([package.built] if package.built else []))
    return Component(
        package.name,
        package.version,
        purl("pypi", package.name, package.version, **qualifiers),
        {file.name: file.sha256 for file in files},
        properties={key: value for key, value in (("index", package.index), ("marker", package.marker)) if value},
        builds=builds,
    )


def of_modules(record: Record) -> Iterator[Component]:
    """Yield the modules of a load: the lock knows their modulefiles by digest, and not the software that these name."""
    digests = {item.path: item.sha256 for item in record.prints}
    for module in record.modules:
        parts = [part for part in module.name.split("/") if part] or [module.name]
        if module.name.startswith("/"):  # loaded by its path, whose end is what it is called
            parts = parts[-2:]
        name, version = ("/".join(parts[:-1]), parts[-1]) if len(parts) > 1 else (parts[0], "")
        digest = digests.get(module.file, "")
        properties = {"modulefile-sha256": digest} if digest else {}
        yield Component(name, version, purl("generic", name, version), kind="application", properties=properties)


def of_python(version: str) -> Component:
    """Return the interpreter of a version."""
    return Component("python", version, purl("generic", "python", version), kind="application")
