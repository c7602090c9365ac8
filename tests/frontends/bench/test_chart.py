"""Axes of the report's charts."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.frontends.bench.chart import MOST_TICKS, Dot, dots, linear_axis, log_axis, seconds_name
from ozrepro.frontends.bench.estimates import Estimate


@given(values=st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=8))
def test_a_logarithmic_axis_holds_every_value_and_names_a_few(values: list[float]) -> None:
    """In order, inside the axis, and few enough for a telephone; equal ratios are equally far apart."""
    axis = log_axis(values, "seconds", seconds_name)
    assert all(0 < axis.at(value) < 100 for value in values)
    assert len(axis.ticks) >= 2
    assert list(axis.ticks) == sorted(set(axis.ticks))
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)
    places = [axis.at(tick) for tick in axis.ticks]
    assert all(above - below > 10 for below, above in pairwise(places))
    middle = (axis.low * axis.high) ** 0.5
    assert axis.at(middle) == pytest.approx(50)


@given(most=st.floats(1e-4, 1e5))
def test_a_linear_axis_begins_at_zero_and_holds_the_longest_bar(most: float) -> None:
    """With three ticks at least."""
    axis = linear_axis(most, "seconds", seconds_name)
    assert axis.at(0) == 0
    assert 90 < axis.at(most) < 100
    assert 3 <= len(axis.ticks) <= MOST_TICKS


def test_an_interval_is_drawn_from_its_low_to_its_high_end() -> None:
    """The dot at the median; a row that failed has neither."""
    axis = log_axis((0.1, 10.0), "seconds", seconds_name)
    rows = (Dot("venv", Estimate(1.0, 0.1, 10.0, 9), "1 s"), Dot("conda", None, "failed"))
    text = dots([("warm", rows)], axis, "caption")
    assert text.count('class="dot"') == text.count('class="whisker"') == 1
    assert 'class="dot" style="left:50.0%"' in text
    assert f'class="whisker" style="left:{axis.at(0.1):.1f}%' in text


@pytest.mark.parametrize(("seconds", "name"), [(0, "0"), (0.05, "50 ms"), (0.0002, "0.2 ms"), (2, "2 s"), (1.5, "1.5 s")])
def test_ticks_are_named_with_their_unit(seconds: float, name: str) -> None:
    """Milliseconds below a second."""
    assert seconds_name(seconds) == name
