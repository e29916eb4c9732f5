"""A whole benchmark over the Kubernetes API, with the tools' recorded outputs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from bench.interleave import run_benchmark
from bench.results import MetricResult, Results, from_dict
from bench.session import Session
from cni.cilium.dataplane import Cilium
from cni.decisions import decide
from cni.platform import ClusterEndpoint, Kernel, known_facts
from cni.scenario import Scenario
from components.eks.preflight.cost import estimate_duration
from components.programs import path_in_pods
from components.targets import open_session
from tests.bench.fakes import PLAN, FakeSession
from tests.cni.stackfiles import stack_scenario
from tests.components.kubernetes.exec_replies import Exec, Reply, Torn
from tests.components.kubernetes.kube_api import KubeApi
from tests.components.kubernetes.kube_cluster import NODES, Recorded, cluster


def _values(stack: str) -> dict[str, object] | None:
    """Cilium's Helm values of a stack on EKS, or None."""
    scenario = Scenario.model_validate(stack_scenario(stack))
    facts = known_facts("m6i.xlarge", kernel=Kernel(6, 1))
    assert facts is not None
    if scenario.cni != "cilium":
        return None
    endpoint = ClusterEndpoint(name="bench", api_host="10.0.0.1")
    values = Cilium().values(scenario, decide(scenario, facts), endpoint)
    # The agents were recorded in a lab, where these two are not available.
    values.pop("bandwidthManager", None)
    values.pop("loadBalancer", None)
    return values


def _session(api: KubeApi, stack: str, folder: Path) -> Session:
    args = {
        "access": {"kind": "kubeconfig", "path": str(api.kubeconfig(folder / "config"))},
        "cni": stack_scenario(stack)["cni"],
        "kube_proxy": stack_scenario(stack)["kubeProxy"],
        "values": _values(stack),
        "about": {"environment": {"target": "eks: bench"}, "scenario": {"title": stack}},
    }
    return open_session({"target": "eks", "args": args})


class Measured:
    """A served cluster, whose time passes only as commands take theirs."""

    def __init__(self, stack: str, folder: Path, runs: int = 1) -> None:
        self._stack, self._folder, self._runs = stack, folder, runs
        self._tools = FakeSession()
        self._clock = self._tools.time.clock()
        self.api = cluster(stack, commands=Recorded(stack, self._tools, self._clock))

    def far(self, seconds: float) -> None:
        """Every request takes so long there and back; what is sent at once, at once."""
        passing = self._tools.time

        async def way(request: web.Request) -> None:
            # A stream is a connection of its own: of TCP, TLS, and the protocol.
            trips = 4 if request.path.endswith("/exec") else 1
            arrived = passing.seconds
            await asyncio.sleep(0.001)
            passing.seconds = max(passing.seconds, arrived + trips * seconds)

        self.api.way = way

    def run(self, say: Callable[[str], None] | None = None) -> Results:
        """The benchmark, from its session's descriptor on."""
        with self.api.serving():
            session = _session(self.api, self._stack, self._folder)
            plan = replace(PLAN, runs=self._runs)
            results = run_benchmark(session, plan, progress=say, clock=self._clock)
            session.close()
        return results


# Each test with another dataplane.
def test_every_metric_has_its_samples(tmp_path: Path) -> None:
    results = Measured("scenario-e", tmp_path).run()
    assert results.errors == []
    assert {each for metric in results.metrics.values() for each in _rounds(metric)} == {1}
    # Nobody else takes turns, so slices say nothing.
    assert results.metrics["rtt_p50"].slices == []
    assert {metric.n for metric in results.metrics.values()} == {1}
    assert {"tcp_throughput", "http_100_p99", "dns_p50", "cni_cpu", "cni_memory"} <= set(
        results.metrics
    )
    assert all(check.passed for check in results.checks)
    assert results.environment.target == "eks: bench"
    assert [node.name for node in results.environment.node_facts] == list(NODES)
    assert from_dict(json.loads(results.to_json())).metrics == results.metrics


def _rounds(metric: MetricResult) -> set[int]:
    return {place.round for place in metric.places}


@pytest.mark.parametrize("seconds", [0.005, 0.1, 0.25])
def test_a_cluster_that_is_far_away_costs_no_sample(tmp_path: Path, seconds: float) -> None:
    measured = Measured("scenario-e", tmp_path)
    measured.far(seconds)
    results = measured.run()
    assert results.errors == []
    assert [each for metric in results.metrics.values() for each in metric.missing] == []
    assert [probe.failures for probe in results.probes.values() if probe.failures] == []
    assert results.seconds > 100 * seconds, "the way took its time"
    # As long as the estimate of what a run costs says, at most.
    length = estimate_duration(replace(PLAN, runs=1), cluster_exists=True, round_trip=seconds)
    assert results.seconds <= 60 * length.measure


class Accidents:
    """Every nth command of the load generators loses its connection."""

    def __init__(self, api: KubeApi, every: int) -> None:
        self._before, self._every = api.handler, every
        self._count = 0
        self.met = 0
        api.handler = self

    def __call__(self, call: Exec) -> Reply:
        if call.argv[0] in ("fortio", "iperf3", "dig", path_in_pods()):
            self._count += 1
            if self._count % self._every == 0:
                self.met += 1
                return Torn("half an ans")
        return self._before(call)


def test_dropped_connections_cost_no_finished_sample(tmp_path: Path) -> None:
    measured = Measured("scenario-a", tmp_path, runs=2)
    accidents: list[Accidents] = []

    def say(line: str) -> None:
        # What must hold before anything is measured is not tried again.
        if line.startswith("[1/"):
            accidents.append(Accidents(measured.api, every=5))

    results = measured.run(say)
    assert accidents[0].met >= 3
    failures = [each for probe in results.probes.values() for each in probe.failures]
    assert len(failures) == accidents[0].met
    assert all("the connection broke" in each for each in failures)
    assert all(_rounds(metric) == {1, 2} for metric in results.metrics.values())


def test_held_back_traffic_marks_its_sample(tmp_path: Path) -> None:
    measured = Measured("scenario-b", tmp_path)
    commands = measured.api.handler
    assert isinstance(commands, Recorded)

    def throttled(call: Exec) -> Reply:
        if call.argv[0] == "iperf3" and "-P" in call.argv:
            commands.exceeded += 7
        return commands(call)

    def say(line: str) -> None:
        if line.startswith("[1/"):
            measured.api.handler = throttled

    results = measured.run(say)
    marked = {name for name, metric in results.metrics.items() if metric.throttled == 1}
    assert "tcp_retransmits" in marked
    assert not {"tcp_throughput", "dns_p50", "connect_p50", "http_100_p99"} & marked
    (counters,) = (each.counters for each in results.probes["tcp"].throttled)
    assert counters["node-1"] == {"bw_in_allowance_exceeded": 7}
