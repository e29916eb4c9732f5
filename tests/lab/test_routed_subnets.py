"""Scenario D without a cloud in the lab: each node's pods have a routed subnet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from bench.workloads import HTTPBIN_SERVICE, WORKLOADS
from lab.cloud.cloud import EC2, METADATA, RECONCILER
from tests.lab.running import RunningLab, bring_up

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def running(lab_host: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        made = bring_up("scenario-d", {"lab.nodes": 2, "lab.eni": "routed"})
        try:
            yield made
        finally:
            made.session.close()
            made.lab.remove()


def test_pods_have_addresses_of_their_nodes_subnets(running: RunningLab) -> None:
    subnets = {node.name: IPv4Network(node.address.pod_cidr) for node in running.lab.nodes}
    for workload in WORKLOADS:
        for pod in running.session.pods(workload.role):
            assert IPv4Address(pod.ip) in subnets[pod.node]


def test_nothing_of_a_cloud_runs(running: RunningLab) -> None:
    assert running.lab.cloud is None
    for process in (EC2, METADATA, RECONCILER):
        assert running.lab.sandbox.pid_of(process) is None


def test_pods_reach_each_other_and_services_across_nodes(running: RunningLab) -> None:
    client = running.pod("fortio-client")
    for server in running.session.pods("httpbin"):
        answer = running.get(f"http://{server.ip}:8080/ip")
        assert json.loads(answer.stdout)["origin"].split(":")[0] == client.ip
    service = running.session.service(HTTPBIN_SERVICE)
    answer = running.get(f"http://{service.host}:{service.port}/status/200")
    assert answer.returncode == 0, answer.stderr


def test_the_results_tell_it(running: RunningLab) -> None:
    found = running.session.environment()
    assert any("ENI addresses are routed pod subnets" in each for each in found.adaptations)
    assert not (found.enis or found.pod_addresses or found.pods_per_node)
