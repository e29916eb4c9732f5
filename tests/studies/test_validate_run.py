"""The whole validation on recordings: every part is made, and one without a number fails alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench.checks import PreconditionError
from bench.metrics import PRIMARY
from bench.plan import PROFILES
from bench.probes.base import Bench
from bench.session import SessionError
from report.validation import render
from studies.validate import truth
from studies.validate.model import Report
from studies.validate.run import run_validation
from tests.bench.fakes import PLAN, failing
from tests.bench.test_benchstat import program
from tests.studies.validate_fakes import Clusters

MACHINE = {"kernel": "6.1.0", "cpus": 2, "adaptations": []}


@pytest.fixture(autouse=True)
def recordings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan of the recordings, and no slow server."""

    @contextmanager
    def none(bench: Bench) -> Iterator[tuple[Bench, Callable[[], list[float]]]]:
        yield bench, lambda: [0.0]

    monkeypatch.setitem(PROFILES, PLAN.profile, PLAN)
    monkeypatch.setattr(truth, "slow_server", none)
    monkeypatch.setattr(truth, "at_path", lambda session, *_: session)


def validate(
    clusters: Clusters, benchstat: Path | None = None, **asked: int
) -> tuple[Report, list[str]]:
    said: list[str] = []
    clock = clusters.time.clock()
    made = run_validation(
        clusters, PLAN, benchstat or program(), said.append, clock, **{"bring_ups": 3, **asked}
    )
    return made, said


def test_every_part_is_in_the_report() -> None:
    clusters = Clusters()
    report, said = validate(clusters)
    assert {check.part for check in report.checks} == {
        "A/A", "Sensitivity", "Turns", "Parity", "Known truth", "benchstat",
    }  # fmt: skip
    assert clusters.bring_ups == [("a",), *[("a", "b", "c")] * 3]
    assert clusters.standing == {}
    assert report.bring_ups == 3
    assert len(report.equalities) == 3 * len(PRIMARY)
    assert [each.metric for each in report.delays] == list(PRIMARY[:-1])
    assert all(check.passed for check in report.checks if check.part in ("Parity", "benchstat"))
    assert all(check.passed for check in report.checks if check.part in ("A/A", "Turns"))
    assert [each.metric for each in report.sensitivities] == ["rtt_p50", "tcp_throughput"]
    for each in report.sensitivities:
        assert each.effects == pytest.approx(each.expected, abs=1.5)
    assert report.tools["iperf3"]
    assert all(each.passed for each in report.preconditions)
    assert any("known truth: TCP through 1000 Mbit/s" in line for line in said)
    assert any(line.startswith("bring-up 3 of 3, ") and "min left" in line for line in said)
    assert "A/A" in render(report.model_copy(update={"environment": MACHINE}))


def test_turns_that_see_half_of_a_delay_are_found() -> None:
    report, _ = validate(Clusters(seen=0.5))
    failed = {check.name for check in report.failed if check.part in ("Parity", "Sensitivity")}
    assert "rtt_p50 and fortio: one delay" in failed
    assert "3 % of rtt_p50, as large as imposed" in failed


def test_a_part_without_a_number_fails_and_the_others_go_on() -> None:
    clusters = Clusters()
    bring_up = clusters.bring_up

    @contextmanager
    def spoiled(labels: tuple[str, ...]) -> Iterator[object]:
        with bring_up(labels) as beds:
            for cluster in clusters.standing.values():
                for tool in ("dig-answers", "dnsperf-one-by-one"):
                    cluster.spoil[tool] = [failing("gone")] * 999
            yield beds

    clusters.bring_up = spoiled  # type: ignore[method-assign, assignment]
    report, _ = validate(clusters)
    failed = {check.name: check for check in report.failed}
    assert "none: dig: gone" in failed["dig"].measured
    assert "none: dnsperf for dns_p50: " in failed["dns_p50"].measured
    assert [each.metric for each in report.delays] == [
        name for name in PRIMARY[:-1] if name != "dns_p50"
    ]
    assert report.bring_ups == 3


def test_a_bring_up_that_fails_is_told_and_the_others_count() -> None:
    clusters = Clusters()
    bring_up = clusters.bring_up

    @contextmanager
    def spoiled(labels: tuple[str, ...]) -> Iterator[object]:
        with bring_up(labels) as beds:
            if len(clusters.bring_ups) == 3:
                clusters.standing["b"].nodes["server"] = "node-1"
            yield beds

    clusters.bring_up = spoiled  # type: ignore[method-assign, assignment]
    report, _ = validate(clusters)
    failed = {check.name: check for check in report.failed}
    assert "'placement' failed" in failed["bring-up 2"].measured
    assert failed["bring-ups"].measured == "2"
    assert report.bring_ups == 2
    assert report.equalities


def test_clusters_that_do_not_come_up_are_told_and_the_others_count() -> None:
    clusters = Clusters()
    bring_up = clusters.bring_up

    @contextmanager
    def down(labels: tuple[str, ...]) -> Iterator[object]:
        with bring_up(labels) as beds:
            if len(clusters.bring_ups) == 4:
                raise SessionError("a lab does not come up: no room")
            yield beds

    clusters.bring_up = down  # type: ignore[method-assign, assignment]
    report, _ = validate(clusters)
    failed = {check.name: check for check in report.failed}
    assert failed["bring-up 3"].measured == "none: a lab does not come up: no room"
    assert report.bring_ups == 2


def test_without_time_no_further_bring_up_begins() -> None:
    clusters = Clusters()
    clusters.seconds_each = 600.0
    report, said = validate(clusters, minutes=30)
    assert report.bring_ups < 3
    assert any(line.startswith("no time for bring-up") for line in said)
    assert {check.name for check in report.failed} >= {"bring-ups"}


def test_a_precondition_that_fails_ends_it() -> None:
    clusters = Clusters()
    bring_up = clusters.bring_up

    @contextmanager
    def together(labels: tuple[str, ...]) -> Iterator[object]:
        with bring_up(labels) as beds:
            clusters.standing["a"].nodes["server"] = "node-1"
            yield beds

    clusters.bring_up = together  # type: ignore[method-assign, assignment]
    with pytest.raises(PreconditionError, match="placement"):
        validate(clusters, Path("benchstat"))
    assert clusters.standing == {}


def test_one_that_may_fail_is_marked() -> None:
    clusters = Clusters()
    bring_up = clusters.bring_up

    @contextmanager
    def together(labels: tuple[str, ...]) -> Iterator[object]:
        with bring_up(labels) as beds:
            if len(clusters.bring_ups) == 2:
                clusters.standing["a"].nodes["server"] = "node-1"
            yield beds

    clusters.bring_up = together  # type: ignore[method-assign, assignment]
    plan, clock = replace(PLAN, allow=("placement",)), clusters.time.clock()
    report = run_validation(clusters, plan, program(), lambda line: None, clock, bring_ups=2)
    assert [each.name for each in report.preconditions if each.allowed] == ["placement"]
