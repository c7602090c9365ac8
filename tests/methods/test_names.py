"""The names of the methods, which nothing outside `ozrepro/methods` may know."""

from __future__ import annotations

import ast
from pathlib import Path

import ozrepro
from ozrepro.methods import registry

PACKAGE = Path(ozrepro.__file__).parent
ALLOWED = {
    "environment.py": ("conda",),  # the program, among those that install
    "frontends/cli/discovery.py": ("modules",),  # a key of `spider --json`
    "frontends/init/conda.py": ("conda",),  # imports conda's rules of names, for a first spec
    "frontends/init/condapackages.py": ("conda",),  # conda's rules of names
    "frontends/init/condafile.py": ("conda",),  # reads an environment.yml as conda's method does
    "frontends/nox.py": ("conda", "venv"),  # nox's own names of backends
    "modulesystem/cache.py": ("modules",),  # a key of the index's file
    "modulesystem/site_index.py": ("modules",),  # the cache's folder
    "python/backend.py": ("venv",),  # uv's subcommand
    "python/install.py": ("venv",),  # uv's subcommand
    "python/treecopy.py": ("venv",),  # a folder that people give this name
    "store/claim.py": ("conda", "modules"),  # the caches' folders
}


def named_in(path: Path) -> set[str]:
    """Return the methods that are a file's literals as a whole, or whose folder it imports from."""
    words: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant):
            value = node.value.decode("latin-1") if isinstance(node.value, bytes) else node.value
            words |= {value} if isinstance(value, str) else set()
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ozrepro.methods."):
            words |= set(node.module.split(".")[2:3])
    return words & set(registry.BUILTIN)


def test_no_file_outside_methods_names_one() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if "methods" not in path.relative_to(PACKAGE).parts]
    named = {path.relative_to(PACKAGE).as_posix(): tuple(sorted(named_in(path))) for path in files}
    assert {name: words for name, words in named.items() if words} == ALLOWED
