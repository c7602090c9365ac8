"""What ozrepro adds to linking conda packages: a build from the lock against a minimal py-rattler script. See README.md.

python benchmarks/conda.py [--rounds N] [--files N | --python] [--json FILE]
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from pathlib import Path

from overhead import BIN, SESSION, Project, make_parser, open_report, remove, workplace
from paired import Command, Rounds, added, ratio, run_rounds, settle

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

PACKAGES = 40

MINIMAL = """\
import asyncio, json, os, sys
from rattler import PackageRecord, RepoDataRecord, install
from rattler.package import BuildString

tables, base, prefix, cache = json.load(open(sys.argv[1])), sys.argv[2], sys.argv[3], sys.argv[4]
records = []
for table in tables:
    record = PackageRecord(
        table["name"], table["version"], BuildString(table["build"]), table["build-number"], table["subdir"],
        noarch=table.get("noarch"), sha256=bytes.fromhex(table["sha256"]), size=table.get("size"),
    )
    records.append(RepoDataRecord(record, table["file"], f"{base}/{table['subdir']}/{table['file']}", f"{base}/"))
asyncio.run(install(records, target_prefix=prefix, cache_dir=cache, show_progress=False))
os._exit(0)
"""


def make_project(folder: Path, files: int) -> tuple[Project, str]:
    """Make a channel of forty packages with so many files in all, and a project that has locked and built them."""
    from tests.fake_cluster.condapackage import write_channel
    from tests.fake_cluster.smallpackages import many_files

    whole = many_files(files)
    names = sorted(whole.files)
    parts = [
        dataclasses.replace(whole, name=f"many-{number:02}", files={name: whole.files[name] for name in names[number::PACKAGES]})
        for number in range(PACKAGES)
    ]
    channel = write_channel(folder / "channels" / "conda-forge", parts)
    return _lock_and_build(folder, [part.name for part in parts], channel), channel.as_uri()


def make_python_project(folder: Path) -> tuple[Project, str]:
    """Make a project of Python, numpy, scipy and astropy from the channel of the tests' site."""
    from tests.fake_cluster.channel import make_cached

    channel = make_cached()
    return _lock_and_build(folder, ["python=3.10", "numpy", "scipy", "astropy"], channel.folder), channel.url


def _lock_and_build(folder: Path, dependencies: list[str], channel: Path) -> Project:
    root = folder / "a project"
    (root / "sessions").mkdir(parents=True)
    (root / "noxfile.py").write_text("", encoding="utf-8")
    spec = f"[conda]\ndependencies = {json.dumps(dependencies)}\n"
    (root / "sessions" / f"{SESSION}.toml").write_text(spec, encoding="utf-8")
    environ = {"HOME": str(folder), "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    project = Project(root, {**environ, "CONDA_CHANNEL_ALIAS": channel.parent.as_uri()})
    for verb in ("lock", "build"):
        project.do("ozrepro", verb, SESSION)
    return project


def measure(project: Project, channel: str, rounds: int, seed: int) -> Rounds:
    """Measure rebuilds against the script, both from a warm cache and into a folder that is not there."""
    from ozrepro.methods.reading import load_lock

    lock = load_lock(project.root, SESSION)
    if lock is None:
        sys.exit("the project has no lock")
    work = project.root.parent
    (work / "records.json").write_text(json.dumps(lock.sections[0].content["record"]), encoding="utf-8")
    (work / "minimal.py").write_text(MINIMAL, encoding="utf-8")
    (work / "fresh").mkdir()
    numbers = itertools.count()

    def script() -> list[str]:
        prefix = work / "fresh" / str(next(numbers))
        return [sys.executable, str(work / "minimal.py"), str(work / "records.json"), channel, str(prefix), str(work / "cache")]

    def clean() -> None:
        # Not the earlier environments: a link removed by anybody has a rebuild read the file again.
        for path in (work / "fresh").iterdir():
            remove(path)

    def ours() -> list[str]:
        return project.command("ozrepro", "build", SESSION, "--rebuild")

    return run_rounds(
        [
            Command("build", ours, project.environ, project.root, settle, clean),
            Command("script", script, project.environ, work, settle, clean),
        ],
        rounds,
        seed,
    )


def main() -> None:
    """Measure, print a table, and write JSON."""
    parser = make_parser(__doc__, 20, "of each command")
    parser.add_argument("--files", type=int, default=20_000, help="in all packages together (default 20,000)")
    parser.add_argument("--python", action="store_true", help="Python, numpy, scipy and astropy instead")
    given = parser.parse_args()
    report = open_report(given, **({"packages": "python, numpy, scipy, astropy"} if given.python else {"files": given.files}))
    with workplace() as folder:
        project, channel = make_python_project(folder) if given.python else make_project(folder, given.files)
        found = measure(project, channel, given.rounds, given.seed)
        report.rounds("link", found)
        slower = ratio(found, "build", "script", given.seed)
        report.row("build from the lock to a minimal py-rattler script", slower, "ratio", "<= 2.5" if given.python else "<= 1.15")
        report.row("the same in CPU time", ratio(found, "build", "script", given.seed, cpu=True), "ratio")
        report.row("the same, added", added(found, "build", "script", given.seed), "ms")


if __name__ == "__main__":
    main()
