"""Every console example of the documentation, run in order in a fresh project, prints what its page says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, Command, Fence, ShownFile, Step, commands, fences, pages_with_examples, shown_file, steps
from tests.docs.running import matches, mistakes, play


@pytest.mark.network
@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(DOCS))) for page in pages_with_examples()])
def test_page(page: Path, index: dict[str, str], tmp_path: Path) -> None:
    """A reader who types a page's commands in its order sees what the page shows."""
    played = play(steps(page), tmp_path / "a project", tmp_path / "stage", index)
    wrong = mistakes(str(page.relative_to(DOCS.parent)), played)
    assert not wrong, "\n\n".join(wrong)


def test_commands_of_a_block() -> None:
    """The runner takes commands, continuations and output apart."""
    block = Fence("console", "$ one\n$ two \\\n> more\nsaid\n\nmore\n", 10)
    assert commands(block) == [Command("one", "", 10), Command("two \\\nmore", "said\n\nmore\n", 11)]


def test_a_file_is_named_by_its_first_line() -> None:
    """A block becomes a file only when its first line is a path with an ending."""
    assert shown_file(Fence("toml", "# sessions/a.toml\n\n[venv]\n", 1)) == ShownFile("sessions/a.toml", "[venv]\n", 1)
    assert shown_file(Fence("toml", "# a remark\n[venv]\n", 1)) is None
    assert shown_file(Fence("console", "# a.txt\n", 1)) is None


def test_fences_in_fences() -> None:
    """A longer fence may hold a shorter one."""
    assert [(item.language, item.line) for item in fences("````md\n```toml\n```\n````\n\n```console\n```\n")] == [
        ("md", 2),
        ("console", 7),
    ]


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        ("", "", True),
        ("", "x\n", False),
        ("a\n", "b\n", False),
        ("a ... c\n", "a b c\n", True),
        ("a\n...\nz\n", "a\nb\nc\nz\n", True),
        ("a\n...\nz\n", "a\nz\n", True),
        ("a    b\n", "a  b\n", True),
    ],
)
def test_what_matches(expected: str, output: str, same: bool) -> None:
    """The wildcard matches any text and nothing else is forgiven."""
    assert matches(expected, output) is same


def test_a_failure_must_be_shown(tmp_path: Path) -> None:
    """A command that fails unseen makes the page wrong; one whose status is shown does not."""
    environ = {"PATH": os.environ["PATH"]}
    hidden = play([Command("false", "", 1), Command("true", "", 2)], tmp_path / "a b", tmp_path / "one", environ)
    assert mistakes("page", hidden)
    shown = play([Command("false", "", 1), Command("echo $?", "1\n", 2)], tmp_path / "a b", tmp_path / "two", environ)
    assert not mistakes("page", shown)


def test_one_shell_for_a_page(tmp_path: Path) -> None:
    """A variable and a change of folder hold until the page's end, and a file is there when its block has come."""
    environ = {"PATH": os.environ["PATH"]}
    one: list[Step] = [Command("cat x.txt", "", 1), ShownFile("x.txt", "hello\n", 2), Command("a=1; cd ..", "", 3)]
    two: list[Step] = [
        Command("echo $a; basename $PWD", "", 4),
        ShownFile("x.txt", "bye\n", 5),
        Command('cat "a b/x.txt"', "", 6),
    ]
    played = play([*one, *two], tmp_path / "in" / "a b", tmp_path / "stage", environ)
    assert [(status, output.strip()) for _, status, output in played[1:]] == [(0, ""), (0, "1\nin"), (0, "bye")]
    assert played[0][1] == 1
