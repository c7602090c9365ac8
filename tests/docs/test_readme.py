"""The README shows the real files, and its first command works as printed on a fresh machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ozrepro.project.toml import loads
from tests.docs.pages import ROOT, Command, ShownFile, fences, steps
from tests.docs.running import mistakes, play

README = ROOT / "README.md"
LEFT_OUT = (".git", ".venv", ".nox", ".ozrepro", ".hypothesis", ".*_cache", "__pycache__", "_build", "results")


def setup_commands() -> list[str]:
    """Return the commands for a fresh machine: those that make an environment."""
    blocks = [fence.text.strip() for fence in fences(README.read_text(encoding="utf-8")) if fence.language == "sh"]
    return [text for text in blocks if text.startswith("python3 -m venv")]


def test_the_readme_shows_the_example_s_own_files() -> None:
    """What the README shows of the example stands in the example's own files, line by line."""
    shown = [step for step in steps(README) if isinstance(step, ShownFile)]
    assert [step.path for step in shown] == ["sessions/analysis.toml", "noxfile.py"]
    for step in shown:
        assert step.text in (ROOT / step.path).read_text(encoding="utf-8"), step.path
    spec, noxfile = ([line for line in step.text.splitlines() if line] for step in shown)
    assert shown[0].text == (ROOT / shown[0].path).read_text(encoding="utf-8"), "the spec is shown whole"
    assert len(spec) <= 12
    assert len(noxfile) <= 4


def test_both_setup_commands_of_the_readme_are_one_line_each() -> None:
    """Both can be copied as one line, and ask only for extras that there are."""
    commands = setup_commands()
    assert [text.rpartition("/")[2] for text in commands] == [
        "nox -s analysis",
        "python -m pytest -n auto --dist loadfile -m quick",
    ]
    extras = loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for text in commands:
        assert "\n" not in text
        assert set(re.findall(r"\.\[(\w+)\]", text)) <= set(extras)


def test_the_readme_s_table_has_every_command() -> None:
    """The README's table has each command."""
    from tests.docs.test_reference import COMMANDS

    text = README.read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"| `ozrepro {name}" in text, name


@pytest.mark.network
@pytest.mark.slow
def test_the_readme_s_first_command_runs_the_example_in_a_fresh_clone(index: dict[str, str], tmp_path: Path) -> None:
    """The first command sets up and runs the example in a fresh clone; the examples above it then print what they show."""
    clone = tmp_path / "a fresh clone"
    shutil.copytree(ROOT, clone, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    base = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable))).parent
    if not (base / "python3").exists():
        pytest.skip(f"{base} has no python3")
    environ = {**index, "PATH": os.pathsep.join((str(base), "/usr/bin", "/bin"))}
    done = subprocess.run(
        ["bash", "-c", setup_commands()[0]], cwd=clone, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The solar cycle lasts 11.0" in done.stdout
    environ["PATH"] = os.pathsep.join((str(clone / ".venv" / "bin"), environ["PATH"]))
    examples = [step for step in steps(README) if isinstance(step, Command)]
    wrong = mistakes("README.md", play([*examples], clone, tmp_path / "stage", environ))
    assert not wrong, "\n\n".join(wrong)
