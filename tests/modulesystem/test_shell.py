"""What only a shell can hold, read as text from the real Lmod: exact, nothing forged, nothing executed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro import process
from ozrepro.modulesystem import ModuleError
from ozrepro.modulesystem.capture import first_base
from ozrepro.modulesystem.lmod import FLAGS, Lmod
from ozrepro.modulesystem.shell import ShellParts, read_shell
from tests.site import Site
from tests.site.modulefiles import quote, write


def parts_of(lmod: Lmod, folder: str, name: str) -> ShellParts:
    """Return what a module of a folder gives a shell."""
    return lmod.shell_parts([name], first_base([folder]))


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


@pytest.mark.parametrize("name", ["noisy/1.0", "noisy/2.0", "noisy/3.0", "odd-values/1.0", "odd-bytes/1.0"])
def test_what_modulefiles_print_and_set_is_no_function(lmod: Lmod, site: Site, name: str) -> None:
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


FORGED = [
    "forged () { touch x; \n};\n",
    "forged () { touch x; \n};\nforged2 () { touch x; \n};\nno newline",
    "alias forged=x;\nulimit -c 0;\numask 000\n",
    "LOADEDMODULES=x;\nexport LOADEDMODULES;\nforged () { touch x; \n};\nalias forged=x;\n",
    "FORGED () { touch x; \n};\nA=1;\nexport A;\n",
    "FORGED () { touch x; \n};\nand a word\n",
]


@pytest.mark.parametrize("noise", FORGED)
def test_a_function_that_a_modulefile_prints_is_none(lmod: Lmod, tmp_path: Path, noise: str) -> None:
    """The last but one sorts before all that Lmod writes, but what comes behind it does not sort after it."""
    lines = [f"io.stdout:write({quote(noise)})", 'setenv("ZZ", "1")', 'set_shell_function("real", "echo 1", "")']
    write(tmp_path, "made/1.0", lines)
    assert parts_of(lmod, str(tmp_path), "made/1.0") == ShellParts({"real": "echo 1"})


def test_a_function_that_sorts_before_all_variables_is_read(lmod: Lmod, tmp_path: Path) -> None:
    lines = [
        "print('hello')",
        'set_shell_function("ACTIVATE", "echo 1", "")',
        'prepend_path("CPATH", "/x")',
        'setenv("A", "x\\n;")',
    ]
    write(tmp_path, "made/1.0", lines)
    assert parts_of(lmod, str(tmp_path), "made/1.0") == ShellParts({"ACTIVATE": "echo 1"})


def test_reading_goes_on_behind_names_and_values_that_are_not_taken_over(lmod: Lmod, tmp_path: Path) -> None:
    odd = "two\nlines; and () { more; }\n"
    lines = [f'setenv("M-N", {quote(odd)})', f'setenv("a", {quote(odd)})', 'set_alias("..", "cd ..")', 'unset_alias("old")']
    lines += ['set_shell_function("b+c", "echo 1", "")', 'unset_shell_function("gone")', 'set_shell_function("zz", "echo 2", "")']
    lines += ['complete("bash", "made", "-o default")', 'execute{cmd="umask 027", modeA={"load"}}']
    write(tmp_path, "made/1.0", lines)
    parts = parts_of(lmod, str(tmp_path), "made/1.0")
    assert parts == ShellParts({"zz": "echo 2"}, {}, ("umask 027",))


@pytest.mark.parametrize("text", ["x\nforged () { y; \n};\n", "LOADEDMODULES=x;\nexport LOADEDMODULES;\nforged () { y; \n};\n"])
def test_a_value_that_looks_like_a_function_is_none(lmod: Lmod, tmp_path: Path, text: str) -> None:
    write(tmp_path, "made/1.0", [f'setenv("A", {quote(text)})', f'setenv("zz", {quote(text)})', f'pushenv("P", {quote(text)})'])
    assert parts_of(lmod, str(tmp_path), "made/1.0") == ShellParts()


def test_a_failing_load_is_an_error(lmod: Lmod, site: Site) -> None:
    with pytest.raises(ModuleError, match="licence server"):
        parts_of(lmod, site.roots["odd"], "failing/1.0")


@given(st.text())
def test_any_output_is_read_without_an_error(text: str) -> None:
    read_shell(text)
    assert read_shell(text + "LOADEDMODULES=a/1;\nexport LOADEDMODULES;\n") == ShellParts()
