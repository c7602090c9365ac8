"""The container method: a locked image of the site's Apptainer, one read-only file."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ozrepro import process
from ozrepro.environment import BASE_PATH, Environment, joined_by
from ozrepro.errors import BuildError, DriftError, LockError, OzreproError
from ozrepro.methods.comparing import Inside
from ozrepro.methods.container import apptainer, image
from ozrepro.methods.container.apptainer import Mount, exec_words
from ozrepro.methods.container.building import build_image, kept_image
from ozrepro.methods.container.contents import differences, look_inside
from ozrepro.methods.container.copying import copied
from ozrepro.methods.container.generate import CONDA_BASE, PYTHON_BASE
from ozrepro.methods.container.lock import (
    Locked,
    check_spec,
    definition_of,
    described,
    inputs_of,
    module_request,
    read_here,
    read_section,
)
from ozrepro.methods.container.plan import (
    check_inputs,
    check_program,
    check_reachable,
    folder_of,
    module_program,
    noted_program,
    plan_of,
    program_of,
    refuse_in_job,
)
from ozrepro.methods.container.table import read_table
from ozrepro.methods.reading import load_lock
from ozrepro.modulesystem import loading
from ozrepro.modulesystem.site_index import find_system, index_of
from ozrepro.project.formatting import size_words
from ozrepro.project.lock import Section, lock_file
from ozrepro.project.spec import digest_of
from ozrepro.site import subdir_here
from ozrepro.store import cache_of, caches
from ozrepro.store.manifest import Digests, digest_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ozrepro.methods import Change, Progress, Say
    from ozrepro.methods.container.building import Built
    from ozrepro.methods.container.table import ContainerTable
    from ozrepro.project.spec import Spec
    from ozrepro.site import Site

_USER_BASE = "/an-image-is-read-only--change-its-definition-and-lock-again"
"""Where `pip install --user` would write inside: a path that cannot be made, and that says why in pip's own error."""

_ROOTFS = "/mnt/session/rootfs"
"""Where Apptainer and Singularity mount an image (their `mnt/session`, below a folder of the installation)."""

_NOT_HERE = "no Apptainer here (apptainer or singularity on PATH"

_CHECK = (
    "import importlib, os, sys\n"
    "print('<mounts>', open('/proc/self/mountinfo').read(), '</mounts>', sep='', flush=True)\n"
    "for name in sys.argv[1:]:\n"
    "    try:\n        importlib.import_module(name)\n"
    "    except BaseException as error:\n"
    "        print(f'import {name}: {type(error).__name__}: {error}', file=sys.__stdout__)\n"
    "sys.__stdout__.flush()\n"
    "os._exit(0)\n"
)


class Container:
    """The container method."""

    read_table = staticmethod(read_table)

    def platform(self, site: Site) -> str:
        """Return the platform's name as conda has it."""
        return subdir_here()

    def inputs(self, spec: Spec) -> list[Path]:
        """Return the definition and the small files that it copies."""
        return inputs_of(spec)

    def large(self, spec: Spec) -> list[str]:
        """Return the folders, patterns and large files that the definition copies, or the files of the method it is made from."""
        table = described(spec)
        if table.source in spec.tables:
            from ozrepro.methods import load_method

            return [os.path.relpath(path, spec.root) for path in load_method(table.source).inputs(spec)]
        known = set(inputs_of(spec))
        words = definition_of(spec).copied() if table.definition else ()
        return [
            f"{word.rstrip('/')}/" if (spec.root / word).is_dir() else word for word in words if spec.root / word not in known
        ]

    def digest(self, spec: Spec, site: Site) -> str:
        """Return the digest of the table, the imports, the definition and the files that it copies into the image."""
        table = described(spec)
        check_spec(spec)
        found: dict[str, Any] = {
            "image": table.image,
            "from": table.source,
            "base": table.base,
            "gpu": table.gpu,
            "bind": list(table.bind),
            "arguments": dict(table.build_args),
            "pass": sorted(table.passed),
            "module": table.module,
        }
        if table.definition:
            definition = definition_of(spec)
            found |= {"definition": definition.text, "files": copied(definition, spec.root, spec.files)}
        if table.source:
            from ozrepro.methods import load_method

            source = load_method(table.source)
            found["source"] = source.digest(spec, site) if table.source in spec.tables else ""
        return digest_of({"container": found, "imports": list(spec.imports)})

    def check(self, section: Section, where: str, session: str) -> None:
        """Raise LockError where the section cannot be read."""
        read_section(section, where, session)

    def unavailable(self, spec: Spec, site: Site, section: Section | None) -> str | None:
        """Return why no image can be run here: no Apptainer, or a path of `bind` that is not there."""
        if section is not None:
            locked = read_here(section, site, spec)
            if section.spec == self.digest(spec, site):
                _check_agreement(locked, spec, str(lock_file(spec.root, spec.name)))
                _check_source(locked, spec, site)
            if locked.module is not None:
                check_program(locked.module, site, str(lock_file(spec.root, spec.name)), spec.name)
            elif site.apptainer is None:
                return f"{_NOT_HERE})"  # with a lock the module tool is not asked
            missing = [mount.source for mount in locked.mounts(str(spec.root)) if not os.path.exists(mount.source)]
            return f"{missing[0]}, which bind names, is not here" if missing else None
        request = module_request(spec, site)
        if request is not None:
            return loading.refusal(request, spec, site)
        return _absent(spec, site) if site.apptainer is None else None

    def resolve(self, spec: Spec, site: Site, change: Change, say: Say) -> tuple[Section, ...]:
        """Return what is in the image, which is built or fetched now, and what it was built from."""
        from ozrepro.methods.container import resolve as container_resolve

        return container_resolve.resolve(spec, site, self.platform(site), self.digest(spec, site), change, say)

    def drift(self, section: Section, site: Site) -> list[str]:
        """Return what has changed of Apptainer's module, and an image file of the user's own that is another now."""
        locked = read_here(section, site)
        moved = loading.drift(locked.module, site) if locked.module is not None else []
        if locked.is_file:
            path = os.path.join(site.settings.root, os.path.expanduser(locked.image))
            try:
                if image.digest_of(path, cache_of(site.settings, "images")) != locked.sha256:
                    moved.append(f"{locked.image}: is another image than the one that was locked")
            except OSError as error:
                moved.append(f"{locked.image}: {error.strerror}")
        return moved

    def mend(self, section: Section, spec: Spec, site: Site) -> str:
        """Return nothing: locking again takes over what is there."""
        return ""

    def recheck(self, section: Section, spec: Spec, site: Site) -> list[str]:
        """Return what loading Apptainer's module gives otherwise now."""
        module = read_here(section, site).module
        if module is None:
            return []
        locked = module_program(module.variables(site.environ).get("PATH", ""))

        def other_program(path: str) -> list[str]:
            given = module_program(path)
            return [] if given == locked else [f"the module gives {given or 'no Apptainer'}, locked is {locked or 'none'}"]

        return loading.recheck(module, spec, site, other_program)

    def saved_otherwise(self, section: Section, spec: Spec, site: Site) -> list[str]:
        """Return nothing: all that locking takes is in the project."""
        return []

    def watched(self, section: Section, site: Site, prefix: Path) -> list[str]:
        """Return the image, and the program's file or those that decide what its module is."""
        module = read_here(section, site).module
        program = [site.apptainer] if site.apptainer is not None else []
        return [str(prefix / image.NAME), *(module.watched() if module is not None else program)]

    def identity(self, section: Section, site: Site) -> dict[str, Any]:
        """Return what the image is built from, what came of it, and the checks."""
        locked = read_here(section, site)
        place = os.path.join(site.settings.root, os.path.expanduser(locked.image)) if locked.is_file else ""
        return {"inputs": locked.inputs, "sha256": locked.sha256, "imports": list(locked.imports), "file": place}

    def build(self, section: Section, site: Site, prefix: Path, say: Say, progress: Progress) -> Digests:
        """Put the locked image into the store: the one that locking built, or one that is built again and has the same inside."""
        locked = read_here(section, site)
        program = program_of(site, locked.module)
        prefix.mkdir()
        place, seconds = prefix / image.NAME, 0.0
        if locked.is_file:
            os.symlink(os.path.realpath(os.path.join(site.settings.root, os.path.expanduser(locked.image))), place)
            sha256 = digest_file(place)
            if sha256 != locked.sha256:
                raise DriftError(f"{locked.image} is another image than the one that was locked", hint="ozrepro lock")
            contents = look_inside(program, str(place), site.environ)
        else:
            folder = folder_of(site, locked.inputs)
            built = kept_image(folder)
            if built is None or built.sha256 != locked.sha256:
                built = self._rebuild(locked, site, folder, built, say, progress)
            sha256, seconds, contents = built.sha256, built.seconds, built.contents
            caches.take(site.settings, built.file, place)  # those who lock the same at this moment still find the image there
        image.keep_contents(contents, prefix)
        progress("checking imports", 0, 0)
        image.keep(image.see(place, sha256, "", program.title, seconds), prefix)
        mount = self._check(locked, self._environment(locked, site, prefix), site)
        image.keep(image.see(place, sha256, mount, program.title, seconds), prefix)
        say(f"the image has {size_words(place.stat().st_size)} and is read through {mount}")
        return Digests()

    def _rebuild(self, locked: Locked, site: Site, folder: Path, before: Built | None, say: Say, progress: Progress) -> Built:
        """Return an image built again from what is locked, refused where other versions are inside."""
        built, program = before, program_of(site, locked.module)
        if built is None:
            refuse_in_job(site, "ozrepro build NAME")
            plan = plan_of(locked, site)
            check_reachable(locked, site)
            say(f"building the image of {plan.name} again: minutes, not seconds")

            def step(text: str) -> None:
                progress(text, 0, 0)

            cache = cache_of(site.settings, "apptainer")
            built = build_image(program, plan, folder, cache, site.environ, step, lambda: check_inputs(locked, site))
        changes = list(differences(locked.contents, built.contents))
        if changes:
            more = [f"… and {len(changes) - 30} more"] if len(changes) > 30 else []
            raise BuildError(
                "\n  ".join(("the image built here has other versions inside than the lock:", *changes[:30], *more)),
                hint="ozrepro lock NAME --method container --accept, if these are wanted",
            )
        if built.sha256 != locked.sha256:
            same = "the same files" if built.contents.tree == locked.contents.tree else "files that differ"
            count = len(locked.contents.distributions) + len(locked.contents.system)
            say(f"it has the same {count} packages as the locked one and {same}; only its bytes differ, as any two builds' do")
        return built

    def _check(self, locked: Locked, environment: Environment, site: Site) -> str:
        """Import what the spec names, as programs will; return how the image is read. Raises BuildError."""
        words = environment.command(["python3", "-c", _CHECK, *locked.imports])
        done = process.run(words, env=environment.variables_for(site.environ), cwd=site.settings.root, timeout=1200)
        before, mark, rest = done.output.partition("</mounts>")
        failed = [line for line in rest.splitlines() if line.startswith("import ")]
        if not mark or done.status or failed:
            said = failed or (done.errors or done.output).strip().splitlines()[-8:]
            raise BuildError(
                "\n  ".join(("the new image did not pass its checks:", *said)),
                hint="change the definition or imports in the spec, then: ozrepro lock",
            )
        return image.mount_kind(before.partition("<mounts>")[2], _ROOTFS)

    def environment(self, section: Section, site: Site, prefix: Path) -> Environment:
        """Return how programs run in the image. Raises StoreError where it is not the one that was built."""
        image.check(prefix)
        return self._environment(read_here(section, site), site, prefix)

    def _environment(self, locked: Locked, site: Site, prefix: Path) -> Environment:
        program = (
            noted_program(site, locked.module, image.kept(prefix).tool) if site.only_looking else program_of(site, locked.module)
        )
        root, store = os.path.realpath(site.settings.root), os.path.realpath(site.settings.store)
        own = [Mount(root, root), *([] if store.startswith(f"{root}/") else [Mount(store, store)])]
        words = exec_words(program, str(prefix / image.NAME), (*own, *locked.mounts(root)), locked.gpu or apptainer.gpu_here())
        inside = {"PYTHONNOUSERSITE": "1", "PYTHONUSERBASE": _USER_BASE}
        module = locked.module
        # Programs inside would see all that Apptainer is started with: of its module, only what it reads itself.
        own_variables = {name: value for name, value in program.variables.items() if _is_read(name)}
        following = {name: cases for name, cases in module.following().items() if _is_read(name)} if module is not None else {}
        return Environment(
            path=module.front() if module is not None else (),
            base=module.behind() if module is not None else (os.path.dirname(program.path), *BASE_PATH),
            variables={**own_variables, **{f"{program.inner}{name}": value for name, value in inside.items()}},
            # Apptainer takes the home of the user database otherwise, whatever HOME is.
            following={**following, program.home: joined_by("HOME", ("", ""))},
            prefix=words,
            expected=module.reads.expected() if module is not None else {},
            passed=locked.passed,
            inner=program.inner,
        )

    def shell(self, section: Section, site: Site) -> Mapping[str, Any]:
        """Return nothing: what a module gives a shell is not inside the image."""
        return {}

    def versions(self, section: Section) -> dict[str, str]:
        """Return the versions of Python and of the distributions inside."""
        return read_section(section, section.title, "").contents.versions()

    def contents(self, prefix: Path) -> dict[str, str]:
        """Return nothing: what is inside stands in the lock, and the manifest has the image's digest."""
        return {}

    def inside(self, section: Section, site: Site, prefix: Path) -> Inside:
        """Return what was inside when it was built."""
        contents = image.kept_contents(prefix) or read_here(section, site).contents
        names = {item.name: frozenset(item.imports) for item in contents.distributions}
        return Inside(contents.versions(), names)

    def problems(self, section: Section, site: Site, prefix: Path) -> list[str]:
        """Compare what was inside when it was built with the lock: its bytes are the same since, as the manifest has told."""
        contents = image.kept_contents(prefix)
        if contents is None:
            return ["what is inside was not noted when it was built, by an earlier ozrepro"]
        return list(differences(read_here(section, site).contents, contents))


def _is_read(name: str) -> bool:
    """Say whether Apptainer itself reads a variable, or its programs' loader does; it sets the image's own LD_LIBRARY_PATH."""
    return name == "LD_LIBRARY_PATH" or name.startswith(("APPTAINER", "SINGULARITY"))


def _absent(spec: Spec, site: Site) -> str:
    """Return that there is no Apptainer, and where it is a module here how to say so."""
    system = find_system(site)
    if system is None:
        return f"{_NOT_HERE})"
    modulepath = loading.modulepath_of(spec, site)
    names: list[str] = []
    with suppress(OzreproError):  # a broken module system is told by the method that needs it
        names = sorted(index_of(system, modulepath, site).modules) if modulepath else []
    found = [name for name in names if name.partition("/")[0].lower() in apptainer.NAMES]
    if not found:
        return f"{_NOT_HERE}, or a module)"
    return f'Apptainer is a module here: write module = "{found[-1]}" into [container]'


def _check_agreement(locked: Locked, spec: Spec, where: str) -> None:
    """Raise LockError, with all of it, where a section that claims to answer this spec holds what the spec does not ask for."""
    table = described(spec)
    pairs = (
        ("definition", locked.definition, table.definition),
        ("image", locked.image, table.image),
        ("from", locked.source, table.source),
        ("gpu", locked.gpu, table.gpu),
        ("bind", locked.bind, table.bind),
        ("pass", locked.passed, table.passed),
        ("imports", locked.imports, spec.imports),
        ("arguments", dict(locked.arguments), dict(table.build_args)),
        ("module", locked.module.load[-1] if locked.module is not None else "", table.module),
    )
    wrong = [f"container.{key}: the lock has {there!r}, and the spec {asked!r}" for key, there, asked in pairs if there != asked]
    if table.source and not _is_base_of(table, locked):
        wrong.append(f"container.base: the lock has {[base.source for base in locked.bases]!r}, which the spec does not ask for")
    if wrong:
        raise LockError("\n  ".join(("is refused:", *wrong)), where=where, hint=f"ozrepro lock {spec.name}")


def _check_source(locked: Locked, spec: Spec, site: Site) -> None:
    """Raise LockError where a definition that was made installs what the section that it names does not have."""
    title, digest = locked.of
    lock = load_lock(spec.root, spec.name, spec.files) if locked.source else None
    source = next((item for item in lock.sections if (item.title, item.digest) == (title, digest)), None) if lock else None
    if source is None:
        return  # there is none, or it is another now, which is told as that
    from ozrepro.methods.container.from_lock import unlike_source

    wrong = unlike_source(locked.generated, source, spec, site)
    if wrong:
        lines = (f"container.generated: {line}" for line in wrong[:30])
        where = str(lock_file(spec.root, spec.name))
        raise LockError("\n  ".join(("is refused:", *lines)), where=where, hint=f"ozrepro lock {spec.name}")


def _is_base_of(table: ContainerTable, locked: Locked) -> bool:
    """Say whether a definition that was made is on the image that the spec names, or on the usual one."""
    minor = locked.contents.python.rpartition(".")[0]
    usual = CONDA_BASE if table.source == "conda" else PYTHON_BASE.format(minor=minor)
    named = table.base.removeprefix("docker://") or usual
    kind = "localimage" if named.endswith(".sif") else "docker"
    return len(locked.bases) == 1 and locked.bases[0].answers(kind, named)


METHOD = Container()
