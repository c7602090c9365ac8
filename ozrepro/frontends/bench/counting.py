"""Counts what a start asks of the file system under test, by strace, in runs of their own: tracing changes times.

The traced program is the whole command, so of an image it is also what mounts and reads it. A process of another user, such as a
setuid starter or mount helper, loses its rights under strace: then the count fails and says so.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro import process
from ozrepro.errors import CommandFailed
from ozrepro.frontends.bench.launch import own_words, words_of
from ozrepro.frontends.bench.lustre.counters import read_requests, requests_between
from ozrepro.frontends.bench.result import Counted, Replay
from ozrepro.process import find_program
from ozrepro.store.forms import MARKER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ozrepro.frontends.bench.candidate import Candidate
    from ozrepro.frontends.bench.launch import Starter
    from ozrepro.frontends.bench.lustre.model import Request
    from ozrepro.frontends.bench.lustre.profile import Profile
    from ozrepro.frontends.bench.lustre.trace import Event
    from ozrepro.frontends.bench.workload import Workload

POINTS = ((1, 1), (1, 16), (8, 32), (64, 32))
"""Nodes and ranks on each for which the replay says when the last is ready."""

_SESSION = "/mnt/session/"
"""Part of each path below Apptainer's own mounts, of memory and of the image: they may lie below the folder of its installation,
and ask nothing of the file system that it is on."""


def why_not(environ: Mapping[str, str], cwd: Path) -> str:
    """Return why nothing can be counted here, "" where it can."""
    strace = find_program("strace", environ.get("PATH", ""))
    if strace is None:
        return "strace is not here: no system calls were counted, and no requests predicted"
    true = find_program("true", "/usr/bin:/bin") or "true"
    done = process.run([strace, "-o", os.devnull, true], env=dict(environ), cwd=cwd, timeout=60)
    if done.status == 0:
        return ""
    said = (done.errors.strip().splitlines() or ["no reason given"])[-1]
    return f"strace may not trace here ({said}): no system calls were counted, and no requests predicted"


@dataclass(frozen=True, slots=True)
class Asked:
    """What one start asks: what it did, rows of a cold client and of one that has seen it all, and the requests of each."""

    events: tuple[Event, ...]
    rows: tuple[Counted, Counted]
    cold: tuple[Request, ...]
    warm: tuple[Request, ...]

    @property
    def metadata(self) -> tuple[dict[str, int], dict[str, int]]:
        """Requests to the metadata server by kind: of the first start on a node, and of the next one."""
        return _to_metadata(self.cold), _to_metadata(self.warm)


def _to_metadata(sent: Iterable[Request]) -> dict[str, int]:
    return dict(Counter(request.kind for request in sent if request.server == "mds"))


def count(
    starter: Starter,
    candidate: Candidate,
    workload: Workload,
    timeout: float,
    *,
    profile: Profile,
    counters_root: Path = Path("/"),
) -> Asked:
    """Trace one start and return what it asks. Raises CommandFailed where the program or the tracing fails.

    `profile` says how large the client's reads are, and from when on it holds the lock on an open file. `counters_root` is the
    folder that proc/ is in, with the counters of a Lustre client. A start that nobody counts has come first, so that
    this client knows the files.
    """
    from ozrepro.frontends.bench.lustre.model import Client, Totals, requests
    from ozrepro.frontends.bench.lustre.trace import count as count_events
    from ozrepro.frontends.bench.lustre.trace import read_trace

    candidate = candidate.mounted_anew()  # a mount that a job shares would be served by what is not traced, and outlive the start
    before = read_requests(counters_root)
    text = trace(starter, candidate, workload, timeout)
    told = requests_between(before, read_requests(counters_root))
    events = read_trace(text, roots=candidate.roots, cwd=str(starter.cwd))
    if candidate.is_image:
        events = tuple(event for event in events if _SESSION not in f"{event.path}/")
    if candidate.file:
        # What is mounted is read from the file, which squashfuse does; before, one file was looked for in vain.
        inside = tuple(f"{path}/" for path in (candidate.prefix, *candidate.covered))
        sought = (f"{candidate.prefix}/{MARKER}", False)
        events = tuple(event for event in events if not event.path.startswith(inside) or (event.path, event.found) == sought)
    found, client = count_events(events), Client(candidate.roots, profile)
    sent = (requests(events, client), requests(events, client))
    rows = tuple(
        Counted(
            candidate=candidate.name,
            workload=workload.name,
            state=state,
            **asdict(found),
            requests=Totals.of(part).as_dict(),
            client=told if state == "warm" else None,
        )
        for state, part in zip(("cold-client", "warm"), sent, strict=True)
    )
    return Asked(events, (rows[0], rows[1]), *sent)


def trace(starter: Starter, candidate: Candidate, workload: Workload, timeout: float) -> str:
    """Return strace's text of one start. Raises CommandFailed where the program fails under it, or takes over `timeout` seconds.

    It is started by the launcher as those that are timed are: what a program leaves running behind it holds nobody up.
    """
    from ozrepro.frontends.bench.lustre.trace import CALLS

    strace = find_program("strace", starter.caller.get("PATH", ""))
    if strace is None:
        raise CommandFailed("strace is not here")
    words = starter.program(words_of(candidate, workload), candidate)
    with tempfile.TemporaryDirectory(prefix="ozrepro-bench-") as folder:
        log = Path(folder) / "calls"
        command = [strace, "-f", "-y", "-q", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", str(log), "--", *words]
        answer = starter.run([command], candidate, timeout=timeout)
        if "lost" in answer:
            raise CommandFailed(f"counting: strace {answer['lost']}")
        (end,) = answer["ends"]
        output, errors = (end[name].decode("utf-8", "replace") for name in ("output", "errors"))
        process.Finished((strace,), end["status"], own_words(output), errors).checked("counting")
        text = log.read_text(encoding="utf-8", errors="surrogateescape")
    if not text.rstrip().endswith("+++"):  # it ends with how the last process did; strace goes on where a disk is full
        raise CommandFailed(f"counting: what strace wrote is incomplete: is there room in {tempfile.gettempdir()}?")
    return text


def replays(
    candidate: Candidate, asked: Asked, profiles: Iterable[Profile], points: Sequence[tuple[int, int]] = POINTS
) -> tuple[Replay, ...]:
    """Return what the model says of many nodes and ranks that start at once, for each profile."""
    from ozrepro.frontends.bench.lustre.model import Client, requests
    from ozrepro.frontends.bench.lustre.replay import replay

    found = []
    for profile in profiles:
        cold = requests(asked.events, Client(candidate.roots, profile))
        for nodes, ranks in points:
            last = replay(cold, profile, nodes=nodes, ranks=ranks, shared=True).last
            found.append(Replay(candidate.name, nodes, ranks, profile.name, last, asked.rows[0].workload))
    return tuple(found)
