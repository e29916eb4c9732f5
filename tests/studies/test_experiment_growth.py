"""Growth along an axis: constant, linear and power laws are told apart, with honest intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from studies.experiments.growth import Place, fits, growth

SIZES = (4.0, 104.0, 1_000.0, 5_000.0, 10_000.0)


def _visits(law: Callable[[float], float], noise: float, seed: int) -> list[Place]:
    """Every size twice, each median off by some per cent."""
    chance = np.random.default_rng(seed)
    return [Place(x, law(x) * (1 + noise * chance.standard_normal())) for x in SIZES * 2]


def test_a_line_is_found_with_an_interval_that_holds_its_slope() -> None:
    held = 0
    for seed in range(100):
        fit = growth("sync", "µs", "Services", _visits(lambda x: 20_000 + 8 * x, 0.03, seed))
        assert fit is not None and fit.form == "linear", seed
        held += fit.slope_ci[0] <= 8 <= fit.slope_ci[1]
        assert fit.slope == pytest.approx(8, rel=0.15)
    assert held >= 90  # of 95 that the level promises


def test_a_constant_is_seldom_taken_for_growth() -> None:
    found = [
        growth("connect", "µs", "Services", _visits(lambda _: 130.0, 0.05, seed))
        for seed in range(100)
    ]
    forms = [fit.form for fit in found if fit is not None]
    assert len(forms) == 100 and forms.count("constant") >= 90


def test_what_a_constant_does_not_exclude_is_told() -> None:
    fit = growth("connect", "µs", "Services", _visits(lambda _: 130.0, 0.05, 3))
    assert fit is not None
    low, high = fit.slope_ci
    assert low < 0 < high
    assert "no growth is seen: between -" in fit.verdict
    assert "µs per 1,000 Services" in fit.verdict


@pytest.mark.parametrize("exponent", [0.5, 2.0])
def test_a_power_is_found(exponent: float) -> None:
    fit = growth("x", "µs", "Services", _visits(lambda x: 50 + 3 * x**exponent, 0.03, 1))
    assert fit is not None and fit.form == "power"
    assert fit.power == pytest.approx(exponent, abs=0.15)
    assert fit.constant + fit.slope * 10_000**fit.power == pytest.approx(
        50 + 3 * 10_000**exponent, rel=0.1
    )
    assert ("more" if exponent > 1 else "less") + " than in proportion" in fit.verdict


def test_a_line_is_seldom_taken_for_a_power() -> None:
    found = [
        growth("sync", "µs", "Services", _visits(lambda x: 20_000 + 8 * x, 0.05, seed))
        for seed in range(100)
    ]
    assert sum(fit is not None and fit.form == "power" for fit in found) <= 10


def test_falling_is_told_as_such() -> None:
    fit = growth("qps", "1/s", "Services", _visits(lambda x: 30_000 - x, 0.01, 0))
    assert fit is not None and fit.form == "linear" and fit.slope < 0
    assert fit.verdict.startswith("falls in a line: -")


def test_one_bad_visit_makes_no_growth() -> None:
    visits = [Place(x, 130.0 + x / 1e6) for x in SIZES * 2]
    visits[4] = Place(10_000, 900.0)
    fit = growth("connect", "µs", "Services", visits)
    assert fit is not None and abs(fit.slope) < 0.001


def test_equal_values_are_constant() -> None:
    fit = growth("rules", "", "Services", [Place(x, 7.0) for x in SIZES])
    assert fit is not None and fit.form == "constant" and fit.verdict == "constant: always 7 "


def test_too_few_visits_say_nothing() -> None:
    visits = [Place(x, x) for x in SIZES[:3] * 2]
    assert growth("x", "µs", "Services", visits) is None
    assert fits({"x": visits}, {"x": "µs"}, "Services") == []


def test_how_well_a_curve_fits_is_told() -> None:
    fit = growth("sync", "µs", "Services", _visits(lambda x: 20_000 + 8 * x, 0.03, 1))
    assert fit is not None and fit.off is not None and fit.off < 0.12
    assert f"every visit lies within {int(100 * fit.off) + 1} % of it" in fit.verdict


def test_what_lies_on_no_curve_is_called_no_line() -> None:
    # A full sync of iptables: 0.25 s at 4 Services, 110 s at 10,000, where a line says 45.
    seconds = {4.0: 0.25, 1_000.0: 1.6, 5_000.0: 17.0, 10_000.0: 110.0}
    visits = [Place(x, 1e6 * seconds[x] * more) for x in seconds for more in (0.97, 1.04)]
    fit = growth("full_sync", "µs", "Services", visits)
    assert fit is not None and fit.slope_ci[0] > 0
    if fit.form == "linear":
        assert fit.off is not None and fit.off > 0.25
        assert fit.verdict.startswith("grows, on no curve that was tried")
        assert "in a line" not in fit.verdict
    else:
        assert "more than in proportion" in fit.verdict
