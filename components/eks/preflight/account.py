"""What the account has: room in its quotas, what earlier runs of the stack left, permissions.

The permissions are the policy `policies/caller.json`, which docs/eks.md shows. After the statement
`Preflight`, which changes nothing, it has what pulumi-aws calls to create, read, change and delete
each kind of resource in `components.eks`, after the source of the Terraform provider that it is
made of. `RunInstances` is among them because EKS starts nodes only for a caller who could start
them from the launch template. Accounts that have used EKS before have its service-linked roles
already.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from components.eks.aws import Caution, Finding, Refusal, code_of
from components.eks.preflight.facts import FACTS

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_eks import EKSClient
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_service_quotas import ServiceQuotasClient

Tag = tuple[str, str]
"""Name and value of the tag that everything of the stack has."""

# -- quotas -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota of AWS, by the codes that Service Quotas knows it by."""

    service: str
    code: str
    name: str


VPCS = Quota("vpc", "L-F678F1CE", "VPCs per region")
ADDRESSES = Quota("ec2", "L-0263D0A3", "Elastic IP addresses")

_STANDARD = Quota("ec2", "L-1216C47A", "vCPUs of running on-demand standard instances")
_SPECIAL = {
    letters: Quota("ec2", each.code, f"vCPUs of running on-demand {each.title} instances")
    for each in FACTS.vcpu_quotas
    for letters in each.families
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


def quota_limit(quotas: ServiceQuotasClient, quota: Quota) -> float:
    """The quota's value for the account; AWS's default where nobody has changed it."""
    try:
        applied = quotas.get_service_quota(ServiceCode=quota.service, QuotaCode=quota.code)
        return applied["Quota"]["Value"]
    except ClientError as error:
        if code_of(error) != "NoSuchResourceException":
            raise
    default = quotas.get_aws_default_service_quota(ServiceCode=quota.service, QuotaCode=quota.code)
    return default["Quota"]["Value"]


def vcpus_in_use(ec2: EC2Client, quota: Quota, own: Tag) -> Use:
    """vCPUs of the on-demand instances that count against a quota."""
    pages = ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "instance-state-name", "Values": _STATES}]
    )
    types: list[tuple[str, bool]] = [
        (str(instance["InstanceType"]), _has_tag(instance.get("Tags", []), own))
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
        page = ec2.describe_instance_types(Filters=[{"Name": "instance-type", "Values": some}])
        for item in page["InstanceTypes"]:
            # The quota counts a type's default vCPUs, however its instances set their CPU options.
            sizes[str(item["InstanceType"])] = item["VCpuInfo"]["DefaultVCpus"]
    return sizes


def _has_tag(tags: object, own: Tag) -> bool:
    return isinstance(tags, list) and {"Key": own[0], "Value": own[1]} in tags


def check_quota(
    quota: Quota, limit: float, use: Use, needed: int, region: str
) -> Iterator[Finding]:
    """Whether the stack fits into a quota. What it has already is counted once.

    :param needed: what the whole stack takes.
    """
    total = use.others + max(needed, use.ours)
    if total > limit:
        reason = (
            f"{quota.name} in {region}: {limit:g}, of which others use {use.others}, "
            f"and this stack needs {needed}"
        )
        raise_it = (
            "aws service-quotas request-service-quota-increase --service-code "
            f"{quota.service} --quota-code {quota.code} --desired-value {total} --region {region}"
        )
        yield Refusal("quota", reason, raise_it)


# -- what an earlier run has left -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ExistingCluster:
    """A cluster with the name of this stack's cluster, made at ``created``."""

    version: str
    status: str
    ours: bool
    created: datetime


def existing_cluster(eks: EKSClient, name: str, own: Tag) -> ExistingCluster | None:
    """The cluster of that name, if there is one."""
    try:
        cluster = eks.describe_cluster(name=name)["cluster"]
    except ClientError as error:
        if code_of(error) == "ResourceNotFoundException":
            return None
        raise
    return ExistingCluster(
        cluster["version"],
        cluster["status"],
        cluster.get("tags", {}).get(own[0]) == own[1],
        cluster["createdAt"],
    )


def vpcs_in_use(ec2: EC2Client, own: Tag) -> Use:
    """The region's VPCs."""
    pages = ec2.get_paginator("describe_vpcs").paginate()
    return _use(_has_tag(vpc.get("Tags"), own) for page in pages for vpc in page["Vpcs"])


def addresses_in_use(ec2: EC2Client, own: Tag) -> Use:
    """The region's Elastic IP addresses."""
    addresses = ec2.describe_addresses()["Addresses"]
    return _use(_has_tag(address.get("Tags"), own) for address in addresses)


def _use(are_ours: Iterable[bool]) -> Use:
    ours = list(are_ours)
    return Use(ours=sum(ours), others=len(ours) - sum(ours))


def stray_interfaces(ec2: EC2Client, own: Tag) -> tuple[str, ...]:
    """Ids of the network interfaces that a CNI made for this stack and that nothing uses."""
    interfaces = ec2.describe_network_interfaces(
        Filters=[
            {"Name": "status", "Values": ["available"]},
            {"Name": f"tag:{own[0]}", "Values": [own[1]]},
        ]
    )["NetworkInterfaces"]
    return tuple(interface["NetworkInterfaceId"] for interface in interfaces)


def check_cluster(
    cluster: ExistingCluster | None, name: str, region: str, stack: str
) -> Iterator[Finding]:
    """Whether the cluster's name is free, or this stack's own."""
    if cluster is None:
        return
    if not cluster.ours:
        reason = f"{name} exists in {region} already, and is not of this stack"
        yield Refusal("cluster", reason, "delete it, or give this stack another name")
    elif cluster.status in ("DELETING", "FAILED"):
        fix = f"pulumi refresh -s {stack} once it is gone"
        yield Refusal("cluster", f"{name} is {cluster.status}", fix)


def check_leftovers(
    interfaces: tuple[str, ...], networks: Use, *, cluster_exists: bool, region: str, stack: str
) -> Iterator[Finding]:
    """What is left of an earlier cluster; the stack's state may still have it."""
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


# -- permissions ------------------------------------------------------------------------------

_LISTED = 6  # denied actions that the warning names

POLICY: Mapping[str, Any] = json.loads(
    (Path(__file__).parents[1] / "policies/caller.json").read_text()
)
"""The permissions as an IAM policy document."""

ACTIONS = tuple(str(action) for each in POLICY["Statement"] for action in each["Action"])


def conditions() -> dict[str, str]:
    """A value that each condition key has when a stack is deployed, for IAM's simulation."""
    return {
        key: values[0]
        for statement in POLICY["Statement"]
        for wanted in statement.get("Condition", {}).values()
        for key, values in wanted.items()
    }


class NotSimulatedError(Exception):
    """IAM cannot simulate this caller's policies; the text names the caller."""


def _principal(iam: IAMClient, arn: str) -> str | None:
    """The user or role behind a caller's ARN; None for the account's root, which may do all."""
    if re.fullmatch(r"arn:[\w-]+:iam::\d+:root", arn):
        return None
    if re.match(r"arn:[\w-]+:iam::\d+:(user|role)/", arn):
        return arn
    # The role's own ARN has a path that a session's lacks.
    session = re.match(r"arn:[\w-]+:sts::\d+:assumed-role/([^/]+)/", arn)
    if session is None:
        raise NotSimulatedError(f"IAM cannot simulate {arn}")
    return iam.get_role(RoleName=session[1])["Role"]["Arn"]


def denied(iam: IAMClient, arn: str, region: str) -> tuple[str, ...]:
    """Those of :data:`ACTIONS` that the caller's policies do not allow on every resource.

    :param arn: the caller's.
    :raises NotSimulatedError: the caller is neither a user nor a role.
    """
    source = _principal(iam, arn)
    if source is None:
        return ()
    # Many organisations deny what is not in a region of theirs.
    context = {"aws:RequestedRegion": region, **conditions()}
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=source,
        ActionNames=list(ACTIONS),
        ContextEntries=[
            {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
            for key, value in context.items()
        ],
    )
    return tuple(
        result["EvalActionName"]
        for page in pages
        for result in page["EvaluationResults"]
        if result["EvalDecision"] != "allowed"
    )


def check_permissions(actions: Sequence[str]) -> Iterator[Finding]:
    """A warning only: a policy for certain resources or tags looks denied here and still works."""
    if actions:
        more = f" and {len(actions) - _LISTED} more" if len(actions) > _LISTED else ""
        yield Caution(
            f"IAM's simulation denies you {', '.join(actions[:_LISTED])}{more}; unless your "
            "policies allow them for certain resources only, the deployment will fail: see "
            "docs/eks.md, Permissions"
        )
