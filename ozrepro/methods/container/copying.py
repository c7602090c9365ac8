"""What a definition copies into its image: the paths of `%files`, each with a digest of what is there."""

from __future__ import annotations

import glob
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ozrepro.errors import SpecError
from ozrepro.project.files import SMALL
from ozrepro.project.spec import digest_of
from ozrepro.store.manifest import digest_file

if TYPE_CHECKING:
    from ozrepro.methods.container.definition import Definition
    from ozrepro.project.files import Files


def copied(definition: Definition, name: str, root: Path, files: Files) -> dict[str, str]:
    """Return a digest for each path that the definition copies into the image, small files as `files` has read them.

    `name` is the definition's, from `root`, for what is raised.

    Raises SpecError for one that is not there, or is not a file or folder.
    """
    found: dict[str, str] = {}
    missing: list[str] = []
    for word in definition.copied():
        if "$" in word:
            missing.append(f"%files: {word}: the value of a variable would differ from machine to machine; write the path")
            continue
        plain = os.path.join(root, word)
        # A pattern that nothing answers is a name, as the shell has it that copies.
        paths = sorted(glob.glob(os.path.join(glob.escape(str(root)), word))) or [plain] * os.path.lexists(plain)
        if not paths:
            missing.append(f"%files: {word}: there is no such file")
        try:
            found[word] = digest_of([[os.path.relpath(path, root), _digest_path(path, files)] for path in paths])
        except OSError as error:
            missing.append(f"%files: {word}: {error.strerror}")
    if missing:
        raise SpecError(str(root / name), missing, hint="paths of %files are from the project's root")
    return found


def _digest_path(path: str, files: Files) -> str:
    if not os.path.isdir(path):
        found = os.stat(path)
        small = stat.S_ISREG(found.st_mode) and found.st_size <= SMALL
        digest = hashlib.sha256(files.content(Path(path))).hexdigest() if small else digest_file(path)
        return f"{found.st_mode & 0o777:o} {digest}"
    total = hashlib.sha256()
    for base, folders, names in os.walk(path):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(base, name))]
        for name in sorted((*names, *links)):
            file = os.path.join(base, name)
            found = os.lstat(file)
            content = os.readlink(file) if stat.S_ISLNK(found.st_mode) else ""
            if stat.S_ISREG(found.st_mode):
                content = digest_file(file)
            total.update(os.fsencode(f"{os.path.relpath(file, path)}\0{found.st_mode:o}\0{content}\n"))
    return total.hexdigest()
