"""The package's rooms import downwards alone, and no file or function is too long to be read at once."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ozrepro"

LAYERS = (
    ("errors",),
    ("environment", "process"),
    ("faststart",),
    ("project",),
    ("site",),
    ("store",),
    ("modulesystem",),
    ("python",),
    ("methods",),
    ("pipeline",),
    ("frontends",),
    ("__init__", "__main__"),
)
"""From the ground up: each room imports from those before its own, wherever in a file the import is.

What is imported for types alone counts too: a room that names another's types knows it. Front ends may use the public API as
well, which loads its names on first use.
"""

FLOOR = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION = 400, 50


def room_of(parts: tuple[str, ...]) -> str:
    """Return the room of a module by its dotted name's parts, `ozrepro` first."""
    return parts[1] if len(parts) > 1 and parts[1] in FLOOR else "__init__"


def imported(path: Path) -> set[str]:
    """Return the rooms that a file imports from."""
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, (ast.Import, ast.ImportFrom)) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"ozrepro.{name}" for name in names] if node.module == "ozrepro" else [str(node.module)]
        rooms |= {room_of(tuple(name.split("."))) for name in names if name.split(".")[0] == "ozrepro"}
    return rooms


def test_every_room_of_the_package_has_a_floor_and_there_are_at_most_twelve_and_the_two_faces() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms == set(FLOOR)
    assert len(rooms) <= 14


@pytest.mark.parametrize("room", FLOOR)
def test_a_room_imports_from_rooms_below_it_alone(room: str) -> None:
    folder = PACKAGE / room
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    upward = {
        f"{path.relative_to(PACKAGE)}: {other}"
        for path in files
        for other in imported(path) - {room}
        if FLOOR[other] >= FLOOR[room] and (room, other) != ("frontends", "__init__")
    }
    assert not upward


def name_of(path: Path) -> str:
    """Return a file's name as a module."""
    return ".".join(("ozrepro", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def needed_to_run(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, without those that it needs for types alone."""
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    modules: set[str] = set()
    known = {name_of(file) for file in FILES}
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "ozrepro":
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules |= {name if name in known else str(node.module) for name in names}
    return modules


def test_no_file_imports_itself_by_way_of_others() -> None:
    TopologicalSorter({name_of(path): needed_to_run(path) for path in FILES}).prepare()


def test_the_model_of_lustre_knows_nothing_of_the_benchmark_that_uses_it() -> None:
    lustre = "ozrepro.frontends.bench.lustre"
    names = {name for path in FILES if name_of(path).startswith(lustre) for name in needed_to_run(path)}
    assert {name for name in names if name.startswith("ozrepro.frontends") and not name.startswith(lustre)} == set()


def test_no_file_has_more_lines_than_can_be_read_at_once() -> None:
    lines = {str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert not {name: number for name, number in lines.items() if number > LONGEST_FILE}


def test_no_function_has_more_lines_than_a_screen() -> None:
    too_long = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or node.lineno) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert not too_long
