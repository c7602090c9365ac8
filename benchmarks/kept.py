"""Modules on the Lustre emulator: a tree, one file, one that keeps the site's software, and a local disk. See README.md.

python benchmarks/kept.py [--rounds N] [--presets busy] [--light] [--json FILE]
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lustre import IMPORTS, LIGHT, MDS, OST, ROOT
from overhead import BIN, facts, make_parser, workplace
from paired import estimate

sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from tests.fake_cluster import Site

SPEC = """\
imports = {imports}

[modules]
load = ["gcc/11.3.0", "openmpi/4.1.4", "{load}"]
keep = "{keep}"

[modules.venv]
system-site-packages = true
requirements = {packages}
"""
GIVEN = ("numpy", "scipy", "pandas")
"""What the site's module has."""
FORMS = {"tree": ("tree", ""), "file": ("file", ""), "kept": ("file", "all")}


def make(top: Path, site: Site, imports: tuple[str, ...], forms: tuple[str, ...]) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Make a site and a project below a folder, and return the words and the variables of a start for each form."""
    from tests.fake_cluster.fixtures import SHARED_SOFTWARE, copy_site
    from tests.python.test_unreachable_index import user_settings

    own, root = copy_site(site, top / "site"), top / "project"
    for name in SHARED_SOFTWARE:
        target = own.prefix / "apps" / "software" / name
        target.unlink()
        shutil.copytree(site.prefix / "apps" / "software" / name, target, symlinks=True)
    (root / "sessions").mkdir(parents=True)
    packages = [name for name in dict.fromkeys(item.partition(".")[0] for item in imports) if name not in GIVEN]
    environ = {"HOME": str(top), "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "LMOD_CMD": site.lmod_cmd}
    environ |= {"MODULEPATH": own.modulepath(), "OZREPRO_PLATFORM": "bench", "OZREPRO_CACHE": str(top.parent / "cache")}
    found = {}
    for name in forms:
        form, keep = FORMS[name]
        load = own.names["python-scientific"]
        text = SPEC.format(imports=json.dumps(imports), load=load, keep=keep, packages=json.dumps(packages))
        (root / "sessions" / "bench.toml").write_text(text, encoding="utf-8")
        variables = {**environ, **user_settings(), "OZREPRO_FORM": form}
        if name == forms[0]:
            _do(root, variables, "lock", "bench")
        print(_do(root, variables, "build", "bench").stderr, file=sys.stderr)
        said = _do(root, variables, "run", "bench", "--", "env", "-0").stdout
        inside = dict(entry.partition("=")[::2] for entry in said.split("\0") if entry)
        prefix = Path(inside["VIRTUAL_ENV"])
        start = [str(prefix.parent / "start")] if form == "file" else []
        inside["MPLCONFIGDIR"] = str(top.parent)  # the home is read-only on the emulator, and matplotlib would make its own anew
        found[name] = ([*start, str(prefix / "bin" / "python"), "-c", f"import {', '.join(imports)}"], inside)
    return found


def _do(root: Path, environ: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(BIN / "ozrepro"), *words], cwd=root, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return done


def measure(top: Path, starts: dict[str, tuple[list[str], dict[str, str]]], preset: str, rounds: int, seed: int) -> list[Any]:
    """Start all in turn, cold and warm, with the folder served in its own place; return a row for each."""
    from ozrepro.frontends.bench.lustre.emulator import Emulator
    from ozrepro.frontends.bench.lustre.profile import PRESETS

    chance, rows = random.Random(seed), []
    with Emulator.over([top], PRESETS[preset]) as emulator:
        for number in range(rounds):
            for name in chance.sample(list(starts), len(starts)):
                emulator.remount()
                before = emulator.totals().as_dict()
                for state in ("cold", "warm"):  # what is local is not cold either time
                    began = time.perf_counter()
                    subprocess.run(starts[name][0], env=starts[name][1], check=True, cwd="/")
                    seconds = time.perf_counter() - began
                    after = emulator.totals().as_dict()
                    sent = {kind: after[kind] - before[kind] for kind in after}
                    before = after
                    row = {"preset": preset, "round": number, "method": name, "state": state, "seconds": seconds}
                    rows.append({**row, "requests": sent})
    return rows


def report(rows: list[Any], seed: int) -> None:
    """Print a table: seconds, the ratio to a warm start from the local disk in the same round, and the requests of one start."""
    print("| preset | state | form | seconds | to local, warm | metadata | objects |\n|---|---|---|---|---|---|---|")
    for preset, state in dict.fromkeys((row["preset"], row["state"]) for row in rows):
        local = [row["seconds"] for row in rows if (row["preset"], row["method"], row["state"]) == (preset, "local", "warm")]
        for name in (*FORMS, "local"):
            some = [row for row in rows if (row["preset"], row["method"], row["state"]) == (preset, name, state)]
            seconds = [row["seconds"] for row in some]
            ratios = estimate([one / other for one, other in zip(seconds, local, strict=True)], seed).words()
            counts = [f"{sum(some[-1]['requests'][kind] for kind in kinds):,}" for kinds in (MDS, OST)]
            print(f"| {preset} | {state} | {name} | {estimate(seconds, seed).median:.2f} | {ratios} | {' | '.join(counts)} |")


def main() -> None:
    """Measure, print a table, and write the rows."""
    from ozrepro.frontends.bench.lustre.emulator import Emulator
    from tests.fake_cluster import SiteUnavailable
    from tests.fake_cluster.make import make as make_site

    parser = make_parser(__doc__, 7, "of each preset")
    parser.add_argument("--presets", default="busy", help="of the file system (default busy)")
    parser.add_argument("--light", action="store_true", help="numpy, scipy and astropy alone")
    given = parser.parse_args()
    if reason := Emulator.unavailable(in_place=True):
        sys.exit(reason)
    imports = LIGHT if given.light else IMPORTS
    try:
        site = make_site()
    except SiteUnavailable as reason:
        sys.exit(f"no test site: {reason}")
    with workplace() as folder:
        for name in ("lustre", "disk"):
            (folder / name).mkdir()
        starts = make(folder / "lustre", site, imports, tuple(FORMS))
        starts["local"] = make(folder / "disk", site, imports, ("tree",))["tree"]
        rows = []
        for preset in given.presets.split(","):
            rows += measure(folder / "lustre", starts, preset, given.rounds, given.seed)
        print(json.dumps({**facts(given.rounds, given.seed), "imports": imports}))
        report(rows, given.seed)
        if given.json:
            Path(given.json).write_text(json.dumps(rows, indent=0), encoding="utf-8")
        for base, _, _ in os.walk(folder):
            os.chmod(base, 0o700)


if __name__ == "__main__":
    main()
