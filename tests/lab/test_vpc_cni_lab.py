"""The VPC CNI with its real daemon in a running lab (scenario A), with single addresses.

The order of the tests matters: the node's pool is filled at the end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from bench.session import Pod
from bench.workloads import HTTPBIN_SERVICE, WORKLOADS
from cni.capacity import capacity, vpc_cni_max_pods
from cni.platform import known_facts
from cni.registry import DATAPLANES
from components.eks.settings import interface_tags
from components.lab.session import enis_of
from lab import network
from lab.cloud.cloud import RECONCILER
from lab.dataplane.vpc_cni.daemons import DAEMON, Ipamd
from tests.aws.authorisation import missing
from tests.aws.policy import managed
from tests.lab.recorded import keep
from tests.lab.running import bring_up
from tests.lab.traffic import traffic
from tests.lab.vpc_cni import POLICY, VpcCniLab

pytestmark = pytest.mark.lab

CLIENTS, SERVERS = "node-1", "node-2"


@pytest.fixture(scope="module")
def lab(lab_host: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VpcCniLab]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        running = bring_up("scenario-a", {"lab.nodes": 2})
        try:
            made = VpcCniLab(running)
            made.add_outside()
            yield made
            keep(made.calls(), "scenario-a")
        finally:
            running.session.close()
            running.lab.remove()


@pytest.fixture(scope="module")
def late_server(lab: VpcCniLab) -> Pod:
    """A server that has come when its node's first interface was full."""
    lab.await_interfaces(SERVERS, 2)
    # The daemon gives addresses of its interfaces in no order (it walks a Go map:
    # AssignPodIPv4Address of pkg/ipamd/datastore), so that some of the second may go as well.
    free = lab.secondary_addresses(SERVERS, 0) - lab.addresses_on(SERVERS)
    taken = 0
    while free:
        (address,) = lab.take(SERVERS, taken, 1)
        free.discard(address)
        taken += 1
    httpbin = ("go-httpbin", "-host", "0.0.0.0", "-port", "8080", "-log-level", "WARN")
    pod = lab.add_pod("late-server", SERVERS, *httpbin)
    assert lab.index_of(SERVERS, pod.ip) == 1
    return pod


# -- addresses ----------------------------------------------------------------------------------


def test_every_pod_has_an_address_of_an_interface_of_its_node(lab: VpcCniLab) -> None:
    found = enis_of(lab.running.lab)
    pods = [pod for workload in WORKLOADS for pod in lab.running.session.pods(workload.role)]
    assert pods
    for pod in pods:
        index = lab.index_of(pod.node, pod.ip)
        assert pod.ip in found[pod.node][index].addresses
        assert pod.ip in [
            each["PrivateIpAddress"]
            for each in lab.described(pod.node)[index]["PrivateIpAddresses"]
        ]


def test_the_results_tell_of_which_interfaces(lab: VpcCniLab) -> None:
    told = lab.running.session.environment().pod_addresses
    assert len(told) == sum(workload.replicas for workload in WORKLOADS)
    for each in told:
        ids = [eni["NetworkInterfaceId"] for eni in lab.described(each.node)]
        assert each.eni == ids[each.device]


def test_the_daemon_keeps_a_second_interface_in_store_with_the_clusters_tags(
    lab: VpcCniLab,
) -> None:
    for node in (CLIENTS, SERVERS):
        lab.await_interfaces(node, 2)
        second = lab.described(node)[1]
        assert lab.devices(node)["ens6"] == second["MacAddress"]
        tags = {tag["Key"]: tag["Value"] for tag in second["TagSet"]}
        assert tags.items() >= interface_tags("vpc-cni", "lab").items()


def test_nodes_are_in_one_subnet(lab: VpcCniLab) -> None:
    subnets = {each["SubnetId"] for node in (CLIENTS, SERVERS) for each in lab.described(node)}
    assert len(subnets) == 1
    assert all(IPv4Address(node.address.ip) in network.SUBNET for node in lab.running.lab.nodes)


# -- traffic ------------------------------------------------------------------------------------


def test_pods_of_both_interfaces_reach_each_other_across_nodes(
    lab: VpcCniLab, late_server: Pod
) -> None:
    client = lab.running.pod("fortio-client")
    assert lab.connects(late_server, client.ip, 8078).returncode == 0
    answer = lab.running.get(f"http://{late_server.ip}:8080/ip")
    assert json.loads(answer.stdout)["origin"].split(":")[0] == client.ip


def test_a_pod_of_a_second_interface_reaches_services(lab: VpcCniLab, late_server: Pod) -> None:
    service = lab.running.session.service(HTTPBIN_SERVICE)
    assert lab.connects(late_server, service.host, service.port).returncode == 0


def test_what_leaves_the_vpc_has_its_nodes_address(lab: VpcCniLab, late_server: Pod) -> None:
    for pod in (late_server, lab.running.pod("fortio-client")):
        assert lab.address_outside(pod) == lab.node(pod.node).address.ip


@pytest.mark.parametrize("node", [CLIENTS, SERVERS])
def test_a_node_port_answers_outside_the_vpc(lab: VpcCniLab, node: str) -> None:
    lab.await_node_port(HTTPBIN_SERVICE, node)


# -- restarts -----------------------------------------------------------------------------------


def test_restarts_lose_no_traffic_and_no_address(lab: VpcCniLab, late_server: Pod) -> None:
    with traffic(lab, late_server, 15) as codes:
        time.sleep(1)
        lab.end(RECONCILER)
        lab.cloud.start_reconciler()
        lab.end(f"{SERVERS}-{Ipamd.name}")
        lab.daemons.start(lab.node(SERVERS))
        assert codes() == {"200": 15 * 50}
    after = lab.add_pod("after-the-restart", SERVERS)
    pods = [pod for workload in WORKLOADS for pod in lab.running.session.pods(workload.role)]
    assert after.ip not in {pod.ip for pod in [*pods, late_server]}


# -- to the limit -------------------------------------------------------------------------------


def test_as_many_pods_fit_as_the_instance_type_allows(lab: VpcCniLab) -> None:
    facts = known_facts("m6i.xlarge")
    assert facts is not None
    limit = capacity(facts, DATAPLANES["vpc-cni"], prefix_delegation=False).pods
    # Two pods of the host's network are counted in there.
    assert (limit, vpc_cni_max_pods(facts, prefix_delegation=False)) == (56, 58)
    lab.fill(CLIENTS, limit)
    interfaces = lab.described(CLIENTS)
    assert [len(each["PrivateIpAddresses"]) for each in interfaces] == [15, 15, 15, 15]
    assert list(lab.devices(CLIENTS)) == ["ens5", "ens6", "ens7", "ens8"]
    time.sleep(6)  # The daemon looks at its pool every five seconds, and has nothing left to take.
    assert lab.take(CLIENTS, 1000, 1) == []


# -- permissions --------------------------------------------------------------------------------


def test_the_daemon_calls_nothing_that_it_is_not_granted(lab: VpcCniLab) -> None:
    asked = lab.asked(DAEMON)
    called = {each.action for each in asked}
    assert called >= {"ec2:CreateNetworkInterface", "ec2:CreateTags", "ec2:AttachNetworkInterface"}
    assert missing(managed(POLICY), asked) == []


def test_no_call_of_the_daemon_was_refused(lab: VpcCniLab) -> None:
    failed = [each for each in lab.calls() if each.caller == DAEMON]
    assert [each for each in failed if each.status >= 400] == []
