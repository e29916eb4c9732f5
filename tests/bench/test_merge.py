"""Bring-ups as one result: where samples belong, what is missing, what marks the whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.environment import About, ScenarioRecord
from bench.interleave import run_benchmark
from bench.merge import Lost, MergeError, merge
from bench.metrics import Metric, Note
from bench.plan import Plan
from bench.probes.base import CommandProbe, Reading
from bench.results import MissingSample, Place, Results, SharedRounds, from_json
from bench.sampling import Ledger, Outcome
from tests.bench.fakes import PLAN, FakeSession, failing
from tests.bench.sample_results import metric, results

RTT = Metric("rtt_p50", "µs", "lower", "Latency", "a round trip")


def bring_up(number: int, *samples: float, runs: int = 0, **changes: Any) -> Results:
    """Results of one bring-up that measured just this."""
    return results(
        {"rtt_p50": metric(samples)} if samples else {},
        plan={"profile": "quick", "runs": runs or len(samples), "bulk_seconds": 2},
        bring_ups=[f"b{number}"],
        **changes,
    )


def merged(*parts: Results | Lost, **more: Any) -> Results:
    return merge({f"{number}.json": part for number, part in enumerate(parts, 1)}, **more)


def test_bring_ups_follow_each_other_and_rounds_are_numbered_through_them() -> None:
    shared = SharedRounds(id="m1", labels=["a", "b"])
    whole = merged(bring_up(1, 10.0, 12.0), bring_up(2, 20.0, 30.0), shared=shared)
    rtt = whole.metrics["rtt_p50"]
    assert rtt.by_place() == {
        Place(1, 1): 10.0, Place(1, 2): 12.0, Place(2, 3): 20.0, Place(2, 4): 30.0
    }  # fmt: skip
    # The median of the bring-ups' medians, with the interval between them.
    assert (rtt.median, rtt.ci, rtt.ci_level, rtt.n) == (18.0, (11.0, 25.0), 0.5, 4)
    assert whole.bring_ups == ["b1", "b2"]
    assert (whole.plan["runs"], whole.seconds, whole.rounds) == (4, 120.0, shared)
    assert from_json(whole.to_json()) == whole


def test_slices_stay_in_their_round() -> None:
    probe = CommandProbe(
        "turns", "iperf3-client", 1.0, (RTT,), lambda targets: (), lambda result: Reading({}), str
    )

    def part(number: int) -> Results:
        ledger = Ledger([probe], 1)
        ledger.add(
            probe, 1, Outcome(Reading({"rtt_p50": 2.0}, slices={"rtt_p50": (1.0, 2.0, 4.0)}))
        )
        return bring_up(number, runs=1).model_copy(update={"metrics": ledger.metrics()})

    one = part(1).metrics["rtt_p50"]
    assert one.by_place() == {Place(1, 1, 1): 1.0, Place(1, 1, 2): 2.0, Place(1, 1, 3): 4.0}
    assert (one.median, one.n, one.rounds) == (2.0, 1, [1, 1, 1])
    rtt = merged(part(1), part(2)).metrics["rtt_p50"]
    assert rtt.slices == [1, 2, 3] * 2
    assert rtt.rounds == rtt.bring_ups == [1, 1, 1, 2, 2, 2]


def test_a_bring_up_without_results_is_missing_with_its_reason() -> None:
    whole = merged(bring_up(1, 10.0), Lost("the agent hangs", 1), bring_up(3, 12.0))
    rtt = whole.metrics["rtt_p50"]
    assert rtt.by_place() == {Place(1, 1): 10.0, Place(3, 3): 12.0}
    assert rtt.missing == [MissingSample(round=2, bring_up=2, reason="the agent hangs")]
    assert whole.bring_ups == ["b1", "", "b3"]
    assert whole.warnings == ["bring-up 2: no results: the agent hangs"]
    assert whole.errors == []


def test_a_metric_without_numbers_in_one_bring_up_is_missing_there_only() -> None:
    error = {"metric": "rtt_p50", "reason": "no sample in 1 runs (run 1: refused)"}
    whole = merged(bring_up(1, 10.0), bring_up(2, runs=1, errors=[error]))
    assert whole.errors == []
    (missing,) = whole.metrics["rtt_p50"].missing
    assert (missing.bring_up, missing.round, missing.reason) == (2, 2, error["reason"])
    nowhere = merged(*(bring_up(n, runs=1, errors=[error]) for n in (1, 2)))
    (left,) = nowhere.errors
    assert left.reason == f"bring-up 1: {error['reason']}; bring-up 2: {error['reason']}"


def test_a_precondition_allowed_to_fail_in_any_bring_up_marks_the_whole() -> None:
    def check(passed: bool, evidence: str) -> dict[str, Any]:
        return {"name": "mtu", "passed": passed, "evidence": evidence, "allowed": not passed}

    parts = [
        bring_up(1, 1.0, checks=[check(True, "9,001")]),
        bring_up(2, 1.0, checks=[check(False, "1,500")]),
        bring_up(3, 1.0, checks=[check(True, "9,002")]),
    ]
    (mark,) = merged(*parts).marks
    assert (mark.evidence, mark.allowed) == ("bring-up 2: 1,500", True)
    assert [each.evidence for each in merged(parts[0], parts[2]).checks] == ["9,002"]


def test_notes_name_the_rounds_of_all_bring_ups_that_they_are_about() -> None:
    note = Note(kind="throttled")
    first = bring_up(1, 1.0, 2.0)
    noted = bring_up(2, 1.0, 2.0)
    noted.metrics["rtt_p50"] = metric([1.0, 2.0], notes=[note])
    rtt = merged(first, noted).metrics["rtt_p50"]
    assert [each.rounds for each in rtt.notes] == [[3, 4]]
    assert rtt.throttled == 2
    assert merged(noted, bring_up(3, 1.0)).metrics["rtt_p50"].notes[0].rounds == [1, 2]


def test_texts_say_of_which_bring_up_they_are_unless_all_say_the_same() -> None:
    whole = merged(
        bring_up(1, 1.0, warnings=["lab", "tcp, run 1: odd"]),
        bring_up(2, 1.0, warnings=["lab"], environment={"kernel": "6.2"}),
    )
    assert whole.warnings == [
        "lab", "bring-up 1: tcp, run 1: odd",
        "bring-up 2: the kernel: '6.2', in bring-up 1 '6.1.0'",
    ]  # fmt: skip


def test_real_results_keep_what_their_probes_left() -> None:
    def measured(boot: str) -> Results:
        session = FakeSession()
        session.told = About(scenario=ScenarioRecord(name="scenario-a"), bring_up=boot)
        session.spoil["dig-answers"] = [failing("refused")]
        plan: Plan = replace(PLAN, runs=2)
        return run_benchmark(session, plan, clock=session.time.clock())

    one, two = measured("b1"), measured("b2")
    whole = merged(one, two)
    assert whole.metrics.keys() == one.metrics.keys()
    dig = whole.probes["dig"]
    assert dig.runs == 4
    assert [each.run for each in dig.limits] == [1, 2, 3, 4]
    assert len(dig.failures) == 2
    assert dig.failures[1].startswith("bring-up 2: run 1: refused")
    assert len(whole.checks) == len(one.checks)
    assert merged(one) == one


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (
            (bring_up(1, 1.0), bring_up(2, 1.0, scenario={"name": "scenario-b"})),
            "2.json cannot be merged with 1.json: the scenario is 'scenario-b', not ''. Fix: ",
        ),
        (
            (bring_up(1, 1.0), results({}, plan={"profile": "quick", "bulk_seconds": 9})),
            "the plan's bulk_seconds is 9, not 2",
        ),
        (
            (bring_up(1, 1.0), bring_up(2, 1.0, environment={"target_kind": "eks"})),
            "target kind is 'eks', not None",
        ),
        ((bring_up(1, 1.0), bring_up(1, 2.0)), "2.json is of the same bring-up as 1.json. Fix: "),
        ((merged(bring_up(1, 1.0), bring_up(2, 1.0)),), "1.json is of several bring-ups already"),
        ((Lost("no", 1), Lost("no", 1)), "none of the bring-ups has results"),
    ],
)  # fmt: skip
def test_what_does_not_belong_together_is_refused_in_one_line(
    parts: tuple[Results | Lost, ...], told: str
) -> None:
    with pytest.raises(MergeError) as refused:
        merged(*parts)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_a_bring_up_was_not_to_measure_is_not_missing() -> None:
    first, second, third = (bring_up(number, 10.0) for number in (1, 2, 3))
    with_tools = first.model_copy(
        update={"metrics": {**first.metrics, "http_max_qps": metric([5_000.0])}}
    )
    without = second.model_copy(update={"plan": {**second.plan, "tools": False}})
    whole = merged(with_tools, without)
    assert whole.metrics["http_max_qps"].missing == []
    assert whole.metrics["rtt_p50"].n == 2
    assert whole.plan.get("tools", True)
    # One that was to measure it, and did not, says so.
    lacking = merged(with_tools, without, third).metrics["http_max_qps"]
    assert [(each.bring_up, each.reason) for each in lacking.missing] == [
        (3, "it was not measured")
    ]
