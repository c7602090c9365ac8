"""The resolving half of the container method: bases to digests, a definition to an image, the image to what is inside."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ozrepro.errors import SpecError, StoreError
from ozrepro.methods.container import registry
from ozrepro.methods.container.asked import definition_of, module_request
from ozrepro.methods.container.building import Built, build_image, forget_image, is_kept, kept_image
from ozrepro.methods.container.contents import Contents, look_inside
from ozrepro.methods.container.copying import copied
from ozrepro.methods.container.definition import LOCAL, Definition, Stage, read_definition
from ozrepro.methods.container.from_lock import generate, source_section
from ozrepro.methods.container.lock import Base, Locked, as_content, digest_of_inputs
from ozrepro.methods.container.plan import check_inputs, folder_of, module_program, plan_of, program_of, refuse_in_job
from ozrepro.methods.container.reference import read_reference
from ozrepro.methods.contract import Origin
from ozrepro.modulesystem import fingerprint, loading
from ozrepro.store import cache_of, store_of
from ozrepro.store.manifest import digest_file
from ozrepro.store.turn import wait_turn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ozrepro.methods.container.apptainer import Program
    from ozrepro.methods.container.table import ContainerTable
    from ozrepro.methods.contract import Request, Subject
    from ozrepro.modulesystem.record import Record
    from ozrepro.site import Site


_NOTHING = Contents("0", "0" * 64, (), ())


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What an image is built from, nothing of it open that can be closed."""

    definition: Definition | None
    files: Mapping[str, str]
    bases: tuple[Base, ...]
    of: Origin | None = None
    generated: tuple[str, ...] = ()


def resolve(request: Request[ContainerTable, Locked], platform: str) -> dict[str, Any]:
    """Return the content of this platform's section: the image is built, or fetched, and looked into.

    Raises BuildError, CommandFailed.
    """
    subject, site, say = request.subject, request.subject.site, request.say
    asked = module_request(subject)
    load = loading.load(asked, site) if asked is not None else None
    for line in load.told() if load is not None else ():
        say(line)
    module = _with_program(load.record(), site) if load is not None else None
    program = program_of(site, module)
    if subject.table.image and "://" not in subject.table.image:
        locked = _of_file(subject, program)
    else:
        locked = _of_recipe(request, request.old.get(platform), program)
    for base in locked.open_bases():
        say(f"the base {base} is not pinned: it may be another thing when the image is built again")
    return as_content(replace(locked, module=module), site)


def _with_program(module: Record, site: Site) -> Record:
    """Return a module's record with the digest of the Apptainer that it gives: a build and every start run that file."""
    program = module_program(module.variables(site.environ).get("PATH", ""))
    more = fingerprint.take([program]) if program is not None else ()
    return replace(module, files=tuple(dict.fromkeys((*module.files, *more))))


def _of_file(subject: Subject[ContainerTable], program: Program) -> Locked:
    table, spec = subject.table, subject.spec
    path = spec.root / os.path.expanduser(table.image)
    try:
        sha256, size = digest_file(path), path.stat().st_size
    except OSError as error:
        raise SpecError(
            str(spec.path), [f"container.image: {table.image}: {error.strerror}"], hint="name an image file"
        ) from error
    built = Built(path, sha256, size, look_inside(program, str(path), subject.site.environ))
    return _locked(subject, program, _Recipe(None, {}, ()), f"sha256:{sha256}", built)


def _of_recipe(request: Request[ContainerTable, Locked], previous: Locked | None, program: Program) -> Locked:
    """Return what is locked of an image that is built or fetched; one that was built from the same before is taken."""
    subject, site, say = request.subject, request.subject.site, request.say
    # What `--upgrade` moves all of is asked for afresh, digests of bases included.
    recipe = _recipe(request, previous.bases if previous is not None and request.upgrade != () else ())
    text = recipe.definition.text if recipe.definition is not None else ""
    inputs = digest_of_inputs(text, subject.table.image, subject.table.build_args, recipe.files, recipe.bases)
    folder = folder_of(site, inputs)
    if previous is not None and previous.inputs == inputs and request.upgrade is None and not request.accept:
        # Only how it is run has changed, such as a bind: the image stays.
        return _locked(subject, program, recipe, inputs, Built(folder, previous.sha256, previous.size, previous.contents))
    if request.upgrade == ():
        forget_image(folder)
    built = kept_image(folder)
    if built is None:
        refuse_in_job(site, f"ozrepro lock {subject.spec.name}")
        empty = Built(folder, "0" * 64, 1, _NOTHING)
        wanted = _locked(subject, program, recipe, inputs, empty)
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
    return _locked(subject, program, recipe, inputs, built)


def _locked(subject: Subject[ContainerTable], program: Program, recipe: _Recipe, inputs: str, built: Built) -> Locked:
    table = subject.table
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
        imports=subject.spec.imports,
        gpu=table.gpu,
        bind=table.bind,
        passed=table.passed,
    )


def _recipe(request: Request[ContainerTable, Locked], known: tuple[Base, ...]) -> _Recipe:
    """Return what an image is built from; bases of which a digest is `known` keep it."""
    subject = request.subject
    table, spec = subject.table, subject.spec
    if table.image:
        kind, _, source = table.image.partition("://")
        return _Recipe(None, {}, (_base(kind, source, table.image, subject, known),))
    if table.source:
        section = source_section(subject, request.sections)
        lines, of = generate(section, subject, request.say), Origin(section.title, section.digest)
        definition, files = read_definition("\n".join(lines) + "\n", {}), dict[str, str]()
        bases = tuple(_of_stage(stage, subject, known) for stage in definition.stages)
        return _Recipe(definition, files, bases, of, lines)
    definition = definition_of(subject)
    files = copied(definition, table.definition, spec.root, spec.files)
    return _Recipe(definition, files, tuple(_of_stage(stage, subject, known) for stage in definition.stages))


def _of_stage(stage: Stage, subject: Subject[ContainerTable], known: tuple[Base, ...]) -> Base:
    source = stage.source
    if stage.bootstrap == "docker":
        try:
            source = stage.reference().text
        except ValueError as error:
            problem = f"From: {stage.source}: {error}"
            raise SpecError(str(subject.spec.path), [problem], hint="correct the definition's header") from error
    return _base(stage.bootstrap, source, stage.source, subject, known)


def _base(bootstrap: str, source: str, written: str, subject: Subject[ContainerTable], known: tuple[Base, ...]) -> Base:
    spec, site = subject.spec, subject.site
    if bootstrap == "docker":
        reference = read_reference(source)
        before = next((base.digest for base in known if (base.bootstrap, base.source) == ("docker", reference.name)), "")
        digest = reference.digest or before
        return Base("docker", reference.name, digest or registry.digest_of(reference, site.settings.registries, site.environ))
    if bootstrap in LOCAL:
        path = spec.root / os.path.expanduser(source)
        if not path.exists():
            raise SpecError(str(spec.path), [f"From: {written}: there is no such file"], hint="paths are from the project's root")
        return Base(bootstrap, source, f"sha256:{digest_file(path)}" if path.is_file() else "")
    return Base(bootstrap, source)
