"""Each method as a tree and as one file on the emulated Lustre: cold and warm starts of two sessions. See README.md.

python benchmarks/suite.py [--rounds N] [--only analysis,quiet] [--output DIR]

One JSON file for each session and preset, written as soon as it is measured, and builds.json with what builds ask
the servers for; `page.py` makes a page and figures of them.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from measured import BUILDS, KEPT  # noqa: E402
from tidying import stray, tidy  # noqa: E402

from ozrepro.frontends.bench.forms import FORMS, VARIANTS, forms_of, name_of  # noqa: E402
from ozrepro.methods import registry  # noqa: E402
from ozrepro.project import toml  # noqa: E402
from tests.fake_cluster import SiteUnavailable, ordinary, realpackages  # noqa: E402
from tests.fake_cluster.channel import make_cached as make_channel  # noqa: E402
from tests.fake_cluster.containers import make_cached as make_containers  # noqa: E402
from tests.fake_cluster.make import make as make_site  # noqa: E402
from tests.python.test_unreachable_index import user_settings  # noqa: E402

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence

    from ozrepro.frontends.bench.forms import Variant
    from tests.fake_cluster import Site
    from tests.fake_cluster.containers import Containers
    from tests.fake_cluster.ordinary import Account

RESULTS = ROOT / "benchmarks" / "results"
METHODS = {
    "analysis": ("modules", "conda", "container"),
    "analysis-kept": ("modules",),
    "analysis-venv": ("venv",),
    "astronomy": ("modules", "venv", "conda", "container"),
}
"""By session, the one that the others are compared with first."""
STATES = ("warm", "cold-client")
JOBS = 100
SEED = 20261127
BUDGET = 36_000
"""Seconds after which a cell would end early: never, as a figure of fewer rounds is another one."""
IMPORTS = (
    "numpy",
    "scipy.linalg",
    "scipy.optimize",
    "pandas",
    "matplotlib.pyplot",
    "astropy.table",
    "astropy.io.fits",
)
BESIDE = {
    "analysis": ("astropy", "astropy-iers-data", "packaging", "pyerfa", "PyYAML"),
    "astronomy": (
        *("astropy", "astropy-iers-data", "packaging", "pyerfa", "PyYAML"),
        *("cycler", "fonttools", "kiwisolver", "matplotlib", "pillow", "pyparsing"),
    ),
}
"""What the toolchain lacks of each session, in the channel's versions: the methods are to hold the same."""
INSTALLERS = ("pip", "setuptools", "wheel")
"""What no session of a venv imports."""


@dataclass(frozen=True)
class Cell:
    """A session on a preset: what one file holds."""

    session: str
    preset: str
    ranks: tuple[int, ...]
    rounds: int
    forms: tuple[Variant, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """Its session's methods."""
        return METHODS[self.session]

    @property
    def candidates(self) -> tuple[str, ...]:
        """What it compares: each method in each form, an image as it is."""
        return tuple(name_of(method, form) for method in self.methods for form in forms_of(method, self.forms))

    @property
    def name(self) -> str:
        """Its file's name, without the ending."""
        return f"{self.session}-{self.preset}"

    def command(self, result: str, rounds: int) -> list[str]:
        """Return the words that measure it, as many rounds as planned where `rounds` is 0."""
        ranks = ",".join(map(str, self.ranks))
        words = ["bench", self.session, "--method", ",".join(self.methods), "--form", ",".join(self.forms)]
        words += ["--emulate", self.preset, "--profile", self.preset]
        words += ["--workload", "imports", "--state", ",".join(STATES), "--ranks", ranks, "--rounds", str(rounds or self.rounds)]
        return [*words, "--seed", str(SEED), "--budget", str(BUDGET), "--jobs", str(JOBS), "--json", result]


CELLS = (
    Cell("analysis", "busy", (1, 4), 6, VARIANTS),
    Cell("analysis-kept", "busy", (1,), 6, VARIANTS),
    Cell("analysis-venv", "busy", (1,), 6, FORMS),
    Cell("analysis", "storm", (1,), 3, VARIANTS),
    Cell("analysis", "quiet", (1, 4), 6, VARIANTS),
    Cell("astronomy", "busy", (1, 4), 6, FORMS),
)


def chosen(only: str) -> tuple[Cell, ...]:
    """Return the cells of these sessions and presets, all where nothing is named. Raises ValueError for an unknown word."""
    words = [word for word in only.split(",") if word]
    sessions, presets = ({getattr(cell, kind) for cell in CELLS} for kind in ("session", "preset"))
    unknown = [word for word in words if word not in sessions | presets]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is neither a session ({', '.join(sorted(sessions))}) nor a preset")
    asked = sessions & set(words) or sessions, presets & set(words) or presets
    found = tuple(cell for cell in CELLS if cell.session in asked[0] and cell.preset in asked[1])
    if not found:
        raise ValueError(f"{only} names no cell of the suite")
    return found


def specs(example: str, bundle: str) -> dict[str, str]:
    """Return the specs: the repository's example on this site's toolchain, the same with that kept, and the heavier stack."""
    table = toml.loads(example)
    own = {"container": {"from": "conda", "base": "base-rattler.sif"}}
    small = {key: value for key, value in table.items() if key not in {*own, "methods", "venv"}} | own
    large = {
        "description": "A heavier astronomy stack",
        **own,
        "imports": list(IMPORTS),
        "conda": {"dependencies": ["python>=3.10", "numpy", "scipy", "pandas", "matplotlib", "astropy"]},
    }
    versions = {**realpackages.PINNED, **realpackages.HEAVY}
    found = {}
    for name, methods in METHODS.items():
        session = name.partition("-")[0]
        whole = {"analysis": small, "astronomy": large}[session]
        spec = {key: value for key, value in whole.items() if key not in registry.BUILTIN or key in methods}
        beside = [f"{package}=={versions[package]}" for package in BESIDE[session]]
        spec["methods"] = list(methods)
        if "modules" in methods:
            layer = {"system-site-packages": True, "requirements": beside}
            spec["modules"] = {"load": [bundle], "venv": layer, **({"keep": "all"} if name.endswith(KEPT) else {})}
        if "venv" in methods:
            heavy = realpackages.HEAVY if session == "astronomy" else {}
            pinned = {**realpackages.PINNED, **heavy}
            named = [f"{package}=={version}" for package, version in pinned.items() if package not in INSTALLERS]
            spec["venv"] = {"python": ">=3.10,<3.11", "requirements": named}
        found[name] = toml.dumps(spec)
    return found


@dataclass(frozen=True)
class Project:
    """A project of an ordinary user with the sessions that are measured."""

    root: Path
    account: Account
    programs: Path
    environ: Mapping[str, str]

    def ozrepro(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the user, and end with what it said where it fails."""
        done = self.account.run(self.programs / "ozrepro", *words, environ=self.environ, cwd=self.root)
        if done.returncode:
            sys.exit(f"ozrepro {' '.join(words)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        return done


def make_project(project: Project, containers: Containers, site: Site, sessions: Sequence[str]) -> None:
    """Write the specs, lock all methods of each session and build them in each form."""
    root, account = project.root, project.account
    (root / "sessions").mkdir(parents=True)
    shutil.copyfile(containers.base, root / "base.sif")
    # The image's base brings what links conda packages; Debian has no package of it.
    packages = next((project.programs.parent / "lib").glob("python3*/site-packages"))
    definition = (
        f"Bootstrap: localimage\nFrom: base.sif\n\n%files\n    {packages}/rattler /usr/lib/python3/dist-packages/rattler\n"
    )
    (root / "base-rattler.def").write_text(definition, encoding="utf-8")
    example = (ROOT / "sessions" / "analysis.toml").read_text(encoding="utf-8")
    texts = specs(example, site.names["python-scientific"])
    for name in sessions:
        (root / "sessions" / f"{name}.toml").write_text(texts[name], encoding="utf-8")
    account.give(root)
    # As a user has it: without bytecode of its own, Python would compile ozrepro at each start.
    account.run(project.programs / "python", "-m", "compileall", "-q", packages / "ozrepro", environ=project.environ)
    if any("container" in METHODS[name] for name in sessions):
        done = account.run(containers.program, "build", "base-rattler.sif", "base-rattler.def", environ=project.environ, cwd=root)
        if done.returncode:
            sys.exit(done.stderr)
    for name in sessions:
        say(f"locking and building {name}")
        project.ozrepro("lock", name)
        for method in METHODS[name]:
            for form in forms_of(method, FORMS):
                project.ozrepro("build", name, "--method", method, "--form", form)


def measure(project: Project, cell: Cell, rounds: int, places: Mapping[str, str], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Run the benchmark's command for a cell and return its result, with nothing of this machine's names."""
    result = project.root / f"{cell.name}.json"
    words, before = cell.command(result.name, rounds), os.getloadavg()[0]
    project.ozrepro(*words)
    load = sorted(round(number, 1) for number in (before, os.getloadavg()[0]))
    table = json.loads(result.read_text(encoding="utf-8"))
    imports = toml.loads((project.root / "sessions" / f"{cell.session}.toml").read_text(encoding="utf-8"))["imports"]
    command = f"ozrepro {' '.join(words)}"
    about = {**facts, "preset": cell.preset, "jobs": JOBS, "imports": imports, "command": command, "load": load}
    found: dict[str, Any] = tidy({**table, "suite": about}, places)
    left = stray(found, (platform.node(), project.account.name))
    if left:
        sys.exit(f"{cell.name}: the result still names this machine: {left[0]}")
    return found


def count_builds(project: Project, sessions: Sequence[str]) -> list[dict[str, Any]]:
    """Build each method in each form once more, into stores on an emulated Lustre, and return what its servers were asked for."""
    wanted = [(name, method, form) for name in sessions for method in METHODS[name] for form in forms_of(method, FORMS)]
    script = project.account.give(Path(shutil.copy(ROOT / "benchmarks" / "builds.py", project.account.folder)))
    # Apptainer finds no mount point whose name has a space.
    stores = project.account.make_folder("stores").rename(project.account.folder / "stores")
    words = [str(script), str(project.root), str(stores), *(":".join(words) for words in wanted)]
    done = project.account.run(project.programs / "python", *words, environ=project.environ, cwd=project.root)
    if done.returncode:
        sys.exit(f"builds: {done.stderr[-4000:]}")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        {"session": row["session"], "candidate": name_of(row["method"], row["form"]), "requests": row["requests"]} for row in rows
    ]


def write(path: Path, table: Mapping[str, Any]) -> None:
    """Write a result, whole or not at all; a line for each start, so that a new measurement makes a diff one can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(text_of(table), encoding="utf-8")
    draft.replace(path)


def text_of(table: Mapping[str, Any]) -> str:
    """Return JSON with a line for each top-level value, and for each item where that is a list."""
    lines = []
    for key, value in table.items():
        if isinstance(value, list) and value:
            inner = ",\n  ".join(json.dumps(item, ensure_ascii=False) for item in value)
            lines.append(f"{json.dumps(key)}: [\n  {inner}\n ]")
        else:
            lines.append(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n " + ",\n ".join(lines) + "\n}\n"


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"suite: {text}", file=sys.stderr, flush=True)


def run(account: Account, cells: Sequence[Cell], rounds: int, output: Path) -> None:
    """Make the project as this user, then measure each cell and keep its file; count the builds of their sessions last."""
    containers, site, channel = make_containers(account), make_site(), make_channel(heavy=True, many=10)
    programs = ordinary.make_python(account)
    modules = {"LMOD_CMD": site.lmod_cmd, "MODULEPATH": site.modulepath(), "OZREPRO_PLATFORM": "site"}
    more = {
        **user_settings(),
        **modules,
        "CONDA_CHANNEL_ALIAS": channel.alias,
        "OZREPRO_CACHE": str(account.make_folder("cache")),
    }
    interpreter = Path(site.python).parent  # of the same Python as the modules and the channel
    root = account.make_folder("suite of") / "project"
    project = Project(root, account, programs, {**account.environ(programs, containers.bin, interpreter), **more})
    sessions = tuple(dict.fromkeys(cell.session for cell in cells))
    make_project(project, containers, site, sessions)
    places = {
        str(root): "project",
        str(site.prefix): "site",
        str(channel.prefix): "channel",
        str(containers.prefix): "containers",
        str(account.home): "home",
        str(account.folder): "account",
    }
    today = dt.datetime.now(dt.timezone.utc).date().isoformat()
    facts = {"date": today, "apptainer": containers.version, "lmod": site.lmod_version}
    for cell in cells:
        began = time.monotonic()
        table = measure(project, cell, rounds, places, facts)
        write(output / f"{cell.name}.json", table)
        say(f"{cell.name}: {time.monotonic() - began:.0f} s")
    kept = json.loads((output / BUILDS).read_bytes())["rows"] if (output / BUILDS).exists() else []
    rows = [row for row in kept if row["session"] not in sessions] + count_builds(project, sessions)
    write(output / BUILDS, {"rows": sorted(rows, key=lambda row: list(METHODS).index(row["session"]))})
    for base, _, _ in os.walk(root):
        os.chmod(base, 0o700)  # published environments are read-only, and the folder is to be removed


def main() -> None:
    """Measure the cells asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=0, metavar="N", help="of each state; without, 6, and 3 on storm")
    parser.add_argument("--only", default="", metavar="WORD,…", help="these sessions and presets alone")
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help="default: benchmarks/results")
    given = parser.parse_args()
    try:
        cells = chosen(given.only)
    except ValueError as error:
        parser.error(str(error))
    try:
        with ordinary.borrow_account() as account:
            run(account, cells, given.rounds, given.output)
    except SiteUnavailable as reason:
        sys.exit(f"the suite cannot run here: {reason}")


if __name__ == "__main__":
    main()
