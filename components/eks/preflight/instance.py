"""The nodes' instance type: that the nodes' zone has it, and what it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cni.platform import PlatformFacts
from cni.problems import Problem, did_you_mean
from components.eks.nodes import ARCHITECTURES
from components.eks.preflight.findings import Finding
from components.eks.settings import EksSettings

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

_WORKING = "m6i.xlarge"
_IMAGES_FOR = " and ".join(ARCHITECTURES)


def describe(ec2: EC2Client, name: str) -> Mapping[str, Any] | None:
    """The type as EC2 describes it, or None where the region has no such type."""
    # Asked for it by `InstanceTypes`, EC2 answers with an error where there is none.
    found = ec2.describe_instance_types(Filters=[{"Name": "instance-type", "Values": [name]}])
    return next(iter(found["InstanceTypes"]), None)


def zones_with(ec2: EC2Client, name: str) -> frozenset[str]:
    """The region's zones that have the type."""
    return frozenset(
        offering["Location"]
        for offering in ec2.describe_instance_type_offerings(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [name]}]
        )["InstanceTypeOfferings"]
    )


def all_types(ec2: EC2Client) -> frozenset[str]:
    """Every type that the region has; several pages, so only for who has to choose another."""
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(LocationType="region")
    return frozenset(
        str(offering["InstanceType"])
        for page in pages
        for offering in page["InstanceTypeOfferings"]
    )


def judge_missing(eks: EksSettings, known: frozenset[str]) -> Iterator[Finding]:
    """The finding for a type that the region does not have."""
    if eks.instance_type in known:
        return
    near = did_you_mean(eks.instance_type, known)
    reason = f"{eks.region} does not have this instance type{near}"
    other = _WORKING if _WORKING in known else None
    yield Problem("eks.instanceType", eks.instance_type, reason, "eks.instanceType", other)


def judge_zones(eks: EksSettings, having: frozenset[str]) -> Iterator[Finding]:
    """Whether the nodes' zone has the type, and which of the region's zones do."""
    if eks.node_zone in having:
        return
    listed = ", ".join(sorted(having))
    reason = f"has no {eks.instance_type}; {listed} {'have' if len(having) > 1 else 'has'}"
    ours = [zone for zone in eks.zones if zone in having]
    if not ours:
        index = eks.zones.index(eks.node_zone)
        key = f"eks.zones[{index}]"
        yield Problem(key, eks.node_zone, reason, key, min(having))
    better = ours[0] if ours else min(having)
    yield Problem("eks.nodeZone", eks.node_zone, reason, "eks.nodeZone", better)


def judge_fit(eks: EksSettings, facts: PlatformFacts, pods: int) -> Iterator[Finding]:
    """Whether nodes of this type can run what the benchmark runs.

    :param pods: how many one node must be able to hold.
    """

    def unfit(reason: str) -> Problem:
        return Problem("eks.instanceType", eks.instance_type, reason, "eks.instanceType", _WORKING)

    if facts.arch not in ARCHITECTURES:
        yield unfit(f"its architecture is {facts.arch}; nodes' images are for {_IMAGES_FOR}")
    room = max_pods(facts)
    if room is not None and room < pods:
        enis = f"{facts.max_enis} network interfaces of {facts.addresses_per_eni} addresses"
        yield unfit(f"its {enis} let a node hold {room} pods, and the benchmark's needs {pods}")


def max_pods(facts: PlatformFacts) -> int | None:
    """How many pods EKS lets a node run by default, or None where the type does not say.

    Source: `eni-max-pods.txt` of amazon-eks-ami: ENIs x (addresses of each - 1) + 2; the two are
    pods of the host's network.
    """
    if facts.max_enis is None or facts.addresses_per_eni is None:
        return None
    return facts.max_enis * (facts.addresses_per_eni - 1) + 2
