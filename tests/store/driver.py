"""One process that wants one environment from a store: what the tests start many times, kill, and starve.

It says `building` and `waiting …` on standard error, and in the end `{"generation": …, "built": …}` on standard output.
Exit status: 0 a whole environment, 1 an error of ozrepro (told on standard error), 3 an environment that is not whole.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path

from ozrepro import process
from ozrepro.errors import BuildError, OzreproError
from ozrepro.store import Store, forms, manifest, packing, turn
from ozrepro.store.publish import PREFIX, Generation, Recipe, provide, take_whole, verify

ODD_NAME = os.fsdecode(b'lib/new\nline "quoted" and \xff no text')


def key_of(text: str) -> str:
    """Return a store's key for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def paths_of(count: int) -> list[str]:
    """Return the paths that a whole environment of `count` files has: these, one program, one link."""
    names = [f"lib/d{number % 7}/e{number % 3}/f{number}" for number in range(count - 1)]
    return sorted([*names, ODD_NAME, "bin/tool", "bin/link"])


def fill(prefix: Path, count: int) -> None:
    """Write the environment's files as an installer does: one after the other, in subfolders."""
    for path in paths_of(count):
        full = prefix / path
        full.parent.mkdir(parents=True, exist_ok=True)
        if path == "bin/link":
            full.symlink_to("tool")
        else:
            full.write_bytes(path.encode(errors="surrogateescape") * 20)
        if path == "bin/tool":
            full.chmod(0o755)


def tell(word: str) -> None:
    """Say something on standard error at once."""
    os.write(2, f"{word}\n".encode())


def is_whole(generation: Generation, count: int) -> bool:
    """Say whether a generation is as its manifest says, and has all that the build makes, not only what the manifest lists."""
    wrong = verify(generation)
    if generation.form == "file":
        return not wrong and generation.inside == len(paths_of(count))
    found = manifest.walk(generation.prefix)
    for line in wrong:
        tell(f"not whole: {line}")
    if found != paths_of(count):
        tell(f"not whole: {len(found)} files")
    tool = os.stat(generation.prefix / "bin" / "link").st_mode
    return not wrong and found == paths_of(count) and bool(tool & 0o100)


def arguments() -> argparse.Namespace:
    """Return the driver's options."""
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    parser.add_argument("--key", default="one")
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--locks", default="auto")
    parser.add_argument("--lease", type=float, default=120.0)
    parser.add_argument("--patience", type=float, default=120.0)
    parser.add_argument("--log", type=Path, help="a file or FIFO to which each build adds its process id")
    parser.add_argument("--gate", type=Path, help="a FIFO: each build goes on when it has got one byte from there")
    parser.add_argument("--fail", action="store_true", help="fail the build")
    parser.add_argument("--installer", action="store_true", help="let a child process do the build")
    parser.add_argument("--rebuild", action="store_true")
    parser.add_argument("--first-word", type=float, default=5.0)
    parser.add_argument(
        "--one-processor", action="store_true", help="no threads: the same system calls in the same order each time"
    )
    parser.add_argument("--unchecked", action="store_true", help="leave the check of the result to the caller")
    parser.add_argument("--packed", action="store_true", help="build it as one file")
    parser.add_argument("--install", type=Path, help="only do the build in this folder")
    return parser.parse_args()


def install(options: argparse.Namespace, prefix: Path) -> None:
    """Do the build itself: sign the log, wait at the gate, write the files."""
    if options.log is not None:
        descriptor = os.open(options.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        os.close(descriptor)
    if options.gate is not None:
        with open(options.gate, "rb", buffering=0) as gate:
            gate.read(1)
    if options.fail:
        raise BuildError("this build was told to fail")
    fill(prefix, options.files)


def build(options: argparse.Namespace, prefix: Path) -> None:
    """Build the environment here or, as uv does, in a child process."""
    tell("building")
    if not options.installer:
        install(options, prefix)
        return
    words = [sys.executable, *sys.argv, "--install", str(prefix)]
    process.run(words, env=dict(os.environ)).checked("installing")


def pack(options: argparse.Namespace, folder: Path) -> packing.Packed:
    """Build the environment in a folder outside of the store, and put its file into the generation's."""
    tools = forms.find_tools(os.environ["PATH"], None)
    assert isinstance(tools, forms.Tools)
    tell("building")
    with tempfile.TemporaryDirectory() as place:
        install(options, Path(place) / "env")
        entries = take_whole(Path(place) / "env", None)
        sha256, size = packing.pack(Path(place) / "env", folder, tools, ["bin/tool"])
    (folder / PREFIX).mkdir()
    return packing.Packed(sha256, size, len(entries), sum(entry.size for entry in entries))


@process.ended_by_signals()
def main() -> int:
    """Provide the environment, check it, and say what came out."""
    options = arguments()
    if options.one_processor:
        usable = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {usable[os.getpid() % len(usable)]})
    if options.install is not None:
        install(options, options.install)
        return 0
    turn.FIRST_WORD = options.first_word
    store = Store(options.store, options.locks, options.patience, options.lease, poll=(0.02, 0.2))
    try:
        store.open()
        tell("opened")
        packs = (lambda folder: pack(options, folder)) if options.packed else None
        recipe = Recipe(key_of(options.key), {"session": "test"}, lambda prefix: build(options, prefix), packs)
        generation, built = provide(store, recipe, tell, rebuild=options.rebuild)
        whole = options.unchecked or is_whole(generation, options.files)
    except OzreproError as error:
        tell(f"error: {error}")
        return 1
    except process.Ended as end:
        return end.status
    print(json.dumps({"generation": generation.folder.name, "built": built}))
    return 0 if whole else 3


if __name__ == "__main__":
    sys.exit(main())
