"""What is printed on the way: no address in it tells a secret, and no bar is full before the work is done."""

from __future__ import annotations

import io
import sys

import pytest

from ozrepro.frontends.cli import output
from ozrepro.frontends.cli.output import Output


@pytest.mark.parametrize("address", ["https://me:s3cret@h/simple", "https://h/t/tk-s3cret/c", "https://h/a.whl?sig=s3cret"])
def test_a_line_of_what_is_going_on_masks_logins_tokens_and_queries(capsys: pytest.CaptureFixture[str], address: str) -> None:
    Output().say(f"warning: {address} is slow")
    errors = capsys.readouterr().err
    assert "s3cret" not in errors
    assert "https://h/" in errors


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("packages", [1, 3, 1000])
def test_a_bar_keeps_room_for_the_step_that_follows_the_last_one_counted(monkeypatch: pytest.MonkeyPatch, packages: int) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(output, "BAR_AFTER", -1.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with Output().progress() as progress:
        progress("linking packages", packages, packages)
        progress("checking imports", 0, 0)
    assert "checking imports" in terminal.getvalue()
    assert "95%" in terminal.getvalue()
    assert "100%" not in terminal.getvalue()
