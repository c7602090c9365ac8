"""A packed environment, whom its programs are started as, and what is left of it when they have ended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ozrepro.environment import Environment
from ozrepro.faststart.start import executed
from ozrepro.store.forms import START, Tools, find_tools, start_text
from ozrepro.store.manifest import digest_file
from ozrepro.store.packing import pack
from ozrepro.store.publish import CARD, Generation
from ozrepro.store.publish import _made as made
from tests.fake_cluster import BASE_PATH
from tests.fake_cluster.ordinary import Account

PYTHON = shutil.which("python3", path=BASE_PATH) or "python3"
"""The machine's: the ordinary user can run it, and it lies outside of what is mounted."""

AS_ROOT_TOO = pytest.mark.parametrize("who", ["an ordinary user", "root"], indirect=True, scope="module")
"""Runs a test as root too, which is root of its namespace in another way."""

PROBE = """\
import ctypes, json, os, resource, signal, sys
def numbers():
    for name in os.listdir("/proc/self/fd"):
        try:
            yield int(name), os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the one that lists them
            pass
fds = dict(numbers())
def text(path):
    with open(path, "rb") as stream:
        return stream.read().decode("latin-1")
try:
    folder = os.getcwd()
except OSError as error:
    folder = str(error)
try:
    child = os.wait()
except ChildProcessError:
    child = None
status = dict(line.split(":", 1) for line in text("/proc/self/status").splitlines())
umask = os.umask(0)
seen = {
    "pid": os.getpid(), "child": child, "folder": folder, "fds": fds, "umask": umask,
    "argv": [os.fsencode(word).decode("latin-1") for word in sys.argv[2:]],
    "environ": sorted(text("/proc/self/environ").split("\\0")),
    "ids": [os.getresuid(), os.getresgid()], "group": os.getpgrp(), "session": os.getsid(0), "parent": os.getppid(),
    "signals": [status[name].strip() for name in ("SigBlk", "SigIgn")], "rights": status["CapAmb"].strip(),
    "limits": [resource.getrlimit(number) for number in range(16)], "nice": os.nice(0), "groups": len(os.getgroups()),
    "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
}
with open(sys.argv[1], "w") as stream:
    json.dump(seen, stream)
"""
"""Writes all that a program can see of how it was started into the file that its first argument names."""


@dataclass(frozen=True)
class Packed:
    """A generation with `env.sqfs` and `start`, and a folder in which the user can write."""

    folder: Path
    work: Path
    account: Account | None
    """Whom programs are run as, None for whom the tests are."""
    text: str = ""
    """The text of `start` that bash is given, as a launcher does it; "" where `start` itself is executed."""

    def by_text(self) -> Packed:
        """Return the same whose commands are started as a launcher starts them."""
        card = json.loads((self.folder / CARD).read_bytes())
        return replace(self, text=start_text(Generation(self.folder, card)))

    @property
    def front(self) -> list[str]:
        """The words in front of a command that is started."""
        return executed(Environment(mount=self.start, mount_text=self.text), [self.start])

    @property
    def start(self) -> str:
        """The path of the program that starts commands."""
        return str(self.folder / START)

    @property
    def env(self) -> Path:
        """Where the environment is mounted."""
        return self.folder / "env"

    def words(self, *words: str | bytes) -> list[str | bytes]:
        """Return the words that run words as the user; the process stays the same one."""
        return [*(self.account.command() if self.account else ()), *words]

    def run(self, *words: str | bytes, plain: bool = False, **more: Any) -> subprocess.CompletedProcess[str]:
        """Start words in the environment, `plain` without it, and return how they ended."""
        options: dict[str, Any] = {"env": variables(), "cwd": self.work, "capture_output": True, "timeout": 60, **more}
        before = () if plain else self.front
        options.setdefault("encoding", "utf-8")
        return subprocess.run(self.words(*before, *words), check=False, **options)

    def popen(self, *words: str | bytes, **more: Any) -> subprocess.Popen[bytes]:
        """Start words in the environment, with pipes to them."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(self.words(*self.front, *words), **{"env": variables(), "cwd": self.work, **pipes, **more})

    def publish(self) -> None:
        """Write the card that binds the file as it is now."""
        card = {"made": made(self.folder, "file"), "start": digest_file(self.folder / START)}
        (self.folder / CARD).write_text(json.dumps(card, indent=1))

    def seen(
        self, *arguments: str | bytes, before: Sequence[str] = (), plain: bool = False, said: str | None = "", **more: Any
    ) -> dict[str, Any]:
        """Return what a program sees that is started so, behind the words `before`; and insist on what else was printed."""
        script, answer = self.work / "probe.py", self.work / "answer"
        script.write_text(PROBE)
        answer.unlink(missing_ok=True)
        probe = (PYTHON, "-IS", str(script), str(answer), *arguments)
        with open(self.work / "said", "w+", encoding="utf-8") as errors:
            done = subprocess.run(
                self.words(*before, *(() if plain else self.front), *probe),
                **{"env": variables(), "cwd": self.work, "stdin": subprocess.DEVNULL, **more},
                stdout=subprocess.DEVNULL,
                stderr=errors,
                timeout=60,
                check=False,
            )
            errors.seek(0)
            printed = errors.read()
        assert done.returncode == 0, (done.returncode, printed)
        assert said is None or printed == said
        seen: dict[str, Any] = json.loads(answer.read_text())
        return seen

    def leftovers(self) -> list[str]:
        """Return what there is now of this environment: processes, in a line each, and mounts. Zombies do not count."""
        left = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
                mounts = (process / "mountinfo").read_text()
            except OSError:  # it has ended
                continue
            if words != [b""] and int(process.name) != os.getpid():
                named = any(str(self.folder).encode() in word for word in words)
                if named or f"{self.folder}/env".replace(" ", "\\040") in mounts:
                    left.append(f"{process.name} {b' '.join(words).decode(errors='replace')[:120]}")
        return left

    def ended(self, seconds: float = 10) -> list[str]:
        """Wait until nothing is left, and return what is left all the same."""
        wait(lambda: not self.leftovers(), seconds)
        return self.leftovers()


def wait(done: Callable[[], object], seconds: float = 20) -> bool:
    """Wait for something that others bring about, and say whether it came."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def variables(**more: str) -> dict[str, str]:
    """Return the variables that a program is started with."""
    return {"PATH": BASE_PATH, "LANG": "C.UTF-8", **more}


def tools() -> Tools:
    """Return the machine's tools."""
    found = find_tools(BASE_PATH, None)
    assert isinstance(found, Tools), found
    return found


def make(top: Path, account: Account | None, name: str = "a generation", files: Sequence[tuple[str, str]] = ()) -> Packed:
    """Pack a small environment below a folder: a file, a folder with a space, a script, and what else is named."""
    folder, work = top / name, top / "some work"
    tree = folder / "env"
    (tree / "bin").mkdir(parents=True)
    (tree / "a folder").mkdir()
    for path, content in (("word", f"{name}\n"), ("bin/hello", '#!/bin/sh\necho "hello $*"\n'), *files):
        (tree / path).write_text(content)
        (tree / path).chmod(0o755 if path.startswith("bin/") else 0o644)
    (tree / "bin" / "python").symlink_to(PYTHON)
    pack(tree, folder, tools(), [])
    shutil.rmtree(tree)
    tree.mkdir(mode=0o555)
    work.mkdir(exist_ok=True)
    if account:
        account.give(work)
    packed = Packed(folder, work, account)
    packed.publish()
    return packed
