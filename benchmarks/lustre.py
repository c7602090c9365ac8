"""A venv as a tree, as one file and as an image on the Lustre emulator: the same packages, cold and warm. See README.md.

python benchmarks/lustre.py [--rounds N] [--presets quiet,busy] [--light] [--json FILE]
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
    from collections.abc import Sequence

    from tests.fake_cluster.ordinary import Account

IMPORTS = ("numpy", "scipy.linalg", "scipy.optimize", "pandas", "matplotlib.pyplot", "astropy.table", "astropy.io.fits")
LIGHT = ("numpy", "scipy.stats", "astropy.table")
SPEC = """\
methods = ["venv", "container"]
imports = {imports}

[venv]
python = ">=3.11,<3.12"
requirements = {packages}

[container]
from = "venv"
base = "base.sif"
"""


def measure(root: Path, presets: list[str], rounds: int, seed: int, code: str) -> None:
    """Start all from a mount of the project, as the user who owns it, and the tree from its own disk; print a row for each."""
    from ozrepro.environment import Environment
    from ozrepro.faststart.start import executed
    from ozrepro.frontends.bench.lustre.emulator import Emulator
    from ozrepro.frontends.bench.lustre.profile import PRESETS
    from ozrepro.store.forms import start_text
    from ozrepro.store.publish import CARD, Generation

    reason = Emulator.unavailable()
    if reason:
        sys.exit(reason)
    names = [next((root / ".ozrepro" / "gens").glob(name)) for name in ("*/env/bin/python", "*/env/image.sif", "*/start")]
    mount = root.parent / "mount"
    python, image, start = (mount / name.relative_to(root) for name in names)
    folder = names[2].parent
    text = start_text(Generation(folder, json.loads((folder / CARD).read_bytes())))
    packed = Environment(mount=str(start), mount_text=text)
    words: dict[str, Sequence[Path | str]] = {
        "venv": [python, "-c", code],
        "file": executed(packed, packed.command([str(start.parent / "env" / "bin" / "python"), "-c", code])),
        "image": ["apptainer", "--quiet", "exec", image, "python3", "-c", code],
        "local": [names[0], "-c", code],
    }
    chance = random.Random(seed)
    for preset in presets:
        with Emulator(root, [mount], PRESETS[preset]) as emulator:
            for number in range(rounds):
                order = list(words)
                chance.shuffle(order)
                for name in order:
                    emulator.remount()
                    before = emulator.totals().as_dict()
                    for state in ("cold", "warm"):  # what is local is not cold either time
                        began = time.perf_counter()
                        subprocess.run(words[name], check=True, cwd=root.parent)
                        seconds = time.perf_counter() - began
                        totals = emulator.totals()
                        after = totals.as_dict()
                        sent = {kind: after[kind] - before[kind] for kind in after}
                        before = after
                        row = {"preset": preset, "round": number, "method": name, "state": state, "seconds": seconds}
                        print(json.dumps({**row, "requests": sent}), flush=True)


def make_project(account: Account, programs: Path, base: Path, environ: dict[str, str], imports: tuple[str, ...]) -> Path:
    """Lock and build a venv, in both forms, and an image made from its lock."""
    root = account.make_folder("lustre of") / "a project"
    (root / "sessions").mkdir(parents=True)
    shutil.copyfile(base, root / "base.sif")
    packages = list(dict.fromkeys(name.partition(".")[0] for name in imports))
    text = SPEC.format(imports=json.dumps(imports), packages=json.dumps(packages))
    (root / "sessions" / "work.toml").write_text(text, encoding="utf-8")
    account.give(root)
    for form, *words in (("", "lock"), ("tree", "build"), ("file", "build"), ("", "build", "--method", "container")):
        own = {**environ, **({"OZREPRO_FORM": form} if form else {})}
        done = account.run(programs / "ozrepro", words[0], "work", *words[1:], environ=own, cwd=root)
        if done.returncode:
            sys.exit(done.stderr)
    return root


def report(rows: list[dict[str, Any]], seed: int) -> None:
    """Print a table: seconds, ratios within the rounds, and the requests of one start."""
    from paired import estimate

    names = ("venv", "file", "image", "local")
    ratios = (("venv", "file"), ("file", "image"), ("file", "local"))
    head = [*(f"{name}, s" for name in names), *(f"{one} to {other}" for one, other in ratios)]
    print(f"| preset | state | {' | '.join(head)} | metadata, venv / file / image | objects, venv / file / image |")
    print("|---" * (len(head) + 4) + "|")
    for preset, state in dict.fromkeys((row["preset"], row["state"]) for row in rows):
        some = [row for row in rows if (row["preset"], row["state"]) == (preset, state)]
        # What is local is warm in both states: the second start of a round stands beside both.
        of_local = [row for row in rows if (row["preset"], row["state"], row["method"]) == (preset, "warm", "local")]
        some = [row for row in some if row["method"] != "local"] + of_local
        seconds = {name: [row["seconds"] for row in some if row["method"] == name] for name in names}
        cells = [f"{estimate(seconds[name], seed).median:.2f}" for name in names]
        for one, other in ratios:
            within = [first / second for first, second in zip(seconds[one], seconds[other], strict=True)]
            cells.append(estimate(within, seed).words())
        sent = {name: [row["requests"] for row in some if row["method"] == name][-1] for name in names[:3]}
        cells += [" / ".join(f"{sum(sent[name][kind] for kind in kinds):,}" for name in sent) for kinds in (MDS, OST)]
        print(f"| {preset} | {state} | {' | '.join(cells)} |")


MDS = ("lookup", "miss", "open", "close", "readdir")
OST = ("glimpse", "enqueue", "read")


def main() -> None:
    """Measure as an ordinary user, print a table, and write the rows."""
    if sys.argv[1:2] == ["--as-the-user"]:
        measure(Path(sys.argv[2]), sys.argv[3].split(","), int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
        return
    from overhead import facts, make_parser

    from tests.fake_cluster import SiteUnavailable, ordinary
    from tests.fake_cluster.containers import make_cached
    from tests.python.test_unreachable_index import user_settings

    parser = make_parser(__doc__, 7, "of each preset")
    parser.add_argument("--presets", default="quiet,busy,storm", help="of the file system (default quiet,busy,storm)")
    parser.add_argument("--light", action="store_true", help="numpy, scipy and astropy alone")
    given = parser.parse_args()
    imports = LIGHT if given.light else IMPORTS
    code = f"import {', '.join(imports)}"
    try:
        with ordinary.borrow_account() as account:
            containers = make_cached(account)
            programs = ordinary.make_python(account)
            environ = {**account.environ(programs, containers.bin), **user_settings()}
            root = make_project(account, programs, containers.base, environ, imports)
            script = account.give(Path(shutil.copy(__file__, account.folder)))
            words = [str(programs / "python"), str(script), "--as-the-user", str(root), given.presets, str(given.rounds)]
            own = {**environ, "PYTHONDONTWRITEBYTECODE": "1"}
            done = account.run(*words, str(given.seed), code, environ=own, cwd=root.parent)
            rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
            if done.returncode or not rows:
                sys.exit(done.stderr[-3000:])
            print(json.dumps({**facts(given.rounds, given.seed), "apptainer": containers.version, "code": code}))
            report(rows, given.seed)
            if given.json:
                Path(given.json).write_text(json.dumps(rows, indent=0), encoding="utf-8")
            for base, _, _ in os.walk(root):
                os.chmod(base, 0o700)
    except SiteUnavailable as reason:
        sys.exit(f"no containers: {reason}")


if __name__ == "__main__":
    main()
