"""The rules of the recommendations, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from bench.metrics import CNI_COST, Note
from bench.results import Results
from report.facts import Traits, traits
from report.recommend import (
    USE_CASES,
    Advice,
    Contender,
    advise,
    best,
    end_of,
    find_experiments,
    fit_sentences,
    scenario_of,
)
from report.sources import Collection, MeasuredScenario
from studies.experiments.model import Fit, Series
from tests.bench.sample_results import metric, results
from tests.report.samples import STACKS, scenario_results, service_scaling

CONNECT = ("connect_p50_last",)

STEADY = [100.0, 101.0, 99.0, 100.5, 99.5]


def measured(factor: float, n: int = 5, **more: Any) -> Results:
    return results({"rtt_p50": metric([factor * each for each in STEADY[:n]], **more)})


def decided(*sides: Results, metrics: tuple[str, ...] = ("rtt_p50",)) -> tuple[str, list[str]]:
    contenders = [Contender(name, side) for name, side in zip("abc", sides, strict=False)]
    winner, contests = best(contenders, metrics, worth=5.0, noisy=25.0)
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


def test_a_sure_difference_too_small_to_matter_changes_nothing() -> None:
    assert decided(measured(1.0), measured(0.96)) == ("a", ["no evidence"])


def test_with_too_few_runs_nothing_is_better() -> None:
    assert decided(measured(1.0, 3), measured(0.1, 3)) == ("a", ["too few runs"])


def test_where_nothing_smaller_could_have_been_seen_nothing_is_said() -> None:
    wild = [60.0, 160.0, 90.0, 130.0, 75.0]
    noisy = results({"rtt_p50": metric(wild)})
    contenders = [Contender("a", noisy), Contender("b", noisy)]
    _, (contest,) = best(contenders, ("rtt_p50",), worth=5.0, noisy=25.0)
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


def test_the_machine_that_all_share_and_the_cost_of_the_cni_still_decide() -> None:
    assert decided(measured(1.0), measured(0.5, notes=[Note(kind="machine-limit")])) == (
        "b",
        ["better"],
    )
    cost = metric([50.0] * 5, notes=[Note(kind="server-limit")]).model_copy(
        update={"group": CNI_COST}
    )
    other = cost.model_copy(update={"samples": [20.0, 20.1, 20.2, 20.3, 20.4]})
    sides = results({"rtt_p50": cost}), results({"rtt_p50": other})
    assert decided(*sides)[1] == ["better"]


def collection(runs: int = 8, *stacks: str, **more: Any) -> Collection:
    names = stacks or tuple(STACKS)
    return Collection(
        tuple(MeasuredScenario(name, scenario_results(name, runs)) for name in names), **more
    )


def by_title(found: Collection) -> dict[str, Advice]:
    return {each.workload.title: each for each in advise(found)}


def test_five_scenarios_give_the_advice_that_their_differences_call_for() -> None:
    found = by_title(collection())
    chosen = {title: advice.choice for title, advice in found.items()}
    assert chosen == {
        "Small and simple": "scenario-a",  # E is faster, but uses more memory
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
    assert found["Small and simple"].sure.startswith("better in one thing, worse in another")
    assert found["Latency-sensitive"].bases == ("measured",)
    assert found["Short of addresses"].bases == ("feature", "measured")
    assert found["500 services and more"].bases == ("feature", "published")
    assert found["Training with EFA"].headline == "any"
    assert any("rtt_p50 -1" in text for text in found["Latency-sensitive"].because)


def test_with_three_runs_nothing_rests_on_measurement() -> None:
    for title, advice in by_title(collection(3)).items():
        assert "measured" not in advice.bases, title
    assert by_title(collection(3))["Multi-hop pipelines"].bases == ()
    assert by_title(collection(3))["Latency-sensitive"].sure == "too few runs for a verdict"


def test_five_rounds_suffice_for_the_deciding_metrics() -> None:
    assert by_title(collection(5))["Latency-sensitive"].bases == ("measured",)
    assert max(len(each.deciding) for each in USE_CASES) <= 6


def test_a_need_that_nobody_fulfils_is_told() -> None:
    found = by_title(collection(5, "scenario-a"))
    assert found["Short of addresses"].choice is None
    assert found["Short of addresses"].headline == "none of these"
    assert "no scenario here is known" in found["Short of addresses"].because[0]


def test_results_that_do_not_tell_are_no_candidates() -> None:
    silent = MeasuredScenario("mine", results({"rtt_p50": metric(STEADY)}))
    found = by_title(Collection((silent,)))
    assert "mine: its results do not tell" in found["Network policies required"].because


def test_the_services_experiment_decides_in_place_of_the_design() -> None:
    found = by_title(collection(8, experiments=(service_scaling(),)))
    advice = found["500 services and more"]
    assert (advice.choice, advice.bases) == ("scenario-c", ("measured",))
    assert advice.because[0].startswith("experiment scale, at 5,000 services, by connect_p50_last")
    assert advice.because[0].endswith(": Cilium eBPF is best")
    flat = service_scaling().model_copy(update={"series": [service_scaling().series[1].model_copy(
        update={"subject": name}) for name in ("kube-proxy iptables", "Cilium eBPF")]})  # fmt: skip
    same = by_title(collection(8, experiments=(flat,)))["500 services and more"]
    assert (same.choice, same.bases) == ("scenario-a", ("measured",))


def test_axes_are_told_apart_by_their_unit() -> None:
    services = service_scaling()
    hops = services.model_copy(
        update={"axis": services.axis.model_copy(update={"name": "services in the chain",
                                                         "unit": "hops"})}
    )  # fmt: skip
    assert find_experiments([services, hops], "services", CONNECT) == (services,)
    assert find_experiments([services, hops], "hops", CONNECT) == (hops,)


def test_another_experiment_along_the_same_axis_is_no_curve_of_what_decides() -> None:
    services = service_scaling()
    creating = services.model_copy(
        update={"name": "creation", "series": [_only(each, "create") for each in services.series]}
    )
    assert find_experiments([services, creating], "services", CONNECT) == (services,)
    found = by_title(collection(8, experiments=(services, creating)))
    assert found["500 services and more"].choice == "scenario-c"


def _only(series: Series, name: str) -> Series:
    points = [
        point.model_copy(update={"metrics": {name: next(iter(point.metrics.values()))}})
        for point in series.points
    ]
    return series.model_copy(update={"points": points, "fits": []})


def test_only_what_decides_has_its_growth_told() -> None:
    fit = Fit(
        metric="connect_p50_last", form="linear", constant=0, slope=1, slope_ci=(0.5, 2),
        level=0.95, verdict="grows",
    )  # fmt: skip
    scaling = service_scaling()
    fitted = [fit, fit.model_copy(update={"metric": "cni_memory"})]
    first = scaling.series[0].model_copy(update={"fits": fitted})
    told = list(fit_sentences([scaling.model_copy(update={"series": [first]})], CONNECT))
    assert told == [f"{first.subject}, connect_p50_last: grows"]


def test_of_several_axes_that_with_most_subjects_is_taken() -> None:
    both = service_scaling()
    other = both.model_copy(
        update={"axis": both.axis.model_copy(update={"name": "x"}), "series": both.series[:1]}
    )
    assert find_experiments([other, both], "services", CONNECT) == (both,)
    assert find_experiments([], "services", CONNECT) == ()


def choice_of(subject: str, *stacks: str) -> str | None:
    scenarios = collection(1, *stacks).scenarios
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


def test_one_subject_alone_decides_nothing() -> None:
    alone = service_scaling().model_copy(update={"series": service_scaling().series[:1]})
    assert end_of([alone]) is None


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
        assert workload.deciding or workload.any_cni
