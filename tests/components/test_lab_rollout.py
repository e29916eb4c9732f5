"""The benchmark's workloads in the lab: clients on one node, servers on the others."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from bench.workloads import HTTPBIN_SERVICE, WORKLOADS, ServicePort, Workload, roles
from components.lab.rollout import pods_and_services

THREE = ["node-1", "node-2", "node-3"]


def _nodes_of(side: str, nodes: list[str]) -> list[str]:
    workloads = {each.role: each for each in WORKLOADS}
    pods, _ = pods_and_services(WORKLOADS, nodes)
    return [pod.node for pod in pods if workloads[pod.app].side == side]


@pytest.mark.parametrize("count", [2, 3, 9])
def test_clients_and_servers_never_share_a_node(count: int) -> None:
    nodes = [f"node-{number}" for number in range(1, count + 1)]
    clients, servers = _nodes_of("client", nodes), _nodes_of("server", nodes)
    assert set(clients) == {"node-1"}
    assert servers
    assert not set(clients) & set(servers)


def test_replicas_are_spread() -> None:
    pods, _ = pods_and_services(WORKLOADS, THREE)
    assert {pod.name: pod.node for pod in pods if pod.app == "httpbin"} == {
        "httpbin-1": "node-2",
        "httpbin-2": "node-3",
    }


def test_more_replicas_than_servers_go_round() -> None:
    many = [replace(each, replicas=5) for each in WORKLOADS if each.role == "httpbin"]
    pods, _ = pods_and_services(many, THREE)
    assert Counter(pod.node for pod in pods) == {"node-2": 3, "node-3": 2}
    assert len({pod.name for pod in pods}) == 5


def test_every_workload_has_its_pods_with_its_own_command() -> None:
    pods, _ = pods_and_services(WORKLOADS, THREE)
    assert Counter(pod.app for pod in pods) == {each.role: each.replicas for each in WORKLOADS}
    assert set(roles("client") + roles("server")) == {pod.app for pod in pods}
    commands = {each.role: each.command for each in WORKLOADS}
    assert all(pod.argv == commands[pod.app] for pod in pods)


def test_services_are_those_that_the_workloads_want() -> None:
    _, (httpbin,) = pods_and_services(WORKLOADS, THREE)
    assert (httpbin.name, httpbin.app) == (HTTPBIN_SERVICE, "httpbin")
    (port,) = httpbin.ports
    assert (port.port, port.target_port, port.protocol) == (80, 8080, "TCP")


def test_a_services_protocol_is_kept() -> None:
    port = ServicePort("echo", 7, 8007, "UDP")
    workload = Workload("echo", 1, "server", "image", ("echo",), ("echo",), port)
    _, (service,) = pods_and_services([workload], THREE)
    assert [(each.port, each.target_port, each.protocol) for each in service.ports] == [
        (7, 8007, "UDP")
    ]


@pytest.mark.parametrize("nodes", [[], ["node-1"]])
def test_one_node_is_not_enough(nodes: list[str]) -> None:
    with pytest.raises(ValueError, match="client and servers need a node each"):
        pods_and_services(WORKLOADS, nodes)
