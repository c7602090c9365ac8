"""Types a page's session at a terminal into a real shell and prints what the terminal then shows.

Run as a program with a file that holds the session: each line that begins with a prompt is typed once that prompt has come,
`^D` as the end of file. The shell is an interactive bash of its own, in the current folder; it ends with the session.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pexpect

PROMPT = re.compile(r"(?:\(\w+\) )?\$ |In \[\d+\]: |Do you really want to exit \(\[y\]/n\)\? ")
PAGER_END = r"\s*--More--\s+\(END\)"
LIMIT = 60
"""Seconds that one line may take."""


def typed(session: str) -> list[tuple[str, str]]:
    """Return each line that is typed, behind the prompt that it waits for."""
    found = [(PROMPT.match(line), line) for line in session.splitlines()]
    return [(match[0], line[match.end() :]) for match, line in found if match]


def play(session: str) -> str:
    """Return what the terminal shows, up to the line before a prompt that does not come."""
    shown, echo = "", ""
    shell = pexpect.spawn("bash", ["-i"], encoding="utf-8", timeout=LIMIT, dimensions=(40, 200))
    shell.delaybeforesend = None
    try:
        for prompt, line in typed(session):
            # A terminal shows what is typed, too.
            shown += f"{_until(shell, prompt).removeprefix(echo)}{prompt}{line}\n"
            if line == "^D":
                shell.sendeof()
            else:
                shell.sendline(line)
            echo = f"{line}\r\n"
        shown += _until(shell, "$ ").removeprefix(echo)
    except pexpect.TIMEOUT:
        shown += f"{shell.before}\n(nothing more came in {LIMIT} seconds)"
    except pexpect.EOF:
        shown += shell.before or ""
    finally:
        shell.close(force=True)
    return shown.replace("\r", "")


def _until(shell: pexpect.spawn[str], prompt: str) -> str:
    """Return what is shown before the prompt at the begin of a line, and leave a pager that waits at the end of its text."""
    shown = ""
    while shell.expect([rf"(?<![^\r\n]){re.escape(prompt)}\Z", PAGER_END]) == 1:
        shown += f"{shell.before}\n"
        shell.send("q")
    return f"{shown}{shell.before}".rstrip(" \r")


if __name__ == "__main__":
    sys.stdout.write(play(Path(sys.argv[1]).read_text(encoding="utf-8")))
