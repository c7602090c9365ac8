"""The pages for those who change ozrepro agree with the code: the steps, the method's contract, and how a method is added."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from ozrepro.methods import contract, registry
from ozrepro.pipeline.preparing import STEPS

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FLOW = (ROOT / "docs" / "explanation" / "how-data-flows.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "tests" / "extensions" / "squashed"
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def first_column(page: str, heading: str) -> list[str]:
    """Return the first cell of each row of the table whose first heading is this one."""
    rows = page.partition(f"| {heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [row.split("|")[1].strip().strip("`") for row in rows]


def verbs() -> list[str]:
    """Return the functions that every method has, in the contract's order."""
    return [name for name, value in vars(contract.Method).items() if not name.startswith("_") and callable(value)]


def capabilities() -> list[str]:
    """Return the protocols of the contract that a method may have or lack, in the contract's order."""
    protocols = [
        name for name, value in vars(contract).items() if isinstance(value, type) and getattr(value, "_is_protocol", False)
    ]
    return [name for name in protocols if name not in ("Method", "Protocol")]


def test_the_page_lists_the_steps_of_the_pipeline_in_their_order() -> None:
    assert first_column(FLOW, "step") == [step.__name__ for step in STEPS]


def test_the_page_lists_the_verbs_of_the_contract_and_says_how_many_there_are() -> None:
    assert first_column(FLOW, "verb") == verbs()
    assert f"{NUMBERS[len(verbs())]} verbs in `ozrepro/methods/contract.py`" in FLOW


def test_the_page_lists_the_capabilities_of_the_contract() -> None:
    assert sorted(first_column(FLOW, "capability")) == sorted(capabilities())


def add_a_method() -> str:
    return CONTRIBUTING.partition("## Add a method\n")[2].partition("\n## ")[0]


def test_add_a_method_names_files_that_exist_and_as_many_verbs_as_the_contract_has() -> None:
    text = add_a_method()
    named = [name for name in re.findall(r"`((?:ozrepro|tests)/[\w./-]+)`", text) if "NAME" not in name]
    assert {"ozrepro/methods/contract.py", "tests/extensions/squashed/"} <= set(named)
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert f"{NUMBERS[len(verbs())]} verbs" in text
    assert [verb for verb in verbs() if f"`{verb}`" not in text] == []
    assert f"`{registry.GROUP}`" in text


def test_the_example_of_a_method_has_every_verb_and_is_known_to_no_file_outside_its_folder() -> None:
    tree = ast.parse((EXAMPLE / "ozrepro_squashed.py").read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    written = {
        name
        for node in classes
        for item in node.body
        for name in (
            [item.name]
            if isinstance(item, ast.FunctionDef)
            else [str(getattr(target, "id", "")) for target in getattr(item, "targets", [])]
        )
    }
    assert set(verbs()) <= written
    assert [path for path in (ROOT / "ozrepro").rglob("*.py") if "squashed" in path.read_text(encoding="utf-8")] == []
    assert "squashed" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_example_of_a_method_imports_of_the_tests_only_its_own_folder_and_shared_helpers() -> None:
    imported = {
        str(node.module)
        for path in EXAMPLE.glob("ozrepro_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    }
    assert not [name for name in imported if name.startswith("tests")]
    assert not [
        name
        for name in imported
        if re.match(rf"ozrepro\.(?:frontends|pipeline|methods\.(?:{'|'.join(registry.BUILTIN)}))\b", name)
    ]
