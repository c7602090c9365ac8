"""Markers are shortened without another meaning."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ozrepro.python.interpreter import markers_of
from ozrepro.python.markers import shorten
from ozrepro.python.packages import LockedPackage

HERE = "linux-x86_64"

_TERMS = st.sampled_from(
    ["python_full_version >= '3.10'", "python_full_version < '3.12'", "sys_platform == 'linux'", "(sys_platform == 'linux' or sys_platform == 'darwin')",
     "platform_machine != 'arm64'", "extra == 'x'", "os_name == 'nt'"]
)  # fmt: skip
_SAMPLES = [
    env for platform in (HERE, "macos-arm64") for minor in ("3.10", "3.11", "3.13") for env in markers_of(platform, minor)
]


@given(st.lists(_TERMS, min_size=1, max_size=4))
def test_a_shortened_marker_decides_the_same(terms: list[str]) -> None:
    marker = " and ".join(terms)
    short = shorten(marker, _SAMPLES)
    for environment in _SAMPLES:
        assert LockedPackage("a", "1", (), short).applies(environment) == LockedPackage("a", "1", (), marker).applies(environment)
    assert len(short) <= len(marker) + 2 * marker.count("'")
