"""A few instance types as EC2 describes them, for decisions without an AWS account.

Each entry has the shape of an element of `InstanceTypes` in DescribeInstanceTypes, cut to the
fields that `from_describe_instance_types` reads. Source: the API's answers as recorded in
moto 5.2.5 (`moto/ec2/resources/instance_types.json`).
"""

from __future__ import annotations

from typing import Any

from cni.platform import Kernel, PlatformFacts, from_describe_instance_types


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
