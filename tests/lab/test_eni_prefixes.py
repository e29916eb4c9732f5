"""Cilium's ENI mode in a running lab, with prefix delegation and all in eBPF (scenario E)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest

from bench.workloads import HTTPBIN_SERVICE, WORKLOADS
from cni.capacity import capacity
from cni.platform import known_facts
from cni.registry import DATAPLANES
from components.lab import rollout
from lab.cloud.vpc import PREFIX_LENGTH
from lab.dataplane.cilium.agents import CILIUM_NODE, OPERATOR
from tests.aws.authorisation import missing
from tests.lab.eni import EniLab
from tests.lab.recorded import keep
from tests.lab.running import bring_up

pytestmark = pytest.mark.lab

CLIENTS, SERVERS = "node-1", "node-2"
CHANGES: dict[str, object] = {
    "lab.nodes": 2,
    "scenario.values": {"extraConfig": {"ipam-cilium-node-update-rate": "1s"}},
}


@pytest.fixture(scope="module")
def lab(lab_host: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EniLab]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        running = bring_up("scenario-e", CHANGES)
        try:
            made = EniLab(running)
            made.add_outside()
            yield made
            keep(made.calls(), "scenario-e")
        finally:
            running.session.close()
            running.lab.remove()


def _prefixes(lab: EniLab, node: str) -> list[IPv4Network]:
    """The prefixes of a node's interfaces, as its CiliumNode has them."""
    return [
        IPv4Network(prefix)
        for interface in lab.interfaces(node).values()
        for prefix in interface.get("prefixes", [])
    ]


def test_every_pods_address_is_of_a_prefix_of_its_node(lab: EniLab) -> None:
    pods = [pod for workload in WORKLOADS for pod in lab.running.session.pods(workload.role)]
    assert pods
    for pod in pods:
        assert any(IPv4Address(pod.ip) in prefix for prefix in _prefixes(lab, pod.node))
    for node in (CLIENTS, SERVERS):
        assert all(prefix.prefixlen == PREFIX_LENGTH for prefix in _prefixes(lab, node))
        # One interface and one prefix are enough for a few pods.
        assert list(lab.interfaces(node)) == [0]


def test_a_nodes_router_address_is_of_its_prefixes(lab: EniLab) -> None:
    # Which one it is depends on who is first on a busy machine: the lab, or the agent.
    nodes = lab.running.lab.api.items(CILIUM_NODE)
    for each in nodes:
        (router,) = [
            address["ip"]
            for address in each["spec"]["addresses"]
            if address["type"] == "CiliumInternalIP"
        ]
        prefixes = _prefixes(lab, each["metadata"]["name"])
        assert any(IPv4Address(router) in prefix for prefix in prefixes)


def test_the_tuning_of_native_routing_is_at_work_on_enis(lab: EniLab) -> None:
    states = rollout.toggle_states(lab.running.lab, lab.running.decisions)
    verified = {state.toggle for state in states if state.verified}
    assert verified >= {"nativeRouting", "hostRouting", "bpfMasquerade", "socketLB", "ctTables"}


def test_pods_reach_each_other_across_nodes_with_their_own_addresses(lab: EniLab) -> None:
    client = lab.running.pod("fortio-client")
    for server in lab.running.session.pods("httpbin"):
        answer = lab.running.get(f"http://{server.ip}:8080/ip")
        assert client.ip in answer.stdout


def test_what_leaves_the_vpc_has_its_nodes_address(lab: EniLab) -> None:
    pod = lab.running.pod("fortio-client")
    assert lab.address_outside(pod) == lab.node(pod.node).address.ip


@pytest.mark.parametrize("node", [CLIENTS, SERVERS])
def test_a_node_port_answers_outside_the_vpc(lab: EniLab, node: str) -> None:
    lab.await_node_port(HTTPBIN_SERVICE, node)


def test_as_many_pods_fit_as_the_instance_type_allows(lab: EniLab) -> None:
    facts = known_facts("m6i.xlarge")
    assert facts is not None
    limit = capacity(
        facts, DATAPLANES["cilium"], prefix_delegation=True, health_endpoint=False
    ).pods
    assert limit == 895
    # All of it in store at once, instead of eight addresses at a time.
    store = {"spec": {"ipam": {"pre-allocate": limit + 1}}}
    lab.running.lab.api.merge(CILIUM_NODE, CLIENTS, store)
    lab.fill(CLIENTS, limit)
    assert [len(each["Ipv4Prefixes"]) for each in lab.described(CLIENTS)] == [14, 14, 14, 14]
    time.sleep(2)  # The operator has been told by now, and has nothing left to give.
    assert lab.allocate(CLIENTS, "one-too-many") is None


def test_the_operator_calls_nothing_that_it_is_not_granted(lab: EniLab) -> None:
    asked = lab.asked(OPERATOR)
    assert "ec2:AssignPrivateIpAddresses" in {each.action for each in asked}
    assert missing(lab.operator_policy(), asked) == []
