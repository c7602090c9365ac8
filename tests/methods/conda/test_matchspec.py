"""The texts that say what is wanted."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rattler import MatchSpec

from ozrepro.methods.conda.channels import Channel
from ozrepro.methods.conda.matchspec import check_spec, is_version, moment, name_in, with_address


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("numpy", "numpy"),
        ("python=3.10", "python"),
        ("python =3.10,!=3.10.4", "python"),
        ("scipy >=1.2, <2", "scipy"),
        ("openmpi=4.1.4=external_*", "openmpi"),
        ("numpy=1.26.4=py310hb13e2d6_0", "numpy"),
        ("python 3.10.* *_cpython", "python"),
        ("conda-forge::NumPy", "numpy"),
        ("https://host/chan::numpy==1.26", "numpy"),
        ("numpy[version='>=1',build=py*]", "numpy"),
        ("numpy # why", "numpy"),
    ],
)
def test_each_form_of_a_matchspec_is_taken(text: str, name: str) -> None:
    assert check_spec(text) is None
    assert name_in(text) == name


@given(
    st.from_regex(r"[a-z][a-z0-9]{0,3}( ?(=|==|>=|<=|<|>|!=) ?[0-9]{1,3}(\.[0-9]{1,3}){0,2}){0,2}", fullmatch=True),
    st.sampled_from(["", ",<4", ", <4", ",>=1.0,!=2"]),
)
def test_what_is_taken_by_its_look_rattler_takes_too(text: str, more: str) -> None:
    if check_spec(f"{text}{more}") is None:
        assert MatchSpec(f"{text}{more}").name is not None


@pytest.mark.parametrize("text", ["", ".", "1..2", "1!2!3", "1+", "1 2", "1.*", "é"])
def test_texts_that_are_not_versions_are_refused(text: str) -> None:
    assert not is_version(text)
    assert is_version("1!12.4rc1+local")


def test_usual_texts_are_judged_without_rattler() -> None:
    code = """if True:
        import sys
        from ozrepro.methods.conda import matchspec, method, virtual
        for text in ("python=3.10", "numpy>=1.26,<2", "conda-forge::scipy", "astropy >=6", "a-b"):
            assert matchspec.check_spec(text) is None
        here = (virtual.Virtual("__glibc", "2.36"), virtual.Virtual("__cuda", "12.4"))
        assert virtual.satisfied(["__glibc >=2.17,<3.0.a0", "__cuda >=12", "__cuda"], here) == []
        assert len(virtual.satisfied(["__glibc >=2.39,<3.0.a0"], here)) == 1
        assert virtual.check_overrides({"cuda": "12.4"}) == {}
        print("rattler" in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no package"),
        ("-e .", "names no package"),
        ("foo==", "unable to parse version spec"),
        ("numpy=>1", "'numpy=>1': unable to parse version spec: =>1; write for example"),
        ("foo*", "names no package"),
        ("a b c d", "more than name, version and build"),
        ("numpy 1.0 (x)]", "invalid bracket"),
        ("https://host/numpy-1-0.conda", "is an address"),
        ("numpy-1-0.conda", "names no package"),
        ("__cuda >=12", "conda.virtual-packages"),
        ("num\u202epy", "invisible character"),
        ("x" * 2000, "too long"),
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
    assert with_address("https://conda.anaconda.org/conda-forge/::numpy", channels) == "https://mirror/cf::numpy"
    with pytest.raises(ValueError, match="not in channels"):
        with_address("other::numpy", channels)
    both = (Channel("pkgs/main", "https://mirror/main"), Channel("pkgs/r", "https://mirror/r"))
    assert with_address("defaults::numpy", both) == "https://mirror/main::numpy"


@pytest.mark.parametrize(
    "text", ["https://u:s3cret@h/c::numpy", "https://h/t/s3cret/c::numpy>=1", "https://h/c?sig=s3cret::numpy"]
)
def test_a_secret_in_a_package_s_channel_is_refused_and_not_shown(text: str) -> None:
    problem = check_spec(text)
    assert problem
    assert "s3cret" not in problem


def test_a_channel_in_brackets_is_refused_with_the_form_that_follows_mirrors() -> None:
    assert "conda-forge::numpy" in str(check_spec("numpy[channel='conda-forge']"))


def test_dates_of_exclude_newer_are_read_as_moments() -> None:
    assert moment("") is None
    assert moment("2025-06-30") == dt.datetime(2025, 6, 30, 23, 59, 59, 999000, tzinfo=dt.timezone.utc)
    assert moment("2025-06-30T12:00:00Z") == dt.datetime(2025, 6, 30, 12, tzinfo=dt.timezone.utc)
    assert moment("2025-06-30T12:00:00+02:00") == dt.datetime(2025, 6, 30, 10, tzinfo=dt.timezone.utc)
    with pytest.raises(ValueError, match="is not a date"):
        moment("yesterday")
