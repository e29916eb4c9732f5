"""The EC2 API with our extension, over HTTP on the loopback, as its callers use it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError

from cni.platform import from_describe_instance_types, known_facts
from lab.cloud import vpc
from lab.cloud.vpc import Instance, attached, describe
from lab.network import SUBNET, node_addresses
from lab.toolchain.cache import CHECKOUT
from lab.wait import until
from tests.lab.recorded import read_calls

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

REGION = "ap-northeast-2"
NODES = node_addresses(2)
PREFIX_MACS = ["02:00:ac:1e:00:0b", "02:00:ac:1e:00:0c"]


@dataclass
class Running:
    """A server with a VPC and two instances."""

    ec2: EC2Client
    instances: list[Instance]
    log: Path

    def new_interface(self, **count: int) -> str:
        """An interface in the nodes' subnet that is not attached."""
        made = self.ec2.create_network_interface(SubnetId=self.instances[0].subnet, **count)  # type: ignore[arg-type]
        return made["NetworkInterface"]["NetworkInterfaceId"]

    def attach(self, eni: str, index: int, node: int = 1) -> str:
        return self.ec2.attach_network_interface(
            NetworkInterfaceId=eni, InstanceId=self.instances[node].id, DeviceIndex=index
        )["AttachmentId"]

    def held(self, eni: str) -> tuple[list[str], list[str]]:
        """Addresses and prefixes of an interface, its own address first."""
        (shown,) = self.ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])[
            "NetworkInterfaces"
        ]
        assert shown["PrivateIpAddresses"][0]["Primary"]
        return (
            [each["PrivateIpAddress"] for each in shown["PrivateIpAddresses"]],
            [each["Ipv4Prefix"] for each in shown.get("Ipv4Prefixes", [])],
        )

    def available(self) -> int:
        (shown,) = self.ec2.describe_subnets(SubnetIds=[self.instances[0].subnet])["Subnets"]
        return shown["AvailableIpAddressCount"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("ec2")
    log, port = folder / "calls.jsonl", _free_port()
    argv = ["127.0.0.1", str(port), "m6i.xlarge", str(log)]
    with (folder / "server.log").open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "lab.cloud.ec2", *argv],
            cwd=CHECKOUT,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )
    try:
        until("the EC2 API to listen", lambda: _refusal(port), timeout=60)
        ec2 = vpc.connect(f"http://127.0.0.1:{port}", REGION, "cilium-operator")
        zones = ["ap-northeast-2a", "ap-northeast-2c"]
        made = vpc.create(ec2, NODES, instance_type="m6i.xlarge", zones=zones)
        yield Running(ec2, made, log)
    finally:
        server.terminate()
        server.wait(timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _refusal(port: int) -> str | None:
    with socket.socket() as probe:
        answer = probe.connect_ex(("127.0.0.1", port))
    return os.strerror(answer) if answer else None


def _code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


# -- what the owner makes -----------------------------------------------------------------------


def test_nodes_are_instances_in_one_subnet(running: Running) -> None:
    assert [each.address for each in running.instances] == ["172.30.0.11", "172.30.0.12"]
    assert [each.mac for each in running.instances] == PREFIX_MACS
    assert len({each.subnet for each in running.instances}) == 1
    assert len({each.id for each in running.instances}) == 2
    first = running.instances[0]
    assert first.provider_id == f"aws:///ap-northeast-2a/{first.id}"


def test_the_instance_type_is_the_one_that_the_guards_know(running: Running) -> None:
    (item,) = running.ec2.describe_instance_types()["InstanceTypes"]
    assert from_describe_instance_types(item) == known_facts("m6i.xlarge")


# -- addresses and prefixes ---------------------------------------------------------------------


def test_prefixes_are_given_and_taken_back(running: Running) -> None:
    eni = running.instances[0].eni
    before = running.available()
    given = running.ec2.assign_private_ip_addresses(NetworkInterfaceId=eni, Ipv4PrefixCount=2)
    prefixes = [each["Ipv4Prefix"] for each in given["AssignedIpv4Prefixes"]]
    assert running.held(eni) == (["172.30.0.11"], prefixes)
    assert running.available() == before - 32
    assert all(IPv4Network(each).subnet_of(SUBNET) for each in prefixes)
    running.ec2.unassign_private_ip_addresses(NetworkInterfaceId=eni, Ipv4Prefixes=prefixes[:1])
    assert running.held(eni) == (["172.30.0.11"], prefixes[1:])
    running.ec2.unassign_private_ip_addresses(NetworkInterfaceId=eni, Ipv4Prefixes=prefixes[1:])
    assert running.available() == before


def test_addresses_are_given_and_taken_back(running: Running) -> None:
    eni = running.instances[0].eni
    before = running.available()
    given = running.ec2.assign_private_ip_addresses(
        NetworkInterfaceId=eni, SecondaryPrivateIpAddressCount=3
    )
    addresses = [each["PrivateIpAddress"] for each in given["AssignedPrivateIpAddresses"]]
    assert len(addresses) == 3
    assert running.held(eni) == (["172.30.0.11", *addresses], [])
    assert running.available() == before - 3
    running.ec2.unassign_private_ip_addresses(NetworkInterfaceId=eni, PrivateIpAddresses=addresses)
    assert running.held(eni) == (["172.30.0.11"], [])


def test_only_what_an_interface_has_can_be_taken_and_its_own_address_never(
    running: Running,
) -> None:
    eni = running.instances[0].eni
    for address in ("172.30.0.200", "172.30.0.11"):
        with pytest.raises(ClientError) as refused:
            running.ec2.unassign_private_ip_addresses(
                NetworkInterfaceId=eni, PrivateIpAddresses=[address]
            )
        assert _code(refused) == "InvalidParameterValue"


def test_nothing_is_given_twice(running: Running) -> None:
    made = [running.new_interface(Ipv4PrefixCount=2) for _ in range(3)]
    made += [running.new_interface(SecondaryPrivateIpAddressCount=14) for _ in range(3)]
    blocks: list[IPv4Network] = []
    for eni in made:
        addresses, prefixes = running.held(eni)
        blocks += [IPv4Network(each) for each in (*addresses, *prefixes)]
    assert len(blocks) == 3 * 3 + 3 * 15
    assert not any(one.overlaps(other) for one, other in combinations(blocks, 2))
    reserved = {SUBNET[0], SUBNET[1], SUBNET[2], SUBNET[3], SUBNET[-1]}
    assert not any(IPv4Address(each) in block for each in reserved for block in blocks)
    for eni in made:
        running.ec2.delete_network_interface(NetworkInterfaceId=eni)


def test_a_choice_of_addresses_is_refused_and_not_ignored(running: Running) -> None:
    with pytest.raises(ClientError) as refused:
        running.ec2.assign_private_ip_addresses(
            NetworkInterfaceId=running.instances[0].eni, Ipv4Prefixes=["172.30.5.0/28"]
        )
    assert _code(refused) == "UnsupportedOperation"


# -- the instance type's limits -----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["SecondaryPrivateIpAddressCount", "Ipv4PrefixCount"])
def test_an_interface_has_as_many_slots_as_its_type_allows(running: Running, kind: str) -> None:
    eni = running.instances[0].eni
    with pytest.raises(ClientError) as refused:
        running.ec2.assign_private_ip_addresses(NetworkInterfaceId=eni, **{kind: 15})  # type: ignore[arg-type]
    assert _code(refused) == "PrivateIpAddressLimitExceeded"
    assert running.held(eni) == (["172.30.0.11"], [])
    running.ec2.assign_private_ip_addresses(NetworkInterfaceId=eni, **{kind: 14})  # type: ignore[arg-type]
    addresses, prefixes = running.held(eni)
    running.ec2.unassign_private_ip_addresses(
        NetworkInterfaceId=eni, PrivateIpAddresses=addresses[1:], Ipv4Prefixes=prefixes
    )


def test_an_instance_has_as_many_interfaces_as_its_type_allows(running: Running) -> None:
    made = [running.new_interface() for _ in range(4)]
    attachments = [running.attach(eni, index) for index, eni in enumerate(made[:3], start=1)]
    with pytest.raises(ClientError) as refused:
        running.attach(made[3], 4)
    assert _code(refused) == "AttachmentLimitExceeded"
    for each in attachments:
        running.ec2.detach_network_interface(AttachmentId=each)
    for eni in made:
        running.ec2.delete_network_interface(NetworkInterfaceId=eni)


# -- attaching ----------------------------------------------------------------------------------


def test_an_index_that_is_taken_is_told_in_words_that_cilium_looks_for(running: Running) -> None:
    """pkg/aws/eni/node.go, isAttachmentIndexConflict."""
    eni = running.new_interface()
    with pytest.raises(ClientError, match="interface attached at device") as refused:
        running.attach(eni, 0)
    assert _code(refused) == "InvalidParameterValue"
    running.ec2.delete_network_interface(NetworkInterfaceId=eni)


def test_an_interface_in_use_is_neither_deleted_nor_attached_again(running: Running) -> None:
    eni = running.new_interface()
    attachment = running.attach(eni, 1)
    for refuse in (
        lambda: running.ec2.delete_network_interface(NetworkInterfaceId=eni),
        lambda: running.attach(eni, 2),
    ):
        with pytest.raises(ClientError) as refused:
            refuse()
        assert _code(refused) == "InvalidNetworkInterface.InUse"
    running.ec2.detach_network_interface(AttachmentId=attachment)
    running.ec2.delete_network_interface(NetworkInterfaceId=eni)


def test_delete_on_termination_is_kept(running: Running) -> None:
    eni = running.new_interface()
    attachment = running.attach(eni, 1)
    running.ec2.modify_network_interface_attribute(
        NetworkInterfaceId=eni,
        Attachment={"AttachmentId": attachment, "DeleteOnTermination": True},
    )
    (shown,) = running.ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])[
        "NetworkInterfaces"
    ]
    assert shown["Attachment"]["DeleteOnTermination"] is True
    running.ec2.detach_network_interface(AttachmentId=attachment)
    running.ec2.delete_network_interface(NetworkInterfaceId=eni)


def test_detached_interfaces_are_found_by_tag_and_status(running: Running) -> None:
    """How Cilium's collection and the EKS target's janitor look for them."""
    tags = [{"Key": "io.cilium/cluster-name", "Value": "lab"}]
    made = running.ec2.create_network_interface(
        SubnetId=running.instances[0].subnet,
        TagSpecifications=[{"ResourceType": "network-interface", "Tags": tags}],  # type: ignore[list-item, misc]
    )["NetworkInterface"]["NetworkInterfaceId"]
    other = running.new_interface()
    found = running.ec2.describe_network_interfaces(
        Filters=[
            {"Name": "tag:io.cilium/cluster-name", "Values": ["lab"]},
            {"Name": "status", "Values": ["available"]},
        ]
    )["NetworkInterfaces"]
    assert [each["NetworkInterfaceId"] for each in found] == [made]
    for eni in (made, other):
        running.ec2.delete_network_interface(NetworkInterfaceId=eni)


def test_only_attached_interfaces_carry_packets(running: Running) -> None:
    eni = running.new_interface(SecondaryPrivateIpAddressCount=1)
    nodes = {each.id: each.node for each in running.instances}
    assert [each.eni for each in attached(describe(running.ec2), nodes)] == [
        each.eni for each in running.instances
    ]
    attachment = running.attach(eni, 1)
    found = next(each for each in attached(describe(running.ec2), nodes) if each.eni == eni)
    primary, secondary = running.held(eni)[0]
    assert (found.node, found.device, found.port) == ("node-2", "ens6", "node-2-ens6")
    assert (found.primary, found.addresses, found.prefixes) == (primary, (secondary,), ())
    assert found.groups
    running.ec2.detach_network_interface(AttachmentId=attachment)
    running.ec2.delete_network_interface(NetworkInterfaceId=eni)


# -- the record ---------------------------------------------------------------------------------


def test_every_call_is_written_down_with_its_caller(running: Running) -> None:
    before = len(read_calls(running.log))
    running.ec2.describe_vpcs()
    with pytest.raises(ClientError):
        running.ec2.delete_network_interface(NetworkInterfaceId="eni-none")
    read, refused = read_calls(running.log)[before:]
    assert (read.caller, read.action, read.status) == ("cilium-operator", "ec2:DescribeVpcs", 200)
    assert refused.error == "InvalidNetworkInterfaceID.NotFound"
    assert refused.request == {"NetworkInterfaceId": "eni-none"}
