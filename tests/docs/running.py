"""Runs a page's steps in one shell, as a reader would type them, and compares what comes with what the page says."""

from __future__ import annotations

import difflib
import doctest
import os
import re
import secrets
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.methods.reading import load_settings
from ozrepro.site import look_around
from tests.docs.pages import Command, ShownFile, Step
from tests.sealed import system_path

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.fake_cluster import Site
    from tests.fake_cluster.channel import Channel

BIN = Path(sys.executable).parent
TERMINAL = Path(__file__).with_name("terminal.py")
LIMIT = 300.0
"""Seconds that a page may take."""

_INDEX = re.compile(r"(PIP_|UV_)(?!CACHE_DIR)\w+|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|(https?|all|no)_proxy", re.IGNORECASE)
_CHECKER = doctest.OutputChecker()


def reader(home: Path, cache: Path) -> dict[str, str]:
    """Return the variables of a reader's fresh shell: an empty home, this environment's programs first on PATH."""
    kept = {name: value for name, value in os.environ.items() if _INDEX.fullmatch(name)}
    return {
        **kept,
        "HOME": str(home),
        "PATH": f"{BIN}:{system_path()}",
        "LANG": "C.UTF-8",
        "UV_CACHE_DIR": str(cache),
        # What a page shows is neither coloured nor paged, and comes in the order in which it was printed.
        "COLUMNS": "100",
        "GIT_PAGER": "cat",
        "NO_COLOR": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONUNBUFFERED": "1",
        "TERM": "dumb",
        # git asks for a name, and gives advice about the first branch's.
        **{f"GIT_{who}_{what}": "reader" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "init.defaultBranch",
        "GIT_CONFIG_VALUE_0": "main",
    }


def visitor(environ: Mapping[str, str], site: Site, home: Path) -> dict[str, str]:
    """Return a reader's variables on the test site: Lmod and its directories as a login shell gives them, a home of their own."""
    return {**environ, "HOME": str(home), "LMOD_CMD": site.lmod_cmd, "MODULEPATH": site.modulepath()}


def settle(home: Path, site: Site) -> None:
    """Give a home what a terminal of the pages has: the prompt `$ `, the site's `module`, and an IPython that draws nothing."""
    init = Path(site.lmod_cmd).parents[1] / "init" / "bash"
    profile = home / ".ipython" / "profile_default"
    profile.mkdir(parents=True)
    (home / ".bashrc").write_text(f"PS1='$ '\n. '{init}'\n", encoding="utf-8")
    (profile / "ipython_config.py").write_text("c.TerminalInteractiveShell.simple_prompt = True\n", encoding="utf-8")


def names_on_the_site(site: Site) -> dict[str, str]:
    """Return what the pages show of OzSTAR, and what stands for it on the test site: versions, the tree, the platform's key."""
    has = site.packages["python-scientific"]
    versions = {"3.10.4": site.python_version, "1.22.3": has["numpy"], "1.8.1": has["scipy"], "1.4.2": has["pandas"]}
    here = look_around(load_settings(site.prefix, {}), {}).key("cluster")
    return {**versions, "/apps/modulefiles": f"{site.prefix}/apps/modulefiles", "linux-64/v3": here}


def names_in_the_channel(channel: Channel) -> dict[str, str]:
    """Return what the pages show of conda-forge, and what stands for it in the test's channel, which has no package so large."""
    stand_ins = {"pytorch-gpu": "needs-cuda", "pytorch": "gpu-thing", "gdal": "activates", "GDAL_DATA": "ACTIVATES_HOME"}
    return {"3.10.4": channel.find("python")[-1].version, "mpi4py": "mpi-user", **stand_ins}


def on_the_site(steps: list[Step], names: Mapping[str, str]) -> list[Step]:
    """Return a page's steps with each name that they show replaced, as a whole word, by that of the test site."""
    pattern = re.compile(rf"(?<![A-Za-z0-9_])(?<!\d\.)({'|'.join(map(re.escape, names))})(?![\w.])")

    def true(text: str) -> str:
        return pattern.sub(lambda found: names[found[1]], text)

    return [
        replace(step, text=true(step.text), expected=true(step.expected))
        if isinstance(step, Command)
        else replace(step, text=true(step.text))
        for step in steps
    ]


def play(
    steps: list[Step], project: Path, stage: Path, environ: dict[str, str], bash: Sequence[str] = ("bash",)
) -> list[tuple[Command, int, str]]:
    """Write the files and run the commands in order, in one bash; return each command with its status and output.

    bash: the words that start it, as another user for example.
    """
    mark = f"=={secrets.token_hex(8)}=="
    script = ["status=0"]
    stage.mkdir(parents=True)
    project.mkdir(parents=True, exist_ok=True)
    for number, step in enumerate(steps):
        staged = stage / str(number)
        staged.write_text(step.expected if isinstance(step, Command) and step.terminal else step.text, encoding="utf-8")
        if isinstance(step, ShownFile):
            target = _quoted(project / step.path)
            script.append(f'mkdir -p "$(dirname {target})" && cp {_quoted(staged)} {target}')
        else:
            run = f"{_quoted(Path(sys.executable))} {_quoted(TERMINAL)}" if step.terminal else "."
            silent = "" if step.terminal else "</dev/null"  # else a program that reads would read the steps that follow
            script.append(f"(exit $status); {run} {_quoted(staged)} {silent}; status=$?; printf '\\n{mark} %d\\n' $status")
    done = subprocess.run(
        bash,
        input="\n".join(script) + "\n",
        cwd=project,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=LIMIT,
        check=False,
    )
    parts = re.split(rf"\n{mark} (\d+)\n", done.stdout)
    commands = [step for step in steps if isinstance(step, Command)]
    assert len(parts) == 2 * len(commands) + 1, f"the shell ended early:\n{done.stdout}"
    return [(command, int(parts[2 * n + 1]), parts[2 * n]) for n, command in enumerate(commands)]


def mistakes(page: str, played: list[tuple[Command, int, str]]) -> list[str]:
    """Return, in words, where a page is wrong: other output, or a failure that it does not show."""
    found: list[str] = []
    for number, (command, status, output) in enumerate(played):
        following = played[number + 1][0].text if number + 1 < len(played) else ""
        if status != 0 and following != "echo $?":
            found.append(
                f"{page}:{command.line}: $ {command.text}\nfailed with status {status}, and the page does not say so:\n{output}"
            )
        elif not matches(command.expected, output):
            wanted, got = command.expected.splitlines(), output.splitlines()
            difference = "\n".join(difflib.unified_diff(wanted, got, "the page", "what was printed", lineterm=""))
            found.append(f"{page}:{command.line}: $ {command.text}\n{difference}")
    return found


def matches(expected: str, output: str) -> bool:
    """Say whether a command printed what the page says; `...` stands for any text, also for none or for several lines.

    The width of a gap between a table's columns does not count: it follows from what the wildcard stands for.
    """
    # A line that is only the wildcard also stands for no line at all.
    expected = re.sub(r"\n\.\.\.$", "...", expected, flags=re.MULTILINE)
    wanted, got = (re.sub(r" {2,}", "  ", text).strip() + "\n" for text in (expected, output))
    return _CHECKER.check_output(wanted, got, doctest.ELLIPSIS | doctest.DONT_ACCEPT_BLANKLINE)


def _quoted(path: Path) -> str:
    return f"'{path}'"
