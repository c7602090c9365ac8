"""The messages on the troubleshooting page are those that ozrepro prints."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT

MESSAGES = re.findall(r"^`(.*)`$", (DOCS / "how-to" / "troubleshooting.md").read_text(encoding="utf-8"), re.MULTILINE)
OF_OTHERS = ("No solution found", "Hash mismatch", "Could not acquire lock")
"""What uv says; the package looks for these words too."""


def _texts() -> str:
    """Return all text constants of the package, one a line."""
    found = []
    for path in sorted((ROOT / "ozrepro").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return "\n".join(found)


@pytest.fixture(scope="module")
def texts() -> str:
    """Give the package's texts."""
    return _texts()


def test_the_page_has_messages() -> None:
    """The pattern that finds them fits the page."""
    assert len(MESSAGES) > 15


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_the_page_is_in_the_package(message: str, texts: str) -> None:
    """Every piece between names, word by word."""
    for piece in message.split("..."):
        assert piece.strip(" ()") in texts, piece


def test_the_words_of_others_are_on_the_page() -> None:
    """None of them is a rest of a message that has gone."""
    assert set(OF_OTHERS) <= set(MESSAGES)
    assert Path(DOCS / "how-to" / "troubleshooting.md").is_file()
