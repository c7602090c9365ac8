"""What ozrepro adds to modules: to a resolution by Lmod, to a warm start, to nox. On the test site; see README.md.

python benchmarks/modules.py [--rounds N] [--json FILE]
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from overhead import BIN, PLAIN, SESSION, Project, Report, _fixed, make_parser, open_report, workplace
from paired import Command, Rounds, added, ratio, run_rounds

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

if TYPE_CHECKING:
    from tests.fake_cluster import Site

NOXFILE = """\
import ozrepro


@ozrepro.session
def bench(session):
    session.run("true", external=True)
"""


def make_project(folder: Path, site: Site) -> Project:
    """Make, lock and build a project on 35 modules: EasyBuild's SciPy-bundle and the site's Python."""
    root = folder / "a project"
    (root / "sessions").mkdir(parents=True)
    (root / "noxfile.py").write_text(NOXFILE, encoding="utf-8")
    load = json.dumps([site.names["scipy-bundle"], "gcc/11.3.0", site.names["python"]])
    (root / "sessions" / f"{SESSION}.toml").write_text(f"[modules]\nload = {load}\n", encoding="utf-8")
    environ = {"HOME": str(folder), "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "LMOD_CMD": site.lmod_cmd}
    project = Project(root, {**environ, "MODULEPATH": site.modulepath("easybuild", "ozstar"), "OZREPRO_PLATFORM": "bench"})
    for words in (("lock", SESSION), ("build", SESSION), ("run", SESSION, "--", "true")):
        project.do("ozrepro", *words)
    return project


def measure_resolution(project: Project, site: Site, report: Report, rounds: int, seed: int) -> None:
    """Measure a resolution of 35 modules against the bare Lmod calls that it makes: spider, is-avail, three loads."""
    from ozrepro import process
    from ozrepro.methods.reading import load_lock
    from ozrepro.modulesystem.capture import capture
    from ozrepro.modulesystem.lmod import FLAGS, Lmod

    lock = load_lock(project.root, SESSION)
    assert lock is not None
    names = [str(name) for name in lock.sections[0].content["load"]]
    folders = project.environ["MODULEPATH"].split(":")
    lmod, environ = Lmod(site.lmod_cmd), {**FLAGS, "PATH": process.CLEAN_PATH, "HOME": "/", "MODULEPATH": ":".join(folders)}
    load = [[site.lmod_cmd, shell, "load", *names] for shell in ("python", "python", "bash")]
    calls = [[site.spider, "-o", "spider-json", ":".join(folders)], [site.lmod_cmd, "python", "is-avail", names[0]], *load]

    def resolved() -> None:
        capture(lmod, names, folders, lmod.index(folders))

    def bare() -> None:
        for words in calls:
            process.run(words, env=environ)

    found = Rounds()
    rng = random.Random(seed)
    for _ in range(rounds):
        seconds: dict[str, float] = {}
        pair = [("capture", resolved), ("bare calls", bare)]
        rng.shuffle(pair)
        for name, work in pair:
            began = time.perf_counter()
            work()
            seconds[name] = time.perf_counter() - began
        found.orders.append([name for name, _ in pair])
        found.seconds.append(seconds)
        found.cpu.append(dict(seconds))
    report.rounds("capture", found)
    report.row("resolve: names to a change, to the bare calls", ratio(found, "capture", "bare calls", seed), "ratio", "<= 1.3")
    report.row("resolve: the same, added", added(found, "capture", "bare calls", seed), "ms")

    def forget() -> None:
        (project.root / "sessions" / f"{SESSION}.lock").unlink()
        shutil.rmtree(project.root / ".ozrepro" / "cache" / "modules")

    script = " && ".join(f'env -i "$@" {" ".join(map(_quoted, words))} >"$OUT" 2>&1' for words in calls)
    assignments = [f"{name}={value}" for name, value in environ.items()]
    commands = [
        Command("lock", lambda: project.command("ozrepro", "lock", SESSION), project.environ, project.root, forget),
        Command("bare", lambda: ["sh", "-c", script, "sh", *assignments], {**project.environ, "OUT": os.devnull}, project.root),
    ]
    found = run_rounds(commands, rounds, seed)
    report.rounds("lock", found)
    report.row("resolve: a whole `ozrepro lock` to the bare calls", ratio(found, "lock", "bare", seed), "ratio")
    report.row("resolve: the same, added", added(found, "lock", "bare", seed), "ms")


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)


def measure_start(project: Project, report: Report) -> None:
    """Count the path-taking calls of a warm start up to the command, with modules and without."""
    from tests.faststart import strace

    reason = strace.why_not()
    if reason:
        report.skip(f"path-taking calls: {reason}")
        return
    (project.root / "sessions" / "plain.toml").write_text("[venv]\n", encoding="utf-8")
    for words in (("lock", "plain"), ("build", "plain"), ("run", "plain", "--", "true")):
        project.do("ozrepro", *words)
    counts: dict[str, int] = {}
    for name in (SESSION, "plain"):
        start = project.command("ozrepro", "run", name, "--", "/bin/true")
        calls = strace.trace(start, "%file", cwd=project.root, env=project.environ).calls
        counts[name] = max(number for number, call in enumerate(calls) if call.name == "execve" and not call.failed)
    report.row("run: path-taking calls before the exec, 35 modules", counts[SESSION], "calls")
    report.row("run: the same of a venv without modules", counts["plain"], "calls")
    report.row("run: difference", counts[SESSION] - counts["plain"], "calls", "<= 60")


def measure_nox(project: Project, report: Report, rounds: int, seed: int) -> None:
    """Measure a locked, built session on 35 modules under nox against the same body without an environment."""
    plain = Project(project.root.parent / "plain", project.environ)
    plain.root.mkdir()
    (plain.root / "noxfile.py").write_text(PLAIN, encoding="utf-8")
    words = project.command("nox", "-s", SESSION)
    commands = [_fixed("ozrepro", words, project), _fixed("none", words, plain), _fixed("none again", words, plain)]
    found = run_rounds(commands, rounds, seed, warm_up=2)
    report.rounds("nox", found)
    report.row("nox: a locked, built session on 35 modules to none", ratio(found, "ozrepro", "none", seed), "ratio", "<= 1.10")
    report.row("nox: backend none to itself (the noise)", ratio(found, "none again", "none", seed), "ratio")


def main() -> None:
    """Measure, print a table, and write JSON."""
    from tests.fake_cluster import SiteUnavailable
    from tests.fake_cluster.make import make

    given = make_parser(__doc__, 20, "of each scenario").parse_args()
    try:
        site = make()
    except SiteUnavailable as reason:
        sys.exit(f"no test site: {reason}")
    report = open_report(given, lmod=site.lmod_version)
    with workplace() as folder:
        project = make_project(folder, site)
        measure_start(project, report)
        measure_nox(project, report, given.rounds, given.seed)
        measure_resolution(project, site, report, given.rounds, given.seed)


if __name__ == "__main__":
    main()
