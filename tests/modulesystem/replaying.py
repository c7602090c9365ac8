"""What a real load makes of an environment, beside what a replay makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.modulesystem.capture import Captured, capture
from ozrepro.modulesystem.change import is_bookkeeping, replay
from ozrepro.modulesystem.lmod import FLAGS, Lmod
from ozrepro.modulesystem.lmod_output import read
from ozrepro.modulesystem.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.fake_cluster import Site


def take(lmod: Lmod, site: Site, *names: str, tree: str = "ozstar") -> Captured:
    """Capture modules of one of the site's trees."""
    return take_from(lmod, site.roots[tree], *names)


def take_from(lmod: Lmod, folder: str, *names: str) -> Captured:
    """Capture modules of a folder."""
    return capture(lmod, names, [folder], lmod.index([folder]))


def after(base: Mapping[str, str], reading: Reading) -> dict[str, str]:
    """Return what a base is after a call."""
    return {name: value for name, value in {**base, **reading.values}.items() if name not in reading.deleted}


def really_loaded(lmod: Lmod, names: Sequence[str], base: Mapping[str, str]) -> dict[str, str]:
    """Return what a real load makes of a base, with Lmod's own variables."""
    return after(base, lmod.load(names, base))


def replayed(captured: Captured, base: Mapping[str, str]) -> dict[str, str]:
    """Return what the replay makes of a base, with Lmod's own variables."""
    return replay(captured.change, base, captured.modules)


def ask(lmod: Lmod, variables: Mapping[str, str], *words: str) -> Reading:
    """Call the real Lmod in an environment."""
    done = process.run([lmod.command, "bash", *words], env={**variables, **FLAGS})
    assert done.status == 0, done.errors
    return read(done.output, done.errors)


def plain(variables: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without Lmod's own variables, but with MODULEPATH."""
    return {name: value for name, value in variables.items() if name == "MODULEPATH" or not is_bookkeeping(name)}
