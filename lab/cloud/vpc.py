"""The VPC that a lab's nodes are in, as clients of the EC2 API see it.

It is made through the API as a cluster's owner makes it. Of instances and network interfaces there
is what carries packets and what instance metadata says. A subnet's first four addresses and its
last one are Amazon's own ("Subnet CIDR blocks", Amazon VPC User Guide), an address is given once,
and a delegated prefix is a whole /28 that no single address is taken from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from pydantic import TypeAdapter

from lab import network
from lab.network import NodeAddress, device_name, port_name

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.literals import InstanceTypeType
    from mypy_boto3_ec2.type_defs import NetworkInterfaceTypeDef

#: Access keys, by which the recorded calls tell callers apart (a CNI has its component's name);
#: nobody checks a signature.
OWNER = "lab"
RECONCILER = "reconciler"
SECRET = "unchecked"
#: An abstract datagram socket, which belongs to a network namespace: rung after every change.
DOORBELL = "\0cni-benchmark-ec2-changes"


_IMAGE = "ami-00000000000000000"
#: A delegated prefix ("Assigning prefixes to network interfaces", Amazon EC2 User Guide).
PREFIX_LENGTH = 28
PREFIX_SIZE = 1 << (32 - PREFIX_LENGTH)
_RESERVED_FIRST = 4
# Where an interface's addresses are looked for: the 256 addresses that its own last byte selects,
# of 16 such regions.
_REGION = 256
_REGIONS = 16

_Given = TypeVar("_Given", IPv4Address, IPv4Network)


# -- clients -------------------------------------------------------------------------------------


def connect(endpoint: str, region: str, caller: str) -> EC2Client:
    """A client of the API; it must be used inside the sandbox's network namespace.

    :param caller: an access key.
    """
    # Labs without ENIs do without half a second of importing it.
    import boto3
    from botocore.config import Config

    return boto3.client(
        "ec2",
        endpoint_url=endpoint,
        region_name=region,
        aws_access_key_id=caller,
        aws_secret_access_key=SECRET,
        # A proxy from the environment must never see the traffic of a sandbox.
        config=Config(proxies={}, connect_timeout=5, read_timeout=30, retries={"mode": "standard"}),
    )


# -- instances -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Instance:
    """A node as EC2 knows it.

    :param eni: its first network interface.
    """

    id: str
    node: str
    type: str
    zone: str
    address: str
    mac: str
    eni: str
    vpc: str
    subnet: str

    @property
    def provider_id(self) -> str:
        """As the cloud provider writes it into the Node object."""
        return f"aws:///{self.zone}/{self.id}"


#: Instances as JSON.
INSTANCES = TypeAdapter(list[Instance])


def create(
    ec2: EC2Client,
    nodes: Sequence[NodeAddress],
    *,
    instance_type: InstanceTypeType,
    zones: Sequence[str],
) -> list[Instance]:
    """Make a VPC with a subnet in each zone, and an instance per node in the first one.

    :raises botocore.exceptions.ClientError: the API refuses.
    """
    vpc = ec2.create_vpc(CidrBlock=str(network.VPC_CIDR))["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=str(cidr), AvailabilityZone=zone)["Subnet"]
        for zone, cidr in zip(zones, network.SUBNETS, strict=False)
    ]
    group = ec2.create_security_group(GroupName="nodes", Description="nodes", VpcId=vpc)["GroupId"]
    made = []
    for node in nodes:
        answer = ec2.run_instances(
            ImageId=_IMAGE,
            InstanceType=instance_type,
            MinCount=1,
            MaxCount=1,
            SubnetId=subnets[0]["SubnetId"],
            SecurityGroupIds=[group],
            PrivateIpAddress=node.ip,
        )
        instance = answer["Instances"][0]
        interface = instance["NetworkInterfaces"][0]
        made.append(
            Instance(
                id=instance["InstanceId"],
                node=node.name,
                type=instance_type,
                zone=zones[0],
                address=node.ip,
                mac=interface["MacAddress"],
                eni=interface["NetworkInterfaceId"],
                vpc=vpc,
                subnet=subnets[0]["SubnetId"],
            )
        )
    return made


# -- network interfaces --------------------------------------------------------------------------


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


# -- free addresses ------------------------------------------------------------------------------


class SubnetFullError(Exception):
    """A subnet has fewer free addresses or prefixes than were asked for."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What interfaces have of a subnet."""

    addresses: frozenset[IPv4Address] = field(default_factory=frozenset)
    prefixes: frozenset[IPv4Network] = field(default_factory=frozenset)

    @classmethod
    def of(cls, addresses: Iterable[str], prefixes: Iterable[str]) -> Taken:
        return cls(
            frozenset(map(IPv4Address, addresses)),
            frozenset(map(IPv4Network, prefixes)),
        )


def free_addresses(
    subnet: IPv4Network, taken: Taken, count: int, owner: IPv4Address | None = None
) -> list[IPv4Address]:
    """The next ``count`` free addresses.

    :param owner: the primary address of the interface that they are for. Different interfaces'
        searches begin apart, so what each gets does not depend on who asks first.
    :raises SubnetFullError: fewer are free.
    """
    free = (
        address
        for address in _from(owner, subnet, 1)
        if address not in taken.addresses and _block(address) not in taken.prefixes
    )
    return _first(free, count, f"addresses in {subnet}")


def free_prefixes(
    subnet: IPv4Network, taken: Taken, count: int, owner: IPv4Address | None = None
) -> list[IPv4Network]:
    """The next ``count`` free prefixes; parameters and errors as of :func:`free_addresses`."""
    used = {_block(address) for address in taken.addresses} | taken.prefixes
    reserved = {_block(subnet[0]), _block(subnet[-1])}
    free = (
        block
        for block in map(_block, _from(owner, subnet, PREFIX_SIZE))
        if block not in used and block not in reserved
    )
    return _first(free, count, f"/{PREFIX_LENGTH} prefixes in {subnet}")


def _from(owner: IPv4Address | None, subnet: IPv4Network, step: int) -> Iterator[IPv4Address]:
    """A subnet's addresses that may be given away, every one once, from an owner's region on."""
    size = subnet.num_addresses
    start = 0 if owner is None else int(owner) % _REGIONS * _REGION % size
    for offset in range(0, size, step):
        index = (start + offset) % size
        if step > 1 or _RESERVED_FIRST <= index < size - 1:
            yield subnet[index]


def _block(address: IPv4Address) -> IPv4Network:
    return IPv4Network((address, PREFIX_LENGTH), strict=False)


def _first(free: Iterator[_Given], count: int, what: str) -> list[_Given]:
    first = list(islice(free, count))
    if len(first) < count:
        raise SubnetFullError(f"{count} {what} were asked for, {len(first)} are free")
    return first
