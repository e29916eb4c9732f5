"""Statistics of few samples: a median's interval, shifts with tests, what they could have seen.

Median
------
The interval is the distribution-free one between two order statistics. For independent samples
of a continuous quantity the true median lies between the k-th smallest and the k-th largest of n
with probability ``1 - 2 * P(Binomial(n, 1/2) < k)`` exactly, whatever the distribution
(Conover, Practical Nonparametric Statistics, 3rd ed., section 3.2; Hettmansperger & Sheather,
Statistics & Probability Letters 4 (1986) 75). Nothing is resampled: with three samples a bootstrap
can only return those same three, and would print a level that it does not have.

From six samples on, k is the largest for which that probability is 95 % or more. Below six no
interval between samples reaches 95 %, so the widest one is given with the level that it does
have: 50 % for two samples, 75 % for three, 87.5 % for four, 93.75 % for five. One sample has no
interval: level 0.

Of several bring-ups, the bring-up is what is drawn anew, so the same interval is made of the
bring-ups' medians, whatever the number of samples in each.

Rank tests
----------
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

Means over bring-ups
--------------------
What a bring-up fixes by chance is in all of its samples, so bring-ups are the replicates: one value
of each, and Student's t over them (of pairs), or Welch's (Biometrika 34 (1947) 28) where two sets
of bring-ups have nothing in common. A value of a bring-up is a median of many, so it is near
normal, and with five of them t says more than a rank test, whose smallest p is 1/16. Where all
values are equal to the digit, the instrument is too coarse to show a spread. Then there is no
interval, and p is the rank test's: t would be infinite, by chance alone.

Within one bring-up, blocks of slices, some 200 ms, are drawn by a percentile bootstrap (Efron &
Tibshirani, An Introduction to the Bootstrap, chapter 13). It knows nothing of other bring-ups. Its
p-value is the sign test's, which is exact: that of the draws themselves is too small in the tails
that a correction asks for (1.6 % at a level of 0.8 % with 20 slices).

Smallest difference
-------------------
"No evidence" means little without the smallest difference that could have been seen: two sets of
three noisy runs never show anything. It is the true shift that the test finds with 90 % power at
the samples' own spread, with as many samples and at the level that is left for one metric after
the correction. The noise is taken as normal with the pooled standard deviation of both sides (of
the pairs' differences, where pairs are tested). Outliers raise that deviation more than they
disturb a rank test, so with heavy tails the figure errs on the safe side: less would have been
seen, too.

How many standard deviations it takes is found by simulation, for each size and level once. No
search is needed: Mann–Whitney's U reaches its critical value u as soon as the shift exceeds the
u-th smallest difference between the sides, and the signed-rank sum likewise by Walsh averages, so
each simulated experiment tells its own smallest shift, and the 90th percentile of those is it. Of
the t tests the power is the noncentral t's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import scipy  # its submodules are loaded when they are used
from numpy.typing import NDArray

TARGET_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Summary:
    """A median with its interval; ``level`` is the interval's real coverage, 0 to 1."""

    median: float
    low: float
    high: float
    level: float
    n: int


def coverage(n: int, k: int) -> float:
    """Probability that the median lies between the k-th smallest and k-th largest of n samples.

    :param k: 1 for the whole range, up to ``n // 2`` (0 or less makes no sense).
    :raises ValueError: k is not between 1 and n.
    """
    if not 1 <= k <= n:
        raise ValueError(f"k must be between 1 and {n}, got {k}")
    below = sum(math.comb(n, i) for i in range(k))
    return max(0.0, 1.0 - below / (1 << (n - 1)))


def summarise(samples: Sequence[float]) -> Summary:
    """Median and order-statistic interval of ``samples`` (any unit, any order).

    :raises ValueError: there is no sample, or one is not finite.
    """
    if not samples:
        raise ValueError("no samples")
    if not all(math.isfinite(value) for value in samples):
        raise ValueError(f"samples must be finite: {list(samples)}")
    ordered = sorted(samples)
    n = len(ordered)
    reaching = (k for k in range(n // 2, 1, -1) if coverage(n, k) >= TARGET_LEVEL)
    k = next(reaching, 1)
    return Summary(percentile(ordered, 50), ordered[k - 1], ordered[n - k], coverage(n, k), n)


def summarise_by_bring_up(values: Mapping[int, Sequence[float]]) -> Summary:
    """The median of the bring-ups' medians, with the interval over bring-ups.

    With one bring-up it is that of its samples. ``n`` counts the samples in both cases.

    :param values: one or more samples (any unit) by bring-up; bring-ups without any are left out.
    :raises ValueError: there is no sample, or one is not finite.
    """
    sides = [summarise(samples) for samples in values.values() if len(samples)]
    if len(sides) == 1:
        return sides[0]
    return replace(summarise([each.median for each in sides]), n=sum(each.n for each in sides))


def percentile(ordered: Sequence[float], q: float) -> float:
    """The q-th percentile of ascending values, linear between neighbours.

    That is definition 7 of Hyndman & Fan (The American Statistician 50 (1996) 361), numpy's
    method "linear".

    :param ordered: at least one value, ascending.
    :param q: 0 to 100.
    :raises ValueError: no values, or q out of range.
    """
    if not ordered:
        raise ValueError("no values")
    if not 0 <= q <= 100:
        raise ValueError(f"a percentile lies between 0 and 100, got {q}")
    return float(np.percentile(ordered, q, method="linear"))


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
        p = scipy.stats.mannwhitneyu(a, b, method="asymptotic").pvalue
        return RankTest(float(p), superiority)
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
        test = scipy.stats.wilcoxon(values.tolist(), zero_method="pratt", method="approx")
        return RankTest(float(test.pvalue), above / all_ranks)
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
        spread = scipy.stats.norm(n * m / 2, (n * m * (n + m + 1) / 12) ** 0.5)
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
        spread = scipy.stats.norm(n * (n + 1) / 4, (n * (n + 1) * (2 * n + 1) / 24) ** 0.5)
        return _shift(walsh, spread.cdf(np.arange(len(walsh) + 1) + 0.5), level)
    return _shift(walsh, np.cumsum(signed_rank_null(n)), level)


def _shift(candidates: Floats, below: Floats, level: float) -> Shift:
    """The median of the candidate shifts and the interval between their order statistics.

    :param below: ``below[i]`` is P(statistic <= i) without a difference; the interval from the
        k-th smallest to the k-th largest covers 1 - 2 P(statistic <= k - 1).
    """
    ordered = np.sort(candidates)
    covered = 1 - 2 * below
    k = max(1, int(np.searchsorted(-covered, -level + _ROUNDING, side="right")))
    return Shift(
        float(np.median(ordered)),
        float(ordered[k - 1]),
        float(ordered[-k]),
        max(0.0, float(covered[k - 1])),
    )


def _whole_ranks(values: Floats) -> Integers:
    """Mid-ranks, doubled, which makes them whole."""
    return np.asarray(np.rint(2 * scipy.stats.rankdata(values)), dtype=np.int64)


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


POWER = 0.9
_SIMULATED = 4_000
_SEED = 20_241_212
_SIMULATE_UP_TO = 60
_ASYMPTOTIC_EFFICIENCY = 3 / math.pi
"""Of both rank tests relative to the t-test for normal noise (Hollander et al., section 4.5)."""


def detectable(n_a: int, n_b: int, alpha: float) -> float | None:
    """The shift of b against a that Mann–Whitney's test finds, in standard deviations.

    :param alpha: two-sided level of the test, 0 to 1.
    :returns: None where so few samples cannot reach that level at all.
    """
    if n_a + n_b > _SIMULATE_UP_TO:
        return _large_sample(1 / n_a + 1 / n_b, alpha)
    return _detectable(n_a, n_b, alpha)


def detectable_by_pairs(pairs: int, alpha: float) -> float | None:
    """The same for the signed-rank test, in standard deviations of the pairs' differences."""
    if pairs > _SIMULATE_UP_TO:
        return _large_sample(1 / pairs, alpha)
    return _detectable_by_pairs(pairs, alpha)


def pooled_deviation(*sides: Sequence[float]) -> float:
    """The standard deviation within the sides, in the samples' unit.

    :raises ValueError: no side has two samples.
    """
    freedom = sum(len(samples) - 1 for samples in sides)
    if freedom < 1:
        raise ValueError("one sample a side has no spread")
    squares = sum(len(samples) * float(np.var(samples)) for samples in sides)
    return math.sqrt(squares / freedom)


def _large_sample(variance: float, alpha: float) -> float:
    return _normal_deviations(alpha) * math.sqrt(variance / _ASYMPTOTIC_EFFICIENCY)


def _normal_deviations(alpha: float) -> float:
    """How many standard errors a shift has to be for a test at this level to find it."""
    return float(scipy.stats.norm.isf(alpha / 2)) + float(scipy.stats.norm.ppf(POWER))


@lru_cache(maxsize=256)
def _detectable(n_a: int, n_b: int, alpha: float) -> float | None:
    critical = _critical(rank_sum_null(n_a, n_b), alpha)
    if critical is None:
        return None
    draw = np.random.default_rng(_SEED)
    a, b = draw.normal(size=(_SIMULATED, n_a, 1)), draw.normal(size=(_SIMULATED, 1, n_b))
    return _needed((a - b).reshape(_SIMULATED, -1), critical)


@lru_cache(maxsize=256)
def _detectable_by_pairs(pairs: int, alpha: float) -> float | None:
    critical = _critical(signed_rank_null(pairs), alpha)
    if critical is None:
        return None
    noise = np.random.default_rng(_SEED).normal(size=(_SIMULATED, pairs))
    first, second = np.triu_indices(pairs)
    return _needed((noise[:, first] + noise[:, second]) / 2, critical)


def _critical(null: Floats, alpha: float) -> int | None:
    """The smallest value of a statistic whose two-sided p-value is ``alpha`` or less.

    :param null: the probability of each of its values without a difference.
    """
    at_least = null[::-1].cumsum()[::-1]
    reached = np.flatnonzero(2 * at_least <= alpha * (1 + _ROUNDING))
    return int(reached[0]) if len(reached) else None


def _needed(shifts: Floats, critical: int) -> float:
    """The shift beyond which ``critical`` of an experiment's shifts lie, for 90 % of them."""
    each = np.partition(shifts, critical - 1, axis=1)[:, critical - 1]
    return float(np.quantile(each, POWER))


BOOTSTRAP_DRAWS = 2_000
_NODES = 200


@dataclass(frozen=True, slots=True)
class Estimate:
    """How much b lies above a, with the two-sided p-value of "no difference" by the same test.

    ``error`` is the estimate's standard error, in the samples' unit.
    """

    shift: Shift
    p: float
    error: float


def middle(values: Sequence[float]) -> float:
    """The mean without a fifth of the values at either end, at least one of three or more.

    It withstands outliers as the median does, and varies less where noise is normal (Wilcox,
    Introduction to Robust Estimation and Hypothesis Testing, 2017, chapter 3).

    :raises ValueError: there is none.
    """
    _refuse_empty(values)
    ordered = np.sort(np.asarray(values, dtype=float))
    cut = math.ceil(len(ordered) / 5) if len(ordered) > 2 else 0
    return float(ordered[cut : len(ordered) - cut].mean())


def lower_half(values: Sequence[float]) -> float:
    """The mean of the lower half of the values, the one in the middle of an odd number included.

    For times, which a shared machine makes longer and never shorter (Chen & Revels, Robust
    benchmarking in noisy environments, arXiv 1608.04295, who take the least one).

    :raises ValueError: there is none.
    """
    _refuse_empty(values)
    ordered = np.sort(np.asarray(values, dtype=float))
    return float(ordered[: (len(ordered) + 1) // 2].mean())


def mean_shift(differences: Sequence[float], level: float) -> Estimate:
    """The mean of independent differences b - a, by Student's t.

    :raises ValueError: there is none.
    """
    _refuse_empty(differences)
    n = len(differences)
    value, deviation = _mean(differences), _deviation(differences)
    if deviation == 0:
        return _without_spread(value, smallest_paired_p(n))
    return _by_t(value, deviation / math.sqrt(n), n - 1, level)


def difference_of_means(a: Sequence[float], b: Sequence[float], level: float) -> Estimate:
    """The mean of b less that of a, two independent sets, by Welch's t.

    :raises ValueError: a side is empty.
    """
    _refuse_empty(a, b)
    value = _mean(b) - _mean(a)
    if min(len(a), len(b)) < 2:
        return _without_spread(value, 1.0)
    parts = [_deviation(side) ** 2 / len(side) for side in (a, b)]
    if not any(parts):
        return _without_spread(value, smallest_p(len(a), len(b)))
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(side) - 1) for part, side in zip(parts, (a, b), strict=True)
    )
    return _by_t(value, math.sqrt(sum(parts)), freedom, level)


def bootstrapped_shift(differences: Sequence[float], level: float) -> Estimate:
    """The median of the differences b - a of one bring-up's slices, by a percentile bootstrap.

    :raises ValueError: there is none.
    """
    _refuse_empty(differences)
    value = float(np.median(differences))
    if _deviation(differences) == 0:
        return _without_spread(value, smallest_paired_p(len(differences)))
    medians = _bootstrapped_medians(differences)
    error = float(np.std(medians, ddof=1))
    low, high = np.quantile(medians, [(1 - level) / 2, (1 + level) / 2])
    above, below = (sum(side * each > 0 for each in differences) for side in (1, -1))
    fewer = float(scipy.stats.binom.cdf(min(above, below), above + below, 0.5))
    p = min(1.0, 2 * fewer)
    return Estimate(Shift(value, float(low), float(high), level), p, error)


def detectable_by_bootstrap(slices: int, alpha: float) -> float | None:
    """The shift that the bootstrap finds, in standard errors: slices are many, so a normal
    distribution serves.

    :returns: None where so few slices cannot reach that level at all.
    """
    return _normal_deviations(alpha) if smallest_paired_p(slices) <= alpha else None


def detectable_by_t(bring_ups: int, alpha: float) -> float | None:
    """The mean difference that t finds, in standard deviations of the bring-ups' differences.

    :returns: None of one bring-up.
    """
    return _detectable_by_t(1 / bring_ups, bring_ups - 1, alpha) if bring_ups > 1 else None


def detectable_by_welch(n_a: int, n_b: int, alpha: float) -> float | None:
    """The same of two sets of bring-ups, in standard deviations within a set, taken as alike."""
    if min(n_a, n_b) < 2:
        return None
    return _detectable_by_t(1 / n_a + 1 / n_b, n_a + n_b - 2, alpha)


def power_of_t(shift: float, spread: float, bring_ups: int, alpha: float) -> float:
    """The chance (0 to 1) that t over so many bring-ups finds a shift at a two-sided level.

    :param spread: standard deviation of the bring-ups' differences, in the shift's unit, above 0.
    """
    return _power(abs(shift) / spread * math.sqrt(bring_ups), bring_ups - 1, alpha)


def spread_bound(spread: float, freedom: int, level: float = TARGET_LEVEL) -> float:
    """What a standard deviation, estimated with so much freedom, is below at this (one-sided)
    level, by the chi-square distribution."""
    return spread * math.sqrt(freedom / float(scipy.stats.chi2.ppf(1 - level, freedom)))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _deviation(values: Sequence[float]) -> float:
    """The standard deviation; 0 where values differ by rounding only, or there is one."""
    if len(values) < 2:
        return 0.0
    deviation = float(np.std(values, ddof=1))
    return deviation if deviation > _ROUNDING * float(np.abs(values).max()) else 0.0


def _without_spread(value: float, p: float) -> Estimate:
    return Estimate(Shift(value, value, value, 0.0), p if value else 1.0, 0.0)


def _by_t(value: float, error: float, freedom: float, level: float) -> Estimate:
    reach = float(scipy.stats.t.ppf((1 + level) / 2, freedom)) * error
    p = 2 * float(scipy.stats.t.sf(abs(value) / error, freedom))
    return Estimate(Shift(value, value - reach, value + reach, level), p, error)


def _bootstrapped_medians(differences: Sequence[float]) -> Floats:
    ordered = np.sort(np.asarray(differences, dtype=float))
    return np.asarray(ordered[_middle_ranks(len(ordered))].mean(axis=0))


@lru_cache(maxsize=64)
def _middle_ranks(count: int) -> Integers:
    """Of every draw, the ranks of the one or two values in its middle: they are the same whatever
    the values."""
    drawn = np.random.default_rng(_SEED).integers(count, size=(BOOTSTRAP_DRAWS, count))
    drawn.sort(axis=1)
    return drawn[:, [(count - 1) // 2, count // 2]].T


def _power(noncentral: float, freedom: int, alpha: float) -> float:
    """Of t, by its definition, averaged over what the estimated deviation may be.

    ``scipy.stats.nct`` has no number far from 0, where few bring-ups at a strict level are.
    """
    critical = float(scipy.stats.t.isf(alpha / 2, freedom))
    deviations, weights = _deviations_of(freedom)
    above = scipy.stats.norm.sf(critical * deviations - noncentral)
    below = scipy.stats.norm.cdf(-critical * deviations - noncentral)
    return float(weights @ (above + below))


@lru_cache(maxsize=64)
def _deviations_of(freedom: int) -> tuple[Floats, Floats]:
    """What a deviation of 1 may be estimated as, and how likely that is (Gauss and Legendre)."""
    places, weights = np.polynomial.legendre.leggauss(_NODES)
    return np.sqrt(scipy.stats.chi2.ppf((places + 1) / 2, freedom) / freedom), weights / 2


@lru_cache(maxsize=256)
def _detectable_by_t(variance: float, freedom: int, alpha: float) -> float:
    # Imported here, as most of this module does without it.
    from scipy.optimize import brentq

    widest = math.sqrt(float(scipy.stats.chi2.ppf(0.99, freedom)) / freedom)
    enough = float(scipy.stats.t.isf(alpha / 2, freedom)) * widest + 3
    found = brentq(lambda noncentral: _power(noncentral, freedom, alpha) - POWER, 0, enough)
    return float(found) * math.sqrt(variance)
