"""Many metrics and few runs: Holm's correction, and the smallest difference that could be seen.

A comparison has some forty metrics. At 5 % each, two of them would differ between a scenario and
itself. Holm's method (Scandinavian Journal of Statistics 6 (1979) 65) keeps the chance of even one
false verdict in the whole comparison at 5 %, whatever the dependence between metrics, and metrics
of one probe depend on each other a great deal. Benjamini & Hochberg's would need fewer runs, but
bounds the share of false verdicts in the whole table: a single one, which is what a reader acts
upon, may then be wrong more often than 5 %, the more so the more other metrics truly differ.

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
each simulated experiment tells its own smallest shift, and the 90th percentile of those is it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

from bench.compare.ranks import (
    Floats,
    rank_sum_null,
    signed_rank_null,
    smallest_p,
    smallest_paired_p,
)

ALPHA = 0.05
"""Chance of one or more false verdicts in a comparison of two equal things."""

DEFAULT_ROUNDS = 8
"""Rounds of an interleaved comparison. Two sides of 8 runs that lie wholly apart have p = 0.00016,
which survives the correction for 300 metrics; at the 45 of a whole comparison up to three of the
64 pairs of runs may lie the other way round."""

_MOST_RUNS = 100

POWER = 0.9
_SIMULATED = 4_000
_SEED = 20_241_212
_ROUNDING = 1e-9
_SIMULATE_UP_TO = 60
_ASYMPTOTIC_EFFICIENCY = 3 / math.pi
"""Of both rank tests relative to the t-test for normal noise (Hollander et al., section 4.5)."""


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Corrected p-values (0 to 1) by name: at most ``alpha`` is a verdict at level ``alpha``."""
    if not p_values:
        return {}
    corrected = multipletests(list(p_values.values()), method="holm")[1]
    return dict(zip(p_values, map(float, corrected), strict=True))


def runs_needed(family: int, *, paired: bool = False, alpha: float = ALPHA) -> int:
    """Runs of each side with which a verdict on one of ``family`` metrics is possible at all.

    :raises ValueError: not with 100 either.
    """
    smallest: Callable[[int], float] = smallest_paired_p if paired else _smallest_of_equal
    for runs in range(2, _MOST_RUNS + 1):
        if family * smallest(runs) <= alpha:
            return runs
    raise ValueError(f"no verdict on {family} metrics at level {alpha} with {_MOST_RUNS} runs")


def _smallest_of_equal(runs: int) -> float:
    return smallest_p(runs, runs)


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
    deviations = float(stats.norm.isf(alpha / 2)) + float(stats.norm.ppf(POWER))
    return deviations * math.sqrt(variance / _ASYMPTOTIC_EFFICIENCY)


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
