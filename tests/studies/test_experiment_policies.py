"""Network policies: the objects, when they took effect, and how many are in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import pytest

from bench.probes.base import Bench, SampleError
from bench.probes.fortio import Request
from bench.session import CommandResult, resolve_targets
from bench.workloads import WORKLOADS, roles
from studies.experiments.policies import TARGET_PORT, Kind, allow, deny, many, port_of
from studies.experiments.policy import (
    ADMIT,
    REFUSE,
    EnforcedProbe,
    first_admitted,
    first_refused,
    only_outcome,
    read_enforced,
)
from tests.bench.fakes import FakeSession


def _requests(outcomes: str, step: float = 10.0, took: float = 2.0) -> list[Request]:
    """One request every ``step`` µs from 0 on: ``+`` was answered, ``-`` was not."""
    return [
        Request(0, place, place * step, took, outcome == "+")
        for place, outcome in enumerate(outcomes)
    ]


def test_the_first_answer_after_a_change_counts_when_it_came() -> None:
    assert first_admitted(_requests("---++++"), change=15, end=70) == 30 + 2 - 15


def test_the_first_failure_after_a_change_counts_when_it_left() -> None:
    assert first_refused(_requests("++++---"), change=15, end=70) == 40 - 15


def test_a_single_request_that_comes_out_otherwise_says_nothing() -> None:
    assert first_admitted(_requests("---+--+++"), change=15, end=90) == 60 + 2 - 15
    assert first_refused(_requests("+++-++---"), change=15, end=90) == 60 - 15


def test_what_does_not_happen_in_time_is_not_found() -> None:
    assert first_admitted(_requests("-------+++"), change=15, end=70) is None
    assert first_refused(_requests("++++++++++"), change=15, end=100) is None


def test_all_of_a_span_came_out_so() -> None:
    requests = _requests("---++")
    assert only_outcome(requests, 0, 30, good=False)
    assert not only_outcome(requests, 0, 35, good=False)
    assert not only_outcome(requests, 100, 200, good=False)  # nobody asked


def _log(outcomes: str, start: float, step: float) -> CommandResult:
    """fortio's request log; times in µs."""
    lines = [
        f'{{"latency":0.000500,"timestamp":{int((start + place * step) * 1e3)},"thread":0,'
        f'"iter":{place},"ok":{"true" if outcome == "+" else "false"},"details":"200"}}'
        for place, outcome in enumerate(outcomes)
    ]
    return CommandResult(("fortio",), 0, "\n".join(lines) + "\n{\n}\n", "", 1.0)


def test_a_policy_that_comes_and_goes() -> None:
    # Denied for 50 ms, created at 45 ms, deleted at 145 ms, a request every 10 ms.
    result = _log("-" * 10 + "+" * 8 + "-" * 12, start=1e12, step=1e4)
    reading = read_enforced(result, created=1e12 + 4.5e4, deleted=1e12 + 14.5e4, window=1e5)
    assert reading.values[ADMIT.name] == pytest.approx(10e4 + 500 - 4.5e4)
    assert reading.values[REFUSE.name] == pytest.approx(18e4 - 14.5e4)
    assert reading.missing == {}


@pytest.mark.parametrize("ahead", [0.0, 30.0, -4.0])
def test_a_load_generator_on_a_machine_with_another_clock_tells_the_same(
    ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = FakeSession()
    session.skew = {"iperf3-client": ahead}
    bench = Bench(session, resolve_targets(session), session.time.clock())
    start = 1e6 * (bench.clock.now().timestamp() + ahead)
    # Created after 1 s and deleted after 3 s; a request every 10 ms.
    log = _log("-" * 105 + "+" * 200 + "-" * 100, start, 1e4)
    run = session.run
    monkeypatch.setattr(
        session, "run",
        lambda pod, argv, *, timeout: log if argv[0] == "fortio" else run(
            pod, argv, timeout=timeout
        ),
    )  # fmt: skip
    probe = EnforcedProbe("10.0.0.9", admit=lambda: None, refuse=lambda: None)
    reading = probe.measure(bench)
    assert reading.values[ADMIT.name] == pytest.approx(50_500, abs=2)
    assert reading.values[REFUSE.name] == pytest.approx(50_000, abs=2)


def test_a_deletion_that_is_not_enforced_is_missing_and_never_zero() -> None:
    result = _log("-" * 10 + "+" * 20, start=1e12, step=1e4)
    reading = read_enforced(result, created=1e12 + 4.5e4, deleted=1e12 + 14.5e4, window=1e5)
    assert REFUSE.name not in reading.values
    assert "within 0.1 s" in reading.missing[REFUSE.name]


def test_a_target_that_answers_before_its_policy_proves_no_denial() -> None:
    result = _log("-++++++++" + "-" * 12, start=1e12, step=1e4)
    with pytest.raises(SampleError, match="not denied"):
        read_enforced(result, created=1e12 + 4.5e4, deleted=1e12 + 8.5e4, window=1e5)


def test_a_run_without_a_log_is_no_sample() -> None:
    with pytest.raises(SampleError, match="no request in its log"):
        read_enforced(CommandResult(("fortio",), 1, "", "no route", 1.0), 0, 1, 1)


# -- the objects --------------------------------------------------------------------------------


def _selected(kind: Kind, manifest: Mapping[str, Any]) -> set[str]:
    selector = "podSelector" if kind == "NetworkPolicy" else "endpointSelector"
    return set(manifest["spec"][selector]["matchExpressions"][0]["values"])


def _rules(kind: Kind, manifest: Mapping[str, Any]) -> list[tuple[set[str], int | None]]:
    """From which roles, and to which port (None for all), for each rule that allows anybody."""
    peers, ports = ("from", "ports") if kind == "NetworkPolicy" else ("fromEndpoints", "toPorts")
    rules = []
    for rule in manifest["spec"]["ingress"]:
        if not rule:
            continue
        (peer,) = rule[peers]
        found = peer["podSelector"] if kind == "NetworkPolicy" else peer
        entry: Sequence[Any] = rule.get(ports, [])
        if entry and kind == "CiliumNetworkPolicy":
            entry = entry[0]["ports"]
        port = int(entry[0]["port"]) if entry else None
        rules.append((set(found["matchExpressions"][0]["values"]), port))
    return rules


@pytest.mark.parametrize("kind", get_args(Kind))
def test_the_many_allow_the_benchmark_and_a_port_each(kind: Kind) -> None:
    first, *others = many(kind, range(4))
    benchmark = {workload.role for workload in WORKLOADS}
    assert _selected(kind, first) == benchmark
    assert _rules(kind, first) == [(set(roles("client")), None)]
    for number, each in enumerate(others, start=1):
        assert _selected(kind, each) == benchmark | {"policy-target"}
        assert _rules(kind, each) == [(set(roles("client")), port_of(number))]
    names = [each["metadata"]["name"] for each in many(kind, range(1_000))]
    assert len(set(names)) == 1_000


@pytest.mark.parametrize("kind", get_args(Kind))
def test_one_denies_all_to_the_target_and_one_allows_its_port(kind: Kind) -> None:
    assert _selected(kind, deny(kind)) == {"policy-target"}
    assert _rules(kind, deny(kind)) == []
    assert _rules(kind, allow(kind)) == [(set(roles("client")), TARGET_PORT)]
    # Without a list of rules Cilium would take the pod for one that no policy is about.
    assert "ingress" in deny(kind)["spec"]
