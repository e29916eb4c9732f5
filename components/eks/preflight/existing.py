"""What an earlier run of this stack has left in the account."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from components.eks.preflight.failures import code_of
from components.eks.preflight.findings import Caution, Finding, Refusal
from components.eks.preflight.quota import Use, has_tag

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_eks import EKSClient


@dataclass(frozen=True, slots=True)
class ExistingCluster:
    """A cluster that has the name which this stack's has or will have."""

    version: str
    status: str
    ours: bool


def cluster(eks: EKSClient, name: str, own: tuple[str, str]) -> ExistingCluster | None:
    """The cluster of that name, if there is one.

    :param own: name and value of the tag that this stack's resources have.
    """
    try:
        found = eks.describe_cluster(name=name)["cluster"]
    except ClientError as error:
        if code_of(error) == "ResourceNotFoundException":
            return None
        raise
    return ExistingCluster(
        found["version"], found["status"], found.get("tags", {}).get(own[0]) == own[1]
    )


def vpcs(ec2: EC2Client, own: tuple[str, str]) -> Use:
    """The region's VPCs."""
    pages = ec2.get_paginator("describe_vpcs").paginate()
    return _use([has_tag(vpc.get("Tags", []), own) for page in pages for vpc in page["Vpcs"]])


def addresses(ec2: EC2Client, own: tuple[str, str]) -> Use:
    """The region's Elastic IP addresses."""
    found = ec2.describe_addresses()["Addresses"]
    return _use([has_tag(address.get("Tags", []), own) for address in found])


def _use(ours: list[bool]) -> Use:
    return Use(ours=sum(ours), others=len(ours) - sum(ours))


def stray_interfaces(ec2: EC2Client, own: tuple[str, str]) -> tuple[str, ...]:
    """Ids of the network interfaces that a CNI made for this stack and nobody uses."""
    found = ec2.describe_network_interfaces(
        Filters=[
            {"Name": "status", "Values": ["available"]},
            {"Name": f"tag:{own[0]}", "Values": [own[1]]},
        ]
    )["NetworkInterfaces"]
    return tuple(interface["NetworkInterfaceId"] for interface in found)


def judge_cluster(
    found: ExistingCluster | None, name: str, region: str, stack: str
) -> Iterator[Finding]:
    """Whether the cluster's name is free, or this stack's own."""
    if found is None:
        return
    if not found.ours:
        what = f"{name} exists in {region} already, and is not of this stack"
        yield Refusal("cluster", what, "delete it, or give this stack another name")
    elif found.status in ("DELETING", "FAILED"):
        fix = f"pulumi refresh -s {stack} once it is gone"
        yield Refusal("cluster", f"{name} is {found.status}", fix)


def judge_leftovers(
    interfaces: tuple[str, ...], networks: Use, *, cluster_exists: bool, region: str, stack: str
) -> Iterator[Finding]:
    """What is left although no cluster is there; the stack may still know of it."""
    if cluster_exists:
        return
    if interfaces:
        ids = " ".join(interfaces)
        yield Caution(
            f"{len(interfaces)} network interfaces of an earlier cluster are left, and keep its "
            f"subnets from being deleted: for i in {ids}; do aws ec2 delete-network-interface "
            f"--region {region} --network-interface-id $i; done"
        )
    if networks.ours:
        yield Caution(
            f"a VPC of an earlier run of {stack} is left, perhaps with a NAT gateway that costs "
            f"money: pulumi up -s {stack} goes on with it and pulumi destroy -s {stack} removes "
            "it, as long as the stack's state knows of it (pulumi stack -s "
            f"{stack})"
        )
