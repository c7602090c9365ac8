"""What only a shell can hold, read as text from the real Lmod: exact, nothing forged, nothing executed."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro import process
from ozrepro.modulesystem import ModuleError
from ozrepro.modulesystem.capture import first_base
from ozrepro.modulesystem.lmod import FLAGS, Lmod
from ozrepro.modulesystem.shell import Script, ShellParts
from tests.fake_cluster import Site
from tests.fake_cluster.modulefiles import quote, write


def parts_of(lmod: Lmod, folder: str, name: str) -> ShellParts:
    """Return what a module of a folder gives a shell."""
    reading = lmod.load([name], first_base([folder]))
    return replace(reading.shell, effects={name: reading.effects} if reading.effects else {})


def declared(script: str) -> str:
    """Return what a real bash has of functions after a script."""
    words = ["bash", "--noprofile", "--norc", "-c", f"{script}\ndeclare -f"]
    return subprocess.run(words, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True).stdout


def as_script(parts: ShellParts) -> str:
    """Return a script that gives a shell the functions."""
    return "".join(f"{name} () {{\n{body}\n}}\n" for name, body in parts.functions.items())


@pytest.mark.parametrize(("tree", "name"), [("ozstar", "conda/latest"), ("odd", "conda-like/1.0")])
def test_the_functions_are_those_that_a_shell_would_get(lmod: Lmod, site: Site, tree: str, name: str) -> None:
    folder = site.roots[tree]
    said = process.run([lmod.command, "bash", "load", name], env={**first_base([folder]), **FLAGS}).output
    parts = parts_of(lmod, folder, name)
    assert sorted(parts.functions) == (["__conda_exe", "conda", "mamba"] if tree == "ozstar" else ["greet"])
    real = declared("\n".join(line for line in said.splitlines() if not line.startswith(("alias", "ulimit"))))
    assert declared(as_script(parts)) == real != ""


def test_aliases_and_limits_are_read(lmod: Lmod, site: Site) -> None:
    parts = parts_of(lmod, site.roots["odd"], "conda-like/1.0")
    assert (dict(parts.aliases), parts.limits) == ({"ll": "ls -l"}, ("ulimit -c 0",))


@pytest.mark.parametrize("name", ["odd-values/1.0", "odd-bytes/1.0"])
def test_what_modulefiles_set_is_no_function(lmod: Lmod, site: Site, name: str) -> None:
    assert parts_of(lmod, site.roots["odd"], name) == ShellParts()


BODIES = [
    "echo \"a; b\" 'c' $(date) `id`",
    "if true; then\n  echo {x}\nfi",
    "f () { :; }\n    g () {\n        :\n    };\n    f",
    "cat <<'END'\n};\nEND\n:",
    'export FORGED=1;\necho "$@" >&2 # }; x',
]


@pytest.mark.parametrize("body", BODIES)
def test_a_body_comes_through_as_it_is(lmod: Lmod, tmp_path: Path, body: str) -> None:
    write(tmp_path, "made/1.0", [f'set_shell_function("made", {quote(body)}, "")', 'set_shell_function("other", "echo 1", "")'])
    parts = parts_of(lmod, str(tmp_path), "made/1.0")
    assert parts.functions == {"made": body, "other": "echo 1"}
    assert declared(as_script(parts)) == declared(f"made () {{\n{body}\n}}\nother () {{\necho 1\n}}")


@pytest.mark.parametrize("value", ["ls -l", 'it\'s; "x" $HOME `id` \\ #', "a\tb", "é"])
def test_an_alias_is_read_without_the_quotes_of_a_shell(lmod: Lmod, tmp_path: Path, value: str) -> None:
    write(tmp_path, "made/1.0", [f'set_alias("made", {quote(value)})'])
    assert parts_of(lmod, str(tmp_path), "made/1.0").aliases == {"made": value}


def test_what_modulefiles_print_is_an_effect(lmod: Lmod, site: Site) -> None:
    parts = parts_of(lmod, site.roots["odd"], "noisy/1.0")
    assert parts == ShellParts(effects={"noisy/1.0": ("Welcome to noisy", "have a nice day")})
    assert parts_of(lmod, site.roots["odd"], "noisy/2.0").effects["noisy/2.0"][-1] == "no newline at the end"


@pytest.mark.parametrize(
    "lines",
    [
        ["io.stdout:write('forged () { touch x; \\n};\\nalias two=x;\\n')", "set_shell_function('real', 'echo 1', '')"],
        ["print('FIRST=1;')", "print('export FIRST;')", "setenv('ZZ', '1')"],
        ['execute{cmd="export A=\'x y\' B=2; umask 027", modeA={"load"}}', 'setenv("ZZ", "1")'],
        ['execute{cmd="C=1", modeA={"load"}}', 'execute{cmd="export C", modeA={"load"}}', 'setenv("UNSET", "1")'],
        ['setenv("A", "1")', 'execute{cmd="unset A", modeA={"load"}}', 'execute{cmd="alias say=\'echo a b\'", modeA={"load"}}'],
    ],
)
def test_plain_commands_do_what_they_do_in_a_bash(lmod: Lmod, tmp_path: Path, lines: list[str]) -> None:
    """What a user's shell runs of Lmod's output, printed or not, is what it has in the end."""
    write(tmp_path, "made/1.0", lines)
    base = first_base([str(tmp_path)])
    said = process.run([lmod.command, "bash", "load", "made/1.0"], env={**base, **FLAGS}).output
    show = "umask; env; declare -f; alias -p"
    real = process.run(["/bin/bash", "--norc", "--noprofile", "-c", f"umask 022\n{said}\n{show}"], env=base).output
    found = lmod.load(["made/1.0"], base)
    assert found.effects == ()
    sets = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in found.values.items())
    aliases = "".join(f"alias {name}={shlex.quote(value)}\n" for name, value in found.shell.aliases.items())
    limits = "\n".join(found.shell.limits)
    script = f"umask 022\n{sets}{as_script(found.shell)}{aliases}{limits}\n{show}"
    assert process.run(["/bin/bash", "--norc", "--noprofile", "-c", script], env=base).output == real


def test_each_form_of_a_shell_s_output_is_read_or_kept_as_text(lmod: Lmod, tmp_path: Path) -> None:
    odd = "two\nlines; and () { more; }\n"
    lines = [f'setenv("a", {quote(odd)})', 'set_alias("..", "cd ..")', 'unset_alias("old")']
    lines += ['set_shell_function("b+c", "echo 1", "")', 'unset_shell_function("gone")', 'set_shell_function("zz", "echo 2", "")']
    lines += ['complete("bash", "made", "-o default")', 'execute{cmd="umask 027; source /x/activate", modeA={"load"}}']
    write(tmp_path, "made/1.0", lines)
    parts = parts_of(lmod, str(tmp_path), "made/1.0")
    effects = ("alias ..=cd ..", "complete -o default made", "source /x/activate")
    assert parts == ShellParts({"b+c": "echo 1", "zz": "echo 2"}, {}, ("umask 027",), {"made/1.0": effects})


@pytest.mark.parametrize("text", ["x\nforged () { y; \n};\n", "LOADEDMODULES=x;\nexport LOADEDMODULES;\nforged () { y; \n};\n"])
def test_a_value_that_looks_like_a_function_is_not_read_as_one(lmod: Lmod, tmp_path: Path, text: str) -> None:
    write(tmp_path, "made/1.0", [f'setenv("A", {quote(text)})', f'setenv("zz", {quote(text)})', f'pushenv("P", {quote(text)})'])
    assert parts_of(lmod, str(tmp_path), "made/1.0") == ShellParts()


def test_a_failing_load_is_an_error(lmod: Lmod, site: Site) -> None:
    with pytest.raises(ModuleError, match="licence server"):
        parts_of(lmod, site.roots["odd"], "failing/1.0")


def taken(text: str) -> Script:
    """Return what a script comes to."""
    script = Script()
    script.take(text)
    script.close()
    return script


@given(st.text(alphabet=st.sampled_from("export unset alias umask A=1B'\"\\;\n $`{}()|&<>#~*027")))
def test_any_text_is_taken_and_what_is_plain_is_what_a_bash_has(text: str) -> None:
    script = taken(text)
    if script.effects or script.functions or "\0" in text:
        return
    words = ["bash", "--noprofile", "--norc", "-c", f"{text}\nenv -0"]
    said = subprocess.run(words, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True).stdout
    real = dict(entry.partition("=")[::2] for entry in said.split("\0") if entry)
    own = {name: value for name, value in real.items() if name not in ("PATH", "PWD", "SHLVL", "_", "OLDPWD")}
    assert own == {name: value for name, value in script.values.items() if name not in ("PATH", "PWD", "SHLVL", "_", "OLDPWD")}


NOT_PLAIN = [
    "source /opt/x/activate",
    "export PATH=/x:$PATH",
    "export A=~/x",
    "export A=$(id)",
    "export A=`id`",
    'export A="a$B"',
    "export -f tool",
    "export A+=1",
    "A=1",
    "A=1 tool",
    "cd /x && export A=1",
    "export A=1 > /x",
    "echo *",
    "complete -W 'a b' tool",
    "ulimit -s unlimited 2>/dev/null",
    "export A=1 &",
    "unset -f tool",
]


@pytest.mark.parametrize("command", NOT_PLAIN)
def test_a_command_that_says_not_all_that_it_does_is_kept_as_text(command: str) -> None:
    script = taken(f"export B=1\n{command}\nexport C=2")
    assert (script.values, script.effects) == ({"B": "1", "C": "2"}, [command])


OPEN = [
    "if true; then\n",
    "for a in b; do\n",
    "cat <<END\n",
    "echo 'a\n",
    "f () {\n",
    "a |\n",
    "a \\\n",
    "a &&\n",
    "x=$(\n",
    'echo "\n',
]


@pytest.mark.parametrize("opening", OPEN)
def test_what_goes_on_behind_its_line_is_one_effect_to_the_end(opening: str) -> None:
    script = taken(f"export B=1\n{opening}export A=1\n")
    assert (script.values, script.effects) == ({"B": "1"}, [f"{opening}export A=1"])


def test_comments_and_commands_that_do_nothing_are_no_effects() -> None:
    assert taken("# a comment\n:\ntrue;\n\nfalse\n").effects == []


@pytest.mark.parametrize("text", ["0" * 5000 + "\x1f", "a b " * 2000 + "&", "x;" * 3000 + "&", "'" * 4001, '"a' * 3000])
def test_no_text_of_a_shell_takes_many_steps_to_read(text: str) -> None:
    """A word that a pattern could divide in many ways would take hours here."""
    assert taken(text).values == {}
