"""What activating an environment changes, as it is kept beside the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.errors import BuildError
from ozrepro.methods.conda.activating import KEPT, Activation, capture, keep, kept

ACTIVATION = Activation(("/a",), {"A": "1"}, {"DATA": ("", "/data")}, ("GONE",), ("CLOCK",))


def test_an_activation_is_read_as_it_was_kept(tmp_path: Path) -> None:
    keep(ACTIVATION, tmp_path)
    assert kept(tmp_path) == ACTIVATION


def test_an_activation_that_an_earlier_version_kept_is_read(tmp_path: Path) -> None:
    keep(ACTIVATION, tmp_path)
    file = tmp_path / KEPT
    file.write_text(file.read_text().replace("home_relative", "homely"))
    assert kept(tmp_path) == ACTIVATION


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"homely": 1}'])
def test_a_damaged_activation_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / KEPT).parent.mkdir(parents=True)
    (tmp_path / KEPT).write_text(text)
    with pytest.raises(BuildError, match="cannot be read"):
        kept(tmp_path)


def test_variables_of_packages_are_set_as_conda_sets_them(tmp_path: Path) -> None:
    """From JSON, in the order of the files, before the scripts, which may change or unset them."""
    folder = tmp_path / "etc" / "conda"
    for name in ("env_vars.d", "activate.d"):
        (folder / name).mkdir(parents=True)
    (folder / "env_vars.d" / "b.json").write_text('{"FROM_JSON": "2", "NUMBER": 3, "PATH": "/evil", "not a name": "x"}')
    (folder / "env_vars.d" / "a.json").write_text('{"FROM_JSON": "1", "UNSET": "x", "CHANGED": "x"}')
    assert capture(tmp_path, {}, {}) == Activation(variables={"FROM_JSON": "2", "UNSET": "x", "CHANGED": "x", "NUMBER": "3"})
    below, spec = {"FROM_JSON": "module"}, {"UNSET": "spec", "CHANGED": "spec"}
    assert dict(capture(tmp_path, below, spec).variables) == {"FROM_JSON": "2", "NUMBER": "3"}, (
        "the spec's replace them, as in conda"
    )
    (folder / "activate.d" / "x.sh").write_text('unset UNSET; export CHANGED="$FROM_JSON"\n')
    found = capture(tmp_path, {}, {})
    assert dict(found.variables) == {"FROM_JSON": "2", "CHANGED": "2", "NUMBER": "3"}
    (folder / "env_vars.d" / "c.json").write_text("[1]")
    with pytest.raises(BuildError, match="holds no table"):
        capture(tmp_path, {}, {})
