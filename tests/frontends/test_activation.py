"""Activation as text: quoted for each shell, undone exactly."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ozrepro.environment import Environment, joined_by
from ozrepro.frontends.activation import MARK, Active, activate, interactive_variables, own_shell, quote

SHELLS = [shell for shell in ("bash", "zsh", "fish") if shutil.which(shell)]
HOSTILE = {
    "PLAIN": "1",
    "EMPTY": "",
    "QUOTES": 'it\'s "quoted" `id` $(touch executed) ${HOME} \\ \\\\',
    "TWO_LINES": "one\ntwo\n",
    "TABS": "a\tb\rc\x1b[31m",
    "UNICODE": "Ωμέγα 星 \U0001f52d",
    "SPACES": "  two  spaces  ",
    "BANG": "!! !x ~ * ? [a-z] {a,b} #",
    "DASH": "-n",
    "LIST_PATH": "/a b:/c'd:/e$f",
}
ENVIRONMENT = Environment(
    path=("/env/bin",), variables={**HOSTILE, "VIRTUAL_ENV": "/env"}, following={"CACHE": joined_by("HOME", ("", "/.cache"))}
)


def run(shell: str, text: str, environ: Mapping[str, str], cwd: Path) -> str:
    """Run text in a shell without anybody's own files, and return what it printed."""
    flags = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    program = shutil.which(shell)
    assert program is not None
    done = subprocess.run([program, *flags], input=text.encode(), env=environ, cwd=cwd, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    return done.stdout.decode("utf-8", "surrogateescape")


def variables(text: str) -> dict[str, str]:
    """Return the variables in what `env -0` printed, but for those that a shell sets for itself."""
    found = dict(entry.partition("=")[::2] for entry in text.split("\0") if entry)
    return {name: value for name, value in found.items() if name not in OWN}


@pytest.mark.parametrize("shell", SHELLS)
class TestInAShell:
    def caller(self, tmp_path: Path) -> dict[str, str]:
        odd = {f"CALLER_{name}": value for name, value in HOSTILE.items()}
        base = {"HOME": str(tmp_path), "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "TERM": "dumb", "USER": "me"}
        return {**base, **odd, "PLAIN": "the caller's\nown", "PYTHONPATH": "/mine:/yours"}

    def test_activating_gives_the_session_and_deactivating_gives_back_the_caller_exactly(
        self, shell: str, tmp_path: Path
    ) -> None:
        caller = self.caller(tmp_path)
        session = Active("work", ENVIRONMENT)
        text = activate(shell, session, caller)
        before, during, after = _three(run(shell, _around(text), caller, tmp_path))
        assert variables(before) == variables(after)
        expected = {name: value for name, value in interactive_variables(session, caller).items() if name not in OWN}
        assert variables(during) == expected
        assert variables(during)[MARK] == "work"
        assert "PYTHONPATH" not in variables(during)
        assert variables(during)["CACHE"] == f"{tmp_path}/.cache"
        assert not (tmp_path / "executed").exists()

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(value=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30))
    def test_any_value_arrives_as_it_is(self, shell: str, tmp_path: Path, value: str) -> None:
        caller = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
        text = activate(shell, Active("work", Environment(variables={"VALUE": value})), caller)
        assert variables(run(shell, f"{text}\n/usr/bin/env -0\n", caller, tmp_path))["VALUE"] == value


OWN = ("_", "SHLVL", "PWD", "OLDPWD", "USER", "LOGNAME")
"""What each shell sets for itself."""

MIDDLE = "-- ozrepro test --"


def _around(text: str) -> str:
    mark = f"echo '{MIDDLE}'"
    return f"/usr/bin/env -0\n{mark}\n{text}\n/usr/bin/env -0\n{mark}\nozrepro_deactivate\n/usr/bin/env -0\n"


def _three(output: str) -> tuple[str, str, str]:
    before, during, after = output.split(f"{MIDDLE}\n")
    return before, during, after


@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell != "fish"])
def test_functions_aliases_and_limits_come_and_go(shell: str, tmp_path: Path) -> None:
    session = Active(
        "work",
        Environment(),
        {"greet": '    echo "hello $1"', "mine": "echo theirs"},
        {"ll": "ls -l 'a b'", "own": "echo theirs"},
        ("ulimit -c 0", "umask 077"),
    )
    caller = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    look = "greet you 2>/dev/null; mine; alias ll; alias own; ulimit -S -c; umask\n"
    own = "mine () { echo mine; }\nalias own='echo mine'\nulimit -S -c unlimited 2>/dev/null; umask 022\n"
    output = run(
        shell,
        f"{own}{look}echo '{MIDDLE}'\n{activate(shell, session, caller)}{look}echo '{MIDDLE}'\nozrepro_deactivate\n{look}".replace(
            "alias ll;", "alias ll 2>/dev/null;"
        ),
        caller,
        tmp_path,
    )
    before, during, after = _three(output)
    assert before == after
    assert "hello you" in during
    assert "theirs" in during
    assert "ls -l" in during
    assert "mine" not in during.replace("'echo mine'", "")
    assert during.splitlines()[-2:] in (["0", "0077"], ["0", "077"])
    assert before.splitlines()[0] == "mine"


def test_the_caller_s_own_shell_is_taken_where_sessions_can_run_in_it() -> None:
    assert own_shell({"SHELL": "/usr/bin/zsh"}) == "zsh"
    assert own_shell({"SHELL": "/bin/tcsh"}) == "bash"
    assert own_shell({}) == "bash"


def test_quoting_for_fish_leaves_only_two_characters_special() -> None:
    assert quote("fish", "a'b\\c$d") == "'a\\'b\\\\c$d'"
