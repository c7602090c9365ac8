"""The README shows the real spec, and its blocks work as printed, in order, on a fresh machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ozrepro.project.toml import loads
from tests.conftest import BIN
from tests.docs.pages import ROOT, Command, ShownFile, Step, fences, steps
from tests.docs.running import play

README = ROOT / "README.md"
LEFT_OUT = (".git", ".venv", ".nox", ".ozrepro", ".hypothesis", ".*_cache", "__pycache__", "_build", "results")


def one_liners() -> list[str]:
    """Return the commands that set up and run the example, and the tests."""
    return [fence.text.strip() for fence in fences(README.read_text(encoding="utf-8")) if fence.language == "sh"]


def test_the_readme_shows_the_example_s_own_spec() -> None:
    """Whole, line by line, and short."""
    shown = [step for step in steps(README) if isinstance(step, ShownFile)]
    assert [step.path for step in shown] == ["sessions/analysis.toml"]
    assert shown[0].text == (ROOT / shown[0].path).read_text(encoding="utf-8")
    assert len([line for line in shown[0].text.splitlines() if line]) <= 12


def test_the_readme_is_read_in_a_few_minutes() -> None:
    """Under 90 lines; what it is comes in the first ten."""
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 90
    assert lines.index("## Install") <= 10


def test_the_setup_commands_are_one_line_each() -> None:
    """They can be copied as one line, and every command that installs asks only for extras that there are."""
    example, tests = one_liners()
    assert example.endswith("&& .venv/bin/nox -s analysis")
    assert tests.startswith("python3 -m venv .venv && ")
    assert tests.endswith("python -m pytest -n auto --dist loadfile -m quick")
    assert "\n" not in example + tests
    extras = loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(re.findall(r"\.\[(\w+)\]", README.read_text(encoding="utf-8"))) <= set(extras)


def strictly(page: str, played: list[tuple[Command, int, str]]) -> list[str]:
    """Return where the page is wrong; `...` stands for a part of one line, and every line counts."""
    wrong = []
    for command, status, output in played:
        pattern = ".*".join(map(re.escape, command.expected.strip().split("...")))
        if status != 0 or not re.fullmatch(pattern, output.strip()):
            wrong.append(
                f"{page}:{command.line}: $ {command.text}\nstatus {status}, expected:\n{command.expected}printed:\n{output}"
            )
    return wrong


def test_the_wildcard_of_the_readme_does_not_cross_lines() -> None:
    """Neither does it hide a line that is not shown."""
    command = Command("x", "built in ... s\n", 1)
    assert strictly("page", [(command, 0, "built in 3 s\n")]) == []
    assert strictly("page", [(command, 0, "built in 3 s\nand 4 s\n")])
    assert strictly("page", [(command, 1, "built in 3 s\n")])


@pytest.mark.network
@pytest.mark.slow
def test_the_readme_s_blocks_run_in_order_in_one_clean_shell(index: dict[str, str], tmp_path: Path) -> None:
    """From the install line to the example, in a fresh clone and an empty home; each prints what the page shows, line by line."""
    clone = tmp_path / "a fresh clone"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    base = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable))).parent
    if not (base / "python3").exists():
        pytest.skip(f"{base} has no python3")
    home = tmp_path / "home"
    home.mkdir()
    environ = {**index, "HOME": str(home), "PATH": os.pathsep.join((str(base), "/usr/bin", "/bin"))}
    example = one_liners()[0]
    commands: list[Step] = [step for step in steps(README) if isinstance(step, Command)]
    commands.insert(-1, Command(f"{{ {example}; }} >{shlex.quote(str(tmp_path / 'log'))} 2>&1", "", 0))
    wrong = strictly("README.md", play(commands, clone, tmp_path / "stage", environ))
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.network
@pytest.mark.slow
def test_the_recipe_for_ci_passes_in_a_fresh_clone_of_this_repository(index: dict[str, str], tmp_path: Path) -> None:
    """With the session's name for the page's, as its lock is the one that is committed."""
    clone = tmp_path / "clone"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    page = (ROOT / "docs" / "how-to" / "ci-and-slurm.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"```sh\n# ci\.sh\n(.*?)```", page, re.DOTALL)
    words = ["bash", "-c", recipe.replace("hello", "analysis")]
    environ = {**index, "HOME": str(tmp_path), "CI": "true", "PATH": f"{BIN}:/usr/bin:/bin"}
    done = subprocess.run(words, cwd=clone, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "analysis: lock is up to date" in done.stdout
