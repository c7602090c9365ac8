"""A locked image as components: the image, what it is built on, and what was inside when it was locked."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ozrepro.errors import without_login
from ozrepro.methods.components import Component, of_python, purl
from ozrepro.methods.container.reference import read_reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ozrepro.methods.container.lock import Base, Locked


def components(locked: Locked) -> Iterator[Component]:
    """Yield the image, its bases, its Python, and the packages inside, of Python's and of the image's own package tools."""
    inside = locked.contents
    name = _named(locked.image) or locked.definition or (locked.of.section if locked.of else locked.source)
    yield Component(name, files={name: locked.sha256}, kind="container", properties={"tree-sha256": inside.tree})
    yield from map(_of_base, (base for base in locked.bases if base.source))
    yield of_python(inside.python)
    for item in inside.distributions:
        yield Component(item.name, item.version, purl("pypi", item.name, item.version))
    yield from map(_of_system, inside.system)


def _named(source: str) -> str:
    """Return what an image is called: a file by its name alone, since it may lie in somebody's home."""
    return os.path.basename(source) if source.startswith(("/", "~", ".")) else without_login(source)


def _of_base(base: Base) -> Component:
    """Return the image that a stage is built on; only one of a registry has an address that means the same elsewhere."""
    if base.bootstrap != "docker":
        return Component(_named(base.source), base.digest, kind="container", properties={"bootstrap": base.bootstrap})
    image = read_reference(base.source)
    place = f"{image.host}/{image.repository}"
    name = image.repository.rpartition("/")[2]
    return Component(
        base.source, base.digest, purl("oci", name, base.digest, repository_url=place, tag=image.tag), kind="container"
    )


def _of_system(line: str) -> Component:
    """Return a package of the system's own tool (dpkg, apk, rpm), `NAME VERSION`, or of conda, `NAME VERSION BUILD`."""
    words = [*line.split(maxsplit=2), "", "", ""]
    name, version, build = words[:3]
    url = purl("conda", name, version, build=build) if build else ""
    return Component(name, version, url, properties={"of": "conda" if build else "system"})
