"""What ozrepro adds: to a warm start, to nox, and to an installation by uv. See README.md for definitions and figures.

python benchmarks/overhead.py [--rounds N] [--json FILE] [--only run,nox,tiny,real,large] [--profile]
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import json
import os
import platform
import pstats
import random
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paired import Command, Estimate, Rounds, added, ratio, run_rounds, settle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
sys.path.insert(0, str(ROOT))

SCHEMA = 1
SESSION = "bench"
TINY = 40
STACK = ("numpy", "scipy", "astropy")
LARGE = ("numpy", "scipy", "pandas", "matplotlib", "astropy")
IMPORTS = ("numpy", "scipy.signal", "astropy.timeseries")
_KEPT = (
    "HOME",
    "LANG",
    "PYTHONPATH",
    "TMPDIR",
    "SSL_CERT_FILE",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)

OURS = """\
import ozrepro


@ozrepro.session
def bench(session):
    session.run("true", external=True)
"""
PLAIN = """\
import nox


@nox.session(venv_backend="none")
def bench(session):
    session.run("true", external=True)
"""
"""The same body, under nox without an environment and with no ozrepro loaded."""


@dataclass
class Report:
    """All that was measured: lines for people, numbers and raw rows for JSON."""

    path: Path | None
    facts: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)

    def row(self, what: str, value: Estimate | float, unit: str, bound: str = "") -> None:
        """Add a figure, print it, and write the file anew, so that a run that is cut short leaves what it had."""
        figure = asdict(value) if isinstance(value, Estimate) else value
        self.rows.append({"what": what, "value": figure, "unit": unit, "bound": bound})
        words = value.words(1 if unit == "ms" else 3 if value.median < 2 else 2) if isinstance(value, Estimate) else f"{value:g}"
        print(f"| {what:<62} | {words:>24} | {unit:<5} | {bound:<7} |", flush=True)
        self.write()

    def rounds(self, scenario: str, rounds: Rounds) -> None:
        """Keep the raw rows of a scenario."""
        self.raw[scenario] = asdict(rounds)
        self.write()

    def skip(self, what: str) -> None:
        """Say what could not be measured."""
        self.left_out.append(what)
        print(f"left out: {what}", flush=True)

    def write(self) -> None:
        """Write the JSON file, if one was asked for."""
        if self.path is not None:
            content = {"schema": SCHEMA, **self.facts, "figures": self.rows, "left_out": self.left_out, "rounds": self.raw}
            self.path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Project:
    """A project made for the benchmark, with one session, locked and built."""

    root: Path
    environ: dict[str, str]

    def command(self, *words: str) -> list[str]:
        """Return the words that run a program installed beside this Python."""
        return [str(BIN / words[0]), *words[1:]]

    def do(self, *words: str) -> str:
        """Run such a program, insist that it succeeds, and return what it printed."""
        done = subprocess.run(self.command(*words), cwd=self.root, env=self.environ, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.strip())
        return done.stdout

    def prefix(self) -> Path:
        """Return the prefix of the built environment."""
        name = next(path for path in (self.root / ".ozrepro" / "names").iterdir() if not path.name.startswith("."))
        return name.resolve() / "env"


def make_project(folder: Path, requirements: list[str], imports: list[str], environ: dict[str, str]) -> Project:
    """Make, lock and build a project. Raises RuntimeError with what ozrepro said."""
    root = folder / "a project"
    (root / "sessions").mkdir(parents=True)
    (root / "noxfile.py").write_text(OURS, encoding="utf-8")
    spec = f"imports = {json.dumps(imports)}\n\n[venv]\nrequirements = {json.dumps(requirements)}\n"
    (root / "sessions" / f"{SESSION}.toml").write_text(spec, encoding="utf-8")
    base = {name: os.environ[name] for name in _KEPT if name in os.environ}
    path = os.pathsep.join((str(BIN), "/usr/local/bin", "/usr/bin", "/bin"))
    project = Project(root, {**base, "PATH": path, "UV_CACHE_DIR": str(folder / "cache"), **environ})
    project.do("ozrepro", "lock", SESSION)
    project.do("ozrepro", "build", SESSION)
    project.do("ozrepro", "run", SESSION, "--", "true")
    return project


def tiny_project(folder: Path) -> Project:
    """Make a project of 40 tiny pure-Python distributions from a wheelhouse made here: needs no network."""
    from tests.wheels import make_wheel

    names = [f"tiny{number:02d}" for number in range(TINY)]
    for number, name in enumerate(names):
        modules = {f"{name}/__init__.py": f"NUMBER = {number}\n", f"{name}/part.py": "", f"{name}/table.txt": "1\n" * number}
        make_wheel(folder / "wheels", name, requires=tuple(names[:number][-1:]), modules=modules)
    only_these = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder / "wheels")}
    return make_project(folder, names, names[:1], only_these)


def real_project(folder: Path, stack: Sequence[str], imports: Sequence[str]) -> Project:
    """Make a project of real packages from the package index that is set here. Raises RuntimeError where there is none."""
    index = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_")) and name != "UV_CACHE_DIR"}
    return make_project(folder, list(stack), list(imports), index)


def measure_run(project: Project, report: Report, rounds: int, seed: int) -> None:
    """Measure (a): a warm `ozrepro run`, in path-taking calls and in time."""
    python = str(project.prefix() / "bin" / "python")
    words = {
        "ozrepro run": project.command("ozrepro", "run", SESSION, "--", "true"),
        "launcher": [str(project.root / ".ozrepro" / "bin" / SESSION / "python"), "-c", "pass"],
        "python": [python, "-c", "pass"],
        "true": ["true"],
    }
    from tests.faststart import strace

    reason = strace.why_not()
    if reason:
        report.skip(f"path-taking calls: {reason}")
    else:
        counts = {name: len(strace.trace(w, "%file", cwd=project.root, env=project.environ).calls) for name, w in words.items()}
        report.row("run: path-taking calls of `ozrepro run NAME -- true`", counts["ozrepro run"], "calls")
        report.row("run: path-taking calls of the same venv's `python -c pass`", counts["python"], "calls")
        report.row("run: difference", counts["ozrepro run"] - counts["python"], "calls", "<= 450")
        report.row("run: difference of a launcher's `python -c pass`", counts["launcher"] - counts["python"], "calls", "<= 60")
    found = run_rounds([_fixed(name, w, project) for name, w in words.items()], rounds, seed, warm_up=3)
    report.rounds("run", found)
    report.row("run: added to `python -c pass`", added(found, "ozrepro run", "python", seed), "ms")
    report.row("run: added to `python -c pass` by a launcher", added(found, "launcher", "python", seed), "ms", "<= 12")
    report.row("run: added to `python -c pass`, in CPU time", added(found, "ozrepro run", "python", seed, cpu=True), "ms")
    report.row("run: added to `true`", added(found, "ozrepro run", "true", seed), "ms")
    report.row("run: ratio to `python -c pass`", ratio(found, "ozrepro run", "python", seed), "ratio")


def _fixed(name: str, words: list[str], project: Project) -> Command:
    return Command(name, lambda: words, project.environ, project.root)


def measure_nox(project: Project, report: Report, rounds: int, seed: int) -> None:
    """Measure (b): a locked, built session under nox against the same body without an environment."""
    plain = Project(project.root.parent / "plain", project.environ)
    plain.root.mkdir()
    (plain.root / "noxfile.py").write_text(PLAIN, encoding="utf-8")
    words = project.command("nox", "-s", SESSION)
    commands = [_fixed("ozrepro", words, project), _fixed("none", words, plain), _fixed("none again", words, plain)]
    found = run_rounds(commands, rounds, seed, warm_up=2)
    report.rounds("nox", found)
    report.row("nox: ratio of a locked, built session to backend none", ratio(found, "ozrepro", "none", seed), "ratio", "<= 1.10")
    report.row("nox: the same in CPU time", ratio(found, "ozrepro", "none", seed, cpu=True), "ratio")
    report.row("nox: added to backend none", added(found, "ozrepro", "none", seed), "ms")
    report.row("nox: backend none to itself (the noise)", ratio(found, "none again", "none", seed), "ratio")
    report.row("nox: the same in CPU time", ratio(found, "none again", "none", seed, cpu=True), "ratio")


def remove(folder: Path) -> None:
    """Remove a folder whose parts may be write-protected."""
    for base, _, _ in os.walk(folder):
        os.chmod(base, 0o700)
    shutil.rmtree(folder)


def measure_build(project: Project, report: Report, label: str, rounds: int, seed: int) -> None:
    """Measure (c): a build from the lock against `uv venv` and `uv pip sync` of the same files, all with one warm cache."""
    from ozrepro.python.indexes import find_indexes

    work = project.root.parent
    exported = work / "requirements.txt"
    exported.write_text(project.do("ozrepro", "export", SESSION, "--format", "requirements"), encoding="utf-8")
    indexes = find_indexes(project.root, {}, project.environ)
    base = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    numbers = itertools.count()
    fresh = work / "fresh"
    fresh.mkdir()
    (cache,) = (project.root / ".ozrepro" / "cache").glob("*/uv")
    # A cache of its own: a link made or removed by anybody else has a rebuild read the file again.
    apart = work / "uv apart"
    shutil.copytree(cache, apart, symlinks=True)
    uv_environ = {**project.environ, **indexes.variables(), "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
    uv_environ["UV_CACHE_DIR"] = str(apart)

    def sync(*more: str) -> list[str]:
        # A path never used before, as a build has one: uv remembers what it has learnt of an interpreter by its path.
        target = str(fresh / f"venv-{next(numbers)}")
        script = (
            '"$1" venv --quiet --no-project --python "$2" "$3" && '
            'shift && target=$2 && shift 2 && exec "$@" --python "$target/bin/python"'
        )
        uv = str(BIN / "uv")
        words = [uv, "pip", "sync", "--quiet", "--offline", *indexes.flags(), "--only-binary", ":all:", "--require-hashes"]
        return ["sh", "-c", script, "sh", uv, base, target, *words, *more, str(exported)]

    def clean() -> None:
        for path in fresh.iterdir():
            remove(path)
        settle()

    def tidy() -> None:
        kept = project.prefix().parent
        for path in (project.root / ".ozrepro" / "gens").iterdir():
            if path != kept:
                remove(path)
        clean()

    def forget() -> None:
        if (cache.parent / "bytecode").exists():  # no earlier tree has it
            remove(cache.parent / "bytecode")
        clean()

    rebuild = project.command("ozrepro", "build", SESSION, "--rebuild")
    commands = [
        Command("rebuild", lambda: rebuild, project.environ, project.root, clean),
        Command("rebuild after a clean-up", lambda: rebuild, project.environ, project.root, tidy),
        Command("compile", lambda: rebuild, project.environ, project.root, forget),
        Command("sync", lambda: sync("--compile-bytecode"), uv_environ, project.root, clean),
        Command("sync without bytecode", sync, uv_environ, project.root, clean),
    ]
    found = run_rounds(commands, rounds, seed)
    tidy()
    report.rounds(label, found)
    for name, what, other, bound in (
        ("compile", "build of packages never compiled", "sync", "<= 1.3"),
        ("rebuild", "rebuild", "sync without bytecode", "<= 2.0"),
        ("rebuild after a clean-up", "rebuild after a clean-up", "sync without bytecode", ""),
    ):
        report.row(f"{label}: {what} to {other}", ratio(found, name, other, seed), "ratio", bound)
        report.row(f"{label}: the same in CPU time", ratio(found, name, other, seed, cpu=True), "ratio")
        report.row(f"{label}: {what}, added", added(found, name, other, seed), "ms")
    report.row(f"{label}: rebuild to sync with bytecode", ratio(found, "rebuild", "sync", seed), "ratio")
    report.row(f"{label}: sync with bytecode to without", ratio(found, "sync", "sync without bytecode", seed), "ratio")


STEPS = (
    *("load_settings", "load_spec", "load_lock", "choose", "check_section", "key_of", "wait_turn", "make_venv", "install"),
    *("provide", "compiled", "check", "check_distributions", "check_imports", "check_records", "check_requirements"),
    *("take", "write_whole", "flush", "protect", "_publish", "_write_ready", "run", "prepare", "main"),
)


def profile(project: Project, label: str) -> None:
    """Print where the time of one rebuild goes: modules by import time, and the steps by cProfile (which slows Python down)."""
    python, words = sys.executable, ["-m", "ozrepro", "build", SESSION, "--rebuild"]
    told = subprocess.run(
        [python, "-X", "importtime", *words], cwd=project.root, env=project.environ, capture_output=True, text=True, check=True
    )
    lines = [line.removeprefix("import time:").split("|") for line in told.stderr.splitlines() if line.startswith("import time:")]
    rows = [(int(own), int(total), name.strip()) for own, total, name in lines if own.strip().isdigit()]
    print(f"\n{label}: imports, {sum(row[0] for row in rows) / 1000:.0f} ms in {len(rows)} modules; by their own time")
    for own, total, name in sorted(rows, reverse=True)[:25]:
        print(f"  {own / 1000:7.1f} ms own {total / 1000:7.1f} ms with what it imports  {name}")
    output = project.root.parent / "profile"
    subprocess.run(
        [python, "-m", "cProfile", "-o", str(output), *words],
        cwd=project.root,
        env=project.environ,
        capture_output=True,
        check=True,
    )
    print(f"\n{label}: steps, in the order of their time; a step holds those that it calls")
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = pstats.Stats(str(output)).stats  # type: ignore[attr-defined]
    steps = [(entry[3], name, Path(file)) for (file, _, name), entry in stats.items() if "/ozrepro/" in file and name in STEPS]
    for seconds, name, file in sorted(steps, reverse=True):
        if seconds >= 0.0005:
            print(f"  {seconds * 1000:8.1f} ms  {file.parent.name}/{file.stem}.{name}")


def facts(rounds: int, seed: int) -> dict[str, Any]:
    """Return what the figures depend on; nothing that names this machine."""
    from importlib.metadata import version

    return {
        "date": dt.datetime.now(tz=dt.timezone.utc).date().isoformat(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in ("ozrepro", "nox", "uv")},
        "rounds": rounds,
        "seed": seed,
    }


def make_parser(doc: str | None, rounds: int, what: str) -> argparse.ArgumentParser:
    """Return the parser of a benchmark's arguments: rounds, the seed, and where the figures go."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"{what} (default {rounds})")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32), help="of the order and the bootstrap")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and raw rows there")
    return parser


def open_report(given: argparse.Namespace, **more: Any) -> Report:
    """Print what the figures depend on, and the head of their table."""
    report = Report(given.json, {**facts(given.rounds, given.seed), **more})
    print(json.dumps(report.facts), flush=True)
    print(f"\n| {'figure':<62} | {'median [95 % interval]':>24} | {'unit':<5} | {'bound':<7} |")
    print(f"| {'-' * 62} | {'-' * 23}: | {'-' * 5} | {'-' * 7} |", flush=True)
    return report


@contextmanager
def workplace(below: Path | None = None) -> Iterator[Path]:
    """Give a folder for the projects of a benchmark; environments in it are write-protected, and go with it."""
    with tempfile.TemporaryDirectory(prefix="ozrepro-bench-", dir=below) as name:
        try:
            yield Path(name)
        finally:
            for base, _, _ in os.walk(name):
                os.chmod(base, 0o700)


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = make_parser(__doc__, 40, "of run and nox; half as many for tiny, a quarter for real and large")
    parser.add_argument("--only", default="run,nox,tiny,real,large", help="which scenarios (default all)")
    parser.add_argument(
        "--folder", type=Path, help="work below this folder: the file system to measure (default: the temporary one)"
    )
    parser.add_argument("--tree", type=Path, help="measure the ozrepro of this checkout instead of the one installed")
    parser.add_argument("--profile", action="store_true", help="print where the time of a build goes instead of measuring")
    given = parser.parse_args()
    if given.tree:
        os.environ["PYTHONPATH"] = str(given.tree.resolve())
    report = Report(given.json, facts(given.rounds, given.seed)) if given.profile else open_report(given)
    with workplace(given.folder) as folder:
        scenarios(folder, given.only.split(","), report, given.rounds, given.seed, only_profile=given.profile)


def scenarios(folder: Path, wanted: list[str], report: Report, rounds: int, seed: int, *, only_profile: bool) -> None:
    """Measure or profile each scenario that is wanted."""
    if {"run", "nox", "tiny"} & set(wanted):
        tiny = tiny_project(folder / "tiny")
        if only_profile:
            profile(tiny, "tiny")
        else:
            if "run" in wanted:
                measure_run(tiny, report, rounds, seed)
            if "nox" in wanted:
                measure_nox(tiny, report, rounds, seed)
            if "tiny" in wanted:
                measure_build(tiny, report, "tiny", max(rounds // 2, 1), seed)
    for label, stack, imports in (("real", STACK, IMPORTS), ("large", LARGE, ())):
        if label in wanted:
            try:
                real = real_project(folder / label, stack, imports)
            except RuntimeError as error:
                report.skip(f"{label} ({' '.join(stack)}): it needs a package index: {error}")
                continue
            if only_profile:
                profile(real, label)
            else:
                measure_build(real, report, label, max(rounds // 4, 1), seed)


if __name__ == "__main__":
    main()
