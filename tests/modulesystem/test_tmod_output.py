"""What Environment Modules prints, read as data: recorded, built up, and hostile."""

from __future__ import annotations

import builtins
import os
import random
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.modulesystem.tmod_output import read, read_index, read_uses

FOUR = r"""MODULES_LMPREREQ=openmpi/4.1\&gcc; export MODULES_LMPREREQ;
MANPATH=; export MANPATH;
_LMFILES_=/m/gcc/11.3.0:/d/openmpi/4.1; export _LMFILES_;
LOADEDMODULES=gcc/11.3.0:openmpi/4.1; export LOADEDMODULES;
MANPATH_modshare=:1; export MANPATH_modshare;
SH=bash; export SH;
TWICE_modshare=/a:2:/b:1; export TWICE_modshare;
TILDE=~/x:~; export TILDE;
LUAP=a\;b; export LUAP;
unset FOO;
CC=it\'s\ a\ \"gcc\"\ \\\ \$x; export CC;
alias gg=echo\ \'hi\'\ \$1;
ff () { echo "a b" $1; ls; }; export ff;
export SEEN=1;
test 0;
"""
"""Of 4.5.2."""

FIVE_SEVEN = r"""MANPATH=''; export MANPATH;
LOADEDMODULES='gcc/11.3.0:openmpi/4.1'; export LOADEDMODULES;
__MODULES_SHARE_MANPATH=':1'; export __MODULES_SHARE_MANPATH;
TILDE='~/x:~'; export TILDE;
NL='a
b'; export NL;
unset FOO;
CC='it'\''s a "gcc" \ $x'; export CC;
alias gg=echo\ \'hi\'\ \$1;
ff () { echo "a b" $1; ls; }; export -f ff;
complete -W 'a b' ff;
export EVIL=1
test 0;
"""
"""Of 5.7.0."""

PIECES = (
    *(
        "A=1; export A;\n",
        "A='x'; export A;\n",
        "export A;\n",
        "unset A;\n",
        "alias a=b;\n",
        "unalias a;\n",
        "test 0;\n",
        "test 0 = 1;\n",
    ),
    *(
        "f () { ",
        "; }; export -f f;\n",
        "}",
        "\\",
        "'",
        '"',
        "`",
        "$(touch hacked)",
        "`touch hacked`",
        "; touch hacked;",
        "&& touch hacked",
    ),
    *(
        "__import__('os').system('touch hacked')\n",
        "os.environ['A'] = 'x'\n",
        "{",
        "[",
        '{"/m": ',
        '{"a/1": ',
        '"type": "modulefile"',
    ),
    *(
        "\0",
        "\udce9",
        "é",
        "\n",
        " ",
        "\t",
        "-" * 70 + "\n",
        "/m/a/1:\n",
        "module\t\tuse {/x}\n",
        "prepend-path\tMODULEPATH /y\n",
        "A_modshare=:",
    ),
    *("LOADEDMODULES=a/1; export LOADEDMODULES;\n", "export LD_PRELOAD=/evil\n", "complete -F x y;\n", "eval ", "<<E\n", "# "),
)


@pytest.fixture
def harmless(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let nothing be run while a test reads."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("something was run")

    with monkeypatch.context() as patched:
        for module, name in (
            (os, "system"),
            (os, "execve"),
            (os, "posix_spawn"),
            (subprocess, "Popen"),
            (builtins, "eval"),
            (builtins, "exec"),
        ):
            patched.setattr(module, name, refuse)
        yield


def test_the_output_of_environment_modules_4_is_read() -> None:
    reading, good = read(FOUR, home="/home/me")
    assert good
    assert reading.values["CC"] == 'it\'s a "gcc" \\ $x'
    assert reading.values["TILDE"] == "/home/me/x:/home/me"
    assert (reading.values["LUAP"], reading.values["SEEN"], reading.values["MANPATH"]) == ("a;b", "1", "")
    assert reading.values["__MODULES_SHARE_MANPATH"] == ":1"
    assert reading.values["__MODULES_SHARE_TWICE"] == "/a:2"
    assert reading.deleted == {"FOO"}
    assert reading.shell.functions == {"ff": 'echo "a b" $1; ls'}
    assert reading.shell.aliases == {"gg": "echo 'hi' $1"}
    assert reading.effects == ()


def test_the_output_of_environment_modules_5_7_is_read() -> None:
    reading, good = read(FIVE_SEVEN, home="/home/me")
    assert good
    assert reading.values["CC"] == 'it\'s a "gcc" \\ $x'
    assert (reading.values["TILDE"], reading.values["NL"], reading.values["EVIL"]) == ("~/x:~", "a\nb", "1")
    assert reading.shell.functions == {"ff": 'echo "a b" $1; ls'}
    assert reading.effects == ("complete -W 'a b' ff",)


@pytest.mark.parametrize(
    ("text", "good"), [("", True), ("test 0;\n", True), ("test 0 = 1;\n", False), ("X=1; export X;\ntest 0 = 1;\n", False)]
)
def test_the_last_line_says_how_it_went(text: str, good: bool) -> None:
    assert read(text)[1] is good


@given(
    st.dictionaries(st.from_regex(r"[A-Z]{1,4}", fullmatch=True), st.text(st.characters(codec="utf-8", exclude_characters="\0"))),
    st.booleans(),
)
def test_a_value_is_read_as_it_was_quoted(values: dict[str, str], quotes: bool) -> None:
    special = " \\\t{}|<>!;#^$&*?\"'`()"
    lines = [
        f"{name}={quoted(value) if quotes else ''.join(f'{chr(92)}{char}' if char in special else char for char in value)}; export {name};\n"
        for name, value in values.items()
    ]
    assert read("".join(lines) + "test 0;\n")[0].values == values


def quoted(text: str) -> str:
    """Return a text as 5.6 and later write it."""
    return "'" + text.replace("'", "'\\''") + "'"


def test_a_value_cannot_end_its_statement() -> None:
    text = "A=x\\;\\ export\\ A\\;\nB=1\\;\\ export\\ B\\;; export A;\ntest 0;\n"
    assert read(text)[0].values == {"A": "x; export A;\nB=1; export B;"}


@pytest.mark.usefixtures("harmless")
def test_no_text_is_run_or_ends_in_a_traceback() -> None:
    chance = random.Random(14)
    for _ in range(5_000):
        text = "".join(chance.choices(PIECES, k=chance.randrange(1, 40)))
        reading, _ = read(text, text, "/home/me")
        assert all("\0" not in name and "=" not in name for name in reading.values)
        read_uses(text)
        try:
            read_index(text)
        except ValueError:
            continue


@pytest.mark.parametrize(
    "text",
    [
        '{"/m": ' * 100_000,
        '{"/m": 5, "/n": {"a": 5, "b": {"type": "modulefile", "name": 5, "pathname": []}}}',
        "{}",
        "{",
        "[]",
        "\0",
    ],
)
def test_an_index_that_cannot_be_read_is_an_error_without_a_traceback(text: str) -> None:
    try:
        assert read_index(text) == {}
    except ValueError as error:
        assert "index" in str(error) or "JSON" in type(error).__name__
