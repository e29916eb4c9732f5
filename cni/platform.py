"""What a CNI is installed on: the nodes' machines and ENIs, the cluster, the lab's fabric.

Decisions rest on these facts, never on an instance type's name: EC2 says what a type is through
`ec2:DescribeInstanceTypes`, the lab says what it is made of, and what nobody can know before a
node has joined (its driver's version, its MTU) stays unknown.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, NamedTuple

# As the Cilium chart's templates/validate.yaml checks it.
_CLUSTER_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")


class PlatformError(ValueError):
    """An instance type's description lacks a field, or a kernel release makes no sense."""


class Kernel(NamedTuple):
    """A Linux kernel's major and minor version; compares as versions do."""

    major: int
    minor: int

    @classmethod
    def parse(cls, release: str) -> "Kernel":
        """Read `uname -r`, `6.1.159-182.297.amzn2023` say; PlatformError where it is no release."""
        match = re.match(r"(\d+)\.(\d+)", release)
        if match is None:
            raise PlatformError(f"{release!r} is not a kernel release such as 6.1.159")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


class Feature(StrEnum):
    """What some nodes lack whatever their kernel's version; each value ends "needs …"."""

    FQ = "the fq queueing discipline, which nodes cannot use"
    BBR = "the kernel's BBR congestion control, which nodes do not have"
    NETKIT = "netkit devices, which the nodes' kernel does not have (CONFIG_NETKIT)"
    WIREGUARD = "WireGuard, which the nodes' kernel does not have (CONFIG_WIREGUARD)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformFacts:
    """What is known of a node before anything is deployed; None means unknown."""

    instance_type: str
    bare_metal: bool
    hypervisor: str | None
    driver: str | None
    """The network driver as `ethtool -i` names it: ena, mlx5_core, virtio_net, veth."""
    arch: str
    vcpus: int
    memory_mib: int
    kernel: Kernel | None = None
    lacks: frozenset[Feature] = frozenset()
    """What is known to be missing."""
    ena_srd: bool = False
    """ENA Express. It changes how packets cross the fabric and has nothing to do with XDP."""
    max_enis: int | None = None
    addresses_per_eni: int | None = None
    """IPv4 addresses per interface, the interface's own primary one included."""
    sustained_gbit: float | None = None
    burst_gbit: float | None = None
    """Bandwidth for any time, and for minutes, in Gbit/s; of all network cards."""
    cluster_placement: bool = True
    """It can be in a cluster placement group, as far as that is known."""

    @property
    def virtualised_ena(self) -> bool:
        """An EC2 virtual machine with an Elastic Network Adapter."""
        return self.driver == "ena" and not self.bare_metal


def from_describe_instance_types(
    item: Mapping[str, Any], *, kernel: Kernel | None = None
) -> PlatformFacts:
    """Facts from one element of `InstanceTypes` in EC2's DescribeInstanceTypes answer.

    `kernel` comes from elsewhere: EC2 does not know what will boot. Raises PlatformError that names
    the field where one is missing.
    """
    try:
        network = item["NetworkInfo"]
        strategies = item.get("PlacementGroupInfo", {}).get("SupportedStrategies", ["cluster"])
        return PlatformFacts(
            instance_type=item["InstanceType"],
            bare_metal=item["BareMetal"],
            # EC2 leaves the field out for bare metal.
            hypervisor=item.get("Hypervisor"),
            # The one driver that EC2 tells of. Other types have ixgbevf or xen-netfront.
            driver="ena" if network["EnaSupport"] in ("required", "supported") else None,
            arch=item["ProcessorInfo"]["SupportedArchitectures"][0],
            vcpus=item["VCpuInfo"]["DefaultVCpus"],
            memory_mib=item["MemoryInfo"]["SizeInMiB"],
            kernel=kernel,
            ena_srd=network.get("EnaSrdSupported", False),
            max_enis=network["MaximumNetworkInterfaces"],
            addresses_per_eni=network["Ipv4AddressesPerInterface"],
            sustained_gbit=_bandwidth(network, "BaselineBandwidthInGbps"),
            burst_gbit=_bandwidth(network, "PeakBandwidthInGbps"),
            cluster_placement="cluster" in strategies,
        )
    except KeyError as missing:
        name = item.get("InstanceType", "an instance type")
        raise PlatformError(f"EC2's description of {name} has no {missing.args[0]}") from missing


def _bandwidth(network: Mapping[str, Any], name: str) -> float | None:
    told = [card[name] for card in network.get("NetworkCards", ()) if name in card]
    return sum(told) if told else None


def lab_facts(
    *, kernel: Kernel, arch: str, vcpus: int, memory_mib: int, lacks: frozenset[Feature]
) -> PlatformFacts:
    """Facts of the embedded lab: nodes are network namespaces joined by veth pairs.

    `memory_mib` is the machine's, since every agent sizes its maps by all of it.
    """
    return PlatformFacts(
        instance_type="lab",
        bare_metal=False,
        hypervisor=None,
        driver="veth",
        arch=arch,
        vcpus=vcpus,
        memory_mib=memory_mib,
        kernel=kernel,
        lacks=lacks,
    )


def version_numbers(version: str) -> tuple[int, ...]:
    """A version's numbers, by which versions are ordered."""
    return tuple(map(int, version.split(".")))


# Newest first, each from a Kubernetes version on. Source: amazon-eks-ami, release of October 2026.
_AL2023_KERNELS = (((1, 36), Kernel(6, 18)), ((1, 33), Kernel(6, 12)), ((1, 0), Kernel(6, 1)))


def al2023_kernel(eks_version: str) -> Kernel:
    """The kernel of the EKS-optimised Amazon Linux 2023 image for a Kubernetes version."""
    version = version_numbers(eks_version)
    return next(kernel for since, kernel in _AL2023_KERNELS if version >= since)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterEndpoint:
    """What the values need to know of the cluster that they are for."""

    name: str
    """Unique among the clusters of an AWS account: Cilium tags its ENIs with it."""
    api_host: str
    """The API server's host, without scheme and port."""
    api_port: int = 443
    eni_subnet_ids: Sequence[str] = ()
    """Subnets in which ENIs may be made; empty for any in the VPC."""
    egress_interfaces: str = "en+"
    """The nodes' own interfaces, as an iptables pattern. Amazon Linux 2023 names them ens5 … or, by
    the instance type, enp39s0 …; a list of patterns is one interface's name to older agents."""
    eni_role: str | None = None
    """ARN of the role by which the CNI manages ENIs; None where it has none to manage."""
    region: str = ""
    """AWS's, where the CNI manages ENIs."""
    eni_tags: Mapping[str, str] = field(default_factory=dict)
    """Tags of the ENIs that the CNI makes, beside its own."""

    def __post_init__(self) -> None:
        if not _CLUSTER_NAME.fullmatch(self.name):
            raise ValueError(
                f"cluster name {self.name!r}: at most 32 of a-z, 0-9 and '-', with a letter or "
                "digit first and last"
            )
        if "/" in self.api_host:
            raise ValueError(f"API server host {self.api_host!r}: without scheme or path")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabFabric:
    """The lab's network between nodes."""

    pod_cidr: str | None
    """Holds every node's routed pod subnet (`spec.podCIDR`); None where pods get addresses of
    ENIs."""
    devices: str = "ens+"
    """The nodes' interfaces on it, as an iptables pattern, named as Amazon Linux 2023 does."""


DESCRIPTIONS: Mapping[str, Mapping[str, Any]] = {
    item["InstanceType"]: item
    for item in json.loads(Path(__file__).with_name("instances.json").read_text())
}
"""The instance types that are known without AWS credentials, as elements of `InstanceTypes` in
DescribeInstanceTypes, cut to the fields that are read here. Source: the API's answers as recorded
in moto 5.2.5 (`moto/ec2/resources/instance_types.json`)."""


def known_facts(instance_type: str, *, kernel: Kernel | None = None) -> PlatformFacts | None:
    """Facts of an instance type in the table, or None where only EC2 can tell."""
    item = DESCRIPTIONS.get(instance_type)
    return None if item is None else from_describe_instance_types(item, kernel=kernel)


# -- network interfaces -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Eni:
    """A network interface with what it has for pods."""

    id: str
    device: int
    """The attachment's device index; 0 is the interface that the instance was born with."""
    addresses: tuple[str, ...] = ()
    """Single secondary addresses."""
    prefixes: tuple[str, ...] = ()
    """Delegated prefixes, `172.30.11.0/28`."""

    def block_of(self, address: str) -> str | None:
        """The prefix, or the single address, that an address belongs to; None for neither."""
        if address in self.addresses:
            return address
        ip = IPv4Address(address)
        return next((each for each in self.prefixes if ip in IPv4Network(each)), None)


class Origin(NamedTuple):
    """Where an address comes from: the interface, and the prefix or single address of it."""

    eni: Eni
    block: str


def by_device(enis: Iterable[Eni]) -> tuple[Eni, ...]:
    """In the order of their attachments."""
    return tuple(sorted(enis, key=lambda each: each.device))


def origin(address: str, enis: Iterable[Eni]) -> Origin | None:
    """Which of a node's ENIs an address is of; None where it is of none."""
    for eni in enis:
        block = eni.block_of(address)
        if block is not None:
            return Origin(eni, block)
    return None
