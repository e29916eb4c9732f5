"""The VPC CNI with its real daemon in a running lab, with prefix delegation."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest

from bench.workloads import HTTPBIN_SERVICE, WORKLOADS
from cni.capacity import capacity
from cni.platform import known_facts
from cni.registry import DATAPLANES
from components.lab.session import enis_of
from lab.cloud.vpc import PREFIX_LENGTH
from lab.cluster import LabSpec
from lab.dataplane.vpc_cni.daemons import DAEMON
from tests.aws.authorisation import missing
from tests.aws.policy import managed
from tests.lab.running import bring_up
from tests.lab.vpc_cni import POLICY, VpcCniLab

pytestmark = pytest.mark.lab

CLIENTS, SERVERS = "node-1", "node-2"
PREFIXES = 4 * 14


def _to_the_limit(spec: LabSpec) -> LabSpec:
    """With all prefixes in store at once, and a kubelet that would run as many pods: by default
    both stop at what is recommended for the instance type."""
    assert spec.cloud is not None
    return replace(
        spec,
        values={"env": {**spec.values["env"], "WARM_PREFIX_TARGET": str(PREFIXES)}},
        cloud=replace(spec.cloud, max_pods=PREFIXES * 16 + 2),
    )


@pytest.fixture(scope="module")
def lab(lab_host: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VpcCniLab]:
    changes: dict[str, object] = {"lab.nodes": 2, "scenario.prefixDelegation": True}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        running = bring_up("scenario-a", changes, _to_the_limit)
        try:
            yield VpcCniLab(running)
        finally:
            running.session.close()
            running.lab.remove()


def test_every_pods_address_is_of_a_prefix_of_its_node(lab: VpcCniLab) -> None:
    found = enis_of(lab.running.lab)
    pods = [pod for workload in WORKLOADS for pod in lab.running.session.pods(workload.role)]
    assert pods
    for pod in pods:
        prefixes = [IPv4Network(each) for eni in found[pod.node] for each in eni.prefixes]
        assert all(each.prefixlen == PREFIX_LENGTH for each in prefixes)
        assert any(IPv4Address(pod.ip) in each for each in prefixes)
        assert not any(eni.addresses for eni in found[pod.node])


def test_pods_reach_each_other_and_services_across_nodes(lab: VpcCniLab) -> None:
    client = lab.running.pod("fortio-client")
    for server in lab.running.session.pods("httpbin"):
        assert client.ip in lab.running.get(f"http://{server.ip}:8080/ip").stdout
    service = lab.running.session.service(HTTPBIN_SERVICE)
    assert lab.connects(client, service.host, service.port).returncode == 0


def test_as_many_pods_fit_as_the_instance_type_allows(lab: VpcCniLab) -> None:
    facts = known_facts("m6i.xlarge")
    assert facts is not None
    limit = capacity(facts, DATAPLANES["vpc-cni"], prefix_delegation=True).pods
    assert limit == 896
    lab.fill(CLIENTS, limit)
    assert [len(each["Ipv4Prefixes"]) for each in lab.described(CLIENTS)] == [14, 14, 14, 14]
    time.sleep(6)  # The daemon looks at its pool every five seconds, and has nothing left to take.
    assert lab.take(CLIENTS, 1000, 1) == []


def test_the_daemon_calls_nothing_that_it_is_not_granted(lab: VpcCniLab) -> None:
    asked = lab.asked(DAEMON)
    assert "ec2:AssignPrivateIpAddresses" in {each.action for each in asked}
    assert missing(managed(POLICY), asked) == []
