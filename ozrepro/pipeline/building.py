"""How an environment of a task gets into the store: what is there already, and what builds it as a tree or as one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ozrepro.errors import DriftError
from ozrepro.methods.target import Target
from ozrepro.pipeline.checks import refuse_moved
from ozrepro.pipeline.generations import kept_by
from ozrepro.store import forms
from ozrepro.store.kept import unlike
from ozrepro.store.publish import Generation, examine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ozrepro.methods.contract import Plan
    from ozrepro.pipeline.preparing import Task
    from ozrepro.pipeline.session import Session
    from ozrepro.project.lock import Section
    from ozrepro.store.manifest import Digests
    from ozrepro.store.packing import Packed


def known(task: Task, section: Section, key: str) -> Generation | None:
    """Return what is built of a key and can be used; what cannot is said. Raises StoreError for a store that is not safe."""
    store = task.session.store
    store.check()
    store.check_readable()
    known = examine(store, key)
    if isinstance(known, Generation):
        return known
    if known:
        task.say(f"{section.title} of {task.session.name} is in the store, but cannot be used: {known}")
    return None


def builder(task: Task, section: Section, plan: Plan) -> Callable[[Path], Digests | None]:
    """Return what builds a tree at the prefix that it is given."""

    def build(prefix: Path) -> Digests | None:
        task.say(f"building {section.title} for {task.session.name}")
        digests = plan.build(Target(prefix, task.session.site), task.say, task.progress)
        _check_inputs(task.session, section)
        task.progress("publishing the environment", 0, 0)
        return digests

    return build


def packer(task: Task, section: Section, tools: forms.Tools, place: forms.Place) -> Callable[[Path], Packed]:
    """Return what builds an environment elsewhere and puts its file into the generation's folder that it is given."""

    def pack(folder: Path) -> Packed:
        task.say(f"building {section.title} for {task.session.name} in {place.words}, as one file")
        from ozrepro.pipeline import apart

        packed = apart.build(task.session, section, folder, place, tools, task.say, task.progress)
        _check_inputs(task.session, section)
        _check_kept(task.session, section, folder, packed)
        return packed

    return pack


def _check_kept(session: Session, section: Section, folder: Path, packed: Packed) -> None:
    """Raise DriftError where the file that was packed keeps another thing than what is locked."""
    wanted = kept_by(session, section)
    if wanted is None or not packed.kept:
        return
    with forms.seen(Generation(folder, {"form": "file"}), published=False) as files:
        wrong = unlike(files, packed.kept["folders"], wanted.digests)
    if wrong:
        what = f"what was kept of this machine's software is not what {section.title} says:"
        raise DriftError(what, problems=wrong, where=str(session.lock_path), hint=f"ozrepro lock {session.name} to accept it")


def _check_inputs(session: Session, section: Section) -> None:
    """Raise LockError where a file that an installer has read by its path, such as the project's pyproject.toml, has changed."""
    moved = session.files.moved(session.inputs(section.method).files)
    refuse_moved(session, moved, "built: the environment is not kept")
