"""What is inside an image: read from what its Python says, and compared."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.errors import BuildError
from ozrepro.methods.container.apptainer import Program
from ozrepro.methods.container.contents import Contents, differences, look_inside, read_contents
from ozrepro.python.distributions import Distribution

TABLE = {
    "python": "3.11.2",
    "tree": "0f" * 32,
    "files": 3,
    "distributions": {"numpy": ["1.26.4", ["numpy"]], "attrs": ["23.1", ["attr", "attrs"]]},
    "system": ["zlib1g 1:1.2.13.dfsg-1", "bash 5.2.15-2+b2"],
}
CONTENTS = Contents(
    "3.11.2",
    "0f" * 32,
    (Distribution("attrs", "23.1", ("attr", "attrs")), Distribution("numpy", "1.26.4", ("numpy",))),
    ("bash 5.2.15-2+b2", "zlib1g 1:1.2.13.dfsg-1"),
)


def test_the_packages_that_an_image_names_are_read_in_order() -> None:
    assert read_contents(TABLE) == CONTENTS
    assert CONTENTS.versions() == {"python": "3.11.2", "attrs": "23.1", "numpy": "1.26.4"}


@pytest.mark.parametrize(
    "change",
    [
        {"python": "3.11"},
        {"python": "3.11.2\n[venv.any]"},
        {"python": None},
        {"tree": "0" * 63},
        {"tree": "\x1b[2J"},
        {"distributions": []},
        {"distributions": {"a\x1b[31m": ["1", []]}},
        {"distributions": {"": ["1", []]}},
        {"distributions": {"a": ["1\n2", []]}},
        {"distributions": {"a": ["1" * 301, []]}},
        {"distributions": {"a": ["1", ["os; x"]]}},
        {"distributions": {"a": ["1", ["\u202e"]]}},
        {"distributions": {"a": ["1", 5]}},
        {"distributions": {"a": "1"}},
        {"distributions": {"a": None}},
        {"system": ["a\tb"]},
        {"system": [" "]},
        {"system": None},
    ],
)
def test_an_image_cannot_say_what_no_lock_can_hold(change: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        read_contents({**TABLE, **change})


@pytest.mark.parametrize("key", ["python", "tree", "distributions", "system"])
def test_contents_of_an_image_with_a_missing_part_are_refused(key: str) -> None:
    with pytest.raises(KeyError):
        read_contents({name: value for name, value in TABLE.items() if name != key})


_JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(sorted(TABLE)), _JUNK))
def test_any_table_of_contents_is_read_or_refused(change: dict[str, object]) -> None:
    try:
        found = read_contents({**TABLE, **change})
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    for text in (*found.versions(), *found.versions().values(), *found.system):
        assert text.isprintable()


def test_two_images_with_the_same_versions_have_no_difference_whatever_their_bytes() -> None:
    assert list(differences(CONTENTS, replace(CONTENTS, tree="1" * 64))) == []


def test_each_package_that_differs_between_images_has_a_line() -> None:
    here = Contents(
        "3.11.4",
        "0f" * 32,
        (Distribution("numpy", "2.0", ("numpy",)), Distribution("scipy", "1.0")),
        ("bash 5.2.15-2+b3", "xz 5"),
    )
    assert list(differences(CONTENTS, here)) == [
        "- attrs 23.1",
        "~ numpy 1.26.4 -> 2.0",
        "~ python 3.11.2 -> 3.11.4",
        "+ scipy 1.0",
        "~ bash 5.2.15-2+b2 -> 5.2.15-2+b3",
        "+ xz 5",
        "- zlib1g 1:1.2.13.dfsg-1",
    ]


def test_two_packages_of_one_name_are_both_compared() -> None:
    """Debian's openssl beside conda's, or a library for two architectures."""
    locked = replace(CONTENTS, system=("openssl 3.0.17-1", "openssl 3.6.0 h26f9b46_0"))
    other = replace(CONTENTS, system=("openssl 3.0.18-1", "openssl 3.6.0 h26f9b46_0"))
    assert list(differences(locked, other)) == [
        "~ openssl 3.0.17-1, 3.6.0 h26f9b46_0 -> 3.0.18-1, 3.6.0 h26f9b46_0",
    ]


CLEAN = {"PATH": "/usr/bin:/bin"}


def program(folder: Path, body: str) -> Program:
    """Return a program that does this in place of Apptainer."""
    path = folder / "apptainer"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return Program(str(path), "apptainer", "1")


def saying(text: str) -> str:
    return f"printf '%s' 'a banner <ozrepro>{base64.b64encode(text.encode()).decode()}</ozrepro> more'"


def test_the_image_s_own_python_is_asked_with_nothing_of_the_machine(tmp_path: Path) -> None:
    written = tmp_path / "words"
    body = f'for word; do printf "%s\\0" "$word"; done > {written}; {saying(json.dumps(TABLE))}'
    assert look_inside(program(tmp_path, body), "/an image.sif", CLEAN) == CONTENTS
    words = written.read_text().split("\0")[:-1]
    assert words[:-1] == [
        *("--quiet", "exec", "--no-eval", "--contain", "--no-home", "--cleanenv", "--pwd", "/"),
        *("/an image.sif", "python3", "-I", "-c"),
    ]
    assert "def main():" in words[-1]


def test_the_caller_s_settings_of_what_is_inside_change_no_answer(tmp_path: Path) -> None:
    written = tmp_path / "variables"
    mine = {"APPTAINERENV_PATH": "/evil", "SINGULARITYENV_A": "1", "APPTAINER_BINDPATH": "/x", "APPTAINER_MOUNT": "y"}
    body = f"env > {written}; {saying(json.dumps(TABLE))}"
    look_inside(program(tmp_path, body), "an.sif", {**CLEAN, **mine, "APPTAINER_TMPDIR": "/room"})
    names = {line.partition("=")[0] for line in written.read_text().splitlines()}
    assert names.isdisjoint(mine)
    assert "APPTAINER_TMPDIR" in names


@pytest.mark.parametrize("answer", ["[]", "{}", "5", "no json", "[" * 200_000, json.dumps({**TABLE, "distributions": []})])
def test_a_hostile_image_is_an_error_of_ours(tmp_path: Path, answer: str) -> None:
    coded = tmp_path / "answer"
    coded.write_text(f"<ozrepro>{base64.b64encode(answer.encode()).decode()}</ozrepro>")
    with pytest.raises(BuildError, match="cannot be read") as caught:
        look_inside(program(tmp_path, f"cat {coded}"), "an.sif", CLEAN)
    assert caught.value.where == "an.sif"


def test_an_image_without_python_is_told_from_one_that_cannot_be_started(tmp_path: Path) -> None:
    said = 'FATAL:   "python3": executable file not found in $PATH'
    with pytest.raises(BuildError, match="the image has no python3") as caught:
        look_inside(program(tmp_path, f"echo '{said}' >&2; exit 255"), "an.sif", CLEAN)
    assert caught.value.hint == "install python3 in %post"
    said = "FATAL:   could not open image an.sif: image format not recognized"
    with pytest.raises(BuildError, match=r"(?s)cannot be started.*not recognized"):
        look_inside(program(tmp_path, f"echo '{said}' >&2; exit 255"), "an.sif", CLEAN)


def test_what_the_script_prints_is_what_is_read(tmp_path: Path) -> None:
    """The whole script, with this machine's Python and a small tree in place of an image's root."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "a").write_text("x")
    python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
    body = f'for word; do last="$word"; done; exec {python} -I -c "$(printf "%s" "$last" | sed \'s|os.walk("/")|os.walk("{tmp_path}/etc")|\')"'
    found = look_inside(program(tmp_path, body), "an.sif", CLEAN)
    assert found.python.startswith("3.")
    again = look_inside(program(tmp_path, body), "an.sif", CLEAN)
    assert again == found
    (tmp_path / "etc" / "a").write_text("y")
    assert look_inside(program(tmp_path, body), "an.sif", CLEAN).tree != found.tree
