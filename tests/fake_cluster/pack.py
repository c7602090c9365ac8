"""Packs a staged folder as a `.conda` archive: `python pack.py FOLDER ARCHIVE`, run by the Python of the making's own venv."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def pack(folder: Path, archive: Path) -> None:
    """Write the archive: files and links only, as conda's own tools do, owned by nobody in particular."""
    from conda_package_streaming.create import anonymize, conda_builder  # type: ignore[import-not-found]

    found = [os.path.join(top, name) for top, folders, names in os.walk(folder) for name in (*folders, *names)]
    with conda_builder(archive.name.removesuffix(".conda"), archive.parent, compression_level=3, compression_threads=2) as tar:
        for path in sorted(path for path in found if os.path.islink(path) or not os.path.isdir(path)):
            tar.add(path, os.path.relpath(path, folder), recursive=False, filter=anonymize)


if __name__ == "__main__":
    pack(Path(sys.argv[1]), Path(sys.argv[2]))
