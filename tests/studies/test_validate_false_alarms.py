"""A/A: exchangeable rounds pass, a planted fault of the instrument does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.results import MissingSample, Results
from studies.validate import verdicts
from studies.validate.model import Check
from studies.validate.testbed import MissingSampleError
from studies.validate.verdicts import Rounds, analyse, binomial_interval
from tests.bench.sample_results import metric, results

METRICS, PROBES = 12, 4


@pytest.fixture(autouse=True)
def fewer_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to tell, in a few seconds."""
    monkeypatch.setattr(verdicts, "_DRAWN", 200)


def side(
    seed: int, n: int, change: Callable[[NDArray[np.float64]], object] = lambda x: x
) -> Results:
    """Correlated metrics in groups by probe; one tied, one constant."""
    draw = np.random.default_rng(seed)
    shared = draw.normal(size=(PROBES, n))
    metrics = {}
    for index in range(METRICS):
        noise = shared[index % PROBES] + 0.5 * draw.normal(size=n)
        values = np.asarray(change(100 * np.exp(0.05 * noise)))
        if index == 3:
            values = np.round(values)
        if index == 5:
            values = np.zeros(n)
        made = metric([float(f"{value:.6g}") for value in values])
        metrics[f"m{index}"] = made.model_copy(update={"probe": f"p{index % PROBES}"})
    return results(metrics, plan={"runs": n})


def checks_of(a: Results, b: Results) -> dict[str, Check]:
    return {check.name.split(",")[0]: check for check in analyse(Rounds(a, b))[0]}


def test_equal_sides_pass() -> None:
    checks, found = analyse(Rounds(side(1, 24), side(2, 24)))
    assert [check.name for check in checks if not check.passed] == []
    assert found.rounds == 24
    # Three comparisons of eight rounds; the constant metric is not tested.
    assert len(found.p_values) == 3 * (METRICS - 1)
    assert {shift.metric for shift in found.shifts} == {f"m{i}" for i in range(METRICS)}
    assert all(shift.smallest for shift in found.shifts if shift.metric != "m5")
    assert "12 independent units" in checks[0].interval


def test_an_instrument_that_favours_a_side_is_found() -> None:
    checks = checks_of(side(1, 24), side(2, 24, lambda values: 1.3 * values))
    assert not checks["false verdicts"].passed
    assert not checks["one comparison of all 24 rounds"].passed
    assert not checks["p-values of 0.05 or less before the correction"].passed
    # Labels by chance cannot show it: that is said, and is why the others are there.
    assert checks["comparisons with any false verdict"].passed


def test_a_small_bias_shows_over_all_rounds() -> None:
    checks = checks_of(side(1, 24), side(2, 24, lambda values: 1.04 * values))
    assert not checks["one comparison of all 24 rounds"].passed


def test_a_shared_drift_is_cancelled_by_interleaving_and_shown_for_contrast() -> None:
    drift = np.linspace(1, 1.5, 24)
    checks = checks_of(
        side(1, 24, lambda values: drift * values), side(2, 24, lambda values: drift * values)
    )
    assert all(check.passed for check in checks.values())
    (remark,) = checks["false verdicts"].remarks
    assert "not interleaved: 0 false" not in remark


def test_missing_samples_do_not_shift_the_pairs() -> None:
    a, b = side(1, 9), side(2, 9)
    whole = a.metrics["m0"]
    lost = whole.model_copy(
        update={
            "samples": whole.samples[1:],
            "rounds": list(range(2, 10)),
            "n": 8,
            "missing": [MissingSample(round=1, reason="gone")],
        }
    )
    rounds = Rounds(a.model_copy(update={"metrics": {**a.metrics, "m0": lost}}), b)
    first, second = rounds.paired([1, 2, 3])
    assert first.metrics["m0"].samples == a.metrics["m0"].samples[1:3]
    assert second.metrics["m0"].samples == b.metrics["m0"].samples[1:3]
    assert first.metrics["m1"].n == 3
    # Places 0 and 1 are the first rounds of a, 9 and 10 those of b.
    drawn = rounds.drawn([0, 1, 10, 9])
    of_a, of_b = a.metrics["m0"].samples, b.metrics["m0"].samples
    assert drawn.metrics["m0"].samples == [of_a[1], of_b[1], of_b[0]]
    assert drawn.metrics["m1"].n == 4


def test_too_few_rounds_are_refused() -> None:
    with pytest.raises(MissingSampleError, match="A/A needs 8 rounds, got 7"):
        analyse(Rounds(side(1, 7), side(2, 7)))


def test_the_binomial_interval_is_clopper_and_pearsons() -> None:
    # The rule of three, exactly: 1 - 0.025 ** (1 / n).
    assert binomial_interval(0.0, 59) == pytest.approx((0.0, 100 * (1 - 0.025 ** (1 / 59))))
    low, high = binomial_interval(0.5, 10)
    assert low + high == pytest.approx(100)


def test_sides_without_a_sample_that_differs_are_refused() -> None:
    dead = results({}, plan={"runs": 8})
    with pytest.raises(MissingSampleError, match="no metric has samples"):
        analyse(Rounds(dead, dead))
