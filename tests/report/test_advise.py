"""The rules of the recommendations, one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bench.metrics import PRIMARY, Note
from bench.results import Results, SharedRounds
from report.facts import Traits, traits
from report.recommend import USE_CASES, Advice, advise, best, own_curves, scenario_of
from report.sidebyside import side_by_side
from report.sources import MeasuredScenario
from studies.experiments.model import Experiment
from tests.bench.sample_results import metric, results
from tests.report.samples import STACKS, scenario_results, service_scaling

STEADY = [100.0, 101.0, 99.0, 100.5, 99.5, 100.2, 99.8, 100.1]
SHARED = SharedRounds(id="one", labels=["a", "b", "c"])


def measured(factor: float, n: int = 8, **more: Any) -> Results:
    return results({"rtt_p50": metric([factor * each for each in STEADY[:n]], **more)})


def decided(
    *sides: Results, metrics: tuple[str, ...] = ("rtt_p50",), rounds: SharedRounds | None = SHARED
) -> tuple[str, list[str]]:
    named = [
        MeasuredScenario(name, each.model_copy(update={"rounds": rounds}))
        for name, each in zip("abc", sides, strict=False)
    ]
    winner, contests = best(side_by_side(named), named, metrics)
    return winner, [contest.outcome for contest in contests]


def test_the_first_is_kept_unless_a_later_one_is_better() -> None:
    assert decided(measured(1.0), measured(0.8)) == ("b", ["better"])
    assert decided(measured(1.0), measured(1.2)) == ("a", ["worse"])
    assert decided(measured(1.0), measured(1.0)) == ("a", ["no evidence"])


def test_a_later_one_has_to_beat_the_best_so_far() -> None:
    assert decided(measured(1.0), measured(0.8), measured(0.8)) == (
        "b",
        ["better", "no evidence"],
    )
    assert decided(measured(1.0), measured(0.8), measured(0.6)) == ("c", ["better", "better"])


def test_between_what_did_not_take_turns_nothing_is_decided() -> None:
    assert decided(measured(1.0), measured(0.1), rounds=None) == ("a", [])
    apart = [
        MeasuredScenario(name, scenario_results(name, shared=False))
        for name in ("scenario-a", "scenario-e")
    ]
    advice = {each.workload.title: each for each in advise(side_by_side(apart))}
    assert advice["Latency-sensitive"].choice == "scenario-a"
    assert advice["Latency-sensitive"].sure == "not measured in turns: no verdict"
    assert "measured" not in advice["Latency-sensitive"].bases


def test_a_sure_difference_too_small_to_matter_changes_nothing() -> None:
    assert decided(measured(1.0), measured(0.96)) == ("a", ["no evidence"])


def test_an_effect_that_is_not_in_percent_decides_nothing() -> None:
    zero = results({"rtt_p50": metric([0.0] * 8)})
    assert decided(zero, measured(1.0)) == ("a", ["no evidence"])


def test_with_too_few_runs_nothing_is_better() -> None:
    assert decided(measured(1.0, 3), measured(0.1, 3)) == ("a", ["too few runs"])


def test_where_nothing_smaller_could_have_been_seen_nothing_is_said() -> None:
    wild = [60.0, 160.0, 90.0, 130.0, 75.0]
    noisy = results({"rtt_p50": metric(wild)}).model_copy(update={"rounds": SHARED})
    contenders = [MeasuredScenario("a", noisy), MeasuredScenario("b", noisy)]
    _, (contest,) = best(side_by_side(contenders), contenders, ("rtt_p50",))
    assert contest.outcome == "too noisy"
    assert contest.finest > 25.0
    assert "too noisy to tell (would have been seen: rtt_p50 from" in contest.sentence()


def test_better_in_one_and_worse_in_another_is_left_to_the_reader() -> None:
    def both(rtt: float, dns: float) -> Results:
        return results(
            {"rtt_p50": metric([rtt * each for each in STEADY]),
             "dns_p50": metric([dns * each for each in STEADY])}
        )  # fmt: skip

    sides = both(1.0, 1.0), both(0.8, 1.3)
    assert decided(*sides, metrics=("rtt_p50", "dns_p50")) == ("a", ["mixed"])


@pytest.mark.parametrize("kind", ["server-limit", "client-limit"])
def test_what_a_server_or_a_generator_limited_decides_nothing(kind: Any) -> None:
    limited = measured(0.5, notes=[Note(kind=kind)])
    assert decided(measured(1.0), limited) == ("a", [])


def test_the_machine_that_all_share_still_decides() -> None:
    assert decided(measured(1.0), measured(0.5, notes=[Note(kind="machine-limit")])) == (
        "b",
        ["better"],
    )


def by_title(
    runs: int = 8, *stacks: str, experiments: tuple[Experiment, ...] = ()
) -> dict[str, Advice]:
    side = side_by_side(measured_scenarios(runs, *stacks))
    return {each.workload.title: each for each in advise(side, experiments)}


def measured_scenarios(runs: int, *stacks: str) -> list[MeasuredScenario]:
    return [MeasuredScenario(name, scenario_results(name, runs)) for name in stacks or STACKS]


def test_five_scenarios_give_the_advice_that_their_differences_call_for() -> None:
    found = by_title()
    chosen = {title: advice.choice for title, advice in found.items()}
    assert chosen == {
        "Small and simple": "scenario-e",
        "UDP-heavy": "scenario-a",
        "Network policies required": "scenario-e",
        "500 services and more": "scenario-c",  # by design: nothing is measured along that axis
        "Latency-sensitive": "scenario-e",
        "Short of addresses": "scenario-b",
        "Multi-tenant, observability": "scenario-d",  # E has Hubble off
        "Real-time inference": "scenario-e",
        "Multi-hop pipelines": "scenario-e",
        "Training with EFA": None,
    }
    assert found["Latency-sensitive"].bases == ("measured",)
    assert found["Short of addresses"].bases == ("feature", "measured")
    assert found["500 services and more"].bases == ("feature", "published")
    assert found["Training with EFA"].headline == "any"
    assert any("rtt_p50 -" in text for text in found["Latency-sensitive"].because)


def test_advice_and_table_give_the_same_verdicts_by_one_family() -> None:
    side = side_by_side(measured_scenarios(8))
    assert {each.primary for each in side.pairs.values()} == {10 * len(PRIMARY)}
    latency = next(each for each in advise(side) if each.workload.title == "Latency-sensitive")
    against = side.pairs["scenario-a", "scenario-e"].metrics
    (said,) = (text for text in latency.because if text.startswith("scenario-e against scenario-a"))
    for name in ("rtt_p50", "connect_p50", "http_p50"):
        verdict = against[name].verdict
        assert (f"{name} {against[name].effect_text()}" in said) == (verdict == "better")


def test_between_equal_scenarios_advice_changes_as_seldom_as_it_says() -> None:
    changed = 0
    for seed in range(100):
        draw = np.random.default_rng(seed)
        equal = [
            MeasuredScenario(
                name,
                results(
                    {
                        metric_name: metric(
                            (100 * draw.lognormal(sigma=0.06, size=5)).tolist(),
                            rounds=[1, 2, 3, 4, 5], bring_ups=[1, 2, 3, 4, 5],
                        )
                        for metric_name in PRIMARY
                    }
                ).model_copy(update={"rounds": SHARED, "bring_ups": list("12345")}),
            )
            for name in "abc"
        ]  # fmt: skip
        changed += any(each.choice not in ("a", None) for each in advise(side_by_side(equal)))
    # At most 5 of 100, but for chance: 11 or more come in one of a hundred such tests.
    assert changed <= 10


def test_only_primary_metrics_decide_and_others_are_told_as_exploratory() -> None:
    for workload in USE_CASES:
        assert set(workload.deciding) <= set(PRIMARY)
        assert not set(workload.beside) & set(PRIMARY)
    simple = by_title()["Small and simple"]
    assert any(text.startswith("cni_memory against scenario-a") for text in simple.beside)
    assert not any("cni_memory" in text for text in simple.because)


def test_what_carries_over_to_eks_stands_at_the_advice() -> None:
    found = by_title()
    assert found["Small and simple"].eks.startswith("Which is faster, not by how much; and the CPU")
    assert "No throughput" in found["Short of addresses"].eks
    # D shows flows and E does not, and E sets up connections faster.
    assert "Hubble is on in" in found["Network policies required"].eks
    assert "Hubble" not in found["Small and simple"].eks
    assert found["Training with EFA"].eks == "The same: it rests on no measurement."
    own = [
        MeasuredScenario(
            each.name,
            each.results.model_copy(
                update={"environment": each.environment.with_facts(shared_machine=False)}
            ),
        )
        for each in measured_scenarios(8)
    ]
    here = {each.workload.title: each.eks for each in advise(side_by_side(own))}
    assert here["Latency-sensitive"] == "Measured on a cluster of its own machines."


def test_with_three_runs_nothing_rests_on_measurement() -> None:
    found = by_title(3)
    for title, advice in found.items():
        assert "measured" not in advice.bases, title
    assert found["Multi-hop pipelines"].bases == ()
    assert found["Latency-sensitive"].sure == "too few runs for a verdict"


def test_a_need_that_nobody_fulfils_is_told() -> None:
    found = by_title(5, "scenario-a")
    assert found["Short of addresses"].choice is None
    assert found["Short of addresses"].headline == "none of these"
    assert "no scenario here is known" in found["Short of addresses"].because[0]


def test_results_that_do_not_tell_are_no_candidates() -> None:
    silent = side_by_side([MeasuredScenario("mine", results({"rtt_p50": metric(STEADY)}))])
    found = {each.workload.title: each for each in advise(silent)}
    assert "mine: its results do not tell" in found["Network policies required"].because


SERVICES = next(each.curve for each in USE_CASES if each.only_curve)


def test_services_are_decided_by_each_scenarios_own_run_in_the_scenarios_order() -> None:
    advice = by_title(experiments=(service_scaling(),))["500 services and more"]
    assert (advice.choice, advice.bases) == ("scenario-c", ("measured",))
    assert advice.because[0].startswith(
        "scenario-a, from 4 to 1,000 services, in a lab of its own: connect_p50_last +1"
    )
    assert advice.because[-1] == "no run of scenario-b, scenario-d, scenario-e"
    # The files' order says nothing: A's own run, flat, is enough to keep the simplest.
    flat = service_scaling().model_copy(update={"series": [service_scaling().series[1].model_copy(
        update={"subject": name}) for name in ("Cilium eBPF", "kube-proxy iptables")]})  # fmt: skip
    same = by_title(experiments=(flat,))["500 services and more"]
    assert (same.choice, same.bases) == ("scenario-a", ("measured",))


def test_the_size_that_is_asked_decides_not_the_furthest() -> None:
    assert SERVICES is not None
    scaling = service_scaling()
    late = scaling.series[0].model_copy(
        update={
            "points": [
                # Only at 5,000 it is slower.
                point if (point.x or 0) > 1_000
                else point.model_copy(update={"metrics": scaling.series[0].points[0].metrics})
                for point in scaling.series[0].points
            ]
        }
    )  # fmt: skip
    scenarios = measured_scenarios(1)
    known = {each.name: traits(each) for each in scenarios}
    whole = own_curves(SERVICES, [scaling], scenarios, known)
    assert {name: each.slower for name, each in whole.items()} == {
        "scenario-a": True, "scenario-c": False,
    }  # fmt: skip
    changed = scaling.model_copy(update={"series": [late]})
    assert not own_curves(SERVICES, [changed], scenarios, known)["scenario-a"].slower


def test_axes_are_told_apart_by_their_unit() -> None:
    assert SERVICES is not None
    hops = service_scaling().model_copy(
        update={"axis": service_scaling().axis.model_copy(update={"unit": "hops"})}
    )
    scenarios = measured_scenarios(1)
    known = {each.name: traits(each) for each in scenarios}
    assert own_curves(SERVICES, [hops], scenarios, known) == {}


def choice_of(subject: str, *stacks: str) -> str | None:
    scenarios = measured_scenarios(1, *stacks)
    return scenario_of(subject, scenarios, {each.name: traits(each) for each in scenarios})


@pytest.mark.parametrize(
    ("subject", "stack"),
    [
        ("Cilium on ENI with native routing", "scenario-d"),
        ("Cilium on ENI with native routing, tuned", "scenario-e"),
        ("AWS VPC CNI with kube-proxy (kube-proxy iptables)", "scenario-a"),
        ("AWS VPC CNI with kube-proxy (kube-proxy nftables)", None),
        ("Cilium on ENI with native routing (Cilium eBPF)", "scenario-d"),
        ("scenario-c", "scenario-c"),
        ("kube-proxy iptables", "scenario-a"),
        ("Cilium eBPF", "scenario-c"),
        ("kube-proxy nftables", None),
        ("something else", None),
    ],
)
def test_subjects_of_experiments_are_scenarios_by_name_title_or_mechanism(
    subject: str, stack: str | None
) -> None:
    assert choice_of(subject, *STACKS) == stack


def test_kube_proxy_beside_cilium_serves_no_pod() -> None:
    assert choice_of("kube-proxy iptables", "scenario-b") is None


def test_traits_come_from_what_ran() -> None:
    known = {name: traits(MeasuredScenario(name, scenario_results(name, 1))) for name in STACKS}
    assert known["scenario-a"] == Traits(
        "kube-proxy iptables", False, False, layer_7=False, serves_pods=False
    )
    assert known["scenario-c"] == Traits("eBPF", True, True, layer_7=True, serves_pods=True)
    assert known["scenario-e"] == Traits("eBPF", False, False, layer_7=True, serves_pods=True)


def test_agents_that_differ_from_each_other_tell_nothing() -> None:
    mixed = results({}, environment={"agents": {"network_routing": ["Native", "Tunnel"]}})
    assert traits(MeasuredScenario("mine", mixed)).overlay is None


def test_every_kind_of_workload_says_what_would_change_the_advice() -> None:
    assert len(USE_CASES) == 10
    for workload in USE_CASES:
        assert workload.change and workload.when
        assert workload.deciding or workload.beside or workload.only_curve or workload.any_cni
