"""From a locked container section to what Apptainer is asked to build here: which program, which sources, which folder."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from ozrepro.errors import BuildError, DriftError, LockError, Remedy
from ozrepro.methods.container import registry
from ozrepro.methods.container.apptainer import NAMES, Mount, Program, find_version
from ozrepro.methods.container.building import Plan
from ozrepro.methods.container.copying import copied
from ozrepro.methods.container.definition import LOCAL, Definition, read_definition, with_sources
from ozrepro.methods.container.lock import digest_of_inputs
from ozrepro.methods.container.reference import place_of, read_reference, source_of
from ozrepro.methods.container.table import image_source
from ozrepro.modulesystem import fingerprint
from ozrepro.process import find_program, is_inside
from ozrepro.project.checking import shown
from ozrepro.project.files import SMALL, Files
from ozrepro.store import cache_of
from ozrepro.store.manifest import digest_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ozrepro.methods.container.lock import Base, Locked
    from ozrepro.modulesystem.record import Record
    from ozrepro.site import Site


_ITS_OWN = ("APPTAINER", "SINGULARITY")
"""How the names of the variables begin that Apptainer and Singularity read."""


def module_program(path: str) -> str | None:
    """Return the Apptainer that a PATH gives, by its file's own path, or None."""
    given = next((found for name in NAMES if (found := find_program(name, path))), None)
    return os.path.realpath(given) if given is not None else None


def refused_program(module: Record, site: Site) -> str | None:
    """Return that the Apptainer of a locked module has no digest in the lock, or came with the project or the store; or None."""
    program = module_program(module.variables(site.environ).get("PATH", ""))
    if program is None:
        return None  # it is not here, which is told as that
    if any(is_inside(program, folder) for folder in (site.settings.root, site.settings.store)):
        return f"container.module.change.path.PATH: gives {shown(program)}, which is inside the project or the store"
    if program not in {item.path for item in module.files}:
        return f"container.module.file: has no sha256 of {shown(program)}, which the module gives"
    return None


def noted_program(site: Site, module: Record | None, title: str) -> Program:
    """Return the site's Apptainer as a build has noted its name and version, and start nothing. Raises as `program_of`."""
    path, variables = _found(site, module)
    kind, _, version = title.partition(" ")
    return Program(path, kind, version, variables)


def program_of(site: Site, module: Record | None) -> Program:
    """Return the site's Apptainer, from its module where one is locked, its file compared with the lock.

    Raises BuildError where it is not here, LockError where it is not what was locked.
    """
    path, variables = _found(site, module)
    # Its version is asked in the caller's environment: a site's wrapper may need what the site has set.
    return replace(find_version(path, {**site.environ, **variables}), variables=variables)


def _found(site: Site, module: Record | None) -> tuple[str, Mapping[str, str]]:
    path = site.apptainer
    variables: Mapping[str, str] = {}
    if module is not None:
        refused = refused_program(module, site)
        if refused is not None:
            raise LockError(f"is refused:\n  {refused}", hint=Remedy("ozrepro lock {session}"))
        values = module.variables(site.environ)
        path = module_program(values.get("PATH", ""))
        moved = fingerprint.changed(item for item in module.files if item.path == path)
        if moved:
            raise DriftError(" ".join(moved[0]), hint=Remedy("ozrepro lock {session}, to accept it"))
        # What the program itself reads; the rest, such as LOADEDMODULES, would be seen inside.
        variables = {name: value for name, value in values.items() if name.startswith(_ITS_OWN) or name == "LD_LIBRARY_PATH"}
    if path is None:
        raise BuildError("there is no Apptainer here", hint="ozrepro status, for the other methods")
    return path, variables


def folder_of(site: Site, inputs: str) -> Path:
    """Return the folder in which an image of these inputs is kept between lock and build."""
    return cache_of(site.settings, "images") / inputs.removeprefix("sha256:")[:32]


def refuse_in_job(site: Site, command: str) -> None:
    """Raise BuildError inside a job: an image is built once, by a command on a login node, not by each of a hundred jobs."""
    if site.job:
        raise BuildError(f"an image is not built in {site.job.kind}", hint=Remedy(f"on a login node: {command}"))


def plan_of(locked: Locked, site: Site) -> Plan:
    """Return what Apptainer is asked to build for a section here: public names become this site's addresses.

    Raises LockError where the definition is not the one that was locked.
    """
    root, aliases = site.settings.root, site.settings.registries
    plain = any(
        base.bootstrap == "docker" and place_of(read_reference(base.source).host, aliases).is_plain for base in locked.bases
    )
    if locked.image:
        base = locked.bases[0]
        source = f"docker://{_source(base.source, base.digest, aliases)}" if base.bootstrap == "docker" else locked.image
        return Plan("", source, None, locked.image, {}, plain, root)
    definition, name = _definition(locked, site, site.settings.files)
    if not _agree(definition, locked):
        raise LockError("is built on other bases than the lock names", where=name, hint="ozrepro lock")
    addresses = [_source(base.source, base.digest, aliases) if base.bootstrap == "docker" else None for base in locked.bases]
    text = with_sources(definition, addresses)
    if not locked.source:
        # Apptainer refuses an argument that nothing uses, as one that only named the base is now.
        given = {key: value for key, value in locked.arguments.items() if definition.uses(key, text)}
        return Plan(text, "", definition, name, given, plain, root, imports=locked.imports)
    sources = image_source(locked.source).at_site(text.splitlines(), site)
    mounts = tuple(Mount(folder, folder, read_only=True) for folder in sources.folders)
    return Plan("\n".join(sources.lines) + "\n", "", definition, name, {}, plain, root, mounts, sources.pip, locked.imports)


def check_reachable(locked: Locked, site: Site) -> None:
    """Raise BuildError where a registry that a base comes from does not answer: better now than after a minute of tries."""
    for base in locked.bases:
        if base.bootstrap == "docker":
            registry.digest_of(read_reference(base.source).pinned(base.digest), site.settings.registries, site.environ)


def _definition(locked: Locked, site: Site, files: Files) -> tuple[Definition, str]:
    if locked.source:
        return read_definition("\n".join(locked.generated) + "\n", {}), f"the definition made from {locked.source}"
    path = site.settings.root / locked.definition
    try:
        return read_definition(files.text(path, SMALL), locked.arguments), locked.definition
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise LockError(f"cannot be read: {reason}", where=str(path), hint="restore the file, or: ozrepro lock") from error


def check_inputs(locked: Locked, site: Site) -> None:
    """Raise LockError where a file that an image is built from was edited while it was built. All are read afresh."""
    if locked.image:
        return  # fetched by its digest
    root, files = site.settings.root, Files()
    definition, name = _definition(locked, site, files)
    copies = {} if locked.source else copied(definition, name, root, files)
    bases = [replace(base, digest=_now(base, root)) if base.bootstrap in LOCAL else base for base in locked.bases]
    if digest_of_inputs(definition.text, "", locked.arguments, copies, bases) != locked.inputs:
        text = f"{name}, a base or a file that it copies: changed while the image was being built; it is not kept"
        raise LockError(text, hint="the same command again")


def _now(base: Base, root: Path) -> str:
    path = root / os.path.expanduser(base.source)
    return f"sha256:{digest_file(path)}" if path.is_file() else ""


def _agree(definition: Definition, locked: Locked) -> bool:
    """Say whether the bases of the lock are those that the definition names: another would be built on without a word."""
    if len(definition.stages) != len(locked.bases):
        return False
    try:
        return all(
            base.answers(stage.bootstrap, stage.reference().text if stage.bootstrap == "docker" else stage.source)
            for stage, base in zip(definition.stages, locked.bases, strict=True)
        )
    except ValueError:
        return False


def _source(name: str, digest: str, aliases: Mapping[str, str]) -> str:
    return source_of(read_reference(name).pinned(digest), aliases)
