"""Interleaved rounds: order, impositions, missing samples, going on, the end of the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from bench.checks import PreconditionError
from bench.interleave import (
    GIVEN_UP,
    Entry,
    Side,
    Step,
    abba,
    interleave,
    prepare,
    prepare_all,
    shuffled,
)
from bench.plan import Plan
from bench.probes import build_probes
from bench.probes.base import Bench
from bench.readiness import WINDOW_SECONDS
from bench.results import MissingSample, SharedRounds, from_json
from bench.sampling import BOUND_REASON
from bench.session import resolve_targets
from studies.validate.testbed import probe_named
from tests.bench.fakes import PLAN, FakeSession, failing

TCP = (probe_named("tcp", PLAN),)


def bench_of(session: FakeSession) -> Bench:
    return Bench(session, resolve_targets(session), session.time.clock())


def sides_of(session: FakeSession, plan: Plan = PLAN, labels: str = "ab") -> list[Side]:
    probes = (probe_named("tcp", plan), probe_named("fortio_rtt", plan))
    return [Side(label, bench_of(session), probes) for label in labels]


def test_abba_turns_every_other_round_round() -> None:
    assert abba("ab", 3) == (("a", "b"), ("b", "a"), ("a", "b"))


def test_shuffled_orders_have_every_side_in_every_round_and_follow_their_seed() -> None:
    orders = shuffled("abcde", 40, seed=7)
    assert all(sorted(order) == list("abcde") for order in orders)
    assert orders == shuffled("abcde", 40, seed=7)
    assert orders != shuffled("abcde", 40, seed=8)
    assert orders[:10] == shuffled("abcde", 10, seed=7)
    # Every side comes first sometimes: 40 rounds without one have a chance of 0.8 ** 40.
    assert {order[0] for order in orders} == set("abcde")


def test_the_sides_follow_each_other_in_the_rounds_own_order(session: FakeSession) -> None:
    steps: list[str] = []

    def imposed(label: str) -> object:
        @contextmanager
        def around() -> Iterator[None]:
            steps.append(f"{label} on")
            yield
            steps.append(f"{label} off")

        return around

    sides = [Side(label, bench_of(session), TCP, imposed(label)) for label in "ab"]  # type: ignore[arg-type]
    interleave(sides, PLAN, abba("ab", 3))
    # Never two impositions at once.
    assert steps[::2] == [f"{label} on" for label in "abbaab"]
    assert steps[1::2] == [f"{label} off" for label in "abbaab"]


def test_all_sides_have_a_probe_behind_them_before_the_next_one(session: FakeSession) -> None:
    seen: list[tuple[int, str, str]] = []

    def keep(entry: Entry) -> None:
        seen.append((entry.round, entry.probe, entry.label))

    interleave(sides_of(session), PLAN, (("b", "a"), ("a", "b")), keep=keep)
    one, two = [(1, "b"), (1, "a")], [(2, "a"), (2, "b")]
    assert [(n, label) for n, _, label in seen] == [*one, *one, *two, *two]
    assert [probe for _, probe, _ in seen] == ["tcp", "tcp", "fortio_rtt", "fortio_rtt"] * 2


def test_results_are_those_of_a_benchmark(session: FakeSession) -> None:
    shared = SharedRounds(id="m1", labels=["a", "b"], seed=3)
    found = interleave(sides_of(session), PLAN, abba("ab", PLAN.runs), shared=shared)
    assert set(found) == {"a", "b"}
    for side in found.values():
        assert side.metrics["tcp_streams_throughput"].n == PLAN.runs
        assert side.metrics["fortio_rtt_p50"].n == PLAN.runs
        assert side.plan["runs"] == PLAN.runs
        assert side.probes["tcp"].argv[0] == "iperf3"
        assert side.placement
        assert side.errors == []
        assert from_json(side.to_json()) == side
    a, b = found.values()
    assert a.interleaved_with(b)
    assert not a.interleaved_with(b.model_copy(update={"rounds": None}))


def test_a_prepared_side_has_its_preconditions_in_its_results(session: FakeSession) -> None:
    clock = session.time.clock()
    side = prepare("a", session, PLAN, clock=clock, deadline=1e9, say=lambda line: None)
    plain = Side("b", bench_of(session), side.probes)
    found = interleave([side, plain], PLAN, abba("ab", 1))
    assert len(found["a"].checks) == 21
    assert found["a"].tools["iperf3"] == "3.12"
    assert found["a"].calibration is not None
    assert found["a"].started < found["a"].finished
    assert (found["b"].checks, found["b"].tools, found["b"].calibration) == ([], {}, None)


def test_sides_may_have_other_metrics_under_one_name(session: FakeSession) -> None:
    sides = [
        Side("a", bench_of(session), build_probes(PLAN, ("cilium-agent",))),
        Side("b", bench_of(session), build_probes(PLAN)),
    ]
    found = interleave(sides, PLAN, abba("ab", 1))
    assert "cni_cpu_cilium_agent" in found["a"].metrics
    assert "cni_cpu_cilium_agent" not in found["b"].metrics
    assert found["b"].errors == []


def test_preconditions_that_fail_leave_no_side(session: FakeSession) -> None:
    session.nodes["server"] = session.nodes["client"]
    with pytest.raises(PreconditionError, match="placement"):
        prepare("a", session, PLAN, clock=session.time.clock(), deadline=1e9, say=print)


def prepared(sessions: dict[str, FakeSession], plan: Plan = PLAN) -> dict[str, object]:
    clock = sessions["a"].time.clock()
    for session in sessions.values():
        session.time = sessions["a"].time
    return dict(
        prepare_all(sessions, plan, clock=clock, deadline=1e9, say=lambda label, line: None)
    )


def test_sides_wait_for_a_quiet_machine_together() -> None:
    sessions = {label: FakeSession() for label in "abc"}
    found = prepared(sessions)
    assert [side.label for side in found.values() if isinstance(side, Side)] == list("abc")
    windows = [slept for slept in sessions["a"].time.slept if slept == WINDOW_SECONDS]
    assert len(windows) == 1


def test_sides_of_one_machine_have_one_calibration_and_others_their_own() -> None:
    def calibrations(*, shared: bool) -> list[int]:
        sessions = {label: FakeSession() for label in "ab"}
        for session in sessions.values():
            session.shared_machine = shared
        for side in prepared(sessions).values():
            assert isinstance(side, Side)
            assert side.evidence
            assert side.evidence.calibration
        return [[call[0] for call in each.calls].count("fortio-null") for each in sessions.values()]

    assert calibrations(shared=True) == [1, 0]
    assert calibrations(shared=False) == [1, 1]


def test_a_side_that_cannot_be_measured_says_why_and_the_others_are_ready() -> None:
    sessions = {label: FakeSession() for label in "abcd"}
    sessions["a"].nodes["server"] = "node-1"
    sessions["b"].lacking.add("usage")
    sessions["c"].lacking.add("httpbin")
    found = prepared(sessions)
    assert list(found) == list("abcd")
    assert "'placement' failed" in str(found["a"])
    assert "'quiet-agents' failed: CNI usage cannot be read" in str(found["b"])
    assert "'workloads are ready' failed" in str(found["c"])
    assert isinstance(found["d"], Side)


def test_a_generator_that_failed_on_one_side_is_tried_on_the_next() -> None:
    sessions = {label: FakeSession() for label in "ab"}
    for session in sessions.values():
        session.shared_machine = True
    sessions["a"].spoil["fortio-null"] = [failing("refused")]
    found = prepared(sessions)
    assert "'generator' failed: refused" in str(found["a"])
    assert isinstance(found["b"], Side)


def test_if_preconditions_take_all_the_time_that_is_the_reason() -> None:
    session = FakeSession()
    found = prepare_all(
        {"a": session}, PLAN, clock=session.time.clock(), deadline=11.0, say=lambda *said: None
    )
    assert "'in time' failed: the preconditions took" in str(found["a"])


def test_a_missing_sample_is_missing_in_its_own_round_and_side(session: FakeSession) -> None:
    # Round 1 is a, b; round 2 is b, a: the third sample is b's second.
    session.spoil["iperf3-tcp"] = [lambda result: result] * 2 + [failing("gone")] * PLAN.attempts
    sides = [Side(label, bench_of(session), TCP) for label in "ab"]
    found = interleave(sides, PLAN, abba("ab", 3))
    assert found["a"].metrics["tcp_streams_throughput"].missing == []
    assert found["b"].metrics["tcp_streams_throughput"].missing == [
        MissingSample(round=2, reason="gone")
    ]
    assert found["b"].metrics["tcp_streams_throughput"].n == 2


def test_a_side_that_is_dead_is_given_up_and_the_other_goes_on(session: FakeSession) -> None:
    dead = FakeSession()
    for name in ("iperf3-tcp", "fortio-tcp"):
        dead.spoil[name] = [failing("the lab is gone")] * 1_000
    a, b = sides_of(session)[0], sides_of(dead)[1]
    plan = replace(PLAN, runs=8)
    found = interleave([a, b], plan, abba("ab", plan.runs))
    assert found["a"].metrics["tcp_streams_throughput"].n == 8
    assert found["b"].metrics == {}
    assert "run 5: the lab is gone" in found["b"].errors[0].reason
    assert f"run 6: {GIVEN_UP}" in found["b"].errors[0].reason
    assert len(dead.calls) == 10 * plan.attempts


def test_a_side_without_numbers_for_want_of_time_is_told_so(session: FakeSession) -> None:
    side = sides_of(session)[0]
    late = replace(side, bench=replace(side.bench, deadline=session.time.seconds))
    found = interleave([late], replace(PLAN, runs=9), abba("a", 9))
    assert found["a"].errors[0].reason.count(BOUND_REASON) == 9


def test_rounds_go_on_where_they_were_stopped(session: FakeSession) -> None:
    kept: list[Entry] = []

    def stop(entry: Entry) -> None:
        kept.append(entry)
        if len(kept) == 7:
            raise KeyboardInterrupt

    order = shuffled("ab", 3, seed=1)
    with pytest.raises(KeyboardInterrupt):
        interleave(sides_of(session), PLAN, order, keep=stop)
    more: list[Entry] = []
    found = interleave(sides_of(session), PLAN, order, known=kept, keep=more.append)
    assert len(kept) + len(more) == 3 * 2 * 2
    counted = Counter((each.round, each.label, each.probe) for each in [*kept, *more])
    assert set(counted.values()) == {1}
    assert all(side.metrics["tcp_streams_throughput"].n == 3 for side in found.values())


def test_a_missing_sample_stays_missing_when_going_on_but_for_want_of_time(
    session: FakeSession,
) -> None:
    session.spoil["iperf3-tcp"] = [failing("gone")] * PLAN.attempts
    side = Side("a", bench_of(session), TCP)
    kept: list[Entry] = []
    first = interleave([side], PLAN, abba("a", 2), keep=kept.append)
    assert first["a"].metrics["tcp_streams_throughput"].n == 1
    late = replace(side, bench=replace(side.bench, deadline=session.time.seconds))
    interleave([late], PLAN, abba("a", 3), known=kept, keep=kept.append)
    assert kept[-1].outcome.failures == (BOUND_REASON,)
    again: list[Entry] = []
    # Later would not be in the same round as the other sides' samples.
    found = interleave([side], PLAN, abba("a", 3), known=kept, keep=again.append)
    assert [entry.round for entry in again] == [3]
    assert found["a"].metrics["tcp_streams_throughput"].missing == [
        MissingSample(round=1, reason="gone")
    ]


def test_steps_tell_what_runs_and_what_time_is_left(session: FakeSession) -> None:
    steps: list[Step] = []
    interleave(sides_of(session), PLAN, abba("ab", 2), watch=steps.append)
    assert len(steps) == 2 * 2 * 2 * 2
    begun, ended = steps[0], steps[1]
    assert (begun.done, begun.total, begun.outcome) == (0, 8, None)
    assert (ended.done, ended.total) == (1, 8)
    assert "Gbit/s" in ended.said()
    # A command takes a second of the fake clock, as planned at first with what is around it.
    assert begun.seconds_left == pytest.approx(8 * 1.5)
    assert steps[-2].seconds_left == pytest.approx(1.0)
    assert steps[-1].seconds_left == 0
