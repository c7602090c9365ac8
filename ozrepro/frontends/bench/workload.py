"""What is started in each candidate: nothing, numpy, the spec's imports, or a script of the user's."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ozrepro.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WORDS = ("empty", "numpy", "imports")
NUMPY_CALL = "numpy.linalg.inv(numpy.eye(32))"
"""A first call that needs the linear algebra library: it loads at import, but its threads start with the first call."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What a start does.

    Attributes:
        name: its name in the result.
        statements: import statements, run one after another: the phase `imports`.
        call: an expression that is the phase `first_call`, "" for none.
        script: a file that is run as the phase `first_call` instead, "" for none.
        arguments: the script's arguments.
        path: folders in front of `sys.path`.
        digest: the sha256 of the script, in hexadecimal, "" for none.

    """

    name: str
    statements: tuple[str, ...] = ()
    call: str = ""
    script: str = ""
    arguments: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    digest: str = ""


def of_imports(name: str, modules: Sequence[str]) -> Workload:
    """Return a workload that imports modules; where numpy is one of them, it also makes numpy's first call."""
    roots = {module.partition(".")[0] for module in modules}
    call = NUMPY_CALL if "numpy" in roots else ""
    names = [*modules, *(["numpy"] if call and "numpy" not in modules else [])]
    return Workload(name, tuple(f"import {module}" for module in names), call)


def of_script(script: Path, arguments: Sequence[str] = ()) -> Workload:
    """Return a workload that runs a script of the user's, its own imports as a phase before it.

    Those are the import statements at its top level, taken without running it. Raises UsageError where it cannot be read as
    Python.
    """
    try:
        content = script.read_bytes()
        tree = ast.parse(content, str(script))
    except OSError as error:
        hint = "--workload fit.py, its path from the project's folder"
        raise UsageError(f"cannot be read: {error.strerror}", where=str(script), hint=hint) from error
    except (SyntaxError, ValueError) as error:
        hint = f"python -m py_compile {script.name}"
        raise UsageError(f"cannot be parsed as Python: {error}", where=str(script), hint=hint) from error
    found = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom)) and _is_absolute(node)]
    statements = tuple(dict.fromkeys(ast.unparse(node) for node in found))
    place = script.resolve()
    return Workload(
        script.name,
        statements,
        script=str(place),
        arguments=tuple(arguments),
        path=(str(place.parent),),
        digest=hashlib.sha256(content).hexdigest(),
    )


def _is_absolute(node: ast.Import | ast.ImportFrom) -> bool:
    return isinstance(node, ast.Import) or (node.level == 0 and node.module != "__future__")


def read_workload(word: str, imports: Sequence[str], root: Path) -> Workload:
    """Return the workload that a word of the command line names.

    `empty`, `numpy`, `imports` (the spec's), or a script's path from `root`. Raises UsageError.
    """
    if word == "empty":
        return Workload("empty")
    if word == "numpy":
        return of_imports("numpy", ("numpy",))
    if word == "imports":
        if not imports:
            raise UsageError(
                "the session's spec has no imports to time", hint='imports = ["numpy"] in the spec, or --workload numpy'
            )
        return of_imports("imports", imports)
    if word.endswith(".py"):
        return of_script(root / word)
    raise UsageError(f"unknown workload {word!r}", hint=f"one of: {', '.join(WORDS)}, or a script's path that ends in .py")


def read_workloads(words: Sequence[str], imports: Sequence[str], root: Path) -> tuple[Workload, ...]:
    """Return the workloads of several words, as `read_workload` does; scripts of one file name get their paths as names."""
    found = [read_workload(word, imports, root) for word in words]
    names = [workload.name for workload in found]
    return tuple(
        replace(workload, name=word) if workload.script and names.count(workload.name) > 1 else workload
        for word, workload in zip(words, found, strict=True)
    )
