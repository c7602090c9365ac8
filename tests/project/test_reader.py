"""Dataclasses read from tables by their annotations: every kind of field, every kind of mistake, and each mistake's line."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ozrepro.project.checking import Checker
from ozrepro.project.reader import MULTILINE, Check, Key, Range, Read, read_table
from ozrepro.project.toml import loads


def lower_case(name: str) -> str | None:
    return None if name.islower() else f"{name!r} is not in lower case"


def one_name(checker: Checker, value: object, path: tuple[str, ...]) -> str:
    checker.wrong(path, "is read by a function") if value != "x" else None
    return "read"


Name = Annotated[str, Check(lower_case)]


@dataclass(frozen=True, slots=True)
class Tool:
    """A table inside another."""

    name: Name
    version: str = ""


@dataclass(frozen=True, slots=True)
class Package:
    """Every kind of field."""

    name: Name
    build_number: Annotated[int, Range(0, 100)]
    passed: Annotated[tuple[Name, ...], Key("pass")] = ()
    noarch: Literal["", "python", "generic"] = ""
    seconds: Annotated[float, Range(1e-9)] = 1.5
    text: Annotated[str, MULTILINE] = ""
    ready: bool = False
    variables: Mapping[Name, str] = field(default_factory=dict)
    tools: tuple[Tool, ...] = ()
    built_by: Tool | None = None
    anything: Any = None
    special: Annotated[str, Read(one_name)] = ""

    def problems(self) -> Iterator[tuple[str | tuple[str, ...], str]]:
        """Yield what concerns several fields."""
        if self.noarch and self.build_number:
            yield "noarch", "requires build-number = 0"
        if "clash" in self.passed:
            yield f"pass[{self.passed.index('clash')}]", "clashes with a name of the site"
        if "path" in self.variables:
            yield ("variables", "path"), "is reserved"
        if self.name == "whole":
            yield "", "is refused as a whole"


def read(text: str) -> tuple[Package, list[str]]:
    checker = Checker("fit.lock", text)
    return read_table(checker, Package, loads(text)["package"], ("package",)), checker.mistakes


HEAD = '[package]\nname = "six"\nbuild-number = 3\n'


def test_each_type_of_field_is_read_from_toml() -> None:
    package, mistakes = read(
        HEAD + 'pass = ["a", "b"]\nseconds = 2\ntext = "1\\n2"\nready = true\nvariables = { x = "1" }\nspecial = "x"\n'
        'tools = [{ name = "cc", version = "1" }]\nbuilt-by = { name = "make" }\nanything = [1, { a = "b" }]\n'
    )
    assert mistakes == []
    assert package == Package(
        name="six",
        build_number=3,
        passed=("a", "b"),
        seconds=2.0,
        text="1\n2",
        ready=True,
        variables={"x": "1"},
        tools=(Tool("cc", "1"),),
        built_by=Tool("make"),
        anything=[1, {"a": "b"}],
        special="read",
    )


def test_a_missing_optional_field_has_its_default() -> None:
    assert read(HEAD) == (Package("six", 3), [])


@pytest.mark.parametrize(
    ("line", "mistake"),
    [
        ("pass = 3", 'line 4, package.pass: is a whole number; write an array of strings: ["…"]'),
        ('pass = ["a", " "]', "line 4, package.pass[1]: is empty; remove it"),
        ('pass = ["a", 1]', "line 4, package.pass[1]: is a whole number; write a string in quotes"),
        ('pass = ["a", "B"]', "line 4, package.pass[1]: 'B' is not in lower case"),
        ('noarch = "ruby"', "line 4, package.noarch: 'ruby' is not known; write one of: python, generic"),
        ("noarch = true", "line 4, package.noarch: is true or false; write a string in quotes"),
        ('noarch = "python"', "line 4, package.noarch: requires build-number = 0"),
        ('pass = ["a", "clash"]', "line 4, package.pass[1]: clashes with a name of the site"),
        ('pass = ["clash", "B"]', "line 4, package.pass[1]: 'B' is not in lower case"),
        ('variables = { path = "/bin" }', "line 4, package.variables.path: is reserved"),
        ("seconds = 0", "line 4, package.seconds: is 0; write a number above 0"),
        ("seconds = nan", "line 4, package.seconds: is nan; write a number above 0"),
        ("seconds = true", "line 4, package.seconds: is true or false; write a number above 0"),
        ("seconds = 1979-05-27", "line 4, package.seconds: is a date; write a number above 0"),
        ('ready = "yes"', "line 4, package.ready: is a string; write true or false"),
        ('text = "\\u202e"', "line 4, package.text: holds the invisible character RIGHT-TO-LEFT OVERRIDE; remove it"),
        ('built-by = "make"', "line 4, package.built-by: is a string; write a table"),
        ("built-by = {}", "line 4, package.built-by: lacks name"),
        ('tools = [{ name = "cc" }, { nam = "x", name = "y" }]', "tools[1].nam: unknown key; did you mean 'name'?"),
        ('tools = { name = "cc" }', "line 4, package.tools: is a table; write an array"),
        ('variables = { X = "1" }', "line 4, package.variables.X: 'X' is not in lower case"),
        ("variables = { x = 1 }", "line 4, package.variables.x: is a whole number; write a string in quotes"),
        ('special = "y"', "line 4, package.special: is read by a function"),
        ("passed = []", "line 4, package.passed: unknown key; did you mean 'pass'?"),
        ("build_number = 1", "line 4, package.build_number: unknown key; did you mean 'build-number'?"),
    ],
)
def test_a_mistake_is_reported_with_its_line_key_and_correction(line: str, mistake: str) -> None:
    _, mistakes = read(f"{HEAD}{line}\n")
    assert len(mistakes) == 1
    assert mistake in mistakes[0]


def test_bounds_of_a_whole_number_are_named() -> None:
    _, mistakes = read('[package]\nname = "six"\nbuild-number = 100\n')
    assert mistakes == ["line 3, package.build-number: is 100; write a whole number from 0 to 99"]


def test_all_mistakes_of_a_table_are_reported_together_and_missing_keys_on_one_line() -> None:
    _, mistakes = read('[package]\nready = 1\nnoarch = "x"\nname = "whole"\nnew = 1\n')
    assert sorted(mistake.partition(": ")[0] for mistake in mistakes) == [
        *("line 1, package", "line 1, package"),
        *("line 2, package.ready", "line 3, package.noarch", "line 5, package.new"),
    ]
    assert "line 1, package: lacks build-number" in mistakes
    assert "line 1, package: is refused as a whole" in mistakes


def test_a_value_that_is_wrong_or_missing_is_its_default_or_empty_in_what_is_returned() -> None:
    package, mistakes = read('[package]\nname = 3\nseconds = "x"\nbuilt-by = { version = 1 }\ntools = [1, { name = "cc" }]\n')
    assert len(mistakes) == 6
    assert package == Package("", 0, tools=(Tool("cc"),), built_by=Tool(""))


@pytest.mark.parametrize("value", [3, "x", [], None])
def test_what_is_not_a_table_is_an_empty_value_with_one_mistake(value: object) -> None:
    checker = Checker("fit.lock")
    assert read_table(checker, Package, value) == Package("", 0)
    assert [line.endswith("; write a table") for line in checker.mistakes] == [True]


def test_json_has_keys_as_fields_are_named_and_may_have_newer_ones() -> None:
    checker = Checker("r.json")
    table = json.loads(
        '{"name": "six", "build_number": 1, "later": {}, "text": "\\u001b[1m", "pass": ["", "a"], "built_by": null}'
    )
    table["pass"] = ["a"]
    assert read_table(checker, Package, table, (), "json") == Package("six", 1, passed=("a",), text="\x1b[1m")
    assert checker.mistakes == []


def test_a_text_of_json_that_cannot_be_written_is_refused() -> None:
    checker = Checker("r.json")
    read_table(checker, Tool, {"name": "x", "version": "\ud800"}, (), "json")
    assert checker.mistakes == ["version: '\\ud800' is not valid Unicode"]


@dataclass(frozen=True, slots=True)
class Whole:
    """A lock with packages."""

    package: tuple[Package, ...]


def test_the_annotations_of_a_class_are_looked_at_once_for_hundreds_of_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock has hundreds of packages, and is read at each cold start."""
    calls: list[type] = []

    def hints(kind: type, **options: Any) -> dict[str, Any]:
        calls.append(kind)
        return get_type_hints(kind, **options)

    monkeypatch.setattr("ozrepro.project.reader.get_type_hints", hints)
    table = {"package": [{"name": "six", "build-number": 1, "tools": [{"name": "cc"}]}] * 300}
    checker = Checker("fit.lock")
    assert len(read_table(checker, Whole, table).package) == 300
    assert checker.mistakes == []
    assert len(calls) == len(set(calls))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("name", "build-number", "pass", "tools", "variables"), ANYTHING)))
def test_whatever_a_table_holds_it_is_read_or_reported_and_has_the_right_types(table: dict[str, object]) -> None:
    checker = Checker("fit.lock")
    package = read_table(checker, Package, table)
    assert (type(package.name), type(package.build_number)) == (str, int)
    assert all(name.islower() for name in package.passed)
    assert {*map(type, package.tools)} <= {Tool}
    if not checker.mistakes:
        kept = {item.name for item in dataclasses.fields(Package)}
        assert {key.replace("-", "_").replace("pass", "passed") for key in table} <= kept
