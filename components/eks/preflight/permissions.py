"""The IAM permissions that a stack takes, and whether the caller has them.

:func:`policy` is the policy that docs/eks.md shows. IAM's simulation tells how far the caller's own
policies allow it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from components.eks.aws import Caution, Finding
from components.eks.dataplane.registry import DATAPLANES
from components.eks.iam import NODE_POLICIES

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

_LISTED = 6  # denied actions that the warning names


@dataclass(frozen=True, slots=True)
class Statement:
    """Permissions for one purpose, on any resource.

    :param conditions: by operator and condition key, the values that are allowed.
    """

    sid: str
    actions: tuple[str, ...]
    conditions: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)


def _of(service: str, names: str) -> tuple[str, ...]:
    return tuple(f"{service}:{name}" for name in sorted(names.split()))


# AWS's managed policies that the stack's roles have attached.
_ROLE_POLICIES = sorted(
    {"AmazonEKSClusterPolicy", *NODE_POLICIES}.union(
        *(each.managed_policies for each in DATAPLANES.values())
    )
)

PREFLIGHT = Statement(
    "Preflight",
    _of(
        "ec2",
        "DescribeAddresses DescribeAvailabilityZones DescribeInstanceTypeOfferings "
        "DescribeInstanceTypes DescribeInstances DescribeNetworkInterfaces DescribeRegions "
        "DescribeVpcs",
    )
    + _of("eks", "DescribeAddonVersions DescribeCluster DescribeClusterVersions")
    + _of("iam", "GetRole SimulatePrincipalPolicy")
    + _of("pricing", "GetProducts")
    + _of("servicequotas", "GetAWSDefaultServiceQuota GetServiceQuota"),
)
"""What the preflight looks up. It changes nothing."""

# What pulumi-aws calls to create, read, change and delete each kind of resource in
# `components.eks`, after the source of the Terraform provider that it is made of.
STATEMENTS = (
    PREFLIGHT,
    Statement(
        "Network",
        _of(
            "ec2",
            "AllocateAddress AssociateRouteTable AttachInternetGateway CreateInternetGateway "
            "CreateNatGateway CreateRoute CreateRouteTable CreateSubnet CreateTags CreateVpc "
            "DeleteInternetGateway DeleteNatGateway DeleteNetworkInterface DeleteRoute "
            "DeleteRouteTable DeleteSubnet DeleteTags DeleteVpc DescribeAddressesAttribute "
            "DescribeInternetGateways DescribeNatGateways DescribeNetworkAcls "
            "DescribeRouteTables DescribeSecurityGroups DescribeSubnets DescribeVpcAttribute "
            "DetachInternetGateway DisassociateAddress DisassociateRouteTable "
            "ModifySubnetAttribute ModifyVpcAttribute ReleaseAddress ReplaceRoute",
        ),
    ),
    Statement(
        "Cluster",
        _of(
            "eks",
            "CreateAddon CreateCluster CreateNodegroup DeleteAddon DeleteCluster DeleteNodegroup "
            "DescribeAddon DescribeNodegroup DescribeUpdate ListTagsForResource TagResource "
            "UntagResource UpdateAddon UpdateClusterConfig UpdateClusterVersion "
            "UpdateNodegroupConfig UpdateNodegroupVersion",
        ),
    ),
    Statement(
        # EKS starts nodes itself, but only for who could start them from the launch template.
        "Nodes",
        _of(
            "ec2",
            "CreateLaunchTemplate CreateLaunchTemplateVersion DeleteLaunchTemplate "
            "DescribeLaunchTemplateVersions DescribeLaunchTemplates ModifyLaunchTemplate "
            "RunInstances",
        ),
    ),
    Statement(
        "Identities",
        _of(
            "iam",
            "CreateOpenIDConnectProvider CreateRole DeleteOpenIDConnectProvider DeleteRole "
            "DeleteRolePolicy GetOpenIDConnectProvider GetRolePolicy ListAttachedRolePolicies "
            "ListInstanceProfilesForRole ListRolePolicies PassRole PutRolePolicy "
            "TagOpenIDConnectProvider TagRole UntagOpenIDConnectProvider UntagRole "
            "UpdateAssumeRolePolicy UpdateRole UpdateRoleDescription",
        ),
    ),
    Statement(
        "ManagedPolicies",
        _of("iam", "AttachRolePolicy DetachRolePolicy"),
        {
            "ArnEquals": {
                "iam:PolicyARN": tuple(f"arn:aws:iam::aws:policy/{name}" for name in _ROLE_POLICIES)
            }
        },
    ),
    Statement(
        "ServiceLinkedRoles",  # which EKS has in every account that has ever used it
        _of("iam", "CreateServiceLinkedRole"),
        {
            "StringEquals": {
                "iam:AWSServiceName": ("eks.amazonaws.com", "eks-nodegroup.amazonaws.com")
            }
        },
    ),
)

ACTIONS = tuple(action for statement in STATEMENTS for action in statement.actions)


def policy() -> dict[str, Any]:
    """The permissions as an IAM policy document."""
    return {"Version": "2012-10-17", "Statement": [_document(each) for each in STATEMENTS]}


def conditions() -> dict[str, str]:
    """A value that each condition key has when a stack is deployed, for IAM's simulation."""
    return {
        key: values[0]
        for statement in STATEMENTS
        for wanted in statement.conditions.values()
        for key, values in wanted.items()
    }


def _document(statement: Statement) -> dict[str, Any]:
    document: dict[str, Any] = {
        "Sid": statement.sid,
        "Effect": "Allow",
        "Action": list(statement.actions),
        "Resource": "*",
    }
    if statement.conditions:
        document["Condition"] = {
            operator: {key: list(values) for key, values in wanted.items()}
            for operator, wanted in statement.conditions.items()
        }
    return document


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


def check(actions: Sequence[str]) -> Iterator[Finding]:
    """A warning only: a policy for certain resources or tags looks denied here and still works."""
    if actions:
        more = f" and {len(actions) - _LISTED} more" if len(actions) > _LISTED else ""
        yield Caution(
            f"IAM's simulation denies you {', '.join(actions[:_LISTED])}{more}; unless your "
            "policies allow them for certain resources only, the deployment will fail: see "
            "docs/eks.md, Permissions"
        )
