"""Median, interval and percentile against hand computation, scipy, numpy and simulation."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy.stats import binom

from bench.stats import (
    TARGET_LEVEL,
    coverage,
    lower_half,
    middle,
    percentile,
    summarise,
    summarise_by_bring_up,
)


@pytest.mark.parametrize(
    ("n", "level"), [(2, 0.5), (3, 0.75), (4, 0.875), (5, 0.9375), (6, 0.96875)]
)
def test_few_samples_give_their_range_and_its_real_level(n: int, level: float) -> None:
    samples = [float(value) for value in range(n, 0, -1)]
    summary = summarise(samples)
    assert (summary.low, summary.high) == (1.0, n)
    assert summary.level == level
    assert summary.median == np.median(samples)


def test_one_sample_has_no_interval() -> None:
    summary = summarise([7.0])
    assert (summary.median, summary.low, summary.high, summary.level) == (7.0, 7.0, 7.0, 0.0)


@pytest.mark.parametrize("n", [7, 8, 9, 10, 15, 20, 31, 100])
def test_from_six_samples_on_the_narrowest_interval_of_95_percent(n: int) -> None:
    summary = summarise([float(value) for value in range(1, n + 1)])
    k = round(summary.low)
    assert summary.high == n + 1 - k
    assert summary.level >= TARGET_LEVEL
    assert coverage(n, k + 1) < TARGET_LEVEL


@pytest.mark.parametrize(("n", "k"), [(3, 1), (6, 1), (9, 2), (20, 6), (101, 41), (2000, 956)])
def test_coverage_is_the_binomial_one(n: int, k: int) -> None:
    assert coverage(n, k) == pytest.approx(1 - 2 * binom.cdf(k - 1, n, 0.5), abs=1e-12)


def test_coverage_holds_for_a_skewed_distribution() -> None:
    draw = random.Random(1)
    median = math.log(2)
    rounds = 4_000
    inside = 0
    for _ in range(rounds):
        summary = summarise([draw.expovariate(1) for _ in range(5)])
        inside += summary.low <= median <= summary.high
    assert inside / rounds == pytest.approx(0.9375, abs=0.015)


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf]])
def test_no_summary_of_what_is_no_number(bad: list[float]) -> None:
    with pytest.raises(ValueError, match=r"no samples|finite"):
        summarise(bad)


def test_several_bring_ups_are_summed_by_their_medians() -> None:
    found = summarise_by_bring_up({1: [1.0, 2.0, 9.0], 2: [4.0], 3: [], 5: [8.0, 6.0]})
    assert (found.median, found.low, found.high) == (4.0, 2.0, 7.0)
    assert (found.level, found.n) == (0.75, 6)  # three bring-ups, six samples


def test_one_bring_up_is_summed_by_its_samples() -> None:
    samples = [3.0, 1.0, 2.0, 5.0]
    assert summarise_by_bring_up({2: samples}) == summarise(samples)
    with pytest.raises(ValueError, match="no samples"):
        summarise_by_bring_up({1: []})


@pytest.mark.parametrize("q", [0, 1, 25, 50, 90, 99, 99.9, 100])
def test_percentile_is_numpys(q: float) -> None:
    values = sorted(random.Random(2).sample(range(10_000), 137))
    assert percentile(values, q) == pytest.approx(np.percentile(values, q))
    assert percentile([3.0], q) == 3.0


@pytest.mark.parametrize(("values", "q"), [([], 50.0), ([1.0], -1.0), ([1.0], 101.0)])
def test_percentile_refuses_nonsense(values: list[float], q: float) -> None:
    with pytest.raises(ValueError, match=r"no values|between 0 and 100"):
        percentile(values, q)


@pytest.mark.parametrize("k", [0, 4])
def test_coverage_refuses_ranks_that_do_not_exist(k: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 3"):
        coverage(3, k)


def test_the_middle_is_the_mean_without_a_fifth_at_either_end() -> None:
    assert middle([7.0]) == 7.0
    assert middle([1.0, 2.0]) == 1.5
    assert middle([1.0, 2.0, 90.0]) == 2.0
    values = [-1e9, 0.0, 1.0, 2.0, *map(float, range(10, 22)), 90.0, 1e9, 1e9, 1e9]
    assert middle(values) == np.mean(range(10, 22))
    with pytest.raises(ValueError, match="no "):
        middle([])


def test_the_lower_half_has_the_value_in_the_middle() -> None:
    assert lower_half([7.0]) == 7.0
    assert lower_half([1e9, 1.0]) == 1.0
    assert lower_half([9.0, 1.0, 3.0]) == 2.0
    with pytest.raises(ValueError, match="no "):
        lower_half([])


def test_the_middle_varies_less_than_the_median() -> None:
    rows = np.random.default_rng(4).normal(size=(500, 101))
    spread = np.std([middle(row.tolist()) for row in rows])
    assert 0.7 < spread / np.std(np.median(rows, axis=1)) < 0.9
