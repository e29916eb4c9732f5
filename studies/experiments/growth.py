"""How a metric grows along an axis of numbers: over visits (:func:`growth`) or round by round
(:func:`linear`).

Over visits: constant, linear, or as a power
---------------------------------------------
What is fitted are medians of visits, not single samples: samples of one visit share whatever the
machine did meanwhile, and would make every interval too narrow.

- Whether it grows at all is told by Theil and Sen's slope, the median of the slopes between all
  pairs of visits, with Sen's interval from Kendall's rank correlation (Sen, Journal of the American
  Statistical Association 63 (1968) 1379; ``scipy.stats.theilslopes``). It assumes no distribution,
  and a visit that went wrong does not move it. An interval that holds 0 is called constant, with
  the growth that it does not exclude.
- A power law is preferred to a line where its Akaike criterion, corrected for few points, is lower
  by :data:`ENOUGH` or more, and the interval of its exponent excludes 1
  (Burnham & Anderson, Model Selection and Multimodel Inference, 2nd ed., section 2.4). Both are
  fitted with weights in proportion to the values, since timings spread in proportion.
- A curve that some visit lies off by more than :data:`MISFIT` of its value is none: growth is told,
  with the misfit, and no curve is drawn. So a line is what data follow, not what is left over.

Round by round
--------------
Every round is fitted by itself (least squares) and gives one slope; the slope reported is the
median of the rounds', with the interval of order statistics (:mod:`bench.stats`). Nothing is
assumed of the noise, and what all points of a round share (a drift) is not taken for growth.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from bench.stats import Summary, summarise
from bench.text import number
from studies.experiments.model import Fit, Point

LEVEL = 0.95
ENOUGH = 4.0
"""Of Akaike's criterion: seven times as likely."""
MISFIT = 0.25
_LEAST_VISITS = 5
_LEAST_SIZES = 4
_STEP = 1_000
"""Slopes are told per so many."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Place:
    """A metric's median ``y`` at the place ``x`` of the axis."""

    x: float
    y: float


def growth(metric: str, unit: str, axis: str, visits: Sequence[Place]) -> Fit | None:
    """The growth of one metric; None with too few visits to tell.

    :param unit: the metric's.
    :param axis: what x counts.
    """
    places = {visit.x for visit in visits}
    if len(visits) < _LEAST_VISITS or len(places) < _LEAST_SIZES:
        return None
    x = np.array([visit.x for visit in visits])
    y = np.array([visit.y for visit in visits])
    fit = partial(Fit, metric=metric, level=LEVEL)
    if np.ptp(y) == 0:
        verdict = f"constant: always {number(float(y[0]))} {unit}"
        return fit(
            form="constant", constant=float(y[0]), slope=0.0, slope_ci=(0.0, 0.0), verdict=verdict
        )
    slope, intercept, low, high = (float(each) for each in stats.theilslopes(y, x, LEVEL))
    ci = (low, high)
    most = f"{_signed(_STEP * low)} to {_signed(_STEP * high)} {unit} per {_STEP:,} {axis}"
    if low <= 0 <= high:
        verdict = f"no growth is seen: between {most}"
        middle = float(np.median(y))
        return fit(form="constant", constant=middle, slope=slope, slope_ci=ci, verdict=verdict)
    power = _power(x, y) if slope > 0 and y.min() > 0 else None
    verb = "grows" if slope > 0 else "falls"
    if power is not None:
        verdict = (
            f"grows as {axis} to the power of {power.exponent:.2f} "
            f"({power.low:.2f} to {power.high:.2f}): "
            f"{'more' if power.exponent > 1 else 'less'} than in proportion"
        )
        found = fit(
            form="power", constant=power.constant, slope=power.slope,
            slope_ci=power.slope_ci, power=power.exponent, verdict=verdict,
        )  # fmt: skip
    else:
        verdict = f"{verb} in a line: {_signed(_STEP * slope)} ({most})"
        found = fit(form="linear", constant=intercept, slope=slope, slope_ci=ci, verdict=verdict)
    off = max(abs(found.at(visit.x) - visit.y) / abs(visit.y or 1.0) for visit in visits)
    if off <= MISFIT:
        said = f"{verdict}; every visit lies within {math.ceil(100 * off)} % of it"
    else:
        said = (
            f"{verb}, on no curve that was tried: of the nearest one a visit lies "
            f"{100 * off:.0f} % off"
        )
    return found.model_copy(update={"off": off, "verdict": said})


@dataclass(frozen=True, slots=True)
class _Power:
    """``constant + slope * x ** exponent``; ``low`` to ``high`` is the exponent's interval."""

    constant: float
    slope: float
    slope_ci: tuple[float, float]
    exponent: float
    low: float
    high: float


def _power(x: Array, y: Array) -> _Power | None:
    """A power law, where the data want one rather than a line."""
    weights = y / y.mean()
    scale = x.max()  # keeps the numbers near 1

    def line(u: Array, constant: float, slope: float) -> Array:
        return constant + slope * u

    def law(u: Array, constant: float, slope: float, exponent: float) -> Array:
        return constant + slope * np.power(u, exponent)

    u = x / scale
    start = (float(y.min()), float(np.ptp(y)))
    try:
        straight, _ = optimize.curve_fit(line, u, y, p0=start, sigma=weights)
        bounds = ((0.0, 0.0, 0.05), (np.inf, np.inf, 5.0))
        bent, covariance = optimize.curve_fit(
            law, u, y, p0=(*start, 1.0), sigma=weights, bounds=bounds
        )
    except (RuntimeError, ValueError):
        return None
    gain = _criterion((y - line(u, *straight)) / weights, 2) - _criterion(
        (y - law(u, *bent)) / weights, 3
    )
    freedom = len(y) - 3
    reach = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * np.sqrt(np.diag(covariance))
    constant, slope, exponent = (float(each) for each in bent)
    low, high = exponent - float(reach[2]), exponent + float(reach[2])
    if not math.isfinite(high) or gain < ENOUGH or low <= 1 <= high:
        return None
    unscaled = scale**-exponent
    ci = (unscaled * (slope - float(reach[1])), unscaled * (slope + float(reach[1])))
    return _Power(constant, unscaled * slope, ci, exponent, low, high)


def _criterion(residuals: Array, parameters: int) -> float:
    """Akaike's, corrected for few points; the variance is a parameter, too."""
    n, k = len(residuals), parameters + 1
    if n - k - 1 <= 0:
        return math.inf
    spread = float(np.sum(residuals**2)) / n
    return n * math.log(spread) + 2 * k + 2 * k * (k + 1) / (n - k - 1)


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def fits(visits: Mapping[str, Sequence[Place]], units: Mapping[str, str], axis: str) -> list[Fit]:
    """The growth of every metric that has enough visits."""
    fitted = (growth(name, units[name], axis, each) for name, each in visits.items())
    return [fit for fit in fitted if fit is not None]


LEAST_POINTS = 3
LEAST_LEVEL = 0.9
"""Of an interval, for a growth to be called one: five rounds have it."""


def linear(points: Sequence[Point], metric: str, per: str) -> Fit | None:
    """A straight line through a metric's points.

    :param per: what ``x`` counts, in one word, for the verdict.
    :returns: None where fewer than three points share a round.
    """
    measured = [each for each in points if each.x is not None and metric in each.metrics]
    runs = [each.metrics[metric].by_place() for each in measured]
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
        verdict=_slope_verdict(slope, f"{unit} per {per}"),
    )


def _slope_verdict(slope: Summary, unit: str) -> str:
    if slope.level <= 0:
        return "one round has no interval"
    interval = f"{number(slope.low)} to {number(slope.high)}, {100 * slope.level:.0f} %"
    if slope.level < LEAST_LEVEL:
        return f"too few rounds to tell: {number(slope.median)} {unit} ({interval})"
    if slope.low <= 0 <= slope.high:
        return f"no growth seen: {number(slope.median)} {unit} ({interval})"
    word = "grows" if slope.median > 0 else "falls"
    return f"{word} by {number(abs(slope.median))} {unit} ({interval})"
