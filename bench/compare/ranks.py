"""Exact rank tests of two sets of samples, and the shift between them with its interval.

A rank test assumes no distribution, only that under "no difference" every assignment of the
samples to the two sides is as likely as the one that was seen. Its p-value is then a count, and it
is counted here for small sets, tied values included, by the shift algorithm (Streitberg & Röhmel,
Statistical Software Newsletter 12 (1986) 10): the generating function of the rank sum is built one
value at a time. scipy counts without ties only, and otherwise draws at random or approximates.

- independent samples: Mann–Whitney U (Wilcoxon rank sum), with mid-ranks;
- pairs of the same round: Wilcoxon signed rank, with zero differences ranked by Pratt's method.

The shift is the Hodges–Lehmann estimate of the same test: the median of all differences between
the sides, or of all Walsh averages of the pairs' differences. Its interval is the set of shifts
that the test does not reject (Hollander, Wolfe & Chicken, Nonparametric Statistical Methods, 3rd
ed., sections 4.3 and 3.3); with few samples it is the widest one there is, with its real level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

EXACT_UP_TO = 100
"""Values of both sides together, or pairs, up to which p-values are counted; scipy's normal
approximation (with its correction for ties) serves beyond: there it is within 1 % of a p-value
near 0.05."""

_ROUNDING = 1e-9
"""Relative tolerance of "at least as extreme", above the rounding of the counts."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RankTest:
    """``p`` is the two-sided p-value of "no difference".

    ``superiority`` is the share of the ranks that speaks for b (0 to 1, 0.5 is neither): for
    independent samples the chance that one of b lies above one of a, ties counted half.
    """

    p: float
    superiority: float


@dataclass(frozen=True, slots=True)
class Shift:
    """How much b lies above a, in the samples' unit; ``level`` is the interval's real coverage.

    ``level`` is 0 where one sample a side allows no interval.
    """

    value: float
    low: float
    high: float
    level: float


def mann_whitney(a: Sequence[float], b: Sequence[float]) -> RankTest:
    """Test whether a and b are samples of the same quantity.

    :raises ValueError: a side is empty.
    """
    _refuse_empty(a, b)
    ranks = _whole_ranks(np.concatenate([a, b]))
    below = int(ranks[: len(a)].sum()) / 2 - len(a) * (len(a) + 1) / 2
    superiority = 1 - below / (len(a) * len(b))
    if len(ranks) > EXACT_UP_TO:
        return RankTest(float(stats.mannwhitneyu(a, b, method="asymptotic").pvalue), superiority)
    sums = _rank_sums(tuple(sorted(ranks.tolist())), len(a))
    return RankTest(_two_sided(sums, int(ranks[: len(a)].sum())), superiority)


def signed_rank(differences: Sequence[float]) -> RankTest:
    """Test whether these differences b - a of pairs lie around 0.

    :raises ValueError: there is none.
    """
    _refuse_empty(differences)
    values = np.asarray(differences, dtype=float)
    if not values.any():
        return RankTest(1.0, 0.5)
    ranks = _whole_ranks(np.abs(values))
    above, all_ranks = int(ranks[values > 0].sum()), int(ranks[values != 0].sum())
    if len(values) > EXACT_UP_TO:
        found = stats.wilcoxon(values.tolist(), zero_method="pratt", method="approx")
        return RankTest(float(found.pvalue), above / all_ranks)
    sums = _signed_sums(tuple(sorted(ranks[values != 0].tolist())))
    return RankTest(_two_sided(sums, above), above / all_ranks)


def smallest_p(n_a: int, n_b: int) -> float:
    """The smallest p-value that :func:`mann_whitney` can give: both sides wholly apart."""
    return min(1.0, 2.0 / math.comb(n_a + n_b, n_a))


def smallest_paired_p(pairs: int) -> float:
    """The smallest p-value that :func:`signed_rank` can give: all differences of one sign."""
    return min(1.0, 2.0 ** (1 - pairs))


def rank_sum_null(n_a: int, n_b: int) -> Floats:
    """P(U = u) for u from 0 to ``n_a * n_b`` without a difference and without ties."""
    # Doubled ranks have even sums only, and U counts from the smallest of them.
    counts = _rank_sums(tuple(range(2, 2 * (n_a + n_b) + 1, 2)), n_a)[n_a * (n_a + 1) :: 2]
    return np.asarray(counts / counts.sum())


def signed_rank_null(pairs: int) -> Floats:
    """P(T = t) for t from 0 to ``pairs * (pairs + 1) / 2``, likewise."""
    return _signed_sums(tuple(range(2, 2 * pairs + 1, 2)))[::2]


def shift_between(a: Sequence[float], b: Sequence[float], level: float) -> Shift:
    """How much independent samples b lie above a.

    :param level: wanted coverage of the interval, 0 to 1.
    :raises ValueError: a side is empty.
    """
    _refuse_empty(a, b)
    n, m = len(a), len(b)
    differences = np.subtract.outer(np.asarray(b, dtype=float), np.asarray(a, dtype=float))
    if n + m > EXACT_UP_TO:
        spread = stats.norm(n * m / 2, (n * m * (n + m + 1) / 12) ** 0.5)
        return _shift(differences.ravel(), spread.cdf(np.arange(n * m + 1) + 0.5), level)
    return _shift(differences.ravel(), np.cumsum(rank_sum_null(n, m)), level)


def shift_of_pairs(differences: Sequence[float], level: float) -> Shift:
    """How much b lies above a by the differences of pairs.

    :param level: wanted coverage of the interval, 0 to 1.
    :raises ValueError: there is none.
    """
    _refuse_empty(differences)
    values = np.asarray(differences, dtype=float)
    n = len(values)
    walsh = np.add.outer(values, values)[np.triu_indices(n)] / 2
    if n > EXACT_UP_TO:
        spread = stats.norm(n * (n + 1) / 4, (n * (n + 1) * (2 * n + 1) / 24) ** 0.5)
        return _shift(walsh, spread.cdf(np.arange(len(walsh) + 1) + 0.5), level)
    return _shift(walsh, np.cumsum(signed_rank_null(n)), level)


def _shift(candidates: Floats, below: Floats, level: float) -> Shift:
    """The median of the candidate shifts and the interval between their order statistics.

    :param below: ``below[i]`` is P(statistic <= i) without a difference; the interval from the
        k-th smallest to the k-th largest covers 1 - 2 P(statistic <= k - 1).
    """
    ordered = np.sort(candidates)
    coverage = 1 - 2 * below
    k = max(1, int(np.searchsorted(-coverage, -level + _ROUNDING, side="right")))
    return Shift(
        float(np.median(ordered)),
        float(ordered[k - 1]),
        float(ordered[-k]),
        max(0.0, float(coverage[k - 1])),
    )


def _whole_ranks(values: Floats) -> Integers:
    """Mid-ranks, doubled, which makes them whole."""
    return np.asarray(np.rint(2 * stats.rankdata(values)), dtype=np.int64)


@lru_cache(maxsize=512)
def _rank_sums(ranks: tuple[int, ...], chosen: int) -> Floats:
    """How many of the subsets of ``chosen`` ranks have each sum, by sum."""
    top = sum(sorted(ranks)[-chosen:])
    counts = np.zeros((chosen + 1, top + 1))
    counts[0, 0] = 1
    for rank in ranks:
        for size in range(chosen, 0, -1):
            counts[size, rank:] += counts[size - 1, : top + 1 - rank]
    return np.asarray(counts[chosen])


@lru_cache(maxsize=512)
def _signed_sums(ranks: tuple[int, ...]) -> Floats:
    """The probability of each sum of ranks, each taken or left by an even chance."""
    chances = np.zeros(sum(ranks) + 1)
    chances[0] = 1
    for rank in ranks:
        taken = np.zeros_like(chances)
        taken[rank:] = chances[: len(chances) - rank]
        chances = (chances + taken) / 2
    return chances


def _two_sided(counts: Floats, seen: int) -> float:
    """Twice the smaller tail, the seen sum included in it."""
    tail = min(counts[: seen + 1].sum(), counts[seen:].sum())
    return float(min(1.0, 2 * tail / counts.sum()))


def _refuse_empty(*sides: Sequence[float]) -> None:
    if not all(len(side) for side in sides):
        raise ValueError("no samples")
