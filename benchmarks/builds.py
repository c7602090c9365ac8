"""What builds ask the servers for: each method and form into an empty store on the emulator, with the cache elsewhere.

The suite runs it as the user of its project: python builds.py PROJECT STORES SESSION:METHOD:FORM…
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from ozrepro.frontends.bench.lustre.emulator import Emulator
from ozrepro.frontends.bench.lustre.profile import QUIET

AT_ONCE = replace(QUIET, name="at once", mds_us=0, ost_us=0)
"""Counts are the same for each profile, and soonest there for this one."""


def main() -> None:
    """Build each, and print a line of JSON for it."""
    root, stores, *wanted = sys.argv[1:]
    source, mount = Path(stores) / "source", Path(stores) / "mount"
    source.mkdir()
    ozrepro = Path(sys.executable).with_name("ozrepro")
    reason = Emulator.unavailable()
    if reason:
        sys.exit(reason)
    with Emulator(source, [mount], AT_ONCE, writable=True) as emulator:
        for number, words in enumerate(wanted):
            session, method, form = words.split(":")
            environ = {**os.environ, "OZREPRO_STORE": str(mount / str(number))}
            before = emulator.totals().as_dict()
            command = [str(ozrepro), "build", session, "--method", method, "--form", form]
            done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, check=False)
            if done.returncode or "the form is tree" in done.stderr:
                sys.exit(done.stderr)
            asked = {kind: count - before[kind] for kind, count in emulator.totals().as_dict().items()}
            print(json.dumps({"session": session, "method": method, "form": form, "requests": asked}), flush=True)


if __name__ == "__main__":
    main()
