"""The whole validation on recordings: every part is made, and one without a number fails alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from bench.checks import PreconditionError
from bench.plan import PROFILES
from bench.probes.base import Bench
from report.validation import render
from studies.validate import parity, run, truth
from studies.validate.model import Report
from studies.validate.run import run_validation
from studies.validate.testbed import Link, LossCount, ValidationTestbed
from studies.validate.verdicts import exact
from tests.bench.fakes import PLAN, FakeSession, failing
from tests.bench.test_benchstat import program
from tests.studies.test_validate_faults import Recorded

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
    monkeypatch.setattr(parity, "slow_server", none)
    monkeypatch.setattr(parity, "at_path", lambda session, *_: session)
    monkeypatch.setattr(run, "_MOST_ROUNDS", 8)


def lab_of(session: FakeSession) -> ValidationTestbed:
    faults = cast(Any, Recorded(LossCount(1_000, 10)))
    return ValidationTestbed(session, Link(9001, 0), faults)


def validate(session: FakeSession, benchstat: Path) -> tuple[Report, list[str]]:
    said: list[str] = []
    clock = session.time.clock()
    return run_validation(lab_of(session), PLAN, benchstat, said.append, clock), said


def test_every_part_is_in_the_report(session: FakeSession) -> None:
    report, said = validate(session, program())
    assert {check.part for check in report.checks} == {
        "Known truth", "Sensitivity", "Parity", "A/A", "benchstat",
    }  # fmt: skip
    assert len(report.deviations) == 9
    assert {ratio.metric for ratio in report.ratios} == set(parity.READERS)
    assert all(check.passed for check in report.checks if check.part in ("Parity", "benchstat"))
    assert report.tools["iperf3"]
    assert all(each.passed for each in report.preconditions)
    # Recordings never differ, so that A/A has nothing to test, and says so.
    (check,) = (check for check in report.checks if check.part == "A/A")
    assert not check.passed
    assert "no metric has samples of both sides that differ" in check.measured
    assert any("known truth: TCP through 500 Mbit/s" in line for line in said)
    assert "A/A" in render(report.model_copy(update={"environment": MACHINE}))


def test_a_part_without_a_number_fails_and_the_others_go_on(session: FakeSession) -> None:
    session.spoil["dig-answers"] = [failing("gone")] * 999
    report, _ = validate(session, program())
    failed = {check.name: check for check in report.failed}
    assert failed["dns"].part == "Parity"
    assert "none: dns: gone" in failed["dns"].measured
    assert {ratio.metric for ratio in report.ratios} == set(parity.READERS) - {"dns_p50"}


def test_a_precondition_that_fails_ends_it(session: FakeSession) -> None:
    session.nodes["server"] = "node-1"
    with pytest.raises(PreconditionError, match="placement"):
        validate(session, Path("benchstat"))


def test_one_that_may_fail_is_marked(session: FakeSession) -> None:
    session.nodes["server"] = "node-1"
    plan, clock = replace(PLAN, allow=("placement",)), session.time.clock()
    report = run_validation(lab_of(session), plan, program(), lambda line: None, clock)
    assert [each.name for each in report.preconditions if each.allowed] == ["placement"]


def test_no_more_rounds_go_to_benchstat_than_it_is_exact_with() -> None:
    assert list(exact(8)) == list(range(1, 9))
    assert list(exact(26)) == list(range(1, 26))
