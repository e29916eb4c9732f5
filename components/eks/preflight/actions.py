"""The IAM permissions that a stack takes, as the policy that docs/eks.md shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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


_ROLE_POLICIES = (
    "AmazonEC2ContainerRegistryPullOnly",
    "AmazonEKSClusterPolicy",
    "AmazonEKSWorkerNodePolicy",
    "AmazonEKS_CNI_Policy",
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
"""What is looked up before anything is made; it makes nothing."""

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
