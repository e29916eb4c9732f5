"""What is concluded from bring-ups: equal ones pass, and every planted fault is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bench import stats
from bench.metrics import PRIMARY
from bench.results import ProbeResult, Results
from studies.validate.bringups import IMPOSED, USUAL, WAYS, WIDE, BringUp, Imposed
from studies.validate.model import Check
from studies.validate.testbed import MissingSampleError
from studies.validate.verdicts import (
    Judged,
    comparisons,
    covers,
    effects,
    for_benchstat,
    judge,
    judge_false_verdicts,
    judge_p_values,
    over_bring_ups,
)
from tests.bench.sample_results import metric, results

COUNT, SLICES = 5, 12
TYPICAL = {"tcp_throughput": 40.0}
RATES: dict[str, Any] = {"unit": "Gbit/s", "better": "higher"}


class Made:
    """Bring-ups of three clusters whose labs differ by chance: ``spread`` between bring-ups."""

    def __init__(self, spread: float, seed: int = 1) -> None:
        self._draw = np.random.default_rng(seed)
        self._spread = spread

    def side(self, label: str, number: int, factors: Mapping[str, float]) -> Results:
        """By metric a factor, and ``all``."""
        made = {}
        for name in PRIMARY:
            place = factors.get(name, 1.0) * self._draw.normal(1, self._spread)
            values = TYPICAL.get(name, 30.0) * place * self._draw.normal(1, 0.004, SLICES)
            more: dict[str, Any] = {**RATES} if name == "tcp_throughput" else {}
            more |= {"rounds": [1] * SLICES, "slices": list(range(1, SLICES + 1))}
            if name.endswith("_p50"):  # decided by operations that nothing disturbed
                undisturbed = name.replace("p50", "p10")
                made[undisturbed] = metric(values.tolist(), **more)
                more["decided_by"] = undisturbed
            made[name] = metric(values.tolist(), **more)
        probe = ProbeResult(runs=1, facts={"generator_us": 1.2})
        return results(
            made, plan={"runs": 1}, bring_ups=[f"{label}{number}"], probes={"rtt": probe}
        )

    def sides(self, number: int, changed: Mapping[str, float]) -> dict[str, Results]:
        return {label: self.side(label, number, changed if label == "c" else {}) for label in "abc"}


def longer(imposed: Imposed, share: float = 1.0) -> dict[str, float]:
    """By what a metric changes where an operation takes longer as imposed."""
    factor = 1 + share * imposed.longer
    return {imposed.metric: 1 / factor if imposed.metric == "tcp_throughput" else factor}


def bring_ups(
    *,
    spread: float = 0.0005,
    count: int = COUNT,
    seen: float = 1.0,
    biased: Mapping[str, float] | None = None,
    ways: Mapping[str, float] | None = None,
) -> list[BringUp]:
    """All that a validation measures.

    :param seen: of the imposed delays, the share that turns see.
    :param biased: by metric, what c has more than its equals.
    :param ways: by way, the share of the wide delay that is seen.
    """
    made = Made(spread)
    return [
        BringUp(
            equal=made.sides(number, biased or {}),
            delayed={each.metric: made.sides(number, longer(each, seen)) for each in IMPOSED},
            added={
                each.metric: each.longer * each.path.microseconds(TYPICAL.get(each.metric, 30.0))
                for each in IMPOSED
            },
            ways={
                way.name: {
                    label: side
                    for label, side in made.sides(
                        number, longer(WIDE, (ways or {}).get(way.name, 1.0))
                    ).items()
                    if label in way.labels
                }
                for way in (USUAL, *WAYS)
            },
        )
        for number in range(1, count + 1)
    ]


def failed(judged: Judged) -> list[str]:
    return [check.name for check in judged.checks if not check.passed]


def named(judged: Judged, name: str) -> Check:
    return next(check for check in judged.checks if check.name == name)


def test_what_is_as_it_should_be_passes() -> None:
    judged = judge(bring_ups())
    assert failed(judged) == []
    assert {check.part for check in judged.checks} == {"A/A", "Sensitivity", "Turns"}
    assert [each.metric for each in judged.equalities] == [n for n in PRIMARY for _ in range(3)]
    assert len(judged.p_values) == 3 * len(PRIMARY)
    assert {each.pair for each in judged.equalities} == {
        "b against a", "c against a", "c against b",
    }  # fmt: skip
    rtt, tcp = judged.sensitivities
    assert rtt.effects == pytest.approx([3.0] * COUNT, abs=0.5)
    assert rtt.expected == pytest.approx([3.0] * COUNT, abs=0.2)
    assert tcp.effects == pytest.approx([5.0 / 0.95] * COUNT, abs=0.5)
    assert named(judged, "3 % of rtt_p50, found").measured.startswith("1 of 1: +")


def test_an_instrument_that_favours_a_side_is_found() -> None:
    names = failed(judge(bring_ups(biased=dict.fromkeys(PRIMARY, 1.012))))
    assert {f"{name} of equal clusters" for name in PRIMARY} <= set(names)
    assert "p-values of 0.05 or less, uncorrected" in names


def test_a_bias_below_the_limit_shows_in_the_p_values() -> None:
    names = failed(judge(bring_ups(biased=dict.fromkeys(PRIMARY, 1.005))))
    assert names == ["p-values of 0.05 or less, uncorrected"]


def test_turns_that_see_half_of_a_delay_are_found() -> None:
    names = failed(judge(bring_ups(seen=0.5)))
    assert names == [
        "3 % of rtt_p50, as large as imposed",
        "5 % of tcp_throughput, as large as imposed",
    ]


def test_a_delay_that_is_not_seen_is_not_found() -> None:
    judged = judge(bring_ups(seen=0.0))
    check = named(judged, "3 % of rtt_p50, found")
    assert not check.passed
    assert check.measured.startswith("0 of 1: ")


def test_noise_takes_the_power_and_the_page_says_what_is_left() -> None:
    judged = judge(bring_ups(spread=0.02))
    check = named(judged, "3 % of rtt_p50, power")
    assert not check.passed
    assert check.remarks[0].startswith("No size that was looked at")
    rtt = judged.sensitivities[0]
    assert rtt.bound > rtt.spread > 1.0
    assert all(at_bound <= power for power, at_bound in rtt.power.values())


def test_power_is_that_of_t_at_the_first_step_of_the_correction() -> None:
    rtt = judge(bring_ups(spread=0.004)).sensitivities[0]
    assert rtt.level == pytest.approx(0.05 / 6)
    assert rtt.power[3.0] == pytest.approx(
        [stats.power_of_t(3.0, each, COUNT, rtt.level) for each in (rtt.spread, rtt.bound)]
    )
    # Of three clusters two differences are independent: 8 degrees of freedom.
    assert rtt.bound == pytest.approx(stats.spread_bound(rtt.spread, 8))


@pytest.mark.parametrize("way", WAYS)
def test_an_effect_that_depends_on_how_turns_are_taken_is_found(way: object) -> None:
    name = way.name  # type: ignore[attr-defined]
    assert failed(judge(bring_ups(ways={name: 0.9}))) == [f"rtt_p50, {name}"]


def test_many_bring_ups_are_cut_into_comparisons() -> None:
    many = bring_ups(count=12)
    assert [len(block) for block in comparisons(many)] == [5, 5]
    assert [len(block) for block in comparisons(many[:3])] == [3]
    judged = judge(many)
    assert failed(judged) == []
    rtt = judged.sensitivities[0]
    assert (rtt.compared, len(rtt.effects)) == (5, 12)
    # Three pairs, six metrics, two comparisons; two thirds of them count.
    assert len(judged.p_values) == 36
    assert "of 24 that count" in named(judged, "p-values of 0.05 or less, uncorrected").interval
    assert named(judged, "3 % of rtt_p50, found").measured.startswith("2 of 2: +")


def test_one_bring_up_is_too_few() -> None:
    with pytest.raises(MissingSampleError, match="1 of the bring-ups gave all samples, and 2"):
        judge(bring_ups(count=1))


def test_a_generator_that_takes_the_time_itself_is_found() -> None:
    made = bring_ups()
    side = made[2].equal["b"]
    slow = {"rtt": ProbeResult(runs=1, facts={"generator_us": 3.4})}
    equal = {**made[2].equal, "b": side.model_copy(update={"probes": slow})}
    made[2] = replace(made[2], equal=equal)
    assert failed(judge(made)) == ["own share of the generator in a round trip"]


@pytest.mark.parametrize(
    ("hits", "counted", "passed"), [(0, 0, True), (4, 3, True), (5, 3, True), (6, 4, False)]
)
def test_small_p_values_may_be_as_many_as_chance_makes(
    hits: int, counted: int, passed: bool
) -> None:
    # 18 of three pairs count as 12; four of 12 or more come once in 450 times.
    check = judge_p_values([0.01] * hits + [0.5] * (18 - hits), 3)
    assert check.passed is passed
    assert f"({counted} of 12" in check.interval


def test_effects_are_medians_of_slices_bring_up_by_bring_up() -> None:
    merged = over_bring_ups([each.equal for each in bring_ups(biased={"dns_p50": 1.1}, count=3)])
    found = effects(merged["a"], merged["c"], "dns_p50")
    assert found == pytest.approx([10] * 3, abs=1)


def test_an_interval_that_is_too_wide_says_nothing() -> None:
    assert covers("Turns", "x", [0.1, -0.1, 0.05], 1.0, "0").passed
    check = covers("Turns", "x", [5.0, -5.0, 2.0], 1.0, "0")
    assert not check.passed
    assert check.remarks == ["wider than ± 1 %: nothing could be seen"]
    assert not covers("Turns", "x", [1.1, 1.12, 1.09], 1.0, "0").passed


def test_slices_go_to_benchstat_as_rounds() -> None:
    pairs = for_benchstat(bring_ups(count=1)[0])
    assert set(pairs) == {"equal", "rtt_p50 delayed", "tcp_throughput delayed"}
    a, _ = pairs["equal"]
    assert len(a.metrics["rtt_p50"].samples) == SLICES
    assert a.metrics["rtt_p50"].slices == []


def test_packets_are_held_for_as_long_as_the_effect_wants() -> None:
    rtt, tcp = IMPOSED
    usual = results({"rtt_p50": metric([30.0] * 6), "tcp_throughput": metric([40.0] * 6, **RATES)})
    assert rtt.nanoseconds(usual) == 900
    # Throughput falls by 5 % where an operation takes a nineteenth longer: 210 µs, 24 packets.
    assert tcp.nanoseconds(usual) == round(2**23 / 40 / 19 / 24)


def test_false_verdicts_of_a_report_are_counted_by_comparison() -> None:
    check = judge_false_verdicts(bring_ups(count=15))
    assert check.passed
    assert check.measured in ("some in 0 of 3", "some in 1 of 3")
    found = judge_false_verdicts(bring_ups(count=15, biased={"rtt_p50": 1.01}))
    assert not found.passed
    assert found.measured == "some in 3 of 3"
    assert any(text.startswith("rtt_p50 of a and c") for text in found.remarks)
