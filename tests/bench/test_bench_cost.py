"""The CNI's own CPU and memory over known windows."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench.probes.base import Bench, SampleError
from bench.probes.cost import IdleProbe, UnderLoad, Usage, cost_between, usage_of
from bench.probes.http import http_probe
from bench.session import ComponentUsage, Worked, resolve_targets
from tests.bench.fakes import PLAN, FakeSession

MIB = 1024 * 1024


def usage(*items: tuple[str, str, float, int]) -> Usage:
    return usage_of([ComponentUsage(*item) for item in items])


def test_cost_is_the_mean_per_node_of_agent_and_kube_proxy() -> None:
    before = usage(
        ("n1", "cilium-agent", 1.0, 80 * MIB),
        ("n1", "kube-proxy", 0.5, 20 * MIB),
        ("n2", "cilium-agent", 3.0, 60 * MIB),
        ("n1", "cilium-operator", 9.0, 999 * MIB),
    )
    after = usage(
        ("n1", "cilium-agent", 1.02, 90 * MIB),
        ("n1", "kube-proxy", 0.51, 20 * MIB),
        ("n2", "cilium-agent", 3.01, 70 * MIB),
        ("n1", "cilium-operator", 99.0, 999 * MIB),
    )
    cost = cost_between(before, after, 2.0)
    assert cost.millicores == pytest.approx((20 + 10 + 10) / 2 / 2)
    assert cost.mebibytes == pytest.approx((90 + 20 + 70) / 2)


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ([("n1", "kube-proxy", 0.5, 1)], "restarted meanwhile: kube-proxy on n1"),
        ([("n1", "aws-node", 1.5, 1)], "came or went meanwhile: aws-node on n1, kube-proxy on n1"),
    ],
)
def test_a_restart_is_no_number(after: Sequence[tuple[str, str, float, int]], reason: str) -> None:
    with pytest.raises(SampleError, match=reason):
        cost_between(usage(("n1", "kube-proxy", 1.0, 1)), usage(*after), 1.0)


def test_no_agent_or_no_time_is_no_number() -> None:
    with pytest.raises(SampleError, match="no CNI agent"):
        usage(("n1", "cilium-operator", 1.0, 1))
    same = usage(("n1", "kube-proxy", 1.0, 1))
    with pytest.raises(SampleError, match="a window of 0 s"):
        cost_between(same, same, 0)


def bench_of(session: FakeSession) -> Bench:
    return Bench(session, resolve_targets(session), session.time.clock())


def test_idle_reads_right_before_and_after_its_window(session: FakeSession) -> None:
    probe = IdleProbe(2.0)
    reading = probe.measure(bench_of(session))
    assert session.time.slept == [2.0]
    assert reading.values["cni_cpu_idle"] == pytest.approx(1000 * session.cpu_per_read / 2)
    assert probe.summary(reading) == "5 millicores"


def test_under_load_adds_cost_to_the_probe_that_makes_the_load(session: FakeSession) -> None:
    probe = UnderLoad(http_probe(PLAN, 100))
    reading = probe.measure(bench_of(session))
    assert reading.values["cni_memory"] == 100
    assert reading.values["cni_cpu"] == pytest.approx(1000 * session.cpu_per_read)
    assert reading.values["http_100_qps"] > 0
    assert "CNI" in probe.summary(reading)


def test_under_load_only_the_commands_own_time_counts_where_it_is_told(
    session: FakeSession,
) -> None:
    def worked(seconds: float, cpu: float) -> Worked:
        return Worked(seconds, (), (), (ComponentUsage("node-1", "cilium-agent", cpu, 0),))

    session.at_work = [worked(3.0, 1.0), worked(3.5, 1.25)]
    reading = UnderLoad(http_probe(PLAN, 100)).measure(bench_of(session))
    assert reading.values["cni_cpu"] == pytest.approx(500 / 3)
    assert reading.values["cni_memory"] == 100
    # Too short to tell: the time around the command has to do.
    session.at_work = [worked(3.0, 1.0), worked(3.1, 1.25)]
    reading = UnderLoad(http_probe(PLAN, 100)).measure(bench_of(session))
    assert reading.values["cni_cpu"] == pytest.approx(1000 * session.cpu_per_read)


def test_cost_that_cannot_be_read_is_missing_and_the_load_s_values_stay(
    session: FakeSession,
) -> None:
    session.lacking.add("usage")
    probe = UnderLoad(http_probe(PLAN, 100))
    reading = probe.measure(bench_of(session))
    assert reading.values["http_100_qps"] > 0
    assert reading.missing.keys() == {"cni_cpu", "cni_memory"}
    assert "no usage today" in reading.missing["cni_cpu"]
    assert "CNI" not in probe.summary(reading)
