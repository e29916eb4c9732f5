"""Median and its interval, for few samples.

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
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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
