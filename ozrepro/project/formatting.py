"""Numbers in words, as messages of several commands have them."""

from __future__ import annotations


def size_words(count: int) -> str:
    """Return a number of bytes in words, in powers of 1024 as quotas count."""
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"


def contents_words(size: int, files: int, inside: int) -> str:
    """Return how large an environment is, and how many files it has; `inside` are those of one that is one file, 0 for a tree."""
    return f"one file of {size_words(size)}, {inside} inside" if inside else f"{size_words(size)}, {files} files"
