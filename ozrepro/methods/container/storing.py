"""Puts a locked image into the store: the one that locking built, or one that is built again and has the same inside."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.errors import BuildError, DriftError, Remedy
from ozrepro.methods.container import image
from ozrepro.methods.container.building import build_image, kept_image
from ozrepro.methods.container.contents import differences, look_inside
from ozrepro.methods.container.launching import environment_of
from ozrepro.methods.container.plan import check_inputs, check_reachable, folder_of, plan_of, program_of, refuse_in_job
from ozrepro.project.formatting import size_words
from ozrepro.store import cache_of, caches
from ozrepro.store.manifest import Digests, digest_file

if TYPE_CHECKING:
    from pathlib import Path

    from ozrepro.methods.container.building import Built
    from ozrepro.methods.container.lock import Locked
    from ozrepro.methods.contract import Progress, Say
    from ozrepro.methods.target import Target
    from ozrepro.site import Site

_ROOTFS = "/mnt/session/rootfs"
"""Where Apptainer and Singularity mount an image (their `mnt/session`, below a folder of the installation)."""

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


def build(locked: Locked, target: Target, say: Say, progress: Progress) -> Digests:
    """Put the image at the target, and check what the spec imports. Raises BuildError, DriftError."""
    site, prefix = target.site, target.prefix
    program = program_of(site, locked.module)
    prefix.mkdir()
    place, seconds = prefix / image.NAME, 0.0
    if locked.is_file:
        os.symlink(os.path.realpath(locked.file_from(site.settings.root)), place)
        sha256 = digest_file(place)
        if sha256 != locked.sha256:
            what = f"{locked.image} is another image than the one that was locked"
            raise DriftError(what, hint=Remedy("ozrepro lock {session}"))
        contents = look_inside(program, str(place), site.environ)
    else:
        folder = folder_of(site, locked.inputs)
        built = kept_image(folder)
        if built is None or built.sha256 != locked.sha256:
            built = _rebuild(locked, site, folder, built, say, progress)
        sha256, seconds, contents = built.sha256, built.seconds, built.contents
        caches.take(site.settings, built.file, place)  # those who lock the same at this moment still find the image there
    image.keep_contents(contents, prefix)
    progress("checking imports", 0, 0)
    image.keep(image.see(place, sha256, "", program.title, seconds), prefix)
    mount = _check(locked, target)
    image.keep(image.see(place, sha256, mount, program.title, seconds), prefix)
    say(f"the image has {size_words(place.stat().st_size)} and is read through {mount}")
    return Digests()


def _rebuild(locked: Locked, site: Site, folder: Path, before: Built | None, say: Say, progress: Progress) -> Built:
    """Return an image built again from what is locked, refused where other versions are inside."""
    built, program = before, program_of(site, locked.module)
    if built is None:
        refuse_in_job(site, "ozrepro build {session}")
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
            hint=Remedy("ozrepro lock {session} --method container --accept, if these are wanted"),
        )
    if built.sha256 != locked.sha256:
        same = "the same files" if built.contents.tree == locked.contents.tree else "files that differ"
        count = len(locked.contents.distributions) + len(locked.contents.system)
        say(f"it has the same {count} packages as the locked one and {same}; only its bytes differ, as any two builds' do")
    return built


def _check(locked: Locked, target: Target) -> str:
    """Import what the spec names, as programs will; return how the image is read. Raises BuildError."""
    environment, site = environment_of(locked, target), target.site
    words = environment.command(["python3", "-c", _CHECK, *locked.imports])
    done = process.run(words, env=environment.variables_for(site.environ), cwd=site.settings.root, timeout=1200)
    before, mark, rest = done.output.partition("</mounts>")
    failed = [line for line in rest.splitlines() if line.startswith("import ")]
    if not mark or done.status or failed:
        said = failed or (done.errors or done.output).strip().splitlines()[-8:]
        raise BuildError(
            "\n  ".join(("the new image did not pass its checks:", *said)),
            hint=Remedy("change the definition or imports in the spec, then: ozrepro lock {session}"),
        )
    return image.mount_kind(before.partition("<mounts>")[2], _ROOTFS)
