"""Which command lines start at once, and which go the long way."""

from __future__ import annotations

import pytest

from ozrepro.faststart.start import split


@pytest.mark.parametrize(
    ("line", "name", "method", "project"),
    [
        ("run work -- python", "work", None, ""),
        ("run --plain work -- python", "work", None, ""),
        ("run work --method venv -- python", "work", "venv", ""),
        ("run --method=venv work --plain -- python", "work", "venv", ""),
        ("--project /data run work -- python", "work", None, "/data"),
        ("--project=/data run --method venv work -- python", "work", "venv", "/data"),
    ],
)
def test_a_documented_spelling_of_run_starts_at_once(line: str, name: str, method: str | None, project: str) -> None:
    command = split(line.split())
    assert command is not None
    assert (command.name, command.method, command.project, command.words) == (name, method, project, ["python"])


@pytest.mark.parametrize("line", ["run --python 3.12 work -- true", "run work --method venv --python=3.12 -q -- true"])
def test_a_start_on_a_python_that_is_asked_for_is_a_warm_one_too(line: str) -> None:
    command = split(line.split())
    assert command is not None
    assert command.python == "3.12"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "run",
        "run work",
        "run work --",
        "run -- python",
        "run work other -- python",
        "run not+a+name -- python",
        "run work --metho venv -- python",
        "run --help work -- python",
        "run --method -- python",
        "run work --project /data -- python",
        "--project run work -- python",
        "--version run work -- python",
        "status work -- run",
        "-- run work",
    ],
)
def test_any_other_command_line_goes_the_long_way(line: str) -> None:
    assert split(line.split()) is None
