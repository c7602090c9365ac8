"""The emulator: a folder mounted as on a Lustre of a given profile, by a process of its own.

Each mount is a client node with caches of its own; all share one metadata server. Or several folders are served in their own
place, for one node, so that programs find them under the paths that they have in mind. Needs the extra `lustre` (mfusepy),
libfuse, /dev/fuse, and root or fusermount3. `python -m ozrepro.frontends.bench.lustre.emulator SOURCE MOUNT…`, or with
`--in-place FOLDER…`, runs until a SIGTERM or until all mounts are gone; SIGUSR1 makes it say the requests so far, as a line of
JSON on standard error.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import queue
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from ctypes.util import find_library
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.errors import OzreproError
from ozrepro.faststart import ownpath
from ozrepro.frontends.bench.lustre.model import Totals
from ozrepro.frontends.bench.lustre.mounting import SOURCE, fusermount, is_mounted, unmount
from ozrepro.frontends.bench.lustre.profile import PRESETS, QUIET, Profile, read_profile, write_profile
from ozrepro.site.namespace import may_mount

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from ozrepro.frontends.bench.lustre.emulated import Tree

__all__ = ["Emulator", "main"]

_PATIENCE = 60.0
_SETTLING = 2.0
_ANSWERS = frozenset({"started", "ready", "totals"})
_PR_SET_PDEATHSIG = 1
_PR_SET_TIMERSLACK = 29


class Emulator:
    """A folder at one or several mounts, as long as a `with` lasts. Whatever happens, no mount is left behind.

    `source` is only read. Each of `mounts` is an empty folder outside of it, made where it is missing; without a source each
    shows the folder that is there: see `over`. Through `writable` mounts the folder can be changed, as a build does.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | None,
        mounts: Sequence[str | os.PathLike[str]],
        profile: Profile,
        *,
        writable: bool = False,
    ) -> None:
        self.source = None if source is None else os.path.realpath(source)
        self.mounts = tuple(os.path.abspath(mount) for mount in mounts)
        self.profile = profile
        self.writable = writable
        self._words: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._failure = ""
        self._pid = 0

    @classmethod
    def over(cls, folders: Sequence[str | os.PathLike[str]], profile: Profile) -> Emulator:
        """Return an emulator that shows folders in their own place, as one node sees them. None is to be inside another.

        Everybody who sees the mounts finds the folders read-only meanwhile: see `namespace.enter`.
        """
        return cls(None, folders, profile)

    @staticmethod
    def unavailable(*, in_place: bool = False) -> str:
        """Return why there can be no emulator here, with what would help, or nothing; `in_place` needs no program to mount."""
        if not os.path.exists("/dev/fuse"):
            return "the emulator needs /dev/fuse: load the kernel's module fuse, or let the container have it"
        if in_place and not os.access("/dev/fuse", os.R_OK | os.W_OK):  # otherwise fusermount3 opens it, as root
            return "the emulator may not open /dev/fuse: chmod 666 /dev/fuse, as root"
        if not in_place and os.geteuid() != 0 and fusermount() is None:
            return "the emulator needs root or fusermount3: apt-get install fuse3"
        try:
            import mfusepy  # noqa: F401
        except ImportError:
            return "the emulator needs mfusepy: pip install 'ozrepro[lustre]'"
        except OSError as error:
            return f"the emulator needs libfuse ({error}): apt-get install libfuse3-3"
        return ""

    def __enter__(self) -> Emulator:  # noqa: PYI034 - typing.Self is of Python 3.11
        reason = self._refusal() or self.unavailable(in_place=self.source is None)
        if reason:
            raise OzreproError(reason)
        self._start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def remount(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Mount everything again: cold clients, idle servers, totals from zero. `meanwhile` is called with nothing mounted."""
        self._stop()
        meanwhile()
        self._start()

    def totals(self) -> Totals:
        """Return the requests of all mounts since they were made.

        The kernel ends some closes after the program that made them, for which this waits up to two seconds. Not for several
        threads at once. Raises OzreproError when the emulator has been killed.
        """
        if not self._pid:  # a signal to process 0 is one to all of this program
            raise OzreproError("the emulator is not running", hint="ask for its totals inside its `with`")
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGUSR1)
        return Totals.from_dict(json.loads(self._answer("totals")))

    def _refusal(self) -> str:
        shown = self.mounts if self.source is None else (self.source,)
        missing = [folder for folder in shown if not os.path.isdir(folder)]
        if missing:
            return f"cannot emulate {missing[0]}: no such directory"
        if self.source is None:
            return "" if self.mounts else "there is nothing to emulate"
        reasons = [_taken(mount, self.source) for mount in self.mounts] or ["the emulator needs at least one mount"]
        return next(filter(None, reasons), "")

    def _start(self) -> None:
        for mount in self.mounts:
            try:
                os.makedirs(mount, exist_ok=True)
            except OSError as error:
                raise OzreproError(f"cannot make the folder {mount} to mount at: {error.strerror}") from error
        self._words, self._failure = queue.SimpleQueue(), ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        with may_mount():
            self._thread.start()
        try:
            self._pid = int(self._answer("started"))
            self._answer("ready")
        except BaseException:
            self._stop()
            raise

    def _run(self) -> None:
        with tempfile.TemporaryDirectory(prefix="ozrepro-lustre-") as folder:
            profile = Path(folder) / "profile.toml"
            try:
                write_profile(self.profile, profile)
                folders = ["--in-place", *self.mounts] if self.source is None else [self.source, *self.mounts]
                if self.writable:
                    folders.insert(0, "--writable")
                command = ownpath.helper("ozrepro.frontends.bench.lustre.emulator", "--profile", str(profile), *map(str, folders))
                done = process.run(command, env=os.environ, cwd=folder, on_line=self._words.put)
                said = [line for line in done.errors.splitlines() if line.split(" ", 1)[0] not in _ANSWERS]
                self._failure = "\n    ".join(said[-12:])
            except OzreproError as error:
                self._failure = str(error)
            finally:
                self._words.put(None)

    def _answer(self, word: str) -> str:
        """Return what follows `word` in the next line of the emulator that begins with it."""
        while True:
            try:
                line = self._words.get(timeout=_PATIENCE)
            except queue.Empty:
                raise OzreproError(f"the emulator did not answer within {_PATIENCE:g} s") from None
            if line is None:
                self._words.put(None)
                raise OzreproError(f"the emulator has ended: {self._failure or 'it was killed'}")
            if line.split(" ", 1)[0] == word:
                return line.split(" ", 1)[1]

    def _stop(self) -> None:
        thread, self._thread = self._thread, None
        pid, self._pid = self._pid, 0
        try:
            if thread is not None and thread.is_alive() and not pid:  # ended before it said its number
                with suppress(OzreproError):
                    pid = int(self._answer("started"))
            if thread is not None and thread.is_alive() and pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                thread.join(_PATIENCE)
                if thread.is_alive():
                    os.kill(pid, signal.SIGKILL)
                    thread.join()
        finally:
            for mount in self.mounts:
                if is_mounted(mount, SOURCE):
                    unmount(mount)


def _taken(mount: str, source: str) -> str:
    """Return why the folder `source` cannot be shown at a mount, or nothing."""
    if os.path.commonpath([source, os.path.realpath(os.path.dirname(mount))]) == source:
        return f"{mount} cannot be a mount: it is inside the folder {source} that it would show"
    if is_mounted(mount):
        return f"something is mounted at {mount} already; fusermount3 -u -z {mount} takes it away"
    return ""


def main(argv: Sequence[str] | None = None) -> int:
    """Serve mounts until told to end; return the exit status: 1 when one of them could not be made."""
    parser = argparse.ArgumentParser(
        prog="python -m ozrepro.frontends.bench.lustre.emulator", description="Mount a folder as on a Lustre."
    )
    parser.add_argument("folders", nargs="+", help="the folder to show, and where to mount it: one client node each")
    parser.add_argument("--in-place", action="store_true", help="show each folder in its own place, all to one client node")
    parser.add_argument("--writable", action="store_true", help="let the folder be changed through its mounts")
    parser.add_argument("--profile", default=QUIET.name, help=f"a profile's file, or one of {', '.join(PRESETS)}")
    given = parser.parse_args(argv)
    profile = PRESETS.get(given.profile) or read_profile(Path(given.profile))
    # Blocked before any thread starts, so that each signal waits for `sigwait` below.
    awaited = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    _prepare()
    _say(f"started {os.getpid()}")
    if given.in_place:
        places = [(_held(folder), folder, 0) for folder in given.folders]
    else:
        places = [(given.folders[0], mount, number) for number, mount in enumerate(given.folders[1:])]
    # The helper is setuid, which counts for nothing in a user's namespace; and that ends with its last process anyway.
    helper = not given.in_place and fusermount() is not None
    return _Daemon(places, profile, helper=helper, writable=given.writable).run(awaited)


def _prepare() -> None:
    """Choose libfuse 3, and ask the kernel for short timers and for the end of this process when the one that started it ends."""
    if "FUSE_LIBRARY_PATH" not in os.environ and find_library("fuse3"):
        os.environ["FUSE_LIBRARY_NAME"] = "fuse3"  # mfusepy would take libfuse 2 where both are there
    parent = os.getppid()
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we asked
        os.kill(os.getpid(), signal.SIGTERM)


class _Daemon:
    """The process behind the mounts: one thread for each, and the first one for signals.

    Of `places` each has the folder that is shown, where it is mounted, and the number of the client node that sees it there.
    """

    def __init__(self, places: Sequence[tuple[str, str, int]], profile: Profile, *, helper: bool, writable: bool) -> None:
        from ozrepro.frontends.bench.lustre.emulated import Ledger, Tree
        from ozrepro.frontends.bench.lustre.writable import WritableTree

        self.mounts = tuple(mount for _, mount, _ in places)
        self.helper, self.writable = helper, writable
        self.ledger = Ledger(profile, len({number for _, _, number in places}))
        kind = WritableTree if writable else Tree
        self.trees = [kind(source, number, self.ledger, profile, self._mounted) for source, _, number in places]
        self.lock, self.settled = threading.Lock(), threading.Semaphore(0)
        self.coming = self.left = len(places)
        self.status = 0

    def run(self, awaited: set[signal.Signals]) -> int:
        """Serve until a signal says to end."""
        threads = [
            threading.Thread(target=self._serve, args=item, daemon=True) for item in zip(self.trees, self.mounts, strict=True)
        ]
        for thread in threads:
            # One mount after the other: fusermount3 would inherit the pipe of another that is being made, and never see it close.
            thread.start()
            self.settled.acquire()
        while signal.sigwait(awaited) == signal.SIGUSR1:
            _say(f"totals {json.dumps(self.ledger.totals(_SETTLING).as_dict())}")
        for mount in self.mounts:
            if is_mounted(mount, SOURCE):
                unmount(mount)
        for thread in threads:
            thread.join(_SETTLING)
        return self.status

    def _mounted(self) -> None:
        with self.lock:
            self.coming -= 1
            if self.coming == 0:
                _say(f"ready {len(self.mounts)}")
        self.settled.release()

    def _serve(self, tree: Tree, mount: str) -> None:
        from ozrepro.frontends.bench.lustre.emulated import serve

        try:
            serve(tree, mount, helper=self.helper, writable=self.writable)
        except RuntimeError as error:
            self.status = 1
            _say(f"cannot mount {mount}: libfuse ended with status {error}")
        self.settled.release()
        with self.lock:
            self.left -= 1
            last = self.left == 0 or self.status
        if last:
            os.kill(os.getpid(), signal.SIGTERM)


def _held(folder: str) -> str:
    """Return a path that leads to a folder also after something was mounted over it: a descriptor stays below."""
    return f"/proc/self/fd/{os.open(folder, os.O_PATH | os.O_DIRECTORY)}"


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    state = main()
    sys.stderr.flush()
    os._exit(state)  # threads of libfuse may still wait for the last user of a mount; nothing of theirs is to be saved
