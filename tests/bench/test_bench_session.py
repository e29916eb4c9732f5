"""Workloads, targets, numbers as text."""

from __future__ import annotations

import pytest

from bench.session import SessionError, resolve_targets
from bench.text import latency, number, tail, tally
from bench.workloads import WORKLOADS, roles
from tests.bench.fakes import FakeSession


def test_workloads_are_complete() -> None:
    assert {workload.role for workload in WORKLOADS} == {
        "fortio-client", "iperf3-client", "dns-client", "dnsperf-client",
        "iperf3-server", "echo-server", "turns-server", "httpbin",
    }  # fmt: skip
    for workload in WORKLOADS:
        image, _, tag = workload.image.rpartition(":")
        assert image
        assert tag not in ("", "latest")
        assert workload.command
        assert workload.programs
    httpbin = next(workload for workload in WORKLOADS if workload.role == "httpbin")
    assert httpbin.replicas == 2
    assert httpbin.service is not None
    assert (httpbin.service.port, httpbin.service.target_port) == (80, 8080)
    assert not set(roles("client")) & set(roles("server"))


def test_targets_need_every_service(session: FakeSession) -> None:
    session.lacking.add("kube-dns")
    with pytest.raises(SessionError, match="no Service kube-dns"):
        resolve_targets(session)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (12345.6, "12,346"), (984.126, "984"), (9.876, "9.88"), (39.0, "39"),
        (0.01234, "0.0123"), (-3.456, "-3.46"), (0.0000001, "0.000000"), (9.999, "10.00"),
    ],
)  # fmt: skip
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(13.62, "13.6 µs"), (1900.0, "1.90 ms"), (2_500_000.0, "2.50 s")]
)
def test_latencies(value: float, text: str) -> None:
    assert latency(value) == text


def test_tail_and_tally() -> None:
    assert tail("a\n b  c") == "a b c"
    assert tail("x" * 400) == "…" + "x" * 300
    assert tally({"lost": 2, "503": 1}) == "lost (2), 503 (1)"
