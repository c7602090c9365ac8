"""A venv against an image on the Lustre emulator: the same packages, the same user, cold and warm. See README.md.

python benchmarks/lustre.py [--rounds N] [--presets quiet,busy] [--json FILE]
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

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from tests.fake_cluster.ordinary import Account

CODE = "import numpy, scipy.stats, astropy.table, astropy.io.fits"
SPEC = """\
methods = ["venv", "container"]
imports = ["numpy", "scipy", "astropy"]

[venv]
python = ">=3.11,<3.12"
requirements = ["numpy", "scipy", "astropy"]

[container]
from = "venv"
base = "base.sif"
"""


def measure(root: Path, presets: list[str], rounds: int, seed: int) -> None:
    """Start both methods from a mount of the project, as the user who owns it; print a row of JSON for each start."""
    from ozrepro.frontends.bench.lustre.emulator import Emulator
    from ozrepro.frontends.bench.lustre.profile import PRESETS

    reason = Emulator.unavailable()
    if reason:
        sys.exit(reason)
    names = {name: next((root / ".ozrepro" / "gens").glob(f"*/env/{name}")) for name in ("image.sif", "bin/python")}
    mount = root.parent / "mount"
    python, image = (str(mount / names[name].relative_to(root)) for name in ("bin/python", "image.sif"))
    words = {"venv": [python, "-c", CODE], "image": ["apptainer", "--quiet", "exec", image, "python3", "-c", CODE]}
    chance = random.Random(seed)
    for preset in presets:
        with Emulator(root, [mount], PRESETS[preset]) as emulator:
            for number in range(rounds):
                order = list(words)
                chance.shuffle(order)
                for name in order:
                    emulator.remount()
                    before = emulator.totals().as_dict()
                    for state in ("cold", "warm"):
                        began = time.perf_counter()
                        subprocess.run(words[name], check=True, cwd=root.parent)
                        seconds = time.perf_counter() - began
                        totals = emulator.totals()
                        after = totals.as_dict()
                        sent = {kind: after[kind] - before[kind] for kind in after}
                        before = after
                        row = {"preset": preset, "round": number, "method": name, "state": state, "seconds": seconds}
                        print(json.dumps({**row, "requests": sent}), flush=True)


def make_project(account: Account, programs: Path, base: Path, environ: dict[str, str]) -> Path:
    """Lock and build a venv and an image made from its lock."""
    root = account.make_folder("lustre of") / "a project"
    (root / "sessions").mkdir(parents=True)
    shutil.copyfile(base, root / "base.sif")
    (root / "sessions" / "work.toml").write_text(SPEC, encoding="utf-8")
    account.give(root)
    for words in (["lock"], ["build", "--method", "venv"], ["build", "--method", "container"]):
        done = account.run(programs / "ozrepro", words[0], "work", *words[1:], environ=environ, cwd=root)
        if done.returncode:
            sys.exit(done.stderr)
    return root


def report(rows: list[dict[str, Any]], seed: int) -> None:
    """Print a table: seconds, the ratio within the rounds, and the requests of one start."""
    from paired import estimate

    print("| preset | state | venv, s | image, s | venv to image | metadata, venv | image | objects, venv | image |")
    print("|---|---|---|---|---|---|---|---|---|")
    for preset, state in dict.fromkeys((row["preset"], row["state"]) for row in rows):
        some = [row for row in rows if (row["preset"], row["state"]) == (preset, state)]
        seconds = {name: [row["seconds"] for row in some if row["method"] == name] for name in ("venv", "image")}
        ratios = [one / other for one, other in zip(seconds["venv"], seconds["image"], strict=True)]
        sent = {name: [row["requests"] for row in some if row["method"] == name][-1] for name in seconds}
        mds, ost = ({name: sum(sent[name][kind] for kind in kinds) for name in sent} for kinds in (MDS, OST))
        cells = [f"{estimate(seconds[name], seed).median:.2f}" for name in seconds]
        cells += [
            estimate(ratios, seed).words(),
            f"{mds['venv']:,}",
            f"{mds['image']:,}",
            f"{ost['venv']:,}",
            f"{ost['image']:,}",
        ]
        print(f"| {preset} | {state} | {' | '.join(cells)} |")


MDS = ("lookup", "miss", "open", "close", "readdir")
OST = ("glimpse", "enqueue", "read")


def main() -> None:
    """Measure as an ordinary user, print a table, and write the rows."""
    if sys.argv[1:2] == ["--as-the-user"]:
        measure(Path(sys.argv[2]), sys.argv[3].split(","), int(sys.argv[4]), int(sys.argv[5]))
        return
    from overhead import facts, make_parser

    from tests.fake_cluster import SiteUnavailable, ordinary
    from tests.fake_cluster.containers import make_cached
    from tests.python.test_unreachable_index import user_settings

    parser = make_parser(__doc__, 7, "of each preset")
    parser.add_argument("--presets", default="quiet,busy,storm", help="of the file system (default quiet,busy,storm)")
    given = parser.parse_args()
    try:
        with ordinary.borrow_account() as account:
            containers = make_cached(account)
            programs = ordinary.make_python(account)
            environ = {**account.environ(programs, containers.bin), **user_settings()}
            root = make_project(account, programs, containers.base, environ)
            script = account.give(Path(shutil.copy(__file__, account.folder)))
            words = [str(programs / "python"), str(script), "--as-the-user", str(root), given.presets, str(given.rounds)]
            done = account.run(*words, str(given.seed), environ={**environ, "PYTHONDONTWRITEBYTECODE": "1"}, cwd=root.parent)
            rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
            if done.returncode or not rows:
                sys.exit(done.stderr[-3000:])
            print(json.dumps({**facts(given.rounds, given.seed), "apptainer": containers.version, "code": CODE}))
            report(rows, given.seed)
            if given.json:
                Path(given.json).write_text(json.dumps(rows, indent=0), encoding="utf-8")
            for base, _, _ in os.walk(root):
                os.chmod(base, 0o700)
    except SiteUnavailable as reason:
        sys.exit(f"no containers: {reason}")


if __name__ == "__main__":
    main()
