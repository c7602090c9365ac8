"""A venv as a tree and as one file: a start of `true`, a build again, and what a build asks a metadata server. See README.md.

python benchmarks/forms.py [--rounds N] [--packages numpy,scipy] [--only true,again,requests] [--json FILE]

true       `ozrepro run NAME -- true`
again      `ozrepro build --rebuild` with all packages in the cache: the difference is what packing adds
requests   builds on the emulator, with the cache of packages elsewhere, first and again, and with it in the store
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from builds import AT_ONCE
from overhead import BIN, LARGE, open_report, workplace
from overhead import make_parser as parser_for
from paired import Command, added, run_rounds

from ozrepro.frontends.bench.lustre.emulator import Emulator
from ozrepro.frontends.bench.lustre.model import METADATA

if TYPE_CHECKING:
    from pathlib import Path

    from overhead import Report

FORMS = ("tree", "file")


def make_project(root: Path, packages: list[str]) -> Path:
    """Write a session of these packages and lock it."""
    (root / "sessions").mkdir(parents=True)
    text = f'imports = {json.dumps(packages)}\n\n[venv]\npython = ">=3.11"\nrequirements = {json.dumps(packages)}\n'
    (root / "sessions" / "bench.toml").write_text(text, encoding="utf-8")
    ozrepro(root, "lock")
    return root


def variables(form: str, store: Path, cache: Path | None) -> dict[str, str]:
    """Return the variables of a command for a form, a store and a cache, that of the store where it is None."""
    found = {**os.environ, "OZREPRO_FORM": form, "OZREPRO_STORE": str(store)}
    return {**found, "OZREPRO_CACHE": str(cache)} if cache else found


def ozrepro(root: Path, command: str, *options: str, environ: dict[str, str] | None = None) -> None:
    """Run a command for the session, and end where it fails."""
    words = [str(BIN / "ozrepro"), command, "bench", *options]
    done = subprocess.run(words, cwd=root, env=environ, capture_output=True, text=True, check=False)
    if done.returncode or "the form is tree" in done.stderr:
        sys.exit(done.stderr)


def compare(report: Report, root: Path, what: str, words: tuple[str, ...], rounds: int, seed: int, bound: str) -> None:
    """Time a command for both forms in turn, and report what the file adds."""
    store, cache = root.parent / "store", root.parent / "cache"
    commands = []
    for form in FORMS:
        environ = variables(form, store, cache)
        ozrepro(root, "build", environ=environ)
        commands.append(Command(form, lambda: (str(BIN / "ozrepro"), *words), environ, root))
    found = run_rounds(commands, rounds, seed)
    report.rounds(what, found)
    report.row(f"{what}: file more than tree", added(found, "file", "tree", seed), "ms", bound)


def requests(report: Report, root: Path) -> None:
    """Build in both forms into a store on the emulator, and report the requests to its metadata server."""
    source, mount = root.parent / "source", root.parent / "mount"
    source.mkdir()
    with Emulator(source, [mount], AT_ONCE, writable=True) as emulator:
        for place in ("elsewhere", "in the store"):
            sent: dict[tuple[str, str], int] = {}
            for form in FORMS:
                cache = root.parent / f"cache of {form}" if place == "elsewhere" else None
                environ = variables(form, mount / f"{form} {place}", cache)
                for time in ("first", "again"):
                    before = emulator.totals().as_dict()
                    ozrepro(root, "build", *(("--rebuild",) if time == "again" else ()), environ=environ)
                    after = emulator.totals().as_dict()
                    asked = {kind: after[kind] - before[kind] for kind in after}
                    report.raw[f"{place}, {form}, {time}"] = asked
                    sent[form, time] = sum(asked[kind] for kind in METADATA)
                    report.row(f"requests of a build, cache {place}, {form}, {time}", sent[form, time], "")
            for time in ("first", "again"):
                bound = ">= 300" if place == "elsewhere" else ""
                times = round(sent["tree", time] / sent["file", time], 1)
                report.row(f"requests of a build, cache {place}, tree to file, {time}", times, "ratio", bound)


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = parser_for(__doc__, 40, "of true; an eighth of them of again")
    parser.add_argument("--packages", default=",".join(LARGE), help="what the session has")
    parser.add_argument("--only", default="true,again,requests", help="which parts (default all)")
    given = parser.parse_args()
    parts = given.only.split(",")
    with workplace() as folder:
        root = make_project(folder / "project", given.packages.split(","))
        report = open_report(given, packages=given.packages)
        if "true" in parts:
            compare(report, root, "start of true", ("run", "bench", "--", "true"), given.rounds, given.seed, "<= 30")
        if "again" in parts:
            rounds = max(1, given.rounds // 8)
            compare(report, root, "build again", ("build", "bench", "--rebuild"), rounds, given.seed, "<= 8000")
        if "requests" in parts:
            requests(report, root)
        report.write()


if __name__ == "__main__":
    main()
