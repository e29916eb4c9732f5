"""Effects over bring-ups and over slices: known truths by simulation, pairs, gaps, zeros, rates."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from bench import stats
from bench.compare import Comparison, compare, from_dict
from bench.metrics import PRIMARY
from bench.results import MetricResult, MissingMetric, MissingSample, Place, Results
from tests.bench.sample_results import metric, results

BRING_UPS, SLICES = 5, 20
WITHIN, BETWEEN = 0.02, 0.01
"""Deviations of logarithms of the ratio: of slices, and of what a bring-up fixes by chance."""


def placed(samples: Mapping[Place, float], **more: Any) -> MetricResult:
    """A metric whose samples belong to these places."""
    return metric(
        list(samples.values()),
        bring_ups=[place.bring_up for place in samples],
        rounds=[place.round for place in samples],
        slices=[place.slice for place in samples] if any(p.slice for p in samples) else [],
        **more,
    )


def pair_of(
    draw: np.random.Generator,
    shift: float = 0.0,
    *,
    bring_ups: int = BRING_UPS,
    slices: int = SLICES,
    between: float = BETWEEN,
) -> tuple[MetricResult, MetricResult]:
    """Both sides of a metric; b lies ``shift`` (a logarithm) above a in the long run."""
    places = [
        Place(each, each, s) for each in range(1, bring_ups + 1) for s in range(1, slices + 1)
    ]
    drift = {place: float(draw.normal(scale=0.1)) for place in places}  # which both sides share
    lasting = dict(enumerate(draw.normal(shift, between, bring_ups), 1))
    a = {place: 25 * math.exp(drift[place]) for place in places}
    b = {
        place: value * math.exp(lasting[place.bring_up] + draw.normal(scale=WITHIN))
        for place, value in a.items()
    }
    return placed(a), placed(b)


def compared(a: MetricResult, b: MetricResult, *, interleaved: bool = True) -> Comparison:
    return compare(results({"m": a}), results({"m": b}), interleaved=interleaved)


def test_the_interval_over_bring_ups_holds_the_true_effect_and_that_of_one_does_not() -> None:
    draw = np.random.default_rng(1)
    truth = 100 * math.expm1(0.03)
    inside = {BRING_UPS: 0, 1: 0}
    many = 400
    for bring_ups in inside:
        for _ in range(many):
            sides = pair_of(draw, 0.03, bring_ups=bring_ups)
            effect = compared(*sides).metrics["m"].effect
            inside[bring_ups] += effect.low <= truth <= effect.high
    assert scipy_stats.binomtest(inside[BRING_UPS], many, 0.95).pvalue > 0.01
    # What a bring-up fixes by chance is in no interval of its own: hence "of this bring-up".
    assert inside[1] / many < 0.85


def test_equal_things_get_a_false_verdict_no_more_often_than_said() -> None:
    draw = np.random.default_rng(2)
    many, false, uncorrected = 150, 0, 0
    for _ in range(many):
        sides = {name: pair_of(draw, slices=5) for name in PRIMARY}
        a, b = (results({name: each[i] for name, each in sides.items()}) for i in (0, 1))
        found = compare(a, b, interleaved=True)
        false += bool(found.verdicts("better", "worse"))
        uncorrected += sum(each.p <= 0.05 for each in found.metrics.values())
    assert scipy_stats.binomtest(false, many, 0.05, alternative="greater").pvalue > 0.01
    tests = many * len(PRIMARY)
    assert scipy_stats.binomtest(uncorrected, tests, 0.05).pvalue > 0.01


def test_what_was_said_to_be_seen_is_seen() -> None:
    draw = np.random.default_rng(3)
    deviations = stats.detectable_by_t(BRING_UPS, 0.05)
    assert deviations is not None
    found = sum(
        stats.mean_shift(draw.normal(deviations, 1, BRING_UPS).tolist(), 0.95).p <= 0.05
        for _ in range(2_000)
    )
    assert found / 2_000 == pytest.approx(stats.POWER, abs=0.02)
    a, b = pair_of(draw)
    effect, smallest = compared(a, b).metrics["m"].effect, compared(a, b).metrics["m"].smallest
    assert effect.spread_between is not None and smallest is not None
    spread = math.log1p(effect.spread_between / 100)
    assert smallest == pytest.approx(100 * math.expm1(deviations * spread))


def test_a_known_effect_is_told_with_its_spreads_in_percent_and_in_microseconds() -> None:
    a, b = pair_of(np.random.default_rng(4), math.log(1.1))
    found = compared(a, b)
    m = found.metrics["m"]
    assert (found.scope, found.reach, m.test, m.n) == ("bring-ups", "", "t", (5, 5))
    assert m.verdict == "worse"
    assert m.effect.level == 0.95
    assert m.effect.value == pytest.approx(10, abs=1.5)  # three standard errors
    assert m.effect.spread_within == pytest.approx(100 * WITHIN, rel=0.2)
    assert m.effect.spread_between is not None
    assert 0.3 * BETWEEN < m.effect.spread_between / 100 < 2.5 * BETWEEN
    assert m.effect.absolute is not None
    assert m.effect.absolute.value == pytest.approx(a.median * m.effect.value / 100)
    assert m.effect_text().endswith(f"), +{m.effect.absolute.value:.3g} µs")
    assert m.spread_text().startswith("within bring-ups ±2")
    assert from_dict(json.loads(json.dumps(found.to_dict()))) == found


def test_per_bring_up_the_middle_of_shared_slices_then_t_over_bring_ups() -> None:
    ratios = {1: [1.0, 1.02, 1.5], 2: [1.04, 1.04], 3: [1.03]}
    a = {
        Place(bring_up, bring_up, slice_): 10.0 * bring_up
        for bring_up, each in ratios.items()
        for slice_ in range(1, len(each) + 1)
    }
    b = {place: value * ratios[place.bring_up][place.slice - 1] for place, value in a.items()}
    b[Place(1, 1, 9)] = 1e6  # a slice, and a bring-up, that the other side has not
    b[Place(4, 4, 1)] = 1e6
    m = compared(placed(a), placed(b)).metrics["m"]
    logs = [math.log(each) for each in (1.02, 1.04, 1.03)]
    interval = scipy_stats.ttest_1samp(logs, 0)
    low, high = interval.confidence_interval(0.95)
    assert m.n == (3, 3)
    assert m.p == pytest.approx(interval.pvalue)
    assert m.effect.value == pytest.approx(100 * math.expm1(np.mean(logs)))
    assert (m.effect.low, m.effect.high) == pytest.approx(
        (100 * math.expm1(low), 100 * math.expm1(high))
    )


def test_medians_of_latencies_are_compared_by_what_nothing_disturbs() -> None:
    # Most operations of b's second bring-up met the machine's other state, 48 µs slower.
    a = {Place(n, n, s): 20.0 for n in (1, 2, 3) for s in range(1, 9)}
    b = {p: 68.0 if p.bring_up == 2 and p.slice > 3 else 23.0 for p in a}
    low_a = dict.fromkeys(a, 19.0)
    low_b = {p: 67.0 if p.bring_up == 2 and p.slice > 6 else 22.0 + p.round / 100 for p in a}
    told = {"unit": "µs", "better": "lower"}
    sides = [
        results({
            "rtt_p50": placed(medians, decided_by="rtt_p10", **told),
            "rtt_p10": placed(lowest, **told),
        })
        for medians, lowest in ((a, low_a), (b, low_b))
    ]  # fmt: skip
    found = compare(*sides, labels=("a", "b"), interleaved=True).metrics
    assert found.keys() == {"rtt_p50"}
    m = found["rtt_p50"]
    assert m.medians == (20.0, 23.0)
    logs = [math.log((22 + n / 100) / 19) for n in (1, 2, 3)]
    assert m.effect.value == pytest.approx(100 * math.expm1(np.mean(logs)))
    assert m.verdict == "worse"
    # CPU time has no other metric: the lower half of its own slices.
    cpu_a = {p: 40.0 if p.slice % 2 else 10.0 for p in a}
    cpu_b = {p: 99.0 if p.slice > 4 else 11.0 + p.round / 100 for p in a}
    told = {"unit": "CPU µs", "better": "lower", "decided_by": "cpu_per_request"}
    used = [results({"cpu_per_request": placed(cpu, **told)}) for cpu in (cpu_a, cpu_b)]
    cpu = compare(*used, labels=("a", "b"), interleaved=True).metrics["cpu_per_request"]
    assert cpu.effect.value == pytest.approx(
        100 * math.expm1(np.mean([math.log((11 + n / 100) / 10) for n in (1, 2, 3)]))
    )
    # A side that was measured before there was another metric: both by their medians.
    old = results({"rtt_p50": placed(a, unit="µs", better="lower")})
    before = compare(old, sides[1], labels=("a", "b"), interleaved=True).metrics["rtt_p50"]
    assert before.effect.value > 30


def test_a_rate_that_may_have_no_bound_is_told_up_to_one() -> None:
    told = {"unit": "Gbit/s", "better": "higher"}
    a = placed({Place(i, i): 10.0 + i for i in range(1, 4)}, **told)
    b = placed({Place(i, i): 100.0 * 30**i for i in range(1, 4)}, **told)
    effect = compared(a, b, interleaved=False).metrics["m"].effect
    assert effect.low < effect.value < effect.high == 1e6


def test_deployments_that_share_no_rounds_are_two_sets() -> None:
    draw = np.random.default_rng(5)
    a = {Place(i, i): float(v) for i, v in enumerate(draw.lognormal(0, 0.02, 5), 1)}
    b = {Place(i, i): float(v) for i, v in enumerate(draw.lognormal(0.1, 0.05, 4), 1)}
    m = compared(placed(a), placed(b), interleaved=False).metrics["m"]
    told = scipy_stats.ttest_ind(np.log([*b.values()]), np.log([*a.values()]), equal_var=False)
    low, high = told.confidence_interval(0.95)
    assert (m.test, m.n) == ("welch", (5, 4))
    assert m.p == pytest.approx(told.pvalue)
    assert (m.effect.low, m.effect.high) == pytest.approx(
        (100 * math.expm1(low), 100 * math.expm1(high))
    )
    assert m.effect.spread_within is None
    assert m.smallest is not None


def test_a_metric_with_one_bring_up_left_of_several_has_too_few() -> None:
    draw = np.random.default_rng(6)
    a, b = pair_of(draw, 1.0)
    first = {place: value for place, value in b.by_place().items() if place.bring_up == 1}
    lost = [MissingSample(bring_up=i, round=i, reason="gone") for i in range(2, BRING_UPS + 1)]
    found = compared(a, placed(first, missing=lost))
    m = found.metrics["m"]
    assert (found.scope, found.runs_needed, found.runs) == ("bring-ups", 2, "bring-ups")
    assert (m.verdict, m.n, m.p, m.effect.level, m.smallest) == ("too few runs", (1, 1), 1, 0, None)


@pytest.mark.parametrize("interleaved", [True, False])
def test_the_test_is_chosen_by_the_plan_and_not_by_what_a_metric_has(interleaved: bool) -> None:
    a, b = pair_of(np.random.default_rng(7))
    once = placed({Place(1, 1): 5.0}, missing=[MissingSample(bring_up=2, round=2, reason="gone")])
    sides = [results({"m": each, "k": once}) for each in (a, b)]
    found = compare(*sides, interleaved=interleaved)
    assert found.metrics["k"].test == ("t" if interleaved else "welch")
    assert found.metrics["k"].verdict == "too few runs"


def test_losses_are_compared_in_their_own_unit() -> None:
    a = {Place(i, i): value for i, value in enumerate([0.0, 0.0, 0.1, 0.0, 0.0], 1)}
    b = {Place(i, i): value for i, value in enumerate([1.0, 1.2, 1.1, 0.9, 1.0], 1)}
    m = compared(placed(a, unit="%"), placed(b, unit="%")).metrics["m"]
    assert not m.effect.relative
    assert m.effect.value == pytest.approx(1.02)
    assert m.effect.absolute is None
    assert m.effect_text().startswith("+1.02 percentage points (+0.8")
    assert m.verdict == "worse"


def test_an_instrument_too_coarse_for_a_spread_makes_no_verdict() -> None:
    # Counts that differ by one in each bring-up: t would be infinite, by a chance of 1 in 16.
    a = placed({Place(i, i): 3.0 for i in range(1, 6)})
    b = placed({Place(i, i): 4.0 for i in range(1, 6)})
    for interleaved, p in ((True, 1 / 16), (False, 2 / 252)):
        m = compared(a, b, interleaved=interleaved).metrics["m"]
        assert (m.p, m.effect.level) == (p, 0)
    assert compared(a, a).metrics["m"].p == 1


def test_one_bring_up_in_slices_is_bootstrapped_and_said_to_be_of_it_alone() -> None:
    a, b = pair_of(np.random.default_rng(8), math.log(1.05), bring_ups=1, slices=200)
    found = compared(a, b)
    m = found.metrics["m"]
    assert (found.scope, found.reach) == ("this bring-up", " of this bring-up")
    assert found.title == "b against a, verdicts of this bring-up"
    assert (m.test, m.n, m.verdict) == ("bootstrap", (50, 50), "worse")
    assert m.effect.high - m.effect.low < 3
    assert m.effect.spread_within == pytest.approx(100 * WITHIN, rel=0.3)
    assert m.effect.spread_between is None
    assert m == compared(a, b).metrics["m"]  # the draws are the same each time


def test_the_bootstraps_interval_and_p_hold_within_a_bring_up() -> None:
    draw = np.random.default_rng(9)
    rows: NDArray[np.float64] = draw.standard_t(3, size=(400, 50))
    found = [stats.bootstrapped_shift(row.tolist(), 0.95) for row in rows]
    inside = sum(each.shift.low <= 0 <= each.shift.high for each in found)
    assert 0.92 <= inside / 400 <= 0.98
    # By the signs of the values: exact, whatever their distribution.
    for each, row in zip(found, rows, strict=True):
        assert each.p == pytest.approx(scipy_stats.binomtest(int((row > 0).sum()), 50).pvalue)
    assert stats.bootstrapped_shift([0.0, 0.0, 1.0, 2.0, 3.0], 0.95).p == 0.25


def test_the_last_of_several_bring_ups_by_itself_is_one() -> None:
    a, b = pair_of(np.random.default_rng(17), 0.1, bring_ups=1)
    last = [each.model_copy(update={"bring_ups": [5] * each.n}) for each in (a, b)]
    found = compared(*last)
    assert (found.scope, found.metrics["m"].test) == ("this bring-up", "bootstrap")


def test_three_blocks_of_slices_are_too_few_however_far_apart() -> None:
    draw = np.random.default_rng(10)
    m = compared(*pair_of(draw, 3.0, bring_ups=1, slices=12)).metrics["m"]
    assert (m.verdict, m.p, m.smallest) == ("too few runs", 0.25, None)


def test_separate_runs_of_one_bring_up_compare_rounds_not_slices() -> None:
    draw = np.random.default_rng(11)
    a, b = pair_of(draw, 1.0, bring_ups=1, slices=50)
    m = compared(a, b, interleaved=False).metrics["m"]
    assert (m.test, m.n, m.verdict) == ("mann-whitney", (1, 1), "too few runs")


def rated(loss: Sequence[float], rate: float) -> Results:
    return results(
        {
            "udp_loss": metric(loss, unit="%", at_equal="udp_sender_rate"),
            "udp_sender_rate": metric([rate] * len(loss), unit="Gbit/s", better="neither"),
        }
    )


def test_loss_is_compared_at_equal_offered_rate_only() -> None:
    loss = [0.1, 0.2, 0.3, 0.4]
    assert not compare(rated(loss, 10.0), rated(loss, 10.09)).not_compared
    assert compare(rated(loss, 10.0), rated(loss, 11.0)).not_compared == {
        "udp_loss": "it was taken at different rates: udp_sender_rate is 10 Gbit/s in a, 11 in b"
    }
    unknown = rated(loss, 10.0).only(["udp_loss"])
    assert "not known of both" in compare(rated(loss, 10.0), unknown).not_compared["udp_loss"]


def test_primary_metrics_come_first_and_are_a_family_of_their_own() -> None:
    draw = np.random.default_rng(12)
    names = ["m1", "dns_p50", "m2", "m3", "rtt_p50"]
    made = {name: pair_of(draw, slices=1) for name in names}
    sides = [results({name: each[i] for name, each in made.items()}) for i in (0, 1)]
    found = compare(*sides, interleaved=True)
    assert list(found.metrics) == ["rtt_p50", "dns_p50", "m1", "m2", "m3"]
    assert (found.primary, found.family) == (2, 3)
    lowest = min(("rtt_p50", "dns_p50"), key=lambda name: found.metrics[name].p)
    assert found.metrics[lowest].corrected == pytest.approx(min(1, 2 * found.metrics[lowest].p))


def test_what_was_to_be_measured_stays_in_the_family_when_it_fails() -> None:
    draw = np.random.default_rng(13)
    sides = [results({"m": each}) for each in pair_of(draw, 0.02)]
    alone = compare(*sides, interleaved=True).metrics["m"]
    failed = [MissingMetric(metric="k", reason="timed out")]
    sides = [side.model_copy(update={"errors": failed}) for side in sides]
    found = compare(*sides, interleaved=True)
    assert found.family == 2
    assert found.metrics["m"].corrected == pytest.approx(2 * alone.p)


@pytest.mark.parametrize(("bring_ups", "alpha"), [(3, 0.05), (5, 0.05 / 6), (10, 0.01)])
def test_the_power_of_t_is_the_noncentral_ts(bring_ups: int, alpha: float) -> None:
    found = stats.power_of_t(3.0, 1.5, bring_ups, alpha)
    critical = scipy_stats.t.isf(alpha / 2, bring_ups - 1)
    told = scipy_stats.nct(bring_ups - 1, 2.0 * math.sqrt(bring_ups))
    assert found == pytest.approx(told.sf(critical) + told.cdf(-critical), abs=1e-4)
    smallest = stats.detectable_by_t(bring_ups, alpha)
    assert smallest is not None
    assert stats.power_of_t(smallest, 1.0, bring_ups, alpha) == pytest.approx(stats.POWER)


def test_two_bring_ups_at_a_strict_level_see_nothing_and_say_so() -> None:
    draw = np.random.default_rng(15)
    made = [pair_of(draw, bring_ups=2, between=0.3) for _ in range(60)]
    sides = [results({f"m{k}": each[i] for k, each in enumerate(made)}) for i in (0, 1)]
    found = compare(*sides, interleaved=True)
    assert max(metric.smallest or 0 for metric in found.metrics.values()) == 1e6
    assert set(found.verdicts("no evidence")) == set(found.metrics)
    assert from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found


@pytest.mark.parametrize("count", [7, 8])
def test_the_bootstrap_draws_medians_of_the_values(count: int) -> None:
    values = np.random.default_rng(16).normal(1, 1, count)
    told = scipy_stats.bootstrap(
        (values,), np.median, n_resamples=20_000, method="percentile", rng=1
    )
    found = stats.bootstrapped_shift(values.tolist(), 0.95)
    assert found.shift.value == pytest.approx(np.median(values))
    assert found.error == pytest.approx(told.standard_error, rel=0.05)
    interval = (found.shift.low, found.shift.high)
    assert interval == pytest.approx(tuple(told.confidence_interval), abs=0.15)


def test_two_sets_of_bring_ups_take_more() -> None:
    paired, apart = stats.detectable_by_t(5, 0.05), stats.detectable_by_welch(5, 5, 0.05)
    assert paired is not None and apart is not None
    assert apart == pytest.approx(2.35, abs=0.05)  # G*Power's two-sample t, 5 + 5, 90 %
    assert paired < apart < math.sqrt(2) * paired
    assert stats.detectable_by_t(1, 0.05) is stats.detectable_by_welch(5, 1, 0.05) is None


def test_the_bound_of_a_spread_is_above_the_truth_as_often_as_said() -> None:
    draw = np.random.default_rng(14)
    spreads = np.std(draw.normal(size=(4_000, 5)), axis=1, ddof=1)
    above = np.mean([stats.spread_bound(float(each), 4) >= 1 for each in spreads])
    assert above == pytest.approx(0.95, abs=0.012)
