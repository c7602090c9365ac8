"""What a shell offers when somebody presses Tab."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Project


def offered(project: Project, tmp_path: Path, line: str) -> set[str]:
    """Ask as argcomplete's own shell code does, with the line and the place of the cursor in variables."""
    answer = tmp_path / "answer"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
    more = {"_ARGCOMPLETE_SUPPRESS_SPACE": "1", "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(answer)}
    done = project.ozrepro(**asked, **more)
    assert done.returncode == 0, done.stderr
    return {word.strip() for word in answer.read_text().split("\n") if word.strip()}


def test_commands_sessions_and_options_are_offered(small: Project, tmp_path: Path) -> None:
    small.spec("[venv]\n", "another")
    assert {"lock", "run", "shell", "status"} <= offered(small, tmp_path, "ozrepro ")
    assert offered(small, tmp_path, "ozrepro run ") >= {"work", "another"}
    assert offered(small, tmp_path, "ozrepro build wo") == {"work"}
    assert {"--method", "--check"} <= offered(small, tmp_path, "ozrepro lock --")
    assert {"modules", "venv"} <= offered(small, tmp_path, "ozrepro lock --method ")


def test_completion_changes_no_file(small: Project, tmp_path: Path) -> None:
    before = sorted(small.root.rglob("*"))
    offered(small, tmp_path, "ozrepro lock ")
    assert sorted(small.root.rglob("*")) == before
