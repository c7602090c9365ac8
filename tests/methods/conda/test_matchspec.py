"""The texts that say what is wanted."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.methods.conda.channels import Channel
from ozrepro.methods.conda.matchspec import Wanted, check_spec, moment, take_apart, with_address


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("numpy", Wanted("numpy")),
        ("python=3.10", Wanted("python", "=3.10")),
        ("scipy >=1.2, <2", Wanted("scipy", ">=1.2,<2")),
        ("openmpi=4.1.4=external_*", Wanted("openmpi", "4.1.4", "external_*")),
        ("python 3.10.* *_cpython", Wanted("python", "3.10.*", "*_cpython")),
        ("conda-forge::NumPy", Wanted("numpy", channel="conda-forge")),
        ("https://host/chan::numpy==1.26", Wanted("numpy", "==1.26", channel="https://host/chan")),
        ("numpy[version='>=1',build=py*]", Wanted("numpy", bracket="version='>=1',build=py*")),
        ("numpy # why", Wanted("numpy")),
    ],
)
def test_each_form_of_a_matchspec_is_read(text: str, wanted: Wanted) -> None:
    assert check_spec(text) is None
    assert take_apart(text) == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no package"),
        ("-e .", "names no package"),
        ("foo==", "no version or range"),
        ("foo*", "names no package"),
        ("a b c d", "more than name, version and build"),
        ("numpy 1.0 (x)]", "names no package"),
        ("https://host/numpy-1-0.conda", "is an address"),
        ("numpy-1-0.conda", "names no package"),
        ("__cuda >=12", "conda.virtual-packages"),
        ("num\u202epy", "invisible character"),
        ("x" * 2000, "so long"),
    ],
)
def test_mistakes_in_a_matchspec_are_told_in_words(text: str, said: str) -> None:
    assert said in str(check_spec(text))


@given(st.text(max_size=40))
def test_any_text_is_a_matchspec_or_a_mistake(text: str) -> None:
    problem = check_spec(text)
    assert problem is None or problem


def test_a_channels_name_becomes_its_address() -> None:
    channels = (Channel("conda-forge", "https://mirror/cf"),)
    assert with_address("conda-forge::numpy>=1", channels) == "https://mirror/cf::numpy>=1"
    assert with_address("conda-forge/linux-64::numpy", channels) == "https://mirror/cf::numpy[subdir=linux-64]"
    assert with_address("numpy", channels) == "numpy"
    with pytest.raises(ValueError, match="not in channels"):
        with_address("other::numpy", channels)


def test_dates_of_exclude_newer_are_read_as_moments() -> None:
    assert moment("") is None
    assert moment("2025-06-30") == dt.datetime(2025, 6, 30, 23, 59, 59, 999000, tzinfo=dt.timezone.utc)
    assert moment("2025-06-30T12:00:00Z") == dt.datetime(2025, 6, 30, 12, tzinfo=dt.timezone.utc)
    assert moment("2025-06-30T12:00:00+02:00") == dt.datetime(2025, 6, 30, 10, tzinfo=dt.timezone.utc)
    with pytest.raises(ValueError, match="is no date"):
        moment("yesterday")
