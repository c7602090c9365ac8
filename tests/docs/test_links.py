"""Links of all Markdown of the repository: those within it lead to a file and a heading, those to elsewhere are encrypted.

Whether another site still has a page is not asked: that would make a test of other people's servers. `sphinx-build -b linkcheck`
asks them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, all_pages, fences

PAGES = [
    *all_pages(),
    *ROOT.glob("*.md"),
    *(ROOT / ".github").rglob("*.md"),
    *(path for folder in ("benchmarks", "sessions") for path in (ROOT / folder).rglob("*.md")),
]
LINK = re.compile(r"\]\(<?([^)\s>]+)>?\)|^\[[^\]]+\]:\s+<?([^\s>]+)", re.MULTILINE)
DEEPEST = 3
"""Headings down to this have an anchor in the documentation: `myst_heading_anchors` in docs/conf.py."""


def plain(path: Path) -> str:
    """Return a page without its fenced blocks."""
    text = path.read_text(encoding="utf-8")
    for fence in fences(text):
        text = text.replace(fence.text, "\n")
    return text


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(rf"^#{{1,{DEEPEST}}} +(.+?)\s*$", plain(path), re.MULTILINE)
    words = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    found: set[str] = set()
    for word in words:
        slug = re.sub(r"[^\w\- ]", "", word.lower()).replace(" ", "-")
        found.add(slug if slug not in found else f"{slug}-1")
    return found


def links(path: Path) -> list[str]:
    return [first or second for first, second in LINK.findall(re.sub(r"`[^`\n]*`", "", plain(path)))]


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(ROOT))) for path in PAGES])
def test_each_link_leads_to_a_file_and_a_heading_or_is_encrypted(path: Path) -> None:
    for target in links(path):
        if "://" in target:
            assert target.startswith("https://"), target
            continue
        name, mark, anchor = target.partition("#")
        file = path.parent / name if name else path
        assert file.is_file(), target
        assert not mark or anchor in anchors(file), target


def test_a_missing_heading_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A `title`, twice\n```sh\n# none\n```\n## A title twice\n#### Too deep\n[x](#y) [z](<a.md#b>) `[no](no)`\n[u]: v.md\n"
    )
    assert anchors(page) == {"a-title-twice", "a-title-twice-1"}
    assert links(page) == ["#y", "a.md#b", "v.md"]
