"""What a measurement needs before its first start: a folder to work in, candidates that start, and the setting they start in."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import NoMethodError, OzreproError
from ozrepro.frontends.bench.cache_states import states_for
from ozrepro.frontends.bench.candidate import mount_words
from ozrepro.frontends.bench.host import fs_facts, host_facts, look_at_place
from ozrepro.frontends.bench.launch import Starter, look
from ozrepro.frontends.bench.plan import fresh_words
from ozrepro.frontends.bench.result import Result
from ozrepro.frontends.bench.run import Setting
from ozrepro.store.writing import remove_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ozrepro.frontends.bench.candidate import Candidate, Found
    from ozrepro.frontends.bench.lustre.profile import Profile
    from ozrepro.frontends.bench.plan import Plan


@contextmanager
def work_folder(found: Found, *, apart: bool) -> Iterator[Path]:
    """Give a folder on the file system under test, and remove it; `apart` from what is emulated and cannot be written."""
    folder = found.session.store.folder / f"bench-{secrets.token_hex(8)}"  # a name that a clean-up knows
    try:
        if apart:
            folder = Path(tempfile.mkdtemp(prefix="ozrepro-bench-"))
        else:
            folder.mkdir(mode=0o700)
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix="ozrepro-bench-"))  # the store is another's, and only read
    try:
        yield folder
    finally:
        remove_tree(folder)
        shutil.rmtree(folder, ignore_errors=True)


def looked_at(found: Found, environ: Mapping[str, str], say: Callable[[str], None]) -> Found:
    """Start each candidate's Python once; one that does not start is refused, and `say` is told of all that are.

    Raises NoMethodError where none is left.
    """
    kept: list[Candidate] = []
    refused = list(found.refused)
    for candidate in found.candidates:
        try:
            kept.append(candidate.seen(look(candidate, environ, found.session.root)))
        except OzreproError as error:
            refused.append(f"{candidate.name}: {error.what}")
    for line in refused:
        say(f"not measured: {line}")
    if not kept:
        name = found.session.name
        raise NoMethodError(name, refused, hint=f"ozrepro verify {name}")
    return replace(found, candidates=tuple(kept), refused=tuple(refused))


def _elsewhere(prefix: str, work: Path) -> tuple[str, ...]:
    """Return a note where what is made for the run is on another file system than the one under test."""
    if os.stat(prefix).st_dev == os.stat(work).st_dev:
        return ()
    what = f"Nothing can be written to the store, so fresh copies were in {work.parent}"
    return (f"{what} ({mount_words(str(work)) or 'unknown'}): another file system than that of the environments.",)


@contextmanager
def setting_for(
    found: Found,
    plan: Plan,
    work: Path,
    environ: Mapping[str, str],
    profile: Profile,
    *,
    emulated: Profile | None = None,
    written: Iterable[str] = (),
) -> Iterator[Setting]:
    """Give the setting of a plan on the real file system, or with `emulated` on an emulated one of that profile.

    `profile` is the model's; `written` are files that are written meanwhile,
    which may not be in a folder that is emulated. Raises what `emulation.serve` does.
    """
    place = look_at_place(environ)
    if plan.nodes:
        place = replace(place, node=plan.nodes.own)
    copies = "cold-client" in plan.states and plan.nodes is None
    about = Result(
        session=found.session.name,
        lock=found.lock,
        host=host_facts(place.cpus),
        fs=fs_facts(root for candidate in found.candidates for root in (candidate.prefix, *candidate.roots)),
        plan={},
        seed=plan.seed,
        candidates=(),
        profile=profile.as_dict(),
        refused=(*found.refused, *found.undescribed),
        notes=(
            *((fresh_words(plan),) if plan.rounds_of("cold-client") < plan.cold_rounds else ()),
            *(_elsewhere(found.candidates[0].prefix, work) if copies and not emulated else ()),
        ),
    )
    with Starter(environ, found.session.root, work) as starter:
        setting = Setting(starter, place, about, {}, profiles=(profile,))
        if emulated is None:
            yield replace(setting, states=states_for(plan.states, work, plan.nodes_drawn()))
            return
        from ozrepro.frontends.bench import emulation

        with emulation.serve(setting, found.candidates, emulated, plan.states, written) as served:
            yield served
