"""Two results against each other: verdicts, effects, families, refusals, JSON."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from bench.compare import (
    ALPHA,
    Comparison,
    ComparisonError,
    Pair,
    compare,
    compare_together,
    from_dict,
    one_family,
)
from bench.metrics import PRIMARY, Note
from bench.results import CheckResult, MetricResult, MissingSample, Results
from tests.bench.sample_results import metric, results


def noisy(median: float, n: int, *, seed: int, spread: float = 0.01) -> list[float]:
    draw = np.random.default_rng(seed)
    return [float(median * math.exp(spread * noise)) for noise in draw.normal(size=n)]


def pair(a: MetricResult, b: MetricResult, *, interleaved: bool = False) -> Comparison:
    return compare(results({"m": a}), results({"m": b}), interleaved=interleaved)


@pytest.mark.parametrize(
    ("better", "factor", "verdict"),
    [("lower", 1.2, "worse"), ("lower", 0.8, "better"),
     ("higher", 1.2, "better"), ("higher", 0.8, "worse")],
)  # fmt: skip
def test_the_verdict_follows_the_metrics_direction(
    better: str, factor: float, verdict: str
) -> None:
    a = metric(noisy(100, 6, seed=1), better=better)  # type: ignore[arg-type]
    b = metric(noisy(100 * factor, 6, seed=2), better=better)  # type: ignore[arg-type]
    found = pair(a, b).metrics["m"]
    assert found.verdict == verdict
    assert found.effect.value == pytest.approx(100 * (factor - 1), abs=2)
    assert found.effect.low < 100 * (factor - 1) < found.effect.high
    assert found.ratio == pytest.approx(factor, rel=0.02)
    assert found.p == pytest.approx(2 / 924)


def test_the_direction_is_the_ranks_where_the_median_shift_is_zero() -> None:
    a, b = metric([0.0] * 20), metric([0.0] * 12 + [1.0] * 8)
    found = pair(a, b).metrics["m"]
    assert found.effect.value == 0
    assert found.verdict == "worse"


def test_three_runs_are_too_few_and_the_number_needed_is_said() -> None:
    found = pair(metric([1.0, 2.0, 3.0]), metric([10.0, 20.0, 30.0]))
    assert found.metrics["m"].verdict == "too few runs"
    assert found.metrics["m"].p == pytest.approx(0.1)
    assert found.metrics["m"].smallest is None
    assert found.runs_needed == 4


def test_equal_things_give_no_evidence_and_what_would_have_been_seen() -> None:
    found = pair(metric(noisy(100, 8, seed=1)), metric(noisy(100, 8, seed=2))).metrics["m"]
    assert found.verdict == "no evidence"
    assert found.smallest == pytest.approx(1.8, rel=0.4)  # 1.8 deviations of 1 %


def test_what_was_said_to_be_seen_is_seen() -> None:
    seen = 0
    for seed in range(200):
        a, b = noisy(100, 8, seed=seed), noisy(100, 8, seed=seed + 10_000)
        smallest = 100 * math.expm1(1.795 * 0.01)  # of the true deviation
        moved = [value * (1 + smallest / 100) for value in b]
        seen += pair(metric(a), metric(moved)).metrics["m"].verdict == "worse"
    assert seen / 200 == pytest.approx(0.9, abs=0.06)


def test_more_metrics_ask_for_more() -> None:
    a = {f"m{i}": metric(noisy(100, 5, seed=i)) for i in range(10)}
    b = {**a, "m0": metric([value * 2 for value in a["m0"].samples])}
    alone = compare(results(a), results(b), metrics=["m0"])
    assert alone.metrics["m0"].verdict == "worse"
    among = compare(results(a), results(b))
    assert among.family == 10
    assert among.metrics["m0"].corrected == pytest.approx(10 * 2 / 252)
    assert among.metrics["m0"].verdict == "too few runs"
    assert among.runs_needed == 6


def test_the_family_is_what_was_planned_and_not_what_happened_to_vary() -> None:
    errors = {f"e{i}": metric([0.0] * 5, unit="%") for i in range(5)}
    a = results({**errors, "m": metric(noisy(100, 5, seed=1))})
    b = results({**errors, "m": metric(noisy(200, 5, seed=2))})
    found = compare(a, b)
    assert found.family == 6
    assert found.metrics["m"].verdict == "worse"
    assert found.metrics["e0"].verdict == "no evidence"
    assert found.metrics["e0"].p == 1
    assert found.metrics["e0"].smallest is None


def test_samples_of_zero_are_compared_in_the_metrics_own_unit() -> None:
    a = metric([0.0, 0.0, 0.1, 0.2, 0.1, 0.0], unit="%")
    b = metric([1.0, 1.1, 1.2, 1.0, 1.1, 1.3], unit="%")
    found = pair(a, b).metrics["m"]
    assert not found.effect.relative
    assert found.effect.value == pytest.approx(1.05, abs=0.06)
    assert found.verdict == "worse"
    assert found.effect_text().startswith("+1 percentage points (+0.9")


def test_a_shared_drift_hides_nothing_from_pairs() -> None:
    drift = np.linspace(100, 200, 12)
    a = metric(drift.tolist())
    b = metric((drift * 1.02).tolist())
    apart, paired = pair(a, b), pair(a, b, interleaved=True)
    assert apart.metrics["m"].verdict == "no evidence"
    assert paired.metrics["m"].verdict == "worse"
    assert paired.metrics["m"].test == "signed-rank"
    assert paired.metrics["m"].effect.value == pytest.approx(2.0)


def test_too_few_rounds_for_pairs_are_compared_unpaired() -> None:
    a, b = metric(noisy(100, 5, seed=1)), metric(noisy(150, 5, seed=2))
    found = pair(a, b, interleaved=True).metrics["m"]
    assert found.test == "mann-whitney"
    assert found.verdict == "worse"


def test_pairs_are_of_the_same_round_also_where_samples_are_missing() -> None:
    values = [float(2**i) for i in range(9)]
    a = metric(
        values[1:], rounds=list(range(2, 10)), missing=[MissingSample(round=1, reason="timed out")]
    )
    b = metric(
        [v * 1.5 for v in values[:3] + values[4:]],
        rounds=[1, 2, 3, *range(5, 10)],
        missing=[MissingSample(round=4, reason="timed out")],
    )
    found = pair(a, b, interleaved=True).metrics["m"]
    assert found.test == "signed-rank"
    assert found.effect.value == pytest.approx(50)
    assert found.effect.low == pytest.approx(50)  # each pair, exactly
    assert found.p == 2 / 2**7


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"unit": "ms"}, "its unit is µs in a and ms in b"),
        ({"better": "higher"}, "lower is better in a, higher in b"),
        ({"load_model": "open loop"}, "its load differs: None in a, open loop in b"),
    ],
)
def test_what_is_not_the_same_quantity_is_refused(change: dict[str, str], why: str) -> None:
    found = pair(metric([1.0] * 4), metric([2.0] * 4, **change))  # type: ignore[arg-type]
    assert found.not_compared == {"m": why}
    assert not found.metrics


def test_a_metric_of_one_side_is_told() -> None:
    found = compare(results({"m": metric([1.0])}), results({"k": metric([1.0])}))
    assert found.not_compared == {"m": "b has no samples of it", "k": "a has no samples of it"}


def test_what_has_no_better_is_not_judged() -> None:
    a = results({"m": metric(noisy(100, 8, seed=1)), "rate": metric([1] * 8, better="neither")})
    b = results({"m": metric(noisy(50, 8, seed=2)), "rate": metric([9] * 8, better="neither")})
    found = compare(a, b)
    assert found.verdicts("better", "worse") == ["m"]
    assert found.family == 1
    assert found.metrics["rate"].verdict == "no direction"
    assert found.metrics["rate"].effect.value == pytest.approx(800)


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ValueError, match="has the metrics nonesuch"):
        compare(results({}), results({}), metrics=["nonesuch"])


def test_what_else_differs_is_warned_of() -> None:
    plan = {"profile": "standard", "runs": 5, "bulk_seconds": 10}
    b = results({}, plan=plan, tools={"iperf3": "3.17"}, environment={"kernel": "6.12"})
    assert compare(results({}), b).warnings == [
        "plan: bulk_seconds is 2 in a, 10 in b",
        "kernel is '6.1.0' in a, '6.12' in b",
        "version of iperf3 is '3.12' in a, '3.17' in b",
    ]
    assert compare(results({}), results({})).warnings == []


@pytest.mark.parametrize(
    ("a", "b", "warning"),
    [
        ({"instance_type": "m6i.large"}, {"instance_type": "m6i.xlarge"},
         "instance_type is 'm6i.large' in a, 'm6i.xlarge' in b"),
        ({"instance_type": "m6i.large"}, {"emulated_instance_type": "m6i.large"},
         "instance_type is 'm6i.large' in a, None in b"),
        ({"zone": "eu-central-1a"}, {"zone": ["eu-central-1a", "eu-central-1b"]},
         "zone is 'eu-central-1a' in a, ['eu-central-1a', 'eu-central-1b'] in b"),
        ({"congestion_control": "bbr"}, {"congestion_control": "cubic"},
         "congestion_control is 'bbr' in a, 'cubic' in b"),
        ({"nodes": ["n1", "n2"]}, {"nodes": ["n1", "n2", "n3"]},
         "number of nodes is 2 in a, 3 in b"),
        ({"versions": {"kubernetes": "v1.31.4", "aws-node": "v1.19.2"}},
         {"versions": {"kubernetes": "v1.32.0", "cilium-agent": "v1.16.5"}},
         "version of kubernetes is 'v1.31.4' in a, 'v1.32.0' in b"),
    ],
)  # fmt: skip
def test_clusters_that_differ_are_warned_of(
    a: dict[str, object], b: dict[str, object], warning: str
) -> None:
    assert warning in compare(results({}, environment=a), results({}, environment=b)).warnings


def test_another_place_of_dns_is_warned_of_whatever_nodes_are_called() -> None:
    def placed(client: str, server: str, *dns: str) -> Results:
        places: list[dict[str, str]] = [
            {"role": "dns-client", "side": "client", "name": "c", "node": client, "ip": "10.0.0.1"},
            {"role": "httpbin", "side": "server", "name": "s", "node": server, "ip": "10.0.0.2"},
        ]
        return results({}, placement=places, environment={"dns_nodes": list(dns)})

    def told(a: Results, b: Results) -> list[str]:
        return [each for each in compare(a, b).warnings if "DNS" in each]

    usual = placed("x", "y", "y", "z")
    assert told(usual, placed("1", "2", "3", "2")) == []
    assert told(usual, placed("x", "y", "x", "y")) == [
        "place of the DNS's pods is '2, 0 with clients, 1 with servers' in a, "
        "'2, 1 with clients, 1 with servers' in b"
    ]
    assert told(usual, placed("x", "y")) == []


def test_the_scenarios_own_differences_are_no_warning() -> None:
    a = results({}, environment={"pod_mtu": 9001, "kube_proxy": "none"}, values={"mtu": 1})
    b = results({}, environment={"pod_mtu": 8951, "kube_proxy": "iptables"}, values={"mtu": 2})
    assert compare(a, b).warnings == []


def test_samples_of_another_bring_up_are_no_pair() -> None:
    a = metric(noisy(100, 12, seed=1))
    b = metric([value * 1.01 for value in a.samples], bring_ups=[2] * 12)
    assert pair(a, b, interleaved=True).metrics["m"].test == "mann-whitney"
    assert pair(a, b.model_copy(update={"bring_ups": []}), interleaved=True).metrics["m"].test == (
        "signed-rank"
    )


def test_preconditions_that_did_not_hold_mark_a_comparison() -> None:
    busy = CheckResult(name="quiet-machine", passed=False, evidence="40 % busy", allowed=True)
    marked = results({}, checks=[busy.model_dump()])
    assert compare(results({}), marked).warnings == [f"b: {busy.mark}"]
    assert "'quiet-machine' does not hold and was allowed: 40 % busy" in busy.mark


def test_notes_of_both_sides_stay() -> None:
    note = "only 4,071 of 5,000 requests/s were reached"
    found = pair(metric([1.0, 2.0]), metric([1.0, 2.0], notes=[Note(kind="remark", words=note)]))
    assert found.metrics["m"].notes == [f"b: {note}"]


def test_throttled_samples_are_told() -> None:
    found = pair(metric([1.0, 2.0], notes=[Note(kind="throttled", rounds=[2])]), metric([1.0, 2.0]))
    assert found.metrics["m"].notes == [
        "a: 1 of 2 samples were taken while the platform held traffic back"
    ]


def test_a_comparison_survives_json() -> None:
    a = results({"m": metric(noisy(100, 8, seed=1)), "e": metric([0.0] * 8)})
    b = results({"m": metric(noisy(90, 8, seed=2)), "e": metric([0.0] * 8)})
    found = compare(a, b, labels=("scenario-a", "scenario-e"), interleaved=True)
    assert found.alpha == ALPHA
    data = json.loads(json.dumps(found.to_dict()))
    assert from_dict(data) == found
    assert data["metrics"]["m"]["verdict"] == "better"
    assert found.verdicts("better") == ["m"]
    with pytest.raises(ComparisonError, match="schema"):
        from_dict({**data, "schema": "v0"})


def test_one_run_each_is_told_as_too_few() -> None:
    found = pair(metric([1.0]), metric([2.0])).metrics["m"]
    assert found.verdict == "too few runs"
    assert found.effect.level == 0
    assert found.effect_text() == "+100 %, +1 µs"


def test_comparisons_made_one_by_one_become_one_family() -> None:
    a = {name: metric(noisy(100, 5, seed=place)) for place, name in enumerate(PRIMARY)}
    b = {**a, "rtt_p50": metric([2 * value for value in a["rtt_p50"].samples])}
    alone = compare(results(a), results(b))
    assert (alone.metrics["rtt_p50"].verdict, alone.primary) == ("worse", 6)
    others = [compare(results(a), results(a)) for _ in range(3)]
    first, *rest = one_family([alone, *others])
    # As if all had been compared at once: 24 tests, for which so few ranks are not enough.
    together = compare_together(
        [Pair(results(a), results(b)), *(Pair(results(a), results(a)) for _ in range(3))]
    )
    for found, wanted in zip((first, *rest), together, strict=True):
        assert found.primary == wanted.primary == 24
        for name in PRIMARY:
            assert found.metrics[name].corrected == wanted.metrics[name].corrected
    assert first.metrics["rtt_p50"].corrected == pytest.approx(24 * 2 / 252)
    assert first.metrics["rtt_p50"].verdict == "no evidence"
