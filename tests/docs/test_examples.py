"""Every console example of the documentation, run in order in a fresh project, prints what its page says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docs.pages import (
    BOTH,
    CHANNEL,
    DOCS,
    SITE,
    Command,
    Fence,
    ShownFile,
    Step,
    commands,
    fences,
    has_part,
    needed,
    pages_with,
    pages_with_examples,
    shown_file,
    steps,
)
from tests.docs.running import matches, mistakes, names_in_the_channel, names_on_the_site, on_the_site, play, settle, visitor
from tests.docs.terminal import typed
from tests.fake_cluster import Site
from tests.fake_cluster.channel import Channel
from tests.fake_cluster.flavour import make_sdist


def _named(pages: list[Path]) -> list[object]:
    return [pytest.param(page, id=str(page.relative_to(DOCS))) for page in pages]


@pytest.mark.network
@pytest.mark.parametrize("page", _named(pages_with_examples()))
def test_commands_of_a_page_print_what_the_page_shows(page: Path, index: dict[str, str], tmp_path: Path) -> None:
    """A reader who types a page's commands in its order sees what the page shows."""
    played = play(steps(page), tmp_path / "a project", tmp_path / "stage", index)
    wrong = mistakes(str(page.relative_to(DOCS.parent)), played)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.network
@pytest.mark.parametrize("page", _named(pages_with(SITE)))
def test_commands_of_pages_about_modules_print_what_the_pages_show(
    page: Path, index: dict[str, str], site: Site, tmp_path: Path
) -> None:
    """A reader on a machine with modules who types all of a page's commands sees what the page shows."""
    project, home = tmp_path / "a project", tmp_path / "home"
    settle(home, site)
    for package in needed(page):
        make_sdist(project / "sources", package)
    typed = on_the_site(steps(page, SITE), names_on_the_site(site))
    wrong = mistakes(str(page.relative_to(DOCS.parent)), play(typed, project, tmp_path / "stage", visitor(index, site, home)))
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.network
@pytest.mark.parametrize("page", _named(pages_with(CHANNEL)))
def test_commands_of_pages_about_conda_print_what_the_pages_show(
    page: Path, index: dict[str, str], channel: Channel, tmp_path: Path
) -> None:
    """A reader for whom the name conda-forge means the test's channel sees what the page shows."""
    environ = {**index, "HOME": str(tmp_path / "home"), "CONDA_CHANNEL_ALIAS": channel.alias}
    (tmp_path / "home").mkdir()
    typed = on_the_site(steps(page, CHANNEL), names_in_the_channel(channel))
    wrong = mistakes(str(page.relative_to(DOCS.parent)), play(typed, tmp_path / "a project", tmp_path / "stage", environ))
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.network
@pytest.mark.parametrize("page", _named(pages_with(BOTH)))
def test_commands_of_pages_about_modules_and_conda_print_what_the_pages_show(
    page: Path, index: dict[str, str], site_with_mpi: Site, channel: Channel, tmp_path: Path
) -> None:
    """So does a reader who has modules, one of an MPI among them, and the channel."""
    environ = {**visitor(index, site_with_mpi, tmp_path / "home"), "CONDA_CHANNEL_ALIAS": channel.alias}
    settle(tmp_path / "home", site_with_mpi)
    names = {**names_in_the_channel(channel), **names_on_the_site(site_with_mpi)}
    typed = on_the_site(steps(page, BOTH), names)
    wrong = mistakes(str(page.relative_to(DOCS.parent)), play(typed, tmp_path / "a project", tmp_path / "stage", environ))
    assert not wrong, "\n\n".join(wrong)


def test_only_the_marked_part_of_a_page_is_run_on_the_site(tmp_path: Path) -> None:
    """What stands below the mark is run on the site alone, after what stands above it."""
    page = tmp_path / "page.md"
    page.write_text("```console\n$ one\n```\n\n<!-- on the test site -->\n\n```console\n$ two\n```\n", encoding="utf-8")
    assert has_part(page, SITE)
    assert not has_part(page, CHANNEL)
    assert steps(page) == [Command("one", "", 2)]
    assert steps(page, SITE) == [Command("one", "", 2), Command("two", "", 8)]


def test_a_marked_part_of_a_page_ends_where_another_begins(tmp_path: Path) -> None:
    """Each part follows what stands above them all, and not the part before it."""
    page = tmp_path / "page.md"
    blocks = [f"<!-- {part} -->\n\n```console\n$ {part.split()[0]} {part.split()[-1]}\n```\n" for part in (SITE, CHANNEL, BOTH)]
    page.write_text("\n".join(("```console\n$ first\n```\n", *blocks)), encoding="utf-8")
    found = {part: [step.text for step in steps(page, part) if isinstance(step, Command)] for part in ("", SITE, CHANNEL, BOTH)}
    assert found == {
        "": ["first"],
        SITE: ["first", "on site"],
        CHANNEL: ["first", "with channel"],
        BOTH: ["first", "on channel"],
    }


def test_names_in_a_page_stand_for_those_of_the_site() -> None:
    """Whole words are replaced, in files, commands and what they print."""
    shown: list[Step] = [ShownFile("a.toml", "python/3.10.4-bare 13.10.4\n", 1), Command("load 3.10.4", "3.10.4\n3.10.41\n", 2)]
    assert on_the_site(shown, {"3.10.4": "3.11.9"}) == [
        ShownFile("a.toml", "python/3.11.9-bare 13.10.4\n", 1),
        Command("load 3.11.9", "3.11.9\n3.10.41\n", 2),
    ]


def test_a_console_block_is_split_into_its_commands() -> None:
    """The runner takes commands, continuations and output apart."""
    block = Fence("console", "$ one\n$ two \\\n> more\nsaid\n\nmore\n", 10)
    assert commands(block) == [Command("one", "", 10), Command("two \\\nmore", "said\n\nmore\n", 11)]


def test_a_file_is_named_by_its_first_line() -> None:
    """A block becomes a file only when its first line is a path with an ending."""
    assert shown_file(Fence("toml", "# sessions/a.toml\n\n[venv]\n", 1)) == ShownFile("sessions/a.toml", "[venv]\n", 1)
    assert shown_file(Fence("toml", "# a remark\n[venv]\n", 1)) is None
    assert shown_file(Fence("console", "# a.txt\n", 1)) is None
    assert shown_file(Fence("lua", "-- modules/a/1.0.lua\nx()\n", 1)) == ShownFile("modules/a/1.0.lua", "x()\n", 1)
    assert shown_file(Fence("sql", "-- a.txt\n", 1)) is None


def test_a_session_at_a_terminal_is_one_command(tmp_path: Path) -> None:
    """It is played as a whole, and the names of OzSTAR in it stand for the site's."""
    page = tmp_path / "page.md"
    page.write_text("```console-session\n$ one\n(work) $ python 3.10.4\n```\n", encoding="utf-8")
    (step,) = on_the_site(steps(page), {"3.10.4": "3.11.9"})
    assert step == Command("(at a terminal)", "$ one\n(work) $ python 3.11.9\n", 2, terminal=True)
    assert typed(step.expected) == [("$ ", "one"), ("(work) $ ", "python 3.11.9")]


@pytest.mark.parametrize(
    ("session", "wrong"),
    [
        ("$ read -p 'In [1]: ' line\nIn [1]: typed\n$ echo $line\ntyped\n", False),
        ('$ cd ..; basename "$PWD"\nother\n', True),
        (
            "$ cd sub; basename \"$PWD\"\nsub\n$ PS1='(work) $ '\n(work) $ PS1='$ '\n$ printf 'a\\nb\\nc\\n'\na\n...\n$ ^D\nexit\n",
            False,
        ),
    ],
)
def test_lines_typed_at_a_terminal_are_told_from_its_output(session: str, wrong: bool, tmp_path: Path) -> None:
    """A prompt is waited for, also that of a program; what the terminal shows is compared."""
    home = tmp_path / "home"
    (tmp_path / "a b" / "sub").mkdir(parents=True)
    home.mkdir()
    (home / ".bashrc").write_text("PS1='$ '\n", encoding="utf-8")
    environ = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb"}
    command = Command("(at a terminal)", session, 1, terminal=True)
    played = play([command], tmp_path / "a b", tmp_path / "stage", environ)
    assert bool(mistakes("page", played)) is wrong, played


def test_a_fence_inside_a_longer_fence_is_text() -> None:
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
def test_an_ellipsis_matches_any_text_and_nothing_else_is_forgiven(expected: str, output: str, same: bool) -> None:
    """The wildcard matches any text and nothing else is forgiven."""
    assert matches(expected, output) is same


def test_a_command_that_fails_must_be_shown_to_fail(tmp_path: Path) -> None:
    """A command that fails unseen makes the page wrong; one whose status is shown does not."""
    environ = {"PATH": os.environ["PATH"]}
    hidden = play([Command("false", "", 1), Command("true", "", 2)], tmp_path / "a b", tmp_path / "one", environ)
    assert mistakes("page", hidden)
    shown = play([Command("false", "", 1), Command("echo $?", "1\n", 2)], tmp_path / "a b", tmp_path / "two", environ)
    assert not mistakes("page", shown)


def test_all_commands_of_a_page_run_in_one_shell(tmp_path: Path) -> None:
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
