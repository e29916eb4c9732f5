"""Scenario D without a cloud in the lab: each node's pods have a routed subnet.

Nothing is known of its instance type, so that it has what veth devices can do: BIG TCP.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from bench.workloads import HTTPBIN_SERVICE, WORKLOADS
from cni.cilium.toggles import BIG_TCP_ABOVE
from components.lab import rollout
from lab.cloud.cloud import EC2, METADATA, RECONCILER
from tests.lab.running import RunningLab, bring_up

pytestmark = pytest.mark.lab

CHANGES: dict[str, object] = {
    "lab.nodes": 2,
    "lab.eni": "routed",
    "eks.instanceType": "z9.mega",
    "scenario.toggles": {
        "nativeRouting": True,
        "bpfMasquerade": True,
        "hostRouting": True,
        "bigTCP": True,
    },
}


@pytest.fixture(scope="module")
def running(lab_host: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        made = bring_up("scenario-d", CHANGES)
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


def test_big_tcp_is_proven_and_its_packets_cross_the_fabric_in_one_piece(
    running: RunningLab,
) -> None:
    if not any(each.applied for each in running.decisions if each.toggle == "bigTCP"):
        pytest.skip("needs kernel 6.3")
    states = {each.toggle: each for each in rollout.toggle_states(running.lab, running.decisions)}
    assert states["bigTCP"].verified, states["bigTCP"]
    client, server = running.pod("iperf3-client"), running.pod("iperf3-server")
    ends = (_counted(running, client.node, "tx"), _counted(running, server.node, "rx"))
    done = running.run("iperf3-client", "iperf3", "-c", server.ip, "-n", "1G")
    assert done.returncode == 0, done.stderr
    later = (_counted(running, client.node, "tx"), _counted(running, server.node, "rx"))
    for before, after in zip(ends, later, strict=True):
        size, packets = (new - old for old, new in zip(before, after, strict=True))
        assert size / packets > BIG_TCP_ABOVE


def _counted(running: RunningLab, name: str, way: str) -> tuple[int, int]:
    """Bytes and packets that a node's interface has sent (tx) or received (rx)."""
    node = next(each for each in running.lab.nodes if each.name == name)
    shown = running.lab.node_command(node, ("ip", "-json", "-stats", "link", "show", "ens5"))
    counters = json.loads(shown)[0]["stats64"][way]
    return counters["bytes"], counters["packets"]
