"""What a CNI is installed on: facts of the nodes' machines, the cluster, the lab's fabric.

Decisions rest on these facts, never on an instance type's name: EC2 says what a type is through
`ec2:DescribeInstanceTypes`, the lab says what it is made of, and what nobody can know before a
node has joined (its driver's version, its MTU) stays unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    def parse(cls, release: str) -> Kernel:
        """Read `uname -r`, `6.1.159-182.297.amzn2023` say; PlatformError where it is no release."""
        match = re.match(r"(\d+)\.(\d+)", release)
        if match is None:
            raise PlatformError(f"{release!r} is not a kernel release such as 6.1.159")
        return cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


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
    has_fq: bool | None = None
    """Whether the agent can use the `fq` queueing discipline (module sch_fq)."""
    has_bbr: bool | None = None
    ena_srd: bool = False
    """ENA Express. It changes how packets cross the fabric and has nothing to do with XDP."""
    max_enis: int | None = None
    addresses_per_eni: int | None = None
    """IPv4 addresses per interface, the interface's own primary one included."""
    baseline_gbps: float | None = None
    peak_gbps: float | None = None

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
        card = network.get("NetworkCards", [{}])[network.get("DefaultNetworkCardIndex", 0)]
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
            baseline_gbps=card.get("BaselineBandwidthInGbps"),
            peak_gbps=card.get("PeakBandwidthInGbps"),
        )
    except KeyError as missing:
        name = item.get("InstanceType", "an instance type")
        raise PlatformError(f"EC2's description of {name} has no {missing.args[0]}") from missing


def lab_facts(
    *, kernel: Kernel, arch: str, vcpus: int, memory_mib: int, has_fq: bool, has_bbr: bool
) -> PlatformFacts:
    """Facts of the embedded lab: nodes are network namespaces joined by veth pairs.

    `memory_mib` is the machine's, since every agent sizes its maps by all of it. `has_fq` is
    whether an agent can use fq: not only that the kernel has it, also that the node's network
    namespace has `net.core.default_qdisc`, which Linux gives to the initial namespace only.
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
        has_fq=has_fq,
        has_bbr=has_bbr,
    )


def al2023_kernel(eks_version: str) -> Kernel:
    """The kernel of the EKS-optimised Amazon Linux 2023 image for a Kubernetes version.

    6.1 up to 1.32 and 6.12 from 1.33, as inferred from AMI release notes; nodes tell the truth.
    """
    major, minor = eks_version.split(".")
    return Kernel(6, 12) if (int(major), int(minor)) >= (1, 33) else Kernel(6, 1)


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
    egress_interfaces: str = "ens+"
    """The nodes' own interfaces, as an iptables pattern. Amazon Linux 2023 names them ens5 …"""
    eni_role: str | None = None
    """ARN of the role by which the CNI manages ENIs; None where it has none to manage."""
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


# The instance types that are known without AWS credentials. Each item has the shape of an element
# of `InstanceTypes` in DescribeInstanceTypes, cut to the fields that `from_describe_instance_types`
# reads. Source: the API's answers as recorded in moto 5.2.5
# (`moto/ec2/resources/instance_types.json`).


def _virtual(
    name: str, arch: str, memory_mib: int, baseline_gbps: float, peak_gbps: float
) -> dict[str, Any]:
    """An `xlarge` of a Nitro family: 4 vCPUs, and 4 interfaces of 15 addresses."""
    return {
        "InstanceType": name,
        "BareMetal": False,
        "Hypervisor": "nitro",
        "ProcessorInfo": {"SupportedArchitectures": [arch]},
        "VCpuInfo": {"DefaultVCpus": 4},
        "MemoryInfo": {"SizeInMiB": memory_mib},
        "NetworkInfo": _network(4, 15, baseline_gbps, peak_gbps),
    }


def _metal(
    name: str, vcpus: int, memory_mib: int, gbps: float, *, srd: bool = False
) -> dict[str, Any]:
    """Bare metal: no `Hypervisor` field, and bandwidth that is no burst."""
    return {
        "InstanceType": name,
        "BareMetal": True,
        "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
        "VCpuInfo": {"DefaultVCpus": vcpus},
        "MemoryInfo": {"SizeInMiB": memory_mib},
        "NetworkInfo": _network(15, 50, gbps, gbps, srd=srd),
    }


def _network(
    enis: int, addresses: int, baseline_gbps: float, peak_gbps: float, *, srd: bool = False
) -> dict[str, Any]:
    return {
        "EnaSupport": "required",
        "EnaSrdSupported": srd,
        "MaximumNetworkInterfaces": enis,
        "Ipv4AddressesPerInterface": addresses,
        "NetworkCards": [
            {"BaselineBandwidthInGbps": baseline_gbps, "PeakBandwidthInGbps": peak_gbps}
        ],
    }


DESCRIPTIONS: dict[str, dict[str, Any]] = {
    item["InstanceType"]: item
    for item in (
        _virtual("m6i.xlarge", "x86_64", 16384, 1.562, 12.5),
        _virtual("c6i.xlarge", "x86_64", 8192, 1.562, 12.5),
        _virtual("m6in.xlarge", "x86_64", 16384, 6.25, 30.0),
        _virtual("c6in.xlarge", "x86_64", 8192, 6.25, 30.0),
        _virtual("m7g.xlarge", "arm64", 16384, 1.876, 12.5),
        _virtual("c7g.xlarge", "arm64", 8192, 1.876, 12.5),
        _metal("c5.metal", 96, 196608, 25.0),
        _metal("m6i.metal", 128, 524288, 50.0, srd=True),
    )
}


def known_facts(instance_type: str, *, kernel: Kernel | None = None) -> PlatformFacts | None:
    """Facts of an instance type in the table, or None where only EC2 can tell."""
    item = DESCRIPTIONS.get(instance_type)
    return None if item is None else from_describe_instance_types(item, kernel=kernel)
