"""The resolving half of the container method: bases to digests, a definition to an image, the image to what is inside."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ozrepro.errors import LockError, SpecError, StoreError
from ozrepro.methods.container import registry
from ozrepro.methods.container.building import Built, build_image, forget_image, is_kept, kept_image
from ozrepro.methods.container.contents import Contents, look_inside
from ozrepro.methods.container.copying import copied
from ozrepro.methods.container.definition import LOCAL, Definition, Stage, read_definition
from ozrepro.methods.container.lock import (
    Base,
    Locked,
    as_content,
    definition_of,
    described,
    digest_of_inputs,
    module_request,
    read_here,
)
from ozrepro.methods.container.plan import check_inputs, folder_of, module_program, plan_of, program_of, refuse_in_job
from ozrepro.methods.container.reference import read_reference
from ozrepro.modulesystem import fingerprint, loading
from ozrepro.project.lock import Section
from ozrepro.site import subdir_here
from ozrepro.store import cache_of, store_of
from ozrepro.store.manifest import digest_file
from ozrepro.store.turn import wait_turn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ozrepro.methods import Change, Say
    from ozrepro.methods.container.apptainer import Program
    from ozrepro.modulesystem.record import Record
    from ozrepro.project.spec import Spec
    from ozrepro.site import Site


_NOTHING = Contents("0", "0" * 64, (), ())


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What an image is built from, nothing of it open that can be closed."""

    definition: Definition | None
    files: Mapping[str, str]
    bases: tuple[Base, ...]
    of: tuple[str, str] = ("", "")
    generated: tuple[str, ...] = ()


def resolve(spec: Spec, site: Site, platform: str, digest: str, change: Change, say: Say) -> tuple[Section, ...]:
    """Return the section of this platform: the image is built, or fetched, and looked into. Raises BuildError, CommandFailed."""
    request = module_request(spec, site)
    load = loading.load(request, site) if request is not None else None
    for line in load.told() if load is not None else ():
        say(line)
    module = _with_program(load.record(), site) if load is not None else None
    program = program_of(site, module)
    table = described(spec)
    if table.image and "://" not in table.image:
        locked = _of_file(spec, site, program)
    else:
        locked = _of_recipe(spec, site, program, change, say)
    for base in locked.open_bases():
        say(f"the base {base} is not pinned: it may be another thing when the image is built again")
    return (Section("container", platform, digest, as_content(replace(locked, module=module), site)),)


def _with_program(module: Record, site: Site) -> Record:
    """Return a module's record with the digest of the Apptainer that it gives: a build and every start run that file."""
    program = module_program(module.variables(site.environ).get("PATH", ""))
    more = fingerprint.take([program]) if program is not None else ()
    return replace(module, files=tuple(dict.fromkeys((*module.files, *more))))


def _of_file(spec: Spec, site: Site, program: Program) -> Locked:
    table = described(spec)
    path = spec.root / os.path.expanduser(table.image)
    try:
        sha256, size = digest_file(path), path.stat().st_size
    except OSError as error:
        raise SpecError(
            str(spec.path), [f"container.image: {table.image}: {error.strerror}"], hint="name an image file"
        ) from error
    built = Built(path, sha256, size, look_inside(program, str(path), site.environ))
    return _locked(spec, program, _Recipe(None, {}, ()), f"sha256:{sha256}", built)


def _of_recipe(spec: Spec, site: Site, program: Program, change: Change, say: Say) -> Locked:
    """Return what is locked of an image that is built or fetched; one that was built from the same before is taken."""
    recipe = _recipe(spec, site, change, say)
    table = described(spec)
    text = recipe.definition.text if recipe.definition is not None else ""
    inputs = digest_of_inputs(text, table.image, table.build_args, recipe.files, recipe.bases)
    folder, known = folder_of(site, inputs), _previous(spec, site, change)
    if known is not None and known.inputs == inputs and change.upgrade is None and not change.accept:
        # Only how it is run has changed, such as a bind: the image stays.
        return _locked(spec, program, recipe, inputs, Built(folder, known.sha256, known.size, known.contents))
    if change.upgrade == ():
        forget_image(folder)
    built = kept_image(folder)
    if built is None:
        refuse_in_job(site, f"ozrepro lock {spec.name}")
        empty = Built(folder, "0" * 64, 1, _NOTHING)
        wanted = _locked(spec, program, recipe, inputs, empty)
        plan = plan_of(wanted, site)
        cache = cache_of(site.settings, "apptainer")
        # Twelve first runs at once build one image.
        turn = wait_turn(store_of(site.settings).open(), f"image-{folder.name}", lambda: is_kept(folder), say)
        with turn as mine:
            if mine:
                say(f"building the image of {plan.name}: minutes, not seconds")
                built = build_image(program, plan, folder, cache, site.environ, say, lambda: check_inputs(wanted, site))
        built = built or kept_image(folder)
    if built is None:
        raise StoreError("the image is gone right after it was built", where=str(folder), hint="the same command again")
    return _locked(spec, program, recipe, inputs, built)


def _locked(spec: Spec, program: Program, recipe: _Recipe, inputs: str, built: Built) -> Locked:
    table = described(spec)
    return Locked(
        tool=program.title,
        definition=table.definition,
        image=table.image,
        source=table.source,
        of=recipe.of,
        generated=recipe.generated,
        inputs=inputs,
        arguments=dict(table.build_args),
        bases=recipe.bases,
        sha256=built.sha256,
        size=built.size,
        contents=built.contents,
        imports=spec.imports,
        gpu=table.gpu,
        bind=table.bind,
        passed=table.passed,
    )


def _recipe(spec: Spec, site: Site, change: Change, say: Say) -> _Recipe:
    table, previous = described(spec), _previous(spec, site, change)
    if table.image:
        kind, _, source = table.image.partition("://")
        base = _base(kind, source, table.image, spec, site, previous, change)
        return _Recipe(None, {}, (base,))
    if table.source:
        from ozrepro.methods.container.from_lock import generate, source_section

        section = source_section(spec, site, change)
        lines, of = tuple(generate(section, spec, site, say)), (section.title, section.digest)
        definition, files = read_definition("\n".join(lines) + "\n", {}), dict[str, str]()
    else:
        lines, of, definition = (), ("", ""), definition_of(spec)
        files = copied(definition, spec.root, spec.files)
    bases = [_of_stage(stage, spec, site, previous, change) for stage in definition.stages]
    return _Recipe(definition, files, tuple(bases), of, lines)


def _of_stage(stage: Stage, spec: Spec, site: Site, previous: Locked | None, change: Change) -> Base:
    source = stage.source
    if stage.bootstrap == "docker":
        try:
            source = stage.reference().text
        except ValueError as error:
            raise SpecError(str(spec.path), [f"From: {stage.source}: {error}"], hint="mend the definition's header") from error
    return _base(stage.bootstrap, source, stage.source, spec, site, previous, change)


def _base(bootstrap: str, source: str, written: str, spec: Spec, site: Site, previous: Locked | None, change: Change) -> Base:
    if bootstrap == "docker":
        reference = read_reference(source)
        known = (
            next((b.digest for b in previous.bases if (b.bootstrap, b.source) == ("docker", reference.name)), "")
            if previous
            else ""
        )
        digest = reference.digest or (known if change.upgrade != () else "")
        return Base("docker", reference.name, digest or registry.digest_of(reference, site.settings.registries, site.environ))
    if bootstrap in LOCAL:
        path = spec.root / os.path.expanduser(source)
        if not path.exists():
            raise SpecError(str(spec.path), [f"From: {written}: there is no such file"], hint="paths are from the project's root")
        return Base(bootstrap, source, f"sha256:{digest_file(path)}" if path.is_file() else "")
    return Base(bootstrap, source)


def _previous(spec: Spec, site: Site, change: Change) -> Locked | None:
    section = change.section("container", subdir_here())
    try:
        return read_here(section, site, spec) if section is not None else None
    except LockError:
        return None  # a damaged section is resolved anew
