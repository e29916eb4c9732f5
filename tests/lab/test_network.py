"""Addresses and names in the VPC."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import cast

import pytest

from lab import network
from lab.errors import LabError
from lab.network import NodeAddress, node_addresses
from lab.sandbox import Sandbox

NINE = node_addresses(9)  # As many as a stack may ask for.


def test_nodes_are_numbered_from_one() -> None:
    assert node_addresses(2) == (
        NodeAddress("node-1", "172.30.0.11", "172.30.101.0/24"),
        NodeAddress("node-2", "172.30.0.12", "172.30.102.0/24"),
    )


def test_a_nodes_address_does_not_depend_on_how_many_there_are() -> None:
    assert node_addresses(2) == NINE[:2]


@pytest.mark.parametrize("node", NINE, ids=lambda node: str(node.name))
def test_a_node_is_on_the_fabric_and_its_pods_are_beside_it(node: NodeAddress) -> None:
    pods = IPv4Network(node.pod_cidr)
    assert IPv4Address(node.ip) in network.SUBNET
    assert IPv4Address(node.ip) != network.GATEWAY
    assert pods.subnet_of(network.VPC_CIDR)
    assert not any(pods.overlaps(subnet) for subnet in network.SUBNETS[:2])


def test_no_address_is_given_twice() -> None:
    assert len({each.ip for each in NINE}) == 9
    assert len({each.mac for each in NINE}) == 9
    subnets = [IPv4Network(each.pod_cidr) for each in NINE]
    assert not any(one.overlaps(other) for one, other in combinations(subnets, 2))


def test_macs_are_made_from_addresses_and_belong_to_nobody() -> None:
    assert NINE[0].mac == "02:00:ac:1e:00:0b"
    for each in NINE:
        first = int(each.mac[:2], 16)
        assert first & 0b11 == 0b10, "locally administered, not a multicast address"


class IdleSandbox:
    """Nothing runs in it."""

    def pid_of(self, name: str) -> None:
        """As :meth:`lab.sandbox.Sandbox.pid_of`."""


def test_interfaces_are_named_as_amazon_linux_2023_names_them() -> None:
    assert [network.device_name(index) for index in (0, 1, 14)] == ["ens5", "ens6", "ens19"]
    longest = network.port_name(NINE[-1].name, 14)
    assert longest == "node-9-ens19"
    assert len(longest) <= 15, "IFNAMSIZ"


def test_a_node_that_does_not_run_is_told_as_the_labs_error() -> None:
    sandbox = IdleSandbox()
    with pytest.raises(LabError, match="node-2 is not running"):
        network.running_node(cast(Sandbox, sandbox), NINE[1], ())
