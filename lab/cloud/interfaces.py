"""Network interfaces (ENIs) as EC2 describes them, cut to what carries packets and is told of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from lab.network import device_name, port_name

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import NetworkInterfaceTypeDef


@dataclass(frozen=True, slots=True)
class Interface:
    """An ENI that is attached to a node.

    :param index: the attachment's device index; 0 is the interface that the node was born with.
    :param primary: its own address.
    :param addresses: its secondary addresses.
    :param prefixes: the prefixes that are delegated to it.
    :param groups: ids of its security groups.
    """

    eni: str
    node: str
    index: int
    mac: str
    primary: str
    addresses: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    vpc: str = ""
    subnet: str = ""
    groups: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        """Its name inside the node."""
        return device_name(self.index)

    @property
    def port(self) -> str:
        """The router's end of it."""
        return port_name(self.node, self.index)

    @property
    def routed(self) -> set[str]:
        """All that it has besides its own address, as networks."""
        return {*(f"{each}/32" for each in self.addresses), *self.prefixes}


#: Interfaces as JSON: what the hypervisor has made true, for the metadata service to tell.
INTERFACES = TypeAdapter(list[Interface])


def attached(
    described: Iterable[NetworkInterfaceTypeDef], nodes: Mapping[str, str]
) -> list[Interface]:
    """The interfaces that are attached to one of the lab's nodes.

    :param described: elements of ``NetworkInterfaces`` of DescribeNetworkInterfaces.
    :param nodes: node names by instance id.
    """
    return [
        _interface(each, nodes[instance])
        for each in described
        if (instance := each.get("Attachment", {}).get("InstanceId", "")) in nodes
    ]


def _interface(item: NetworkInterfaceTypeDef, node: str) -> Interface:
    secondary = (each for each in item["PrivateIpAddresses"] if not each["Primary"])
    return Interface(
        eni=item["NetworkInterfaceId"],
        node=node,
        index=item["Attachment"]["DeviceIndex"],
        mac=item["MacAddress"],
        primary=item["PrivateIpAddress"],
        addresses=tuple(each["PrivateIpAddress"] for each in secondary),
        prefixes=tuple(each["Ipv4Prefix"] for each in item.get("Ipv4Prefixes", [])),
        vpc=item["VpcId"],
        subnet=item["SubnetId"],
        groups=tuple(each["GroupId"] for each in item["Groups"]),
    )


def describe(ec2: EC2Client) -> list[NetworkInterfaceTypeDef]:
    """All network interfaces of the account."""
    pages = ec2.get_paginator("describe_network_interfaces").paginate()
    return [each for page in pages for each in page["NetworkInterfaces"]]
