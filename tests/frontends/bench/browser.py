"""A headless Chromium that says where everything of a page is; the page itself has no script and is not changed."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

_MEASURE = r"""
window.onload = () => {
  const inside = document.querySelector("iframe").contentDocument, view = inside.defaultView, found = [];
  const walker = inside.createTreeWalker(inside.body, NodeFilter.SHOW_TEXT);
  const seen = (kind, words, box) => {
    if (box.width > 0 && box.height > 0) found.push([kind, words, box.left, box.top, box.right, box.bottom]);
  };
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    if (!node.data.trim() || node.parentElement.closest("title, style")) continue;
    const range = inside.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) seen("text", node.data.trim(), box);
  }
  inside.querySelectorAll(".part, .dot").forEach((bar) => seen("bar", bar.className, bar.getBoundingClientRect()));
  const style = view.getComputedStyle(inside.body);
  const answer = {width: inside.scrollingElement.scrollWidth, height: inside.scrollingElement.scrollHeight,
    back: style.backgroundColor, front: style.color, boxes: found};
  const place = document.createElement("pre");
  place.textContent = JSON.stringify(answer);
  document.body.replaceChildren(place);
};
"""


@dataclass(frozen=True, slots=True)
class Box:
    """Something on a page, in CSS pixels: a line of text, a part of a bar, or a dot."""

    kind: str
    words: str
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box, slack: float) -> bool:
        """Say whether the two share an area more than `slack` pixels wide and high."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        high = min(self.bottom, other.bottom) - max(self.top, other.top)
        return wide > slack and high > slack


@dataclass(frozen=True, slots=True)
class Page:
    """A page as it was laid out: how far it scrolls, its colours, and all that can be seen."""

    width: float
    height: float
    back: str
    front: str
    boxes: tuple[Box, ...]


def lay_out(text: str, width: int, folder: Path, *, dark: bool = False) -> Page:
    """Open a page in a frame of `width` CSS pixels and return what is where."""
    frame = f'<iframe srcdoc="{html.escape(text)}" style="border:0;width:{width}px;height:900px"></iframe>'
    page = folder / "frame.html"
    page.write_text(f"<!DOCTYPE html><meta charset='utf-8'><body>{frame}<script>{_MEASURE}</script></body>", encoding="utf-8")
    done = _chromium(folder, "--dump-dom", page, dark=dark)
    match = re.search(r"<pre>(.*?)</pre>", done, re.DOTALL)
    assert match is not None, done[-2000:]
    answer = json.loads(html.unescape(match[1]))
    boxes = tuple(Box(*item) for item in answer.pop("boxes"))
    return Page(**answer, boxes=boxes)


def picture(text: str, width: int, height: int, folder: Path, *, dark: bool = False) -> bytes:
    """Return a picture of a page in a frame of `width` by `height` CSS pixels, as PNG."""
    frame = f'<iframe srcdoc="{html.escape(text)}" style="border:0;width:{width}px;height:{height}px"></iframe>'
    page = folder / "picture.html"
    page.write_text(f"<!DOCTYPE html><meta charset='utf-8'><body style='margin:0'>{frame}</body>", encoding="utf-8")
    shot = folder / "picture.png"
    _chromium(folder, f"--screenshot={shot}", page, f"--window-size={max(width, 500)},{height}", dark=dark)
    return shot.read_bytes()


def _chromium(folder: Path, what: str, page: Path, *more: str, dark: bool) -> str:
    assert CHROMIUM is not None
    words = [CHROMIUM, "--headless", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}"]
    words += ["--no-sandbox"] if os.geteuid() == 0 else []
    words += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", *more, what, page.as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
