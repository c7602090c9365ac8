"""What an environment's own Python says of itself, compared."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from ozrepro.comparing import Inside, ask, differences, unlike
from ozrepro.environment import Environment
from ozrepro.errors import BuildError


def answering(folder: Path, text: str) -> Environment:
    """Return an environment whose `python3` prints this, whatever it is asked."""
    (folder / "said").write_text(text)
    program = folder / "python3"
    program.write_text(f'#!/bin/sh\ncat "{folder}/said"\n')
    program.chmod(0o755)
    return Environment(path=(str(folder),))


def coded(table: object) -> str:
    return f"<ozrepro>{base64.b64encode(json.dumps(table).encode()).decode()}</ozrepro>"


def test_a_python_is_asked_for_its_distributions_and_what_they_can_be_imported_by(tmp_path: Path) -> None:
    table = {"python": "3.11.2", "distributions": {"pyyaml": ["6.0", ["_yaml", "yaml"]]}}
    found = ask(answering(tmp_path, f"a site's greeting\n{coded(table)}"), os.environ, tmp_path)
    assert found == Inside({"python": "3.11.2", "pyyaml": "6.0"}, {"pyyaml": frozenset({"_yaml", "yaml"})})


@pytest.mark.parametrize(
    "table",
    [
        [],
        {"python": "3.11.2"},
        {"python": "3.11.2", "distributions": {"a": "1"}},
        {"python": "3.11.2", "distributions": {"a": ["1\x1b[2J", []]}},
        {"python": "3.11.2; rm", "distributions": {}},
    ],
)
def test_an_answer_that_is_none_is_said_and_never_printed_as_it_is(tmp_path: Path, table: object) -> None:
    with pytest.raises(BuildError, match="cannot be read") as caught:
        ask(answering(tmp_path, coded(table)), os.environ, tmp_path)
    assert "\x1b" not in str(caught.value)


def test_a_python_that_does_not_answer_is_said_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="does not say what it has:\n    broken"):
        ask(answering(tmp_path, "broken\n"), os.environ, tmp_path)


def test_versions_come_first_and_names_of_what_one_side_lacks_are_not_told_twice() -> None:
    left = Inside({"a": "1", "b": "1"}, {"a": frozenset({"a", "old"}), "b": frozenset({"b"})})
    right = Inside({"a": "2"}, {"a": frozenset({"a", "_hidden", "new"})})
    lines = [item.line() for item in differences(left, right)]
    assert lines == ["~ a 1 -> 2", "- b 1", "- import old works", "+ import new works"]


def test_methods_are_unlike_where_two_that_have_a_package_have_other_versions() -> None:
    assert unlike({"modules": {"a": "1", "b": "1"}, "conda": {"a": "1"}, "venv": {"b": "2", "c": "3"}}) == ["b"]
