"""Who may do what in AWS, as pure policy documents."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from components.eks.names import CILIUM_CLUSTER_TAG, CLUSTER_TAG

# What the operator reads to know subnets, limits and its own ENIs. EC2's Describe actions take no
# resource and no condition on one.
_OPERATOR_READS = (
    "ec2:DescribeInstanceTypes",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
)
# Only where it is told to pass over instances (the chart's `eni.instanceTagsFilter`).
_OPERATOR_READS_INSTANCES = ("ec2:DescribeInstances",)

Document = dict[str, Any]


def _allow(
    sid: str, actions: Iterable[str], resources: Iterable[str] | str, **condition: dict[str, str]
) -> Document:
    statement: Document = {
        "Sid": sid,
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": resources if isinstance(resources, str) else list(resources),
    }
    return {**statement, "Condition": condition} if condition else statement


def _document(*statements: Document) -> Document:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def operator_policy(
    partition: str,
    region: str,
    account: str,
    cluster: str,
    vpc: str,
    *,
    filters_instances: bool = False,
) -> Document:
    """What Cilium's operator may do for ENI addressing (1.16.5, `pkg/aws/ec2`), and no more.

    Every change is held to the stack's own cluster, each by the narrowest means that EC2 offers for
    its action (Service Authorization Reference, Amazon EC2):

    - a new ENI has to carry the cluster's tag, which the operator sets in the same call, and lies
      in the stack's VPC; tags may be set by that call only, so that no other ENI can be made ours;
    - ENIs are attached, changed and deleted by that tag, and attached to the stack's own nodes;
    - addresses are given to any ENI of the VPC, since nodes' first ENIs, which Cilium uses too, are
      not Cilium's own.

    That this is what it calls, and all of it, is tested on the running operator (the lab's EC2 API
    records its calls).

    :param vpc: the VPC's ARN.
    :param filters_instances: `eni.instanceTagsFilter` is set.
    """
    reads = _OPERATOR_READS + (_OPERATOR_READS_INSTANCES if filters_instances else ())
    scope = f"arn:{partition}:ec2:{region}:{account}"
    interfaces, instances = f"{scope}:network-interface/*", f"{scope}:instance/*"
    return _document(
        _allow("Read", reads, "*", StringEquals={"aws:RequestedRegion": region}),
        _allow(
            "CreateMarked",
            ["ec2:CreateNetworkInterface"],
            [interfaces],
            StringEquals={f"aws:RequestTag/{CILIUM_CLUSTER_TAG}": cluster},
        ),
        _allow(
            "CreateInVpc",
            ["ec2:CreateNetworkInterface"],
            [f"{scope}:subnet/*", f"{scope}:security-group/*"],
            ArnEquals={"ec2:Vpc": vpc},
        ),
        _allow(
            "MarkCreated",
            ["ec2:CreateTags"],
            [interfaces],
            StringEquals={"ec2:CreateAction": "CreateNetworkInterface"},
        ),
        _allow(
            "ChangeMarked",
            [
                "ec2:AttachNetworkInterface",
                "ec2:DeleteNetworkInterface",
                "ec2:ModifyNetworkInterfaceAttribute",
            ],
            [interfaces],
            StringEquals={f"aws:ResourceTag/{CILIUM_CLUSTER_TAG}": cluster},
        ),
        _allow(
            "AttachToNodes",
            # An attachment's attributes are the instance's as well.
            ["ec2:AttachNetworkInterface", "ec2:ModifyNetworkInterfaceAttribute"],
            [instances],
            StringEquals={f"aws:ResourceTag/{CLUSTER_TAG}": cluster},
        ),
        _allow(
            "AddressInVpc",
            ["ec2:AssignPrivateIpAddresses", "ec2:UnassignPrivateIpAddresses"],
            [interfaces],
            ArnEquals={"ec2:Vpc": vpc},
        ),
    )


def service_trust(service: str) -> Document:
    """A role that a service of AWS takes: `ec2.amazonaws.com` for nodes."""
    return _document(
        {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    )


def service_account_trust(
    provider: str, issuer: str, namespace: str, service_account: str
) -> Document:
    """A role that one Kubernetes service account takes, by its projected token (IRSA).

    :param provider: ARN of the cluster's OpenID Connect provider in IAM.
    :param issuer: the cluster's token issuer, without a scheme.
    """
    return _document(
        {
            "Effect": "Allow",
            "Principal": {"Federated": provider},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {
                "StringEquals": {
                    f"{issuer}:aud": "sts.amazonaws.com",
                    f"{issuer}:sub": f"system:serviceaccount:{namespace}:{service_account}",
                }
            },
        }
    )
