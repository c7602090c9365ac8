"""Candidates on the emulator: what they take files from is served in its own place as a Lustre would, to this run alone."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from ozrepro.errors import OzreproError, UsageError
from ozrepro.frontends.bench.cache_states import Emulated
from ozrepro.frontends.bench.candidate import outermost

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ozrepro.frontends.bench.candidate import Candidate
    from ozrepro.frontends.bench.lustre.profile import Profile
    from ozrepro.frontends.bench.run import Setting

KIND = "emulated lustre"
"""The type of the file system in a result."""

NOTE = "The file system was emulated: what it costs is the model's word of a Lustre, and nothing was measured on a real one."


def enter() -> None:
    """Give this process mounts of its own, for `serve`. Raises OzreproError where that is not possible.

    To be called before any thread is started, and after what depends on a file's owner: other users have no names afterwards.
    """
    from ozrepro.frontends.bench.lustre.emulator import Emulator
    from ozrepro.site import namespace

    reason = Emulator.unavailable(in_place=True)
    if reason:
        raise OzreproError(reason)
    namespace.enter()


def folders(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Return the folders that all candidates take files from, none inside another."""
    return outermost(os.path.realpath(root) for candidate in candidates for root in candidate.roots if os.path.isdir(root))


def check_files(paths: Iterable[str], served: Sequence[str]) -> None:
    """Raise UsageError for a file that would have to be written into a folder that is served, and so read-only."""
    for path in paths:
        place = os.path.realpath(path)
        for folder in served:
            if place.startswith(f"{folder}/"):
                raise UsageError(f"cannot be written while {folder} is emulated", where=path, hint="a file outside of it")


def shown(candidate: Candidate) -> Candidate:
    """Return a candidate that says of itself that it is served by the emulator."""
    return replace(candidate, mount=f"{KIND}, from {candidate.mount}")


@contextmanager
def serve(
    real: Setting, candidates: Sequence[Candidate], profile: Profile, states: Iterable[str], written: Iterable[str] = ()
) -> Iterator[Setting]:
    """Serve what the candidates take files from for as long as a `with` lasts; give the setting of it, from that without.

    The Python that runs this may be among it, so the launcher is started while nothing is mounted, and all that measuring needs
    is imported before. Raises UsageError where one of the `written` files is in a folder that is served, OzreproError where
    that cannot be mounted.
    """
    from ozrepro.frontends.bench import counting  # noqa: F401
    from ozrepro.frontends.bench.lustre import counters, model, replay, trace  # noqa: F401
    from ozrepro.frontends.bench.lustre.emulator import Emulator

    served, starter = folders(candidates), real.starter
    check_files(written, served)
    starter.renew()
    with Emulator.over(served, profile) as servers:
        yield replace(
            real,
            about=replace(real.about, fs={"type": KIND, "profile": profile.name}, notes=(*real.about.notes, NOTE)),
            place=replace(real.place, srun=""),  # the mounts are this run's own, and on this node
            states={word: Emulated(servers, word != "warm", starter.renew) for word in states},
            client=profile,  # what is predicted is shown next to what these servers are asked for
            check=servers.totals,
            counters_root=starter.work,  # where there are none: a real client of this node has nothing to do with it
        )
