"""What activating an environment changes, as it is kept beside the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from ozrepro.errors import BuildError
from ozrepro.methods.conda.activating import KEPT, Activation, keep, kept

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
