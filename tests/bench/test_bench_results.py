"""The schema: round trip, versions, size; and the tables made of it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from bench.environment import (
    About,
    CniRecord,
    Environment,
    ScenarioRecord,
    ToggleRecord,
    toggle_records,
)
from bench.interleave import run_benchmark
from bench.metrics import Note
from bench.results import (
    SCHEMA,
    MetricResult,
    MissingMetric,
    Place,
    Results,
    ResultsError,
    from_dict,
    from_json,
)
from report.show import print_results, render
from tests.bench.fakes import PLAN, FakeSession


@pytest.fixture(scope="module")
def results() -> Results:
    session = FakeSession()
    return run_benchmark(session, PLAN, clock=session.time.clock())


def shown(results: Results, width: int = 80, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_results(console, render(results, **options))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_round_trip(results: Results) -> None:
    assert from_json(results.to_json()) == results
    assert from_json(results.to_json(indent=2)) == results
    assert from_dict(json.loads(results.to_json())) == results


def test_the_contract_with_readers_of_the_stack_output(results: Results) -> None:
    data = json.loads(results.to_json())
    assert data["schema"] == SCHEMA == "cni-benchmark/results/v2"
    metric = data["metrics"]["fortio_rtt_p50"]
    assert metric.keys() >= {"median", "ci", "ci_level", "unit", "n", "better", "samples"}
    assert metric["unit"] == "µs"
    assert metric["better"] == "lower"
    assert len(metric["ci"]) == 2


def test_what_the_stack_declared_is_part_of_its_results(results: Results) -> None:
    about = About(
        scenario=ScenarioRecord(name="scenario-e", title="E", settings={"kubeProxy": "none"}),
        cni=CniRecord(name="cilium", version="1.16.5"),
        decisions=[ToggleRecord(toggle="bbr", requested=True, reason="no fq")],
        values={"bpf": {"masquerade": True}},
        bring_up="b001",
    )
    session = FakeSession()
    session.told = about
    made = run_benchmark(session, PLAN, clock=session.time.clock())
    data = json.loads(made.to_json())
    assert data["scenario"]["settings"] == {"kubeProxy": "none"}
    assert data["decisions"][0]["reason"] == "no fq"
    assert data["values"] == {"bpf": {"masquerade": True}}
    assert data["bring_ups"] == ["b001"]
    assert from_dict(data).record() == about.record()
    assert "no fq" in shown(made)
    assert results.scenario == ScenarioRecord()


def test_samples_know_their_place(results: Results) -> None:
    metric = results.metrics["fortio_rtt_p50"]
    assert "rounds" not in json.loads(results.to_json())["metrics"]["fortio_rtt_p50"]
    assert metric.by_place() == dict(
        zip([Place(1, 1), Place(1, 2), Place(1, 3)], metric.samples, strict=True)
    )
    torn = metric.model_copy(update={"rounds": [1, 3, 4], "slices": [2, 2, 1]})
    assert torn.places == [Place(1, 1, 2), Place(1, 3, 2), Place(1, 4, 1)]
    with pytest.raises(ValueError, match="as many as samples"):
        MetricResult.model_validate({**metric.model_dump(), "rounds": [1]})


def test_it_is_small_enough_for_a_stack_output() -> None:
    session = FakeSession()
    outcome = run_benchmark(
        session, replace(PLAN, http_rates=(1000, 5000)), clock=session.time.clock()
    )
    assert len(outcome.to_json()) < 60_000


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"schema": "cni-benchmark/results/v3"},
            "of this version: .*v3.* Fix: measure again",
        ),
        ({"schema": None}, "schema is None"),
        ({"surprise": 1}, "damaged results: surprise"),
        ({"plan": {"profile": float("nan")}}, "damaged results: .*not JSON compliant"),
        ({"seconds": "long"}, "damaged results: seconds"),
        ({"metrics": {"x": {"median": 1}}}, r"damaged results: metrics\.x\.ci"),
    ],
)
def test_other_data_is_refused(results: Results, change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ResultsError, match=reason):
        from_dict({**results.to_dict(), **change})


@pytest.mark.parametrize(("text", "reason"), [("", "no JSON"), ("[]", "no object")])
def test_other_text_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ResultsError, match=reason):
        from_json(text)


def test_the_table_fits_80_columns_and_names_every_metric(results: Results) -> None:
    text = shown(results)
    assert max(len(line) for line in text.splitlines()) <= 80
    for name in results.metrics:
        assert name in text
    assert "interval (75 %)" in text
    assert "Gbit/s ↑" in text
    assert "clients on node-1; servers on node-2" in text
    assert "nothing is real" in text
    assert text.index("Bulk transfer") < text.index("HTTP at 100") < text.index("CNI cost")
    assert text.count("CNI cost") == 1


def test_toggles_warnings_and_missing_numbers_are_shown(results: Results) -> None:
    failed = results.model_copy(
        update={
            "errors": [MissingMetric(metric="udp_loss", reason="no sample in 3 runs (why)")],
            "environment": Environment(),
        }
    )
    toggles = [
        {"toggle": "bbr", "requested": True, "applied": False, "verified": None,
         "reason": "the kernel has no [fq] qdisc"},
        {"toggle": "dsr", "requested": False, "applied": False, "verified": False, "reason": None},
    ]  # fmt: skip
    text = shown(failed, decisions=toggle_records(toggles), warnings=["no fq here"])
    assert "bbr" in text
    assert "has no [fq] qdisc" in " ".join(text.split())
    assert "no fq here" in text
    assert "No number (1)" in text
    assert "nothing is real" not in text
    by_name = shown(
        results,
        decisions=toggle_records({"xdp": {"requested": True, "applied": True, "verified": True}}),
    )
    assert "xdp" in by_name


def test_what_did_not_hold_and_what_was_held_back_is_shown(results: Results) -> None:
    assert f"{len(results.checks)} preconditions held\n" in shown(results)
    metric = results.metrics["tcp_streams_throughput"].model_copy(
        update={"notes": [Note(kind="throttled", rounds=[1, 3])]}
    )
    check = results.checks[0].model_copy(update={"passed": False, "allowed": True})
    marked = results.model_copy(
        update={
            "metrics": {"tcp_streams_throughput": metric},
            "checks": [check, *results.checks[1:]],
        }
    )
    text = " ".join(shown(marked).split())
    assert f"{len(results.checks) - 1} preconditions held, not placement" in text
    first = shown(marked, warnings=[check.mark, "another"])
    assert first.index("MARKED") < first.index("profile recorded") < first.index("Medians, marked")
    assert first.count("'placement' does not hold") == 1, "at the top, and not again below"
    assert "Warnings (1)" in first
    assert max(len(line) for line in first.splitlines()) <= 80
    assert "arked" not in shown(results).split("Adapted here")[0]
    held_back = "2 of 3 samples were taken while the platform held traffic back"
    assert f"* tcp_streams_throughput: {held_back}" in text


def test_odd_toggles_are_left_out(results: Results) -> None:
    assert "Toggles" not in shown(results, decisions=toggle_records("?"))
    assert "Toggles" not in shown(results, decisions=toggle_records([1]))


def test_different_levels_and_notes_are_in_the_rows(results: Results) -> None:
    metric = results.metrics["rtt_p50"]
    one = metric.model_copy(
        update={"ci_level": 0.0, "n": 1, "notes": [Note(kind="remark", words="a note")]}
    )
    two = metric.model_copy(update={"ci_level": 0.5, "n": 2})
    three = metric.model_copy(update={"ci_level": 0.75, "n": 3})

    def of(**metrics: MetricResult) -> str:
        return shown(results.model_copy(update={"metrics": metrics}))

    text = of(rtt_p50=one, rtt_p99=two, dns_p50=three)
    assert "interval (level)" in text
    assert "none" in text
    assert "(50 %)" in text
    assert "rtt_p50 *" in text
    assert "* rtt_p50: a note" in text
    # A single sample has no interval, so no level either.
    assert "interval (50 %)" in of(rtt_p50=one, rtt_p99=two)
    assert "interval  " in of(rtt_p50=one)


def test_decisions_are_in_the_order_of_reports_whatever_the_engines() -> None:
    states = {name: {"requested": True} for name in ("xdp", "strange", "hostRouting", "bbr")}
    assert [each.toggle for each in toggle_records(states)] == [
        "hostRouting",
        "bbr",
        "xdp",
        "strange",
    ]
    assert toggle_records(states) == toggle_records(dict(reversed(states.items())))


def test_results_of_the_first_version_are_refused_with_what_to_do() -> None:
    with pytest.raises(ResultsError, match=r"schema is 'cni-benchmark/results/v1'.*measure again"):
        from_dict({"schema": "cni-benchmark/results/v1"})
