"""Makes a generation and publishes it: built aside at its final path, checked, flushed, then named by one exclusive symlink.

The recipe and its measurements (1,000 random kills, every system call failing once, nothing broken) are told in the docs,
explanation, "The store". A published generation never changes; a repair is a new generation and one rename of the name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ozrepro.errors import StoreError
from ozrepro.faststart.ready import stamp
from ozrepro.store import failed, manifest, planted, read_json, shown, states
from ozrepro.store.forms import IMAGE, START
from ozrepro.store.owner import is_dead, myself, read_owner
from ozrepro.store.turn import wait_turn
from ozrepro.store.writing import flush, remove_tree, sync, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ozrepro.store import Store
    from ozrepro.store.forms import Form
    from ozrepro.store.packing import Packed

SCHEMA = 1
PREFIX = "env"
CARD = "generation.json"
_FIELDS = {"tree": frozenset(("bytes", "files", "manifest")), "file": frozenset(("bytes", "files", "image", "inside", "start"))}


@dataclass(frozen=True, slots=True)
class Generation:
    """A published environment: its folder and what its card says."""

    folder: Path
    card: Mapping[str, Any]

    @property
    def prefix(self) -> Path:
        """Where the environment itself stands."""
        return self.folder / PREFIX

    @property
    def form(self) -> Form:
        """How it lies in the store."""
        return "file" if self.card.get("form") == "file" else "tree"

    @property
    def inside(self) -> int:
        """How many files are inside where it is one file, else 0."""
        return int(self.card["inside"]["files"]) if self.form == "file" else 0

    @property
    def gates(self) -> tuple[str, ...]:
        """The folders into which installers would put packages."""
        return tuple(str(self.prefix / path) for path in self.card.get("gates", ()))


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is to be built: the key, what the card says of it, and how.

    `build` fills the prefix that it is given and checks the result; it raises when anything is wrong. Where there is `pack`, it
    does that elsewhere and puts the environment's file into the generation's folder that it is given.
    """

    key: str
    card: Mapping[str, Any]
    build: Callable[[Path], manifest.Digests | None]
    pack: Callable[[Path], Packed] | None = None


def read_generation(store: Store, key: str) -> Generation | None:
    """Return the published generation of `key` where it was published here and its card is whole, else None."""
    found = examine(store, key)
    return found if isinstance(found, Generation) else None


def examine(store: Store, key: str) -> Generation | str:
    """Return the published generation of `key`, or why there is none to be used: one line, "" where nothing has that name.

    An environment that packages were put into or taken out of since is not used.
    """
    found = find_published(store, key)
    if isinstance(found, str):
        return found
    moved = _moved_gate(found)
    return f"packages were put into {shown(moved)} or taken out since it was built" if moved else found


def find_published(store: Store, key: str) -> Generation | str:
    """Return what has the name of `key`, whatever was done to its packages since, or a line as `examine` does.

    A card is believed only beside the environment that it was written for: what a clone or a copy brings is another folder.
    """
    try:
        target = os.readlink(store.name(key))
    except FileNotFoundError:
        return ""
    except OSError as error:
        return "the name is not a symlink" if error.errno == errno.EINVAL else f"the name cannot be read: {error.strerror}"
    folder = store.folder / "gens" / os.path.basename(target)
    if target != f"../gens/{folder.name}" or folder.name in ("", ".", ".."):
        return f"the name points elsewhere: {shown(target)}"
    try:
        found = os.lstat(folder)
    except OSError as error:
        return f"the name points to nothing: {shown(target)}: {error.strerror}"
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o002 or not store.is_ours(found):
        return "is a link, another user's, or can be written by everybody"  # the store's folders are safe: it was planted
    try:
        card = read_json(folder / CARD)
        made = _made(folder, str(card.get("form", "tree")))
    except (OSError, ValueError) as error:
        return f"{CARD} or {PREFIX} cannot be read: {error}"
    if card.get("schema") != SCHEMA or card.get("key") != key or not _is_complete(card):
        return f"{CARD} is damaged, or another environment's"
    if "made" not in card:
        return "was published by an earlier version of ozrepro"
    if card["made"] != made:
        return "is not as it was published: copied, restored, or its owner or modes were changed since"
    return Generation(folder, card)


def _made(folder: Path, form: str) -> list[int]:
    """Return what binds a card to the environment beside it: no copy and no change of that keeps it. Raises OSError."""
    prefix = os.lstat(folder / PREFIX)
    if form != "file":
        return stamp(prefix)
    if not stat.S_ISDIR(prefix.st_mode):
        raise OSError(errno.ENOTDIR, "is not a folder", PREFIX)
    return [*stamp(os.lstat(folder / IMAGE)), *stamp(os.lstat(folder / START))]


def _is_complete(card: Mapping[str, Any]) -> bool:
    """Say whether a card has all that one of its form has, and numbers where they are printed."""
    inside = card.get("inside", {})
    numbers = [card.get("bytes"), card.get("files"), *(inside.values() if isinstance(inside, dict) else [None])]
    return card.keys() >= _FIELDS.get(str(card.get("form", "tree")), {""}) and all(type(number) is int for number in numbers)


def _moved_gate(generation: Generation) -> str:
    """Return the first of the folders with packages that is not as it was published, "" where all are."""
    gates = generation.card.get("gates")
    for path, changed in gates.items() if isinstance(gates, dict) else ():
        try:
            same = os.lstat(generation.prefix / path).st_mtime_ns == changed
        except OSError:
            same = False
        if not same:
            return str(path)
    return ""


def built_for(store: Store, generation: Generation) -> str:
    """Return the store that a generation was built for where that is not this one, as it was renamed or copied since; else "".

    An environment holds its own path, and the key it is found by counts the store's: such a one can never be started again.
    Older cards do not tell, and a path that cannot be looked at proves nothing.
    """
    place = generation.card.get("store")
    if not isinstance(place, str) or place == os.path.realpath(store.folder):
        return ""
    try:
        return "" if os.path.samefile(place, store.folder) else place  # a file system may be mounted under two names
    except (FileNotFoundError, NotADirectoryError):
        return place
    except (OSError, ValueError):
        return ""


def provide(store: Store, recipe: Recipe, say: Callable[[str], None], *, rebuild: bool = False) -> tuple[Generation, bool]:
    """Return the generation of a recipe and whether this process built it.

    Many processes may call this at once: one builds, the others wait and use its result. `rebuild` makes a new generation even
    where there is a whole one. Raises what `recipe.build` raises, StoreError for a full or failing file system.
    """
    built = False
    try:
        before = _link(store, recipe.key)

        def published() -> bool:
            return (not rebuild or _link(store, recipe.key) != before) and read_generation(store, recipe.key) is not None

        with wait_turn(store, recipe.key, published, say) as mine:
            if mine:
                # A name that is there although nothing whole is published names something broken.
                built = _make(store, recipe, before if rebuild else _link(store, recipe.key))
    except OSError as error:
        raise failed("build an environment", store.folder, error) from error
    generation = examine(store, recipe.key)
    if isinstance(generation, Generation):
        return generation, built
    what = f"the environment cannot be used right after it was published: {generation or 'it is gone'}"
    raise StoreError(what, where=str(store.name(recipe.key)), hint="the same command again")


def _link(store: Store, key: str) -> str | None:
    path = store.name(key)
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise planted(path, "is not a symlink") from error
        raise


def _may_be_named(store: Store, key: str, name: str) -> bool:
    try:
        return _link(store, key) == f"../gens/{name}"
    except (OSError, StoreError):
        return True  # not to be told now: a clean-up will


def _make(store: Store, recipe: Recipe, stale: str | None) -> bool:
    """Build one generation and publish it. `stale` is the link that it replaces, None when the name must be free."""
    mine = myself()
    name = f"{recipe.key[:12]}-{mine.token[:8]}"
    folder = store.folder / "gens" / name
    owner = store.folder / "owners" / name
    _discard_dead(store, recipe.key, stale)
    os.symlink(mine.record(), owner)
    try:
        folder.mkdir(mode=0o755)
        began = time.monotonic()
        digests = recipe.build(folder / PREFIX) if recipe.pack is None else None
        built = _pack(folder, recipe.pack) if recipe.pack is not None else _tree(folder, digests)
        _finish(folder, recipe, built, time.monotonic() - began)
        closed = IMAGE if built.get("kept", {}).get("private") else ""
        for path in (*(path for path in folder.iterdir() if path.is_file() and path.name != closed), folder):
            store.share(path)
        flush(folder)
        won = _publish(store, recipe.key, name, stale)
    except BaseException as error:
        # What is left is looked at before it is tidied up, or a full disk would be told with room on it.
        told = failed("build an environment", store.folder, error) if isinstance(error, OSError) else None
        # An interrupt may come after the name was made: what is published stays.
        if not _may_be_named(store, recipe.key, name):
            discard(store, folder)
        if told is not None:
            raise told from error
        raise
    if not won:
        discard(store, folder)
    elif digests is not None:  # only now: what is noted must be on disk
        states.write_all(digests)
    with suppress(OSError):
        owner.unlink(missing_ok=True)
    return won


def take_whole(prefix: Path, digests: manifest.Digests | None) -> list[manifest.Entry]:
    """Return the manifest of what was built, its files write-protected. Raises StoreError where they were changed meanwhile."""
    entries = manifest.take(prefix, digests, protect=True)
    changed = digests.unlike(prefix, entries) if digests is not None else []
    if changed:
        what = "\n  ".join(("files were changed after they had been installed and checked:", *changed[:30]))
        raise StoreError(what, where=str(prefix), hint="the same command again")
    return entries


def _tree(folder: Path, digests: manifest.Digests | None) -> dict[str, Any]:
    """Write the manifest of a tree, and return what the card says of it."""
    entries = take_whole(folder / PREFIX, digests)
    content = manifest.to_bytes(entries)
    write_whole(folder / "manifest.jsonl", content)
    return {
        "made": _made(folder, "tree"),
        "gates": manifest.gates(folder / PREFIX, entries),
        "files": len(entries),
        "bytes": sum(entry.size for entry in entries),
        "manifest": hashlib.sha256(content).hexdigest(),
    }


def _pack(folder: Path, pack: Callable[[Path], Packed]) -> dict[str, Any]:
    """Put an environment's file into a generation, and return what the card says of it."""
    packed = pack(folder)
    return {
        "form": "file",
        "made": _made(folder, "file"),
        "files": len(os.listdir(folder)),  # the card itself stands for the empty folder
        "bytes": packed.size,
        "inside": {"files": packed.files, "bytes": packed.bytes},
        "image": packed.sha256,
        "kept": packed.kept,
        "start": manifest.digest_file(folder / START),
    }


def _finish(folder: Path, recipe: Recipe, built: Mapping[str, Any], seconds: float) -> None:
    card = {
        **recipe.card,
        **built,
        "schema": SCHEMA,
        "key": recipe.key,
        "store": os.path.realpath(folder.parent.parent),
        "seconds": round(seconds, 1),
    }
    write_whole(folder / CARD, json.dumps(card, indent=1, sort_keys=True).encode() + b"\n")


def _publish(store: Store, key: str, name: str, stale: str | None) -> bool:
    """Name the generation; return False when another builder was first."""
    link, target = store.name(key), f"../gens/{name}"
    if stale is not None and _link(store, key) == stale:
        temporary = link.with_name(f".{secrets.token_hex(8)}")
        try:
            os.symlink(target, temporary)
            os.replace(temporary, link)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    else:
        try:
            os.symlink(target, link)
        except FileExistsError:
            # Our own name means that a network file system lost the reply to our call.
            if _link(store, key) != target:
                return False
    # A failing flush of the name loses at most the name; the generation itself is on disk.
    with suppress(OSError):
        sync(link.parent)
    return True


def _discard_dead(store: Store, key: str, named: str | None) -> None:
    """Remove what killed builders of this key left unfinished: a job that is requeued ten times must not fill the quota."""
    for folder in (store.folder / "gens").glob(f"{key[:12]}-*"):
        try:
            owner = read_owner(os.readlink(store.folder / "owners" / folder.name))
        except OSError:
            continue
        finished = os.path.lexists(folder / CARD) or f"../gens/{folder.name}" == named
        if owner is not None and not finished and is_dead(owner):
            discard(store, folder)


def discard(store: Store, folder: Path) -> None:
    """Remove a generation that no name points to: renamed aside first, so that nobody takes half of it for whole. Best effort."""
    aside = store.folder / "trash" / f"{folder.name}-{secrets.token_hex(4)}"
    try:
        os.rename(folder, aside)
    except OSError:
        aside = folder
    remove_tree(aside)
    with suppress(OSError):
        (store.folder / "owners" / folder.name).unlink(missing_ok=True)


def verify(generation: Generation) -> list[str]:
    """Return what no longer is as it was published, one line a file; empty when all is whole."""
    if generation.form == "file":
        return _verify_file(generation)
    try:
        content = (generation.folder / "manifest.jsonl").read_bytes()
    except OSError as error:
        return [f"manifest.jsonl: cannot be read: {error.strerror}"]
    if hashlib.sha256(content).hexdigest() != generation.card.get("manifest"):
        return ["manifest.jsonl: was changed"]
    if generation.prefix.is_symlink():
        return [f"{PREFIX}: is a link"]
    try:
        actual = manifest.take(generation.prefix)
        exposed = manifest.exposed(generation.prefix)
    except (OSError, StoreError) as error:
        return [f"{PREFIX}: cannot be read whole: {error}"]
    wrong = list(manifest.differences(manifest.from_bytes(content), actual))
    wrong += [f"{shown(path)}: can be written by everybody" for path in exposed]
    moved = _moved_gate(generation)  # what was put in and taken out again left no other trace
    return wrong or ([f"{shown(moved)}: packages were put in or taken out again since it was built"] if moved else [])


def _verify_file(generation: Generation) -> list[str]:
    """Return what of an environment's file and of the program that mounts it is no longer as it was published."""
    wrong = []
    for name, digest in ((IMAGE, generation.card["image"]), (START, generation.card["start"])):
        try:
            if manifest.digest_file(generation.folder / name) != digest:
                wrong.append(f"{name}: was changed")
        except OSError as error:
            wrong.append(f"{name}: cannot be read: {error.strerror}")
    if not stat.S_ISDIR(os.lstat(generation.prefix).st_mode):
        wrong.append(f"{PREFIX}: is not a folder")
    return wrong
