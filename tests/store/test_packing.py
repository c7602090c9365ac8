"""An environment packed into one file: the same bytes for the same files, and either whole or refused."""

from __future__ import annotations

import dataclasses
import errno
import os
import py_compile
import re
import shlex
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from ozrepro.errors import CommandFailed
from ozrepro.store.forms import IMAGE, MARKER, START, Tools, find_tools
from ozrepro.store.manifest import digest_file
from ozrepro.store.packing import pack, sort_lines
from tests.needs import STRACE
from tests.store.test_faults import FULL

CALLS = ("openat", "read", "pread64", "write", "lseek", "close", "newfstatat", "getdents64", "readlink")
TOOLS = find_tools(os.environ["PATH"], None)
pytestmark = pytest.mark.skipif(isinstance(TOOLS, str), reason=str(TOOLS))


def tools() -> Tools:
    assert isinstance(TOOLS, Tools)
    return TOOLS


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Give an environment of some hundred files, one larger than a block, with links and two kinds of bytecode."""
    made = tmp_path / "built" / "env"
    (made / "lib" / "__pycache__").mkdir(parents=True)
    (made / "bin").mkdir()
    for number in range(300):
        (made / "lib" / f"module{number}.py").write_text(f"VALUE = {number}\n" * number)
    (made / "lib" / "large.so").write_bytes(b"".join(number.to_bytes(4, "big") for number in range(150_000)))
    (made / "bin" / "python").symlink_to("/usr/bin/python3")
    os.link(made / "lib" / "module1.py", made / "lib" / "again.py")
    for number, mode in ((1, "TIMESTAMP"), (2, "UNCHECKED_HASH")):
        os.utime(made / "lib" / f"module{number}.py", (10**9, 10**9))
        py_compile.compile(
            str(made / "lib" / f"module{number}.py"), doraise=True, invalidation_mode=py_compile.PycInvalidationMode[mode]
        )
    return made


def copied(prefix: Path, name: str) -> Path:
    """Return a copy whose files have the time of now, but for the source of bytecode that is valid for its date."""
    made = prefix.parent.with_name(name) / "env"
    shutil.copytree(prefix, made, symlinks=True, copy_function=shutil.copy)
    os.utime(made / "lib" / "module1.py", (10**9, 10**9))
    (made / "lib" / "again.py").unlink()
    os.link(made / "lib" / "module1.py", made / "lib" / "again.py")
    return made


def packed(prefix: Path, name: str, using: Tools, *more: int) -> tuple[str, int]:
    folder = prefix.parent.with_name(name)
    folder.mkdir(exist_ok=True)
    return pack(prefix, folder, using, ["lib/large.so", "lib/module7.py"], *more)


def test_the_same_files_give_the_same_bytes_whatever_their_times_and_the_number_of_threads(prefix: Path) -> None:
    other = copied(prefix, "copy")
    digests = {
        packed(each, f"{name} {count}", tools(), count) for each, name in ((prefix, "a"), (other, "b")) for count in (1, 2)
    }
    assert len(digests) == 1
    folder = prefix.parent.with_name("a 1")
    assert digests == {(digest_file(folder / IMAGE), os.stat(folder / IMAGE).st_size)}
    assert [oct(os.stat(folder / name).st_mode)[-3:] for name in (IMAGE, START)] == ["444", "555"]


def test_one_changed_byte_gives_another_file(prefix: Path) -> None:
    other = copied(prefix, "copy")
    (other / "lib" / "module9.py").write_text("VALUE = 8\n" * 9)
    assert packed(prefix, "a", tools()) != packed(other, "b", tools())


def test_the_source_of_bytecode_that_is_valid_for_its_date_keeps_it(prefix: Path) -> None:
    packed(prefix, "a", tools())
    times = [os.stat(prefix / "lib" / name).st_mtime for name in ("module1.py", "module2.py", "module3.py", "large.so")]
    assert times == [1e9, 315532800, 315532800, 315532800]
    assert (prefix / MARKER).exists()


def test_a_sort_file_names_what_it_can_in_the_order_in_which_it_is_opened() -> None:
    lines = sort_lines(["b.py", "a.py", "b.py", "a name.py", "", 'quo"ted'])
    assert [line.split()[0] for line in lines] == ["b.py", "a.py"]
    assert [int(line.split()[1]) for line in lines] == sorted((int(line.split()[1]) for line in lines), reverse=True)
    many = sort_lines(f"{number}.py" for number in range(100_000))
    assert all(1 <= int(line.split()[1]) <= 32767 for line in many)


def test_a_disk_that_is_full_while_it_is_written_is_told_as_such(prefix: Path, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64k", str(small_disk)], check=True, capture_output=True)
    with pytest.raises(OSError, match="No space left on device") as caught:
        pack(prefix, small_disk, tools(), [])
    assert caught.value.errno == errno.ENOSPC


@STRACE
def test_each_failing_call_of_the_packing_gives_an_error_or_the_same_file(prefix: Path, tmp_path: Path) -> None:
    """Of mksquashfs itself, in whichever of its threads: a folder that cannot be read, or a file, once gave a smaller file and no error.

    OZREPRO_TEST_FAULTS=full takes every call.
    """
    whole = packed(prefix, "whole", tools(), 1)

    def traced(*words: str) -> tuple[str, int]:
        program = tmp_path / "mksquashfs"
        program.write_text(f'#!/bin/sh\nexec {shlex.join(("strace", "-f", "-qq", *words, tools().mksquashfs))} "$@"\n')
        program.chmod(0o755)
        shutil.rmtree(tmp_path / "packed", ignore_errors=True)
        return packed(prefix, "packed", dataclasses.replace(tools(), mksquashfs=str(program)), 1)

    log = tmp_path / "log"
    assert traced("-e", f"trace={','.join(CALLS)}", "-o", str(log)) == whole
    # strace counts the calls of each thread for itself.
    counts = Counter(re.findall(r"^(\d+) +(\w+)\(", log.read_text(encoding="utf-8", errors="replace"), re.MULTILINE))
    most = {call: max((number for (_, name), number in counts.items() if name == call), default=0) for call in CALLS}
    refused = taken = 0
    for call in CALLS:
        for when in map(str, range(1, most[call] + 1)) if FULL else ("1", "3", "5+"):
            inject = f"inject={call}:error={'ENOSPC' if call == 'write' else 'EIO'}:when={when}"
            taken += 1
            try:
                assert traced("-o", os.devnull, "-e", f"trace={call}", "-e", inject) == whole, (call, when)
            except (CommandFailed, OSError):
                refused += 1
    print(f"\n{taken} of {sum(most.values())} calls of mksquashfs failed: {refused} refused, {taken - refused} the same file")
    assert refused > 10
    assert sum(most.values()) > 1000
