"""The container method: a locked image of the site's Apptainer, one read-only file."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError
from ozrepro.methods.container import apptainer, image
from ozrepro.methods.container.asked import inputs_of, missing_image, module_request
from ozrepro.methods.container.contents import differences
from ozrepro.methods.container.launching import environment_of
from ozrepro.methods.container.lock import read_section
from ozrepro.methods.container.matching import mismatches
from ozrepro.methods.container.plan import module_program
from ozrepro.methods.container.table import ContainerTable, package_list, read_table
from ozrepro.methods.contract import ImageFacts, Launch, Plan, Reason, Traits
from ozrepro.modulesystem import loading
from ozrepro.modulesystem.site_index import find_system, index_of
from ozrepro.project.lock import Section
from ozrepro.store import cache_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ozrepro.errors import Remedy
    from ozrepro.methods.comparing import Inside
    from ozrepro.methods.components import Component
    from ozrepro.methods.container.lock import Locked
    from ozrepro.methods.contract import Origin, Progress, Request, Say, Subject
    from ozrepro.methods.target import Target
    from ozrepro.site import Site
    from ozrepro.store.manifest import Digests

_NOT_HERE = "no Apptainer here (apptainer or singularity on PATH"


class Container:
    """The container method."""

    name = "container"
    traits = Traits(scope="machine", builds_to_lock=True, is_image=True, facts=("libc", "driver"))

    table = ContainerTable
    read_table = staticmethod(read_table)
    package_list = staticmethod(package_list)
    read_section = staticmethod(read_section)
    inputs = staticmethod(inputs_of)
    mismatches = staticmethod(mismatches)

    def unavailable(self, subject: Subject[ContainerTable], locked: Locked | None) -> Reason | None:
        """Return why no image can be made or run here: no Apptainer, no file that it is made of, or no path of `bind`."""
        site = subject.site
        if locked is not None:
            if locked.module is None and site.apptainer is None:
                return Reason(f"{_NOT_HERE})")  # with a lock the module tool is not asked
            sources = (mount.source for mount in locked.mounts(str(subject.spec.root)))
            missing = next((path for path in sources if not os.path.exists(path)), None)
            return Reason(f"{missing}, which bind names, is not here") if missing is not None else None
        request = module_request(subject)
        if request is not None:
            refusal = loading.refusal(request, subject.spec, site)
            if refusal is not None:
                return Reason(refusal.what, refusal.remedy)
        elif site.apptainer is None:
            return _absent(subject)
        missing = missing_image(subject)
        return Reason(f"there is no {missing}, which its image is made of", f"copy {missing} here") if missing else None

    def resolve(self, request: Request[ContainerTable, Locked]) -> Sequence[Section]:
        """Return what is in the image, which is built or fetched now, and what it was built from."""
        from ozrepro.methods.container.resolve import resolve

        platform = request.subject.site.key(self.traits.scope)
        return (Section(self.name, platform, request.digest, resolve(request, platform)),)

    def plan(self, locked: Locked, site: Site) -> Plan:
        """Return what the image is built from, what came of it, the checks, and how it gets into the store."""

        def build(target: Target, say: Say, progress: Progress) -> Digests:
            from ozrepro.methods.container import storing

            return storing.build(locked, target, say, progress)

        file = locked.file_from(site.settings.root) if locked.is_file else ""
        identity = {"inputs": locked.inputs, "sha256": locked.sha256, "imports": list(locked.imports), "file": file}
        return Plan(identity, build)

    def environment(self, locked: Locked, target: Target) -> Launch:
        """Return how programs run in the image. Raises StoreError where it is not the one that was built.

        The image is watched, and the program's file or those that decide what its module is.
        """
        image.check(target.prefix)
        module, program = locked.module, target.site.apptainer
        watched = module.watched() if module is not None else [program] if program is not None else []
        paths = (str(target.prefix / image.NAME), *watched)
        return Launch(environment_of(locked, target), paths)

    def drift(self, locked: Locked, site: Site) -> list[str]:
        """Return what has changed of Apptainer's module, and an image file of the user's own that is another now."""
        moved = loading.drift(locked.module, site) if locked.module is not None else []
        if locked.is_file:
            try:
                if image.digest_of(locked.file_from(site.settings.root), cache_of(site.settings, "images")) != locked.sha256:
                    moved.append(f"{locked.image}: is another image than the one that was locked")
            except OSError as error:
                moved.append(f"{locked.image}: {error.strerror}")
        return moved

    def remedy(self, subject: Subject[ContainerTable], locked: Locked) -> Remedy | None:
        """Return where to start what Apptainer's module does not load without, where it is not set here."""
        return locked.module.reads.remedy(subject.site.environ) if locked.module is not None else None

    def compare_with_site(self, subject: Subject[ContainerTable], locked: Locked) -> list[str]:
        """Return what loading Apptainer's module gives otherwise now."""
        module = locked.module
        if module is None:
            return []
        known = module_program(module.variables(subject.site.environ).get("PATH", ""))

        def other_program(path: str) -> list[str]:
            given = module_program(path)
            return [] if given == known else [f"the module gives {given or 'no Apptainer'}, locked is {known or 'none'}"]

        return loading.recheck(module, subject.spec, subject.site, other_program)

    def versions(self, locked: Locked) -> dict[str, str]:
        """Return the versions of Python and of the distributions inside."""
        return locked.contents.versions()

    def components(self, locked: Locked) -> Sequence[Component]:
        """Return the image, what it is built on, and what was inside when it was locked."""
        from ozrepro.methods.container.inventory import components

        return list(components(locked))

    def details(self, locked: Locked) -> dict[str, object]:
        """Return the bases that are not pinned, where there are any."""
        bases = locked.open_bases()
        return {"unpinned": bases} if bases else {}

    def installed(self, target: Target) -> dict[str, str]:
        """Return name and version of each distribution inside, as the image told when it was built."""
        contents = image.kept_contents(target.prefix)
        return {item.name: item.version for item in contents.distributions} if contents is not None else {}

    def inside(self, locked: Locked, target: Target) -> Inside:
        """Return what was inside when the image was built."""
        return (image.kept_contents(target.prefix) or locked.contents).inside()

    def foretold(self, locked: Locked) -> Inside:
        """Return what was inside when the image was locked: the same as once it is built."""
        return locked.contents.inside()

    def problems(self, locked: Locked, target: Target) -> list[str]:
        """Compare what was inside when it was built with the lock: its bytes are the same since, as the manifest has told."""
        contents = image.kept_contents(target.prefix)
        if contents is None:
            return ["what is inside was not noted when it was built, by an earlier ozrepro"]
        return list(differences(locked.contents, contents))

    def sources(self, table: ContainerTable) -> Sequence[str]:
        """Return the method that `from` names."""
        return (table.source,) if table.source else ()

    def origin(self, locked: Locked) -> Origin | None:
        """Return the section that the definition was made from, or None."""
        return locked.of

    def image_facts(self, target: Target) -> ImageFacts:
        """Return what the build noted beside the image. Raises StoreError where that is gone or damaged."""
        seen = image.kept(target.prefix)
        return ImageFacts(target.prefix / image.NAME, seen.sha256, seen.mount, seen.seconds)


def _absent(subject: Subject[ContainerTable]) -> Reason:
    """Return that there is no Apptainer, and where it is a module here how to say so."""
    spec, site = subject.spec, subject.site
    system = find_system(site)
    if system is None:
        return Reason(f"{_NOT_HERE})")
    modulepath = loading.modulepath_of(spec, site)
    names: list[str] = []
    with suppress(OzreproError):  # a broken module system is told by the method that needs it
        names = sorted(index_of(system, modulepath, site).modules) if modulepath else []
    found = [name for name in names if name.partition("/")[0].lower() in apptainer.NAMES]
    if not found:
        return Reason(f"{_NOT_HERE}, or a module)")
    return Reason(f'Apptainer is a module here: write module = "{found[-1]}" into [container]')


METHOD = Container()
