"""Room in the account's quotas for what the stack will make, beside what is there already."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from components.eks.preflight.failures import code_of
from components.eks.preflight.findings import Finding, Refusal

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_service_quotas import ServiceQuotasClient


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota of AWS, by the codes that Service Quotas knows it by."""

    service: str
    code: str
    name: str


VPCS = Quota("vpc", "L-F678F1CE", "VPCs per region")
ADDRESSES = Quota("ec2", "L-0263D0A3", "Elastic IP addresses")

_STANDARD = Quota("ec2", "L-1216C47A", "vCPUs of running on-demand standard instances")
# Families of instance types that have a vCPU quota of their own, by the letters of their names.
# Source: EC2 user guide, "On-Demand Instance quotas", and the codes that Service Quotas lists.
_SPECIAL = {
    letters: Quota("ec2", code, f"vCPUs of running on-demand {title} instances")
    for code, title, families in (
        ("L-6E869C2A", "DL", "dl"),
        ("L-74FC7D96", "F", "f"),
        ("L-DB2E81BA", "G and VT", "g gr vt"),
        ("L-F7808C92", "HPC", "hpc"),
        ("L-43DA4232", "high memory", "u"),
        ("L-1945791B", "Inf", "inf"),
        ("L-417A185B", "P", "p"),
        ("L-2C3B7624", "Trn", "trn"),
        ("L-7295265B", "X", "x"),
    )
    for letters in families.split()
}
_STATES = ["pending", "running", "stopping", "shutting-down"]
_TYPES_PER_CALL = 100


@dataclass(frozen=True, slots=True)
class Use:
    """How much of a quota is taken: by this stack already, and by all others."""

    ours: int
    others: int


def vcpu_quota(instance_type: str) -> Quota:
    """The quota that running instances of a type count against."""
    letters = re.match(r"[a-z]*", instance_type)
    return _SPECIAL.get(letters.group() if letters else "", _STANDARD)


def limit(quotas: ServiceQuotasClient, quota: Quota) -> float:
    """The quota's value for the account; AWS's default where nobody has changed it."""
    try:
        found = quotas.get_service_quota(ServiceCode=quota.service, QuotaCode=quota.code)
        return found["Quota"]["Value"]
    except ClientError as error:
        if code_of(error) != "NoSuchResourceException":
            raise
    default = quotas.get_aws_default_service_quota(ServiceCode=quota.service, QuotaCode=quota.code)
    return default["Quota"]["Value"]


def vcpus_in_use(ec2: EC2Client, quota: Quota, own: tuple[str, str]) -> Use:
    """vCPUs of the on-demand instances that count against a quota.

    :param own: name and value of the tag that this stack's instances have.
    """
    pages = ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "instance-state-name", "Values": _STATES}]
    )
    types: list[tuple[str, bool]] = [
        (str(instance["InstanceType"]), has_tag(instance.get("Tags", []), own))
        for page in pages
        for reservation in page["Reservations"]
        for instance in reservation["Instances"]
        # Spot instances have quotas of their own.
        if instance.get("InstanceLifecycle") is None
        and vcpu_quota(str(instance["InstanceType"])) == quota
    ]
    sizes = _vcpus(ec2, sorted({name for name, _ in types}))
    return Use(
        ours=sum(sizes[name] for name, ours in types if ours),
        others=sum(sizes[name] for name, ours in types if not ours),
    )


def _vcpus(ec2: EC2Client, names: list[str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for start in range(0, len(names), _TYPES_PER_CALL):
        some = names[start : start + _TYPES_PER_CALL]
        found = ec2.describe_instance_types(Filters=[{"Name": "instance-type", "Values": some}])
        for item in found["InstanceTypes"]:
            # The quota counts a type's default vCPUs, however its instances set their CPU options.
            sizes[str(item["InstanceType"])] = item["VCpuInfo"]["DefaultVCpus"]
    return sizes


def has_tag(tags: object, own: tuple[str, str]) -> bool:
    """Whether an EC2 resource's list of tags has this one."""
    return isinstance(tags, list) and {"Key": own[0], "Value": own[1]} in tags


def judge(quota: Quota, limit: float, use: Use, needed: int, region: str) -> Iterator[Finding]:
    """Whether the stack fits, what it has already counted once.

    :param needed: what the whole stack takes.
    """
    total = use.others + max(needed, use.ours)
    if total > limit:
        found = (
            f"{quota.name} in {region}: {limit:g}, of which others use {use.others}, "
            f"and this stack needs {needed}"
        )
        raise_it = (
            "aws service-quotas request-service-quota-increase --service-code "
            f"{quota.service} --quota-code {quota.code} --desired-value {total} --region {region}"
        )
        yield Refusal("quota", found, raise_it)
