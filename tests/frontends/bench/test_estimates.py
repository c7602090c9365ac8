"""Estimates, ratios and what may be said of them."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ozrepro.frontends.bench.estimates import Estimate, estimate, left_out, outliers, ratio, verdict_words


def test_an_empty_sample_has_no_estimate() -> None:
    with pytest.raises(ValueError, match="empty data"):
        estimate([], 1)


def test_an_estimate_repeats_with_its_seed_and_its_interval_holds_the_median() -> None:
    values = [random.Random(5).lognormvariate(0, 0.3) for _ in range(20)]
    found = estimate(values, 7)
    assert found == estimate(values, 7)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)
    assert found.count == 20


def test_the_interval_holds_the_true_median_in_most_of_many_experiments() -> None:
    chance = random.Random(20)
    held = 0
    for seed in range(60):
        found = estimate([chance.lognormvariate(0, 0.5) for _ in range(15)], seed)
        held += found.low <= 1 <= found.high
    assert held >= 54  # 95 % of 60 is 57


@pytest.mark.parametrize("size", range(1, 61))
def test_as_many_values_are_left_out_as_the_binomial_allows(size: int) -> None:
    def covers(ends: int) -> float:
        return 1 - 2 * sum(math.comb(size, number) for number in range(ends + 1)) / float(2**size)

    ends = left_out(size)
    assert covers(ends) >= 0.95 or ends == 0
    assert covers(ends + 1) < 0.95


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30), st.integers(0, 9))
def test_an_interval_is_never_narrower_than_that_of_order_statistics(values: list[float], seed: int) -> None:
    found, ends = estimate(values, seed), left_out(len(values))
    assert found.low <= sorted(values)[ends]
    assert found.high >= sorted(values)[-1 - ends]


def test_seven_values_have_their_range_as_interval() -> None:
    found = estimate([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 1)
    assert (found.low, found.high) == (1.0, 7.0)


def test_a_load_that_both_of_a_round_share_leaves_the_ratio_exact() -> None:
    load = [1.0, 5.0, 2.0, 9.0, 1.5, 3.0]
    found = ratio([(0.5 * factor, 1.0 * factor) for factor in load], 3)
    assert (found.median, found.low, found.high) == (0.5, 0.5, 0.5)
    assert verdict_words(found) == "faster by 2.0×"


def test_a_reference_that_took_no_time_has_no_ratio() -> None:
    with pytest.raises(ValueError, match="reference of 0"):
        ratio([(1.0, 0.0)], 1)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.43, 0.56, "faster by 1.8 to 2.3×"),
        (1.8, 2.3, "slower by 1.8 to 2.3×"),
        (1.06, 1.31, "slower by 1.06 to 1.31×"),
        (25.2, 31.4, "slower by 25 to 31×"),
        (1.04, 1.9, "no clear difference"),
        (0.5, 0.96, "no clear difference"),
        (0.5, 2.0, "no clear difference"),
    ],
)
def test_a_difference_is_said_only_when_the_interval_clears_one_by_five_per_cent(low: float, high: float, words: str) -> None:
    assert verdict_words(Estimate(math.sqrt(low * high), low, high, 20)) == words


def test_three_rounds_say_nothing_however_far_apart_they_are() -> None:
    assert verdict_words(ratio([(1.0, 20.0)] * 3, 1)) == "too few rounds to say"


def test_an_outlier_is_flagged_by_its_place() -> None:
    assert outliers([1.0, 1.1, 0.9, 1.05, 0.95, 4.0, 1.0]) == (5,)
    assert outliers([1.0] * 5 + [9.0]) == ()
    assert outliers([]) == ()


def _drifting_pairs(chance: random.Random, rounds: int) -> list[tuple[float, float]]:
    """Return times of one command measured under two names: a load that drifts, noise with a long tail, now and then a stall.

    The shape is that of starts of Python on a shared two-core machine: 5 % of spread, drift of 20 % over a run, one run in twenty
    half as long again.
    """
    load, pairs = 1.0, []
    for _ in range(rounds):
        load = max(0.8, load * chance.lognormvariate(0, 0.05))
        one, other = (0.03 * load * chance.lognormvariate(0, 0.05) * (1.5 if chance.random() < 0.05 else 1.0) for _ in range(2))
        pairs.append((one, other))
    return pairs


@pytest.mark.parametrize("rounds", [7, 15, 20])
def test_a_command_against_itself_shows_no_clear_difference_in_19_of_20_runs(rounds: int) -> None:
    chance = random.Random(rounds)
    words = [verdict_words(ratio(_drifting_pairs(chance, rounds), seed)) for seed in range(60)]
    assert words.count("no clear difference") >= 57


def test_a_difference_of_a_quarter_is_seen_in_the_same_noise() -> None:
    chance = random.Random(4)
    runs = [ratio([(one, other * 1.25) for one, other in _drifting_pairs(chance, 20)], seed) for seed in range(20)]
    assert sum(verdict_words(run).startswith("faster by") for run in runs) >= 19


def test_recorded_starts_of_one_python_differ_clearly_in_at_most_one_of_20_runs() -> None:
    # 40 runs of 15 rounds, by `python benchmarks/harness.py --only itself` on two cores with other work on them.
    runs = json.loads((Path(__file__).parent / "data" / "itself.json").read_text())
    words = [verdict_words(ratio([(one, other) for one, other in pairs], seed)) for seed, pairs in enumerate(runs)]
    assert len(words) == 40
    assert words.count("no clear difference") >= 38
    mirrored = [verdict_words(ratio([(other, one) for one, other in pairs], seed)) for seed, pairs in enumerate(runs)]
    assert mirrored.count("no clear difference") >= 38
