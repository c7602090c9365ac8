"""Examples that a user copies, and pages about jobs, as such a user has them: no root, a real Slurm, a package index."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.docs.pages import DOCS, EXAMPLES, SLURM, ShownFile, example_of, steps, tools_of
from tests.docs.running import mistakes, play
from tests.fake_cluster.tools import make_tools
from tests.store.mounted import wait

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.fake_cluster.ordinary import Account
    from tests.fake_cluster.slurm import Slurm

_MADE = (".ozrepro", "__pycache__", "results", "*.out")
"""What running an example leaves in its folder, which no clone has."""

_ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")

LIMIT = 120.0
"""Seconds that a test waits for a job."""


@dataclass(frozen=True)
class Cluster:
    """A cluster as its user meets it: Slurm's commands and ozrepro on PATH, a home, an index that ozrepro can ask."""

    account: Account
    slurm: Slurm
    programs: Path
    index: Mapping[str, str]

    def environ(self, *folders: Path) -> dict[str, str]:
        """Return the variables of a login, with these folders first on PATH."""
        return {**self.index, **self.account.environ(*folders, self.programs, self.slurm.bin)}

    def copy(self, name: str = "", *folders: Path) -> Example:
        """Copy an example as a clone has it into a new folder of the user's, an empty one where there is no name."""
        root = self.account.make_folder("work of") / "a project"
        if name:
            shutil.copytree(EXAMPLES / name, root, ignore=shutil.ignore_patterns(*_MADE))
        else:
            root.mkdir()
        self.account.give(root)
        return Example(root, self, self.environ(*folders))

    def play(self, page: Path) -> list[str]:
        """Run a page's commands as the user, and return, in words, where it is wrong (`running.mistakes`).

        A file that the page shows is that of its example.
        """
        name = example_of(page)
        example = self.copy(name, *(make_tools(tool, wanted) for tool, wanted in tools_of(page)))
        shown = {step.path: step for step in reversed(steps(page, SLURM)) if isinstance(step, ShownFile)}
        unlike = [
            f"{page.name}:{step.line}: {path} is not as in docs/examples/{name}"
            for path, step in shown.items()
            if (EXAMPLES / name / path).is_file() and (EXAMPLES / name / path).read_text(encoding="utf-8") != step.text
        ]
        words = self.account.command("bash")
        played = play(steps(page, SLURM), example.root, example.root.parent / "stage", dict(example.environ), words)
        return [*unlike, *mistakes(str(page.relative_to(DOCS.parent)), played)]


@dataclass(frozen=True)
class Example:
    """A copy of an example, the user's own, and the variables of their shell."""

    root: Path
    cluster: Cluster
    environ: Mapping[str, str]

    def run(self, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the copy as the user."""
        return self.cluster.account.run(*words, environ={**self.environ, **more}, cwd=self.root)

    def done(self, *words: str | Path, **more: str) -> str:
        """Run a program, insist that it succeeds, and return what it printed."""
        done = self.run(*words, **more)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}\n{self.printed()}"
        return done.stdout

    def submitted(self, *words: str, **more: str) -> str:
        """Submit a job by the words behind `sbatch` and return its number."""
        return self.done("sbatch", "--parsable", *words, **more).strip()

    def job(self, number: str) -> list[dict[str, str]]:
        """Return what Slurm knows of a job, or of each task of an array that has begun."""
        lines = self.done("scontrol", "--oneliner", "show", "job", number).splitlines()
        return [dict(word.partition("=")[::2] for word in line.split() if "=" in word) for line in lines if line.strip()]

    def ended(self, number: str) -> list[dict[str, str]]:
        """Wait until a job, each task of an array, has ended, and return what Slurm knows of it."""

        def has_ended() -> bool:
            return all(task["JobState"] in _ENDED for task in self.job(number))

        assert wait(has_ended, LIMIT), f"{self.job(number)}\n{self.printed()}"
        return self.job(number)

    def printed(self) -> str:
        """Return what jobs have printed into files of the folder."""
        files = sorted(self.root.glob("**/*.out"))
        return "\n".join(f"{path.name}: {path.read_text(encoding='utf-8', errors='replace')}" for path in files)


def cluster_of(account: Account, slurm: Slurm, programs: Path, index: Mapping[str, str]) -> Iterator[Cluster]:
    """Give the cluster to a user with an empty home, who is logged out at the end: no job and no process is left."""
    account.empty_home()
    kept = {name: value for name, value in index.items() if name not in ("HOME", "PATH", "UV_CACHE_DIR")}
    cluster = Cluster(account, slurm, programs, kept)
    try:
        yield cluster
    finally:
        account.run(slurm.bin / "scancel", f"--user={account.name}", environ=cluster.environ())
        account.end_processes()
        for folder in account.folder.glob("work of *"):
            shutil.rmtree(folder, ignore_errors=True)
