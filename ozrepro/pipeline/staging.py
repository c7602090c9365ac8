"""What of a session is copied to the nodes of a job: its image, its one file, or its tree, which is packed for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ozrepro.errors import StoreError
from ozrepro.pipeline import apart, describing
from ozrepro.pipeline.generations import key_from, launch_of
from ozrepro.process import ended_by_signals
from ozrepro.store import forms, manifest
from ozrepro.store.claim import closed_to_others
from ozrepro.store.packing import Packed, pack_tree
from ozrepro.store.publish import PREFIX, Generation, Recipe, provide, verify
from ozrepro.store.staging import Source

if TYPE_CHECKING:
    from pathlib import Path

    from ozrepro.methods.contract import Progress, Say
    from ozrepro.pipeline.session import Session
    from ozrepro.project.lock import Section


@ended_by_signals()
@closed_to_others()
def source_of(session: Session, section: Section, generation: Generation, say: Say, progress: Progress) -> Source:
    """Return what is copied of a built generation. A tree is packed now where it was not before: once, into the store.

    Raises StoreError where it cannot be packed, or the tree is not as it was built.
    """
    facts = describing.image_facts(session, section, generation)
    if facts is not None:
        return Source(facts.path, facts.sha256, generation.folder)
    if generation.form == "file":
        return Source(generation.folder / forms.IMAGE, str(generation.card["image"]), generation.folder)
    packed = _packed(session, section, generation, say, progress)
    start = str(packed.folder / forms.START)
    return Source(packed.folder / forms.IMAGE, str(packed.card["image"]), generation.folder, start)


def known_as(session: Session, section: Section, generation: Generation) -> Source:
    """Return a source by which the copies of a generation are found. Packs nothing."""
    facts = describing.image_facts(session, section, generation)
    return Source(facts.path if facts is not None else generation.folder / forms.IMAGE, "", generation.folder)


def _packed(session: Session, section: Section, generation: Generation, say: Say, progress: Progress) -> Generation:
    """Return the generation that has a tree in one file: another one of the store, as a published tree never changes."""
    site = session.site
    tools = forms.find_tools(site.environ.get("PATH", ""), site.apptainer)
    why = tools if isinstance(tools, str) else forms.why_no_mount(tools)
    if isinstance(tools, str) or why:
        raise StoreError(f"a tree is staged as one file, which cannot be made here: {why}", where=str(generation.folder))

    def pack(folder: Path) -> Packed:
        say(f"packing {section.title} of {session.name} into one file")
        wrong = verify(generation)
        if wrong:
            hint = f"ozrepro build {session.name} --rebuild"
            raise StoreError("is not as it was built:", problems=wrong[:10], where=str(generation.prefix), hint=hint)
        environment = launch_of(session, section, generation).environment
        opened = apart.traced(session, environment, folder / "opened", str(generation.prefix))
        (folder / "opened").unlink(missing_ok=True)
        progress("packing into one file", 0, 0)
        sha256, size = pack_tree(generation.prefix, folder, tools, opened)
        (folder / PREFIX).mkdir(mode=0o755)
        entries = list(manifest.from_bytes((generation.folder / "manifest.jsonl").read_bytes()))
        return Packed(sha256, size, len(entries), sum(entry.size for entry in entries))

    def never(_: Path) -> None:
        raise AssertionError("what is packed is not built as a tree")

    card = {name: generation.card[name] for name in ("session", "method", "platform", "section")}
    key = key_from(section.method, {"packed": generation.folder.name, "store": str(generation.card["store"])})
    return provide(session.store, Recipe(key, {**card, "of": generation.folder.name}, never, pack), say)[0]
