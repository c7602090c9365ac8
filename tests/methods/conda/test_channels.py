"""Names and addresses of channels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.errors import SpecError, UsageError
from ozrepro.methods.conda.channels import (
    Channel,
    LockedChannel,
    channels_here,
    check_channel,
    check_public,
    find_channels,
    name_of,
    normal,
)
from ozrepro.methods.conda.lock import Content
from ozrepro.project.checking import Checker
from ozrepro.project.reader import read_table

FORGE = Channel("conda-forge", "https://conda.anaconda.org/conda-forge")


def test_a_bare_name_is_looked_for_at_the_public_place_or_the_alias() -> None:
    assert find_channels(["conda-forge"], {}, {}) == (FORGE,)
    mirror = {"channel-alias": "https://mirror/conda/"}
    assert find_channels(["conda-forge"], mirror, {})[0].address == "https://mirror/conda/conda-forge"
    assert find_channels(["a"], mirror, {"CONDA_CHANNEL_ALIAS": "https://Other:443/"}) == (Channel("a", "https://other/a"),)
    with pytest.raises(UsageError, match="not a plain address"):
        find_channels(["a"], {}, {"CONDA_CHANNEL_ALIAS": "https://me:secret@host"})


@pytest.mark.parametrize("tail", ["/t/tk-s3cret", "/t/tk-s3cret/conda", "?sig=s3cret"])
def test_an_alias_with_a_token_is_refused_and_not_shown(tail: str) -> None:
    with pytest.raises(UsageError, match="not a plain address") as caught:
        find_channels(["a"], {}, {"CONDA_CHANNEL_ALIAS": f"https://host{tail}"})
    assert "s3cret" not in str(caught.value)
    assert "rattler auth login" in str(caught.value)


def test_http_is_taken_where_the_settings_name_the_mirror() -> None:
    mirror = "http://127.0.0.1:8799/conda"
    for aliases, environ in (
        ({"channel-alias": mirror}, {}),
        ({"conda-forge": f"{mirror}/conda-forge"}, {}),
        ({}, {"CONDA_CHANNEL_ALIAS": mirror}),
    ):
        (found,) = find_channels([f"{mirror}/conda-forge"], aliases, environ)
        assert (found.name, found.written) == ("conda-forge", "")
        (label,) = find_channels([f"{mirror}/conda-forge/label/dev"], aliases, environ)
        assert label == Channel("conda-forge/label/dev", f"{mirror}/conda-forge/label/dev")
        with pytest.raises(SpecError, match="is not https"):
            find_channels(["http://other/conda-forge"], aliases, environ)
    assert check_public(f"{mirror}/conda-forge"), "no lock holds one"


def test_conda_s_mask_of_a_token_is_no_part_of_the_channel() -> None:
    assert find_channels(["https://conda.anaconda.org/t/<TOKEN>/conda-forge"], {}, {}) == (FORGE,)


def test_a_key_with_a_slash_is_one_channel_s_address_and_goes_before_that_of_its_first_part() -> None:
    aliases = {"pkgs/main": "file:///srv/main", "conda-forge/label": "https://m/l", "conda-forge": "https://m/cf"}
    found = find_channels(["defaults", "conda-forge", "conda-forge/label/dev"], aliases, {})
    assert [item.address for item in found] == [
        "file:///srv/main",
        "https://repo.anaconda.com/pkgs/r",
        "https://m/cf",
        "https://m/l/dev",
    ]


def test_the_address_for_others_is_the_public_one_or_the_spec_s_own() -> None:
    aliases = {"conda-forge": "file:///home/me/cf", "pkgs": "http://m/pkgs"}
    found = find_channels(["conda-forge", "pkgs/main", "https://repo.host/tools"], aliases, {"CONDA_CHANNEL_ALIAS": "http://m"})
    assert [item.public for item in found] == [
        "https://conda.anaconda.org/conda-forge",
        "https://repo.anaconda.com/pkgs/main",
        "https://repo.host/tools",
    ]


def test_the_settings_own_address_goes_first_also_for_labels() -> None:
    aliases = {"conda-forge": "file:///srv/forge/", "pkgs": "https://mirror/pkgs"}
    found = find_channels(["conda-forge", "conda-forge/label/dev", "defaults"], aliases, {})
    assert [(item.name, item.address) for item in found] == [
        ("conda-forge", "file:///srv/forge"),
        ("conda-forge/label/dev", "file:///srv/forge/label/dev"),
        ("pkgs/main", "https://mirror/pkgs/main"),
        ("pkgs/r", "https://mirror/pkgs/r"),
    ]


def test_defaults_are_two_channels_and_nodefaults_none() -> None:
    found = find_channels(["conda-forge", "nodefaults", "defaults"], {}, {})
    assert [item.name for item in found] == ["conda-forge", "pkgs/main", "pkgs/r"]
    assert found[1].address == "https://repo.anaconda.com/pkgs/main"


@pytest.mark.parametrize(
    "spelling",
    [
        "conda-forge/",
        "conda-forge/linux-64",
        "https://conda.anaconda.org/conda-forge",
        "HTTPS://Conda.Anaconda.ORG:443/conda-forge//noarch/",
    ],
)
def test_one_channel_under_two_spellings_is_one(spelling: str) -> None:
    assert find_channels(["conda-forge", spelling], {}, {}) == (FORGE,)
    assert find_channels([spelling], {}, {}) == (FORGE,)


def test_a_written_address_gets_a_name_and_stays_in_the_lock() -> None:
    found = find_channels(["https://repo.host/a/tools", "file:///srv/tools", "tools"], {}, {})
    assert [item.name for item in found] == ["tools-2", "tools-3", "tools"]
    assert found[0].as_table() == {"name": "tools-2", "address": "https://repo.host/a/tools"}
    assert FORGE.as_table() == {"name": "conda-forge"}
    listed = [LockedChannel(**item.as_table()) for item in found[:2]]
    assert channels_here(listed, {}, {}) == found[:2]
    moved = channels_here(listed, {"tools-2": "https://mirror/t"}, {})
    assert moved[0] == Channel("tools-2", "https://mirror/t", "https://repo.host/a/tools")


@pytest.mark.parametrize(
    "text",
    [
        "https://user:secret@host/chan",
        "https://host/t/secret/chan",
        "https://host/conda/t/tk-secret",
        "https://host/chan?token=1",
        "http://host/chan",
        "ftp://host/chan",
        "file://host/chan",
        "https:///chan",
        "../chan",
        "a b",
        "",
        "https://[::1/x",
        "x" * 600,
    ],
)
def test_a_channel_with_a_login_or_of_another_form_is_refused(text: str) -> None:
    assert check_public(text)
    with pytest.raises(SpecError) as caught:
        find_channels([text], {}, {})
    assert "secret" not in str(caught.value)


def test_a_lock_with_bad_channels_is_told_all_of_it() -> None:
    checker = Checker("x.lock")
    value = [{"name": "../x"}, {"name": "a", "address": "https://u:p@h/c"}, 7]
    read_table(checker, Content, {"channels": value}, ())
    assert len(checker.mistakes) == 3
    read_table(checker, Content, {"channels": [{"name": "b"}, {"name": "b"}]}, ())
    assert "channels[1].name: 'b' is listed twice" in checker.mistakes
    assert "u:p" not in str(checker.mistakes)


def test_the_channel_of_a_solved_record_is_found() -> None:
    channels = (FORGE, Channel("dev", "https://conda.anaconda.org/conda-forge/label/dev"))
    assert name_of("https://conda.anaconda.org/conda-forge/", channels) == "conda-forge"
    assert name_of("https://conda.anaconda.org/conda-forge/label/dev/linux-64/", channels) == "dev"
    assert name_of("https://elsewhere/conda-forge", channels) is None


@given(st.text(max_size=40))
def test_any_text_has_an_answer_and_one_spelling(text: str) -> None:
    if check_channel(text) is None and "://" in text:
        assert normal(normal(text)) == normal(text)
        assert check_channel(normal(text)) is None
