"""How a metric grows along an axis of numbers, round by round.

Every round is fitted by itself (least squares) and gives one slope; the slope reported is the
median of the rounds', with the interval of order statistics (:mod:`bench.stats`). Nothing is
assumed of the noise, and what all points of a round share (a drift) is not taken for growth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.compare.comparison import by_run
from bench.stats import summarise
from bench.text import number
from studies.experiments.model import Fit, Point

LEAST_POINTS = 3
LEAST_LEVEL = 0.9
"""Of an interval, for a growth to be called one: five rounds have it."""


def linear(points: Sequence[Point], metric: str, per: str) -> Fit | None:
    """A straight line through a metric's points.

    :param per: what ``x`` counts, in one word, for the verdict.
    :returns: None where fewer than three points share a round.
    """
    measured = [each for each in points if each.x is not None and metric in each.metrics]
    runs = [by_run(each.metrics[metric]) for each in measured]
    shared = [run for run in (runs[0] if runs else ()) if all(run in each for each in runs)]
    if len(measured) < LEAST_POINTS or not shared:
        return None
    x = [float(each.x or 0.0) for each in measured]
    lines = [np.polyfit(x, [each[run] for each in runs], 1) for run in shared]
    slope = summarise([float(line[0]) for line in lines])
    unit = measured[0].metrics[metric].unit
    return Fit(
        metric=metric,
        form="linear",
        constant=float(np.median([line[1] for line in lines])),
        slope=slope.median,
        slope_ci=(slope.low, slope.high),
        level=slope.level,
        verdict=_verdict(slope.median, slope.low, slope.high, slope.level, f"{unit} per {per}"),
    )


def _verdict(slope: float, low: float, high: float, level: float, unit: str) -> str:
    if level <= 0:
        return "one round has no interval"
    interval = f"{number(low)} to {number(high)}, {100 * level:.0f} %"
    if level < LEAST_LEVEL:
        return f"too few rounds to tell: {number(slope)} {unit} ({interval})"
    if low <= 0 <= high:
        return f"no growth seen: {number(slope)} {unit} ({interval})"
    word = "grows" if slope > 0 else "falls"
    return f"{word} by {number(abs(slope))} {unit} ({interval})"
