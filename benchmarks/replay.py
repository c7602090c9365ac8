"""How long the replay takes for a million requests, and what it then says, for the presets of the Lustre model.

Times are printed, never asserted; the requests that are replayed are those of a made-up start of about 490.
"""

from __future__ import annotations

import time

from ozrepro.frontends.bench.lustre.model import PRESETS, Client, Totals, requests
from ozrepro.frontends.bench.lustre.replay import replay
from ozrepro.frontends.bench.lustre.trace import Event

NODES, RANKS = 64, 32


def start(modules: int) -> list[Event]:
    """Return what a program does that imports so many modules from one folder."""
    events = [Event("dir", "/fs/lib"), Event("opendir", "/fs/lib"), Event("readdir", "/fs/lib"), Event("close", "/fs/lib")]
    for number in range(modules):
        path = f"/fs/lib/module{number}.pyc"
        events += [Event("stat", path, size=9000), Event("open", path), Event("read", path, size=9000), Event("close", path)]
    return events


def main() -> None:
    """Replay on 64 nodes with 32 ranks each."""
    asked = requests(start(81), Client(("/fs",)))
    print(f"one start: {len(asked)} requests, {Totals.of(asked).mds} of them to the metadata server")
    print(f"{NODES} nodes x {RANKS} ranks:")
    for profile in PRESETS.values():
        for shared in (False, True):
            began = time.perf_counter()
            found = replay(asked, profile, nodes=NODES, ranks=RANKS, shared=shared)
            seconds = time.perf_counter() - began
            caches = "a client per node" if shared else "a client per rank"
            said = f"{found.events:9,} requests replayed in {seconds:5.2f} s; last rank ready after {found.last:7.2f} s"
            print(f"  {profile.name:5}  {caches}: {said}")


if __name__ == "__main__":
    main()
