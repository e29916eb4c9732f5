"""Interleaved rounds: order, impositions, missing samples, the end of the time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from bench.probes.base import Bench
from bench.targets import resolve_targets
from bench.validate.rounds import Side, interleave, probe_named, with_samples
from tests.bench.fakes import PLAN, FakeSession, failing
from tests.bench.sample_results import metric, results


def bench_of(session: FakeSession) -> Bench:
    return Bench(session, resolve_targets(session), session.time.clock())


def quiet(_line: str) -> None:
    """No progress lines."""


def test_every_other_round_is_in_the_opposite_order(session: FakeSession) -> None:
    order: list[str] = []

    def imposed(label: str) -> object:
        @contextmanager
        def around() -> Iterator[None]:
            order.append(f"{label} on")
            yield
            order.append(f"{label} off")

        return around

    bench = bench_of(session)
    sides = [Side(label, bench, imposed(label)) for label in "ab"]  # type: ignore[arg-type]
    interleave(sides, [probe_named("tcp", PLAN)], replace(PLAN, runs=3), quiet)
    assert [step[0] for step in order if step.endswith("on")] == list("abbaab")
    # Never two impositions at once.
    assert order[::2] == [f"{label} on" for label in "abbaab"]
    assert order[1::2] == [f"{label} off" for label in "abbaab"]


def test_results_are_those_of_a_benchmark(session: FakeSession) -> None:
    bench = bench_of(session)
    probes = [probe_named("tcp", PLAN), probe_named("rtt", PLAN)]
    found = interleave([Side("a", bench), Side("b", bench)], probes, PLAN, quiet)
    assert set(found) == {"a", "b"}
    for side in found.values():
        assert side.metrics["tcp_throughput"].n == PLAN.runs
        assert side.metrics["rtt_p50"].n == PLAN.runs
        assert side.plan["runs"] == PLAN.runs
        assert side.errors == []


def test_a_missing_sample_is_missing_in_its_own_round_and_side(session: FakeSession) -> None:
    bench = bench_of(session)
    # Round 1 is a, b; round 2 is b, a: the third sample is b's second.
    answers = [lambda result: result] * 2 + [failing("gone")] * PLAN.attempts
    session.spoil["iperf3-tcp"] = list(answers)
    sides = [Side("a", bench), Side("b", bench)]
    found = interleave(sides, [probe_named("tcp", PLAN)], PLAN, quiet)
    assert found["a"].metrics["tcp_throughput"].missing == []
    assert found["b"].metrics["tcp_throughput"].missing == ["run 2: gone"]


def test_rounds_end_with_the_time_but_not_before_the_least(session: FakeSession) -> None:
    bench = bench_of(session)
    probes = [probe_named("tcp", PLAN)]
    sides = [Side("a", bench), Side("b", bench)]
    plan = replace(PLAN, runs=50)
    # A command takes a second of the fake clock, so a round takes two.
    start = session.time.seconds
    found = interleave(sides, probes, plan, quiet, end=start + 9)
    assert found["a"].plan["runs"] == 4
    assert session.time.seconds <= start + 9
    found = interleave(sides, probes, plan, quiet, least=3, end=session.time.seconds)
    assert found["b"].metrics["tcp_throughput"].n == 3


def test_other_samples_have_their_own_median(session: FakeSession) -> None:
    made = results({"m": metric([1.0, 2.0, 9.0], missing=["run 4: gone"]), "k": metric([5.0])})
    found = with_samples(made, {"m": [7.0, 8.0], "k": []})
    assert set(found.metrics) == {"m"}
    assert found.metrics["m"].median == pytest.approx(7.5)
    assert found.metrics["m"].ci == (7.0, 8.0)
    assert (found.metrics["m"].n, found.metrics["m"].missing) == (2, [])
