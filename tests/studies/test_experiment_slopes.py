"""Growth along an axis: slopes by round, their interval, and what may be said of it."""

from __future__ import annotations

import pytest

from bench.results import MetricResult, MissingSample
from bench.stats import summarise
from studies.experiments.growth import linear
from studies.experiments.model import Point


def _rounds(count: int, missing: list[MissingSample]) -> list[int]:
    lost = {each.round for each in missing}
    return [each for each in range(1, count + len(lost) + 1) if each not in lost]


def _point(x: float, samples: list[float], missing: list[MissingSample] | None = None) -> Point:
    summary = summarise(samples)
    metric = MetricResult(
        median=summary.median, ci=(summary.low, summary.high), ci_level=summary.level, unit="µs",
        n=summary.n, better="lower", samples=samples, missing=missing or [],
        rounds=_rounds(len(samples), missing or []), group="Latency",
        description="a latency", probe="chain",
    )  # fmt: skip
    return Point(label=str(x), x=x, metrics={"p50": metric})


def test_a_drift_that_a_round_shares_is_no_growth() -> None:
    drift = [0.0, 40.0, 80.0, 120.0, 160.0, 200.0]
    points = [_point(x, [100 + 7 * x + shift for shift in drift]) for x in (1, 2, 4, 8)]
    fit = linear(points, "p50", "hop")
    assert fit is not None
    assert fit.slope == pytest.approx(7)
    assert fit.slope_ci == pytest.approx((7, 7))
    assert fit.constant == pytest.approx(200)
    assert fit.level > 0.95
    assert fit.verdict.startswith("grows by 7")


def test_slopes_on_both_sides_of_zero_are_no_growth() -> None:
    slopes = [-2.0, 1.0, -1.0, 2.0, 3.0, -3.0]
    points = [_point(x, [100 + slope * x for slope in slopes]) for x in (1, 2, 3)]
    fit = linear(points, "p50", "hop")
    assert fit is not None
    assert fit.verdict.startswith("no growth seen")


def test_only_rounds_that_all_points_have_are_fitted() -> None:
    whole = [_point(x, [10 * x, 20 * x, 30 * x]) for x in (1, 2)]
    torn = _point(3, [30, 90], missing=[MissingSample(round=2, reason="it failed")])
    fit = linear([*whole, torn], "p50", "hop")
    assert fit is not None
    assert fit.slope_ci == pytest.approx((10, 30))
    assert fit.verdict.startswith("too few rounds to tell: 20")


def test_one_round_has_no_interval() -> None:
    fit = linear([_point(x, [10 * x]) for x in (1, 2, 3)], "p50", "hop")
    assert fit is not None
    assert fit.level == 0
    assert fit.verdict == "one round has no interval"


def test_two_points_are_no_line() -> None:
    assert linear([_point(x, [10 * x]) for x in (1, 2)], "p50", "hop") is None
    assert linear([_point(x, [1.0]) for x in (1, 2, 3)], "p99", "hop") is None
