"""Rank tests, shifts and power against scipy, brute force and simulation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from bench import stats as ranks
from bench.compare import holm, largest_family, runs_needed
from bench.metrics import Metric
from bench.stats import POWER, detectable, detectable_by_pairs, pooled_deviation

EVERY_PERMUTATION = stats.PermutationMethod(n_resamples=10**6)


def draws(*sizes: int, seed: int = 1) -> list[list[float]]:
    draw = np.random.default_rng(seed)
    return [draw.normal(size=size).tolist() for size in sizes]


@pytest.mark.parametrize(("n", "m"), [(1, 4), (3, 3), (5, 7), (8, 8), (20, 15), (50, 50)])
def test_p_without_ties_is_scipys_exact_one(n: int, m: int) -> None:
    a, b = draws(n, m)
    found = ranks.mann_whitney(a, b)
    told = stats.mannwhitneyu(b, a, method="exact")
    assert found.p == pytest.approx(told.pvalue, rel=1e-9)
    assert found.superiority == pytest.approx(told.statistic / (n * m))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1, 2, 2, 3, 5], [2, 3, 3, 6, 7, 2]),
        ([0, 0, 0, 0, 1], [0, 0, 1, 2, 3]),
        ([4, 4, 4], [4, 4, 4]),
        ([1, 1, 1, 1], [2, 2, 2, 2]),
    ],
)
def test_p_with_ties_is_that_of_every_permutation(a: list[float], b: list[float]) -> None:
    assert ranks.mann_whitney(a, b).p == pytest.approx(_by_permutation(a, b))


def _by_permutation(a: Sequence[float], b: Sequence[float]) -> float:
    order = stats.rankdata([*a, *b])
    seen = order[: len(a)].sum()
    sums = [sum(each) for each in itertools.combinations(order, len(a))]
    tails = (sum(s <= seen for s in sums), sum(s >= seen for s in sums))
    return float(min(1, 2 * min(tails) / len(sums)))


@pytest.mark.parametrize("n", [1, 2, 5, 8, 20, 50])
def test_paired_p_without_ties_is_scipys_exact_one(n: int) -> None:
    (differences,) = draws(n)
    shifted = [value + 0.4 for value in differences]
    told = stats.wilcoxon(shifted, method="exact").pvalue
    assert ranks.signed_rank(shifted).p == pytest.approx(told, rel=1e-9)


def test_paired_p_with_zeros_and_ties_is_that_of_every_change_of_signs() -> None:
    differences = [1, -2, 0, 3, 3, 3, 1, 2]
    told = stats.wilcoxon(differences, zero_method="pratt", method=EVERY_PERMUTATION).pvalue
    assert ranks.signed_rank(differences).p == pytest.approx(told)
    assert ranks.signed_rank([0.0, 0.0]) == ranks.RankTest(1.0, 0.5)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 13])
def test_sides_wholly_apart_have_the_smallest_p(n: int) -> None:
    low, high = list(range(n)), list(range(100, 100 + n))
    assert ranks.mann_whitney(low, high) == ranks.RankTest(ranks.smallest_p(n, n), 1.0)
    assert ranks.mann_whitney(high, low).superiority == 0.0
    assert ranks.signed_rank(high).p == ranks.smallest_paired_p(n)
    assert ranks.smallest_p(n, n) == pytest.approx(2 / math.comb(2 * n, n))


def test_three_against_three_cannot_go_below_a_tenth() -> None:
    assert ranks.smallest_p(3, 3) == pytest.approx(0.1)


def test_large_sets_go_over_to_the_approximation_smoothly(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = draws(60, 60)
    shifted = [value + 0.3 for value in b]
    pairs = [y - x + 0.2 for x, y in zip(a, b, strict=True)] * 2
    rough = (ranks.mann_whitney(a, shifted), ranks.signed_rank(pairs))
    rough_shifts = (ranks.shift_between(a, shifted, 0.95), ranks.shift_of_pairs(pairs, 0.95))
    monkeypatch.setattr(ranks, "EXACT_UP_TO", 1_000)
    exact = (ranks.mann_whitney(a, shifted), ranks.signed_rank(pairs))
    exact_shifts = (ranks.shift_between(a, shifted, 0.95), ranks.shift_of_pairs(pairs, 0.95))
    for one, other in zip(rough, exact, strict=True):
        assert 0.01 < other.p < 0.1
        assert one.p == pytest.approx(other.p, rel=0.02)
        assert one.superiority == other.superiority
    for mine, true in zip(rough_shifts, exact_shifts, strict=True):
        assert mine.value == true.value
        assert (mine.low, mine.high) == pytest.approx((true.low, true.high), abs=0.01)


def test_the_shift_is_the_median_difference_and_its_interval_the_inverted_test() -> None:
    a, b = draws(6, 7)
    shift = ranks.shift_between(a, b, 0.95)
    differences = sorted(y - x for x in a for y in b)
    assert shift.value == np.median(differences)
    # Just inside the interval the shifted samples are not rejected, just outside they are.
    for edge, inward in ((shift.low, 1e-9), (shift.high, -1e-9)):
        inside = [y - edge - inward for y in b]
        outside = [y - edge + inward for y in b]
        assert ranks.mann_whitney(a, inside).p > 1 - shift.level
        assert ranks.mann_whitney(a, outside).p <= 1 - shift.level + 1e-9


def test_the_interval_of_pairs_is_the_inverted_signed_rank_test() -> None:
    (differences,) = draws(9)
    shift = ranks.shift_of_pairs(differences, 0.95)
    for edge, inward in ((shift.low, 1e-9), (shift.high, -1e-9)):
        assert ranks.signed_rank([d - edge - inward for d in differences]).p > 1 - shift.level
        outside = [d - edge + inward for d in differences]
        assert ranks.signed_rank(outside).p <= 1 - shift.level + 1e-9


@pytest.mark.parametrize(("n", "level"), [(1, 0.0), (2, 2 / 3), (3, 0.9), (4, 1 - 2 / 70)])
def test_few_samples_have_the_widest_interval_and_its_real_level(n: int, level: float) -> None:
    shift = ranks.shift_between(list(range(n)), list(range(10, 10 + n)), 0.99)
    assert (shift.low, shift.high) == (10 - (n - 1), 10 + (n - 1))
    assert shift.level == pytest.approx(level)


@pytest.mark.parametrize("n", [4, 8])
def test_the_interval_holds_the_true_shift_as_often_as_it_says(n: int) -> None:
    draw = np.random.default_rng(2)
    inside = 0
    rounds = 2_000
    for _ in range(rounds):
        a, b = draw.lognormal(size=n), 3 + draw.lognormal(size=n)
        shift = ranks.shift_between(a.tolist(), b.tolist(), 0.95)
        inside += shift.low <= 3 <= shift.high
    assert inside / rounds == pytest.approx(shift.level, abs=0.013)


@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.95, 0.99])
def test_an_interval_is_the_narrowest_that_reaches_the_wanted_level(wanted: float) -> None:
    a, b = draws(8, 8)
    shift = ranks.shift_between(a, b, wanted)
    assert shift.level >= wanted - 1e-9
    differences = sorted(y - x for x in a for y in b)
    k = differences.index(shift.low) + 1
    one_narrower = 1 - 2 * ranks.rank_sum_null(8, 8)[: k + 1].sum()
    assert one_narrower < wanted


@pytest.mark.parametrize("call", [lambda: ranks.mann_whitney([], [1]),
                                  lambda: ranks.signed_rank([]),
                                  lambda: ranks.shift_between([1], [], 0.9),
                                  lambda: ranks.shift_of_pairs([], 0.9)])  # fmt: skip
def test_nothing_is_said_of_no_samples(call: object) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match="no samples"):
        call()


# -- many metrics -------------------------------------------------------------------------------


def test_holms_correction_by_hand() -> None:
    # Holm 1979: 3 x 0.01, then 2 x 0.02; the third may not fall below the second.
    corrected = holm({"c": 0.035, "a": 0.01, "b": 0.02})
    assert corrected == pytest.approx({"a": 0.03, "b": 0.04, "c": 0.04})
    assert holm({"a": 0.9, "b": 0.8}) == {"b": 1.0, "a": 1.0}
    assert holm({}) == {}


def test_holm_keeps_the_chance_of_any_false_verdict() -> None:
    draw = np.random.default_rng(3)
    rounds = 4_000
    false = sum(
        min(holm(dict(enumerate(draw.uniform(size=20)))).values()) <= 0.05 for _ in range(rounds)
    )
    assert false / rounds == pytest.approx(0.05, abs=0.012)


def test_runs_needed_is_where_a_verdict_becomes_possible() -> None:
    assert runs_needed(1) == 4  # 2 / 70
    assert runs_needed(1, paired=True) == 6  # 2 / 64
    assert runs_needed(45) == 7  # 2 / 3432
    assert runs_needed(45, paired=True) == 11
    for family in (1, 12, 45, 300):
        runs = runs_needed(family)
        assert family * ranks.smallest_p(runs, runs) <= 0.05
        assert family * ranks.smallest_p(runs - 1, runs - 1) > 0.05
    with pytest.raises(ValueError, match="no verdict"):
        runs_needed(10**40, paired=True)


# -- power --------------------------------------------------------------------------------------


def _sides(draw: np.random.Generator, n: int, shift: float) -> tuple[list[float], list[float]]:
    return draw.normal(size=n).tolist(), draw.normal(loc=shift, size=n).tolist()


@pytest.mark.parametrize(("n", "alpha"), [(4, 0.05), (8, 0.05), (8, 0.05 / 45), (20, 0.01)])
def test_the_detectable_shift_is_found_with_the_power_that_is_said(n: int, alpha: float) -> None:
    shift = detectable(n, n, alpha)
    assert shift is not None
    draw = np.random.default_rng(4)
    rounds = 1_500
    found = sum(ranks.mann_whitney(*_sides(draw, n, shift)).p <= alpha for _ in range(rounds))
    assert found / rounds == pytest.approx(POWER, abs=0.025)


def test_the_detectable_shift_of_pairs_likewise() -> None:
    shift = detectable_by_pairs(12, 0.01)
    assert shift is not None
    draw = np.random.default_rng(5)
    found = sum(
        ranks.signed_rank(draw.normal(loc=shift, size=12).tolist()).p <= 0.01 for _ in range(1_500)
    )
    assert found / 1_500 == pytest.approx(POWER, abs=0.025)


def test_no_shift_is_detectable_where_the_level_cannot_be_reached() -> None:
    assert detectable(3, 3, 0.05) is None
    assert detectable_by_pairs(5, 0.05) is None


def test_the_large_sample_formula_continues_the_simulation() -> None:
    small, large = detectable(30, 30, 0.05), detectable(31, 31, 0.05)
    assert small is not None
    assert large is not None
    assert large == pytest.approx(small, rel=0.05)
    by_pairs = (detectable_by_pairs(60, 0.05), detectable_by_pairs(61, 0.05))
    assert by_pairs[1] == pytest.approx(by_pairs[0], rel=0.05)


def test_pooled_deviation_is_within_the_sides() -> None:
    assert pooled_deviation([1, 2, 3], [101, 102, 103]) == pytest.approx(1.0)
    assert pooled_deviation([1.0, 3.0], [7.0]) == pytest.approx(math.sqrt(2))
    with pytest.raises(ValueError, match="no spread"):
        pooled_deviation([1.0], [2.0])


def test_the_larger_family_is_counted_without_what_has_no_direction() -> None:
    named = [
        Metric(name, "µs", "lower", "g", "d") for name in ("rtt_p50", "dns_p50", "a", "b", "c")
    ]
    rate = Metric("rate", "Gbit/s", "neither", "g", "d")
    assert largest_family([*named, rate]) == 3
    assert largest_family(named[:3]) == 2
