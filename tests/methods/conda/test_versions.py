"""The order of versions, held against rattler's own."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ozrepro.methods.conda.versions import CondaVersion, in_range, is_range, is_version

ORDERED = (
    *("0.4", "0.4.1.rc", "0.4.1", "0.5a1", "0.5b3", "0.5", "0.9.6", "0.960923", "1.0", "1.1dev1", "1.1a1", "1.1.0dev1", "1.1.a1"),
    *("1.1.0rc1", "1.1.0", "1.1.0post1", "1.1post1", "1996.07.12", "1!0.4.1", "1!3.1.1.6", "2!0.4.1"),
)
"""The example of conda's own documentation."""

RANGES = (
    *(
        ">=12",
        ">=12,<13",
        "12.*",
        "=12.4",
        "==12.4",
        "12.4",
        "!=12.4",
        "!=12.*",
        "<12.4|>13",
        "~=12.4",
        "*",
        ">11.8,!=12.0",
        "=12",
    ),
    *(">=2.17,<3.0.a0", "<=12.4.0", "12.4.*|13"),
)
VERSIONS = (
    "11.8",
    "12",
    "12.0",
    "12.4",
    "12.4.0",
    "12.4.1",
    "12.40",
    "13",
    "13.1",
    "2.17",
    "2.36",
    "12.4rc1",
    "12.4.post1",
    "1!12",
)


def test_versions_are_in_conda_s_documented_order() -> None:
    read = [CondaVersion.read(text) for text in ORDERED]
    assert all(one < two for one, two in itertools.pairwise(read))
    assert CondaVersion.read("1.1") == CondaVersion.read("1.1.0")
    assert hash(CondaVersion.read("1.1")) == hash(CondaVersion.read("1.1.0"))
    assert CondaVersion.read("1.0+a") < CondaVersion.read("1.0+b")


def test_ranges_mean_what_the_solver_takes_them_for() -> None:
    pairs = [(version, wanted) for version in VERSIONS for wanted in RANGES]
    code = (
        "import json, os, sys\n"
        "from rattler import GenericVirtualPackage, MatchSpec, PackageRecord\n"
        "from rattler.package import BuildString\n"
        "out = []\n"
        "for version, wanted in json.load(sys.stdin):\n"
        "    record = PackageRecord('x', version, BuildString('0'), 0, 'noarch')\n"
        "    out.append(MatchSpec(f'x {wanted}').matches(record))\n"
        "print(json.dumps(out), flush=True)\n"
        "os._exit(0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=json.dumps(pairs), capture_output=True, text=True, check=True)
    theirs = json.loads(done.stdout)
    assert [(pair, in_range(*pair)) for pair in pairs] == list(zip(pairs, theirs, strict=True))


@given(st.lists(st.text("0123456789abcdev.post_!+-", min_size=1, max_size=12), min_size=3, max_size=3))
def test_the_order_of_versions_is_total(texts: list[str]) -> None:
    good = [CondaVersion.read(text) for text in texts if is_version(text)]
    for one in good:
        for two in good:
            assert (one < two) + (two < one) + (one == two) == 1
            assert one != two or hash(one) == hash(two)
    if len(good) == 3:
        first, second, third = sorted(good)
        assert first <= second <= third
        assert not third < first


@settings(max_examples=300)
@given(st.text(max_size=30), st.text("0123456789.,|<>=!~* ab", max_size=30))
def test_a_nonsensical_range_raises_nothing_but_a_value_error(version: str, wanted: str) -> None:
    for one in (version, "1.0"):
        with suppress(ValueError):
            in_range(one, wanted)
    assert is_range(wanted) in (True, False)


@pytest.mark.parametrize("text", ["", ".", "1..2", "1!2!3", "1+", "+1", "9" * 301, "1 2", "1.*", "é"])
def test_texts_that_are_no_versions_are_refused(text: str) -> None:
    assert not is_version(text)
