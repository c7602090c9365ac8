"""What is started in each candidate: nothing, numpy, the spec's imports, a script of the user's, or a generated tree."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ozrepro.errors import UsageError
from ozrepro.store import failed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

WORDS = ("empty", "numpy", "imports", "generated")
NUMPY_CALL = "numpy.linalg.inv(numpy.eye(32))"
"""A first call that needs the linear algebra library: it loads at import, but its threads start with the first call."""

TREE = "ozrepro_bench_tree"
_PER_PACKAGE = 20


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


def generate(folder: Path, modules: int, size: int) -> Workload:
    """Write a package tree of `modules` modules of about `size` bytes each below `folder`; return the workload that imports it.

    In the manner of Pynamic (LLNL): many modules that a main one imports, each of which also imports its neighbour. The same
    numbers give the same bytes. Raises UsageError for numbers that make no tree, StoreError where it cannot be written.
    """
    workload = of_tree(folder, modules, size)
    try:
        _generate(folder / TREE, [_module_name(number) for number in range(modules)], size)
    except OSError as error:
        raise failed("write the generated tree", folder, error) from error
    return workload


def of_tree(folder: Path, modules: int, size: int) -> Workload:
    """Return the workload that imports the tree that `generate` writes. Raises UsageError for numbers that make no tree."""
    if not 1 <= modules <= 100_000 or not 0 <= size <= 10_000_000:
        raise UsageError(
            f"invalid workload 'generated:{modules}:{size}'", hint="generated:MODULES:BYTES, such as generated:500:4000"
        )
    call = f"{TREE}.{_module_name(modules - 1)}.f0()"
    return Workload(f"generated:{modules}:{size}", (f"import {TREE}",), call=call, path=(str(folder),))


def _module_name(number: int) -> str:
    return f"part{number // _PER_PACKAGE:04d}.module{number:05d}"


def _generate(top: Path, names: Sequence[str], size: int) -> None:
    for number, name in enumerate(names):
        package, _, module = name.partition(".")
        place = top / package
        if number % _PER_PACKAGE == 0:
            place.mkdir(parents=True, exist_ok=True)
            (place / "__init__.py").write_text("", encoding="ascii")
        (place / f"{module}.py").write_text(_module_text(number, names[number - 1] if number else "", size), encoding="ascii")
    (top / "__init__.py").write_text("".join(f"import {TREE}.{name}\n" for name in names), encoding="ascii")


def _module_text(number: int, before: str, size: int) -> str:
    lines = [f"import {TREE}.{before}\n"] if before else []
    text = "".join(lines) + f"def f0():\n    return {number}\n"
    count = 1
    while len(text) < size:
        text += f"def f{count}(x=0):\n    y = x + {number * 1000 + count}\n    return [y, {count}, f0()]\n"
        count += 1
    return text


def read_workload(word: str, imports: Sequence[str], root: Path, work: Path | None) -> Workload:
    """Return the workload that a word of the command line names.

    `empty`, `numpy`, `imports` (the spec's), `generated[:MODULES[:BYTES]]` (made below `work`), or a script's path from `root`.
    Without `work` nothing is made, to see whether there is a mistake. Raises UsageError.
    """
    kind, _, rest = word.partition(":")
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
    if kind == "generated":
        modules, size = _numbers(word, rest)
        return generate(work / f"{modules}-{size}", modules, size) if work else of_tree(root, modules, size)
    if word.endswith(".py"):
        return of_script(root / word)
    raise UsageError(f"unknown workload {word!r}", hint=f"one of: {', '.join(WORDS)}, or a script's path that ends in .py")


def read_workloads(words: Sequence[str], imports: Sequence[str], root: Path, work: Path | None) -> tuple[Workload, ...]:
    """Return the workloads of several words, as `read_workload` does; scripts of one file name get their paths as names."""
    found = [read_workload(word, imports, root, work) for word in words]
    names = [workload.name for workload in found]
    return tuple(
        replace(workload, name=word) if workload.script and names.count(workload.name) > 1 else workload
        for word, workload in zip(words, found, strict=True)
    )


def _numbers(word: str, rest: str) -> tuple[int, int]:
    parts = rest.split(":") if rest else []
    if len(parts) > 2 or not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(f"invalid workload {word!r}", hint="generated:MODULES:BYTES, such as generated:500:4000")
    numbers = [int(part) for part in parts]
    return (numbers + [500, 4000][len(numbers) :])[0], (numbers + [500, 4000][len(numbers) :])[1]
