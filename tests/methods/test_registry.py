"""What is asked of a method of another distribution before it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.errors import UsageError
from ozrepro.methods import registry
from ozrepro.methods.contract import Traits


class Named:
    """A method that has a name alone."""

    name = "odd"


class Depending(Named):
    """A method whose sections depend on what no start can compare."""

    traits = Traits(scope="machine", facts=("cpu", "gpu", "kernel"))  # type: ignore[arg-type]


class Good(Named):
    """A method that depends on the processor."""

    traits = Traits(scope="machine", facts=("cpu",))


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have another distribution bring the methods of this module."""
    points = {name.lower(): f"{__name__}:{name}" for name in ("Named", "Depending", "Good", "Absent")}
    monkeypatch.setattr(registry, "_plugins", lambda: points)
    registry._load.cache_clear()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("named", "the method 'named' has no traits"),
        ("depending", "the method 'depending' depends on facts that no start can compare: 'gpu', 'kernel'; known are cpu, libc, driver"),
        ("absent", "the method 'absent' cannot be loaded: "),
    ],
)  # fmt: skip
def test_a_plug_in_s_method_that_cannot_be_used_is_refused_by_name(name: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry.load(name)
    assert caught.value.what.startswith(what)
    assert Path(__file__).stem in caught.value.where
    assert caught.value.hint


def test_a_plug_in_s_method_that_depends_on_known_facts_is_loaded() -> None:
    assert registry.load("good").name == "odd"
