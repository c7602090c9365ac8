"""What is committed says nothing of the machine that measured it but what the times depend on."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tidying import stray, tidy

PLACES = {"/var/tmp/account-x1": "account", "/var/tmp/account-x1/suite of 7/project": "project", "/var/tmp/site-0": "site"}
TABLE = {
    "host": {"name": "node17", "cpus": 2, "model": "A Processor", "system": "Linux 6.1", "python": "3.11.7"},
    "candidates": [
        {"name": "modules", "base": "/var/tmp/site-0/apps/python", "mount": "ext4"},
        {"name": "conda", "base": "/var/tmp/account-x1/suite of 7/project/.ozrepro/gens/a/env"},
        {"name": "container", "base": "/opt/session, inside the image"},
    ],
    "states": {"cold-client": {"how": "/var/tmp/account-x1/suite of 7/project:/var/tmp/site-0 were mounted"}},
    "notes": ["container: /var/tmp/account-x1/venv/bin/python ended"],
    "rows": [{"ready": [0.25, 0.5], "status": 0, "error": ""}],
}


def test_a_path_begins_with_a_word_for_its_place_and_the_innermost_place_counts() -> None:
    found = tidy(TABLE, PLACES)
    assert [item["base"] for item in found["candidates"]] == [
        "site/apps/python",
        "project/.ozrepro/gens/a/env",
        "/opt/session, inside the image",
    ]
    assert found["states"]["cold-client"]["how"] == "project:site were mounted"
    assert found["notes"] == ["container: account/venv/bin/python ended"]


def test_the_host_has_no_name_and_keeps_what_times_depend_on() -> None:
    assert tidy(TABLE, PLACES)["host"] == {"cpus": 2, "model": "A Processor", "system": "Linux 6.1", "python": "3.11.7"}


def test_numbers_and_the_given_table_stay_as_they_are() -> None:
    before = json.dumps(TABLE)
    assert tidy(TABLE, PLACES)["rows"] == TABLE["rows"]
    assert json.dumps(TABLE) == before


def test_a_folder_that_only_begins_alike_is_another() -> None:
    assert tidy({"notes": ["/var/tmp/site-0-other", "/var/tmp/site-01"]}, PLACES)["notes"] == [
        "/var/tmp/site-0-other",
        "/var/tmp/site-01",
    ]


@pytest.mark.parametrize("text", ["/home/somebody", "in /var/tmp/x", "a:/tmp/y", "/root", "/scratch/me/z", "ended on node17"])
def test_what_still_names_the_machine_is_found(text: str) -> None:
    assert stray({"notes": [{"a": ["fine", text]}]}, ("node17", "")) == [text]


@pytest.mark.parametrize("text", ["/usr/bin", "/opt/session", "node170", "site/tmp/x", "/proc/cpuinfo", "/template", ""])
def test_a_name_that_every_machine_has_does_not_count_as_a_machine_s_name(text: str) -> None:
    assert stray({"notes": [text], text: 1}, ("node17", "")) == []


@given(st.text(alphabet="abc/ -.", max_size=30), st.text(alphabet="abc/ -.", max_size=30))
def test_nothing_below_a_place_is_left(before: str, after: str) -> None:
    found = tidy({"notes": [f"{before} /var/tmp/site-0/{after}"]}, PLACES)
    assert stray(found, ()) == []
