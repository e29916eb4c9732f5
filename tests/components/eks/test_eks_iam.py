"""The operator's policy: what Cilium calls is allowed, on this cluster's things only."""

from __future__ import annotations

import pytest

from components.eks.dataplane.cilium import operator_policy
from components.eks.iam import document
from tests.aws.policy import Request, allows

CLUSTER, VPC = "c-1", "arn:aws:ec2:eu-west-1:123456789012:vpc/vpc-1"
OTHER_VPC = VPC.replace("vpc-1", "vpc-2")
SCOPE = "arn:aws:ec2:eu-west-1:123456789012"
ENI, SUBNET = f"{SCOPE}:network-interface/eni-1", f"{SCOPE}:subnet/subnet-1"
GROUP, INSTANCE = f"{SCOPE}:security-group/sg-1", f"{SCOPE}:instance/i-1"

OURS = {"aws:ResourceTag/io.cilium/cluster-name": CLUSTER, "ec2:Vpc": VPC}
PRIMARY = {"ec2:Vpc": VPC, "aws:ResourceTag/cni-benchmark:cluster": CLUSTER}
OTHERS = {"aws:ResourceTag/io.cilium/cluster-name": "c-2", "ec2:Vpc": OTHER_VPC}
NODE = {"aws:ResourceTag/cni-benchmark:cluster": CLUSTER}
MARKED = {"aws:RequestTag/io.cilium/cluster-name": CLUSTER}


def _allows(action: str, resource: str, context: dict[str, str]) -> bool:
    policy = operator_policy("aws", "eu-west-1", "123456789012", CLUSTER, VPC)
    return allows(policy, Request(action, resource, context))


ALLOWED: list[tuple[str, str, dict[str, str]]] = [
    ("ec2:DescribeSubnets", "*", {"aws:RequestedRegion": "eu-west-1"}),
    ("ec2:DescribeInstanceTypes", "*", {"aws:RequestedRegion": "eu-west-1"}),
    ("ec2:CreateNetworkInterface", ENI, MARKED),
    ("ec2:CreateNetworkInterface", SUBNET, {"ec2:Vpc": VPC}),
    ("ec2:CreateNetworkInterface", GROUP, {"ec2:Vpc": VPC}),
    ("ec2:CreateTags", ENI, {"ec2:CreateAction": "CreateNetworkInterface"}),
    ("ec2:AttachNetworkInterface", ENI, OURS),
    ("ec2:AttachNetworkInterface", INSTANCE, NODE),
    ("ec2:ModifyNetworkInterfaceAttribute", ENI, OURS),
    ("ec2:ModifyNetworkInterfaceAttribute", INSTANCE, NODE),
    ("ec2:DeleteNetworkInterface", ENI, OURS),
    ("ec2:AssignPrivateIpAddresses", ENI, OURS),
    # Prefixes and addresses on a node's first interface, which EC2 has made, not Cilium.
    ("ec2:AssignPrivateIpAddresses", ENI, PRIMARY),
    ("ec2:UnassignPrivateIpAddresses", ENI, PRIMARY),
]
DENIED: list[tuple[str, str, dict[str, str]]] = [
    ("ec2:DescribeSubnets", "*", {"aws:RequestedRegion": "us-east-1"}),
    ("ec2:CreateNetworkInterface", ENI, {}),
    ("ec2:CreateNetworkInterface", ENI, {"aws:RequestTag/io.cilium/cluster-name": "c-2"}),
    ("ec2:CreateNetworkInterface", SUBNET, {"ec2:Vpc": OTHER_VPC}),
    # Marking somebody else's interface would make it deletable.
    ("ec2:CreateTags", ENI, {}),
    ("ec2:CreateTags", INSTANCE, {"ec2:CreateAction": "CreateNetworkInterface"}),
    ("ec2:DeleteNetworkInterface", ENI, OTHERS),
    # Nodes' first interfaces and EKS's own are in the VPC too.
    ("ec2:DeleteNetworkInterface", ENI, PRIMARY),
    ("ec2:AttachNetworkInterface", ENI, PRIMARY),
    ("ec2:AttachNetworkInterface", INSTANCE, {}),
    ("ec2:AssignPrivateIpAddresses", ENI, OTHERS),
    ("ec2:TerminateInstances", INSTANCE, NODE),
    ("ec2:RunInstances", INSTANCE, NODE),
]


@pytest.mark.parametrize(("action", "resource", "context"), ALLOWED)
def test_what_the_operator_does_is_allowed(
    action: str, resource: str, context: dict[str, str]
) -> None:
    assert _allows(action, resource, context)


@pytest.mark.parametrize(("action", "resource", "context"), DENIED)
def test_what_is_not_this_clusters_is_out_of_its_reach(
    action: str, resource: str, context: dict[str, str]
) -> None:
    assert not _allows(action, resource, context)


def test_no_change_is_allowed_without_a_condition_or_on_everything() -> None:
    document = operator_policy("aws", "eu-west-1", "123456789012", CLUSTER, VPC)
    for statement in document["Statement"]:
        assert statement["Condition"]
        assert not any("*" in action for action in statement["Action"])
        if statement["Resource"] == "*":
            assert all(action.startswith("ec2:Describe") for action in statement["Action"])


def test_other_partitions_have_their_own_arns() -> None:
    document = operator_policy("aws-cn", "cn-north-1", "123456789012", CLUSTER, VPC)
    assert "arn:aws:" not in str([each["Resource"] for each in document["Statement"]])


def test_one_service_account_takes_the_role_and_no_other() -> None:
    trust = document(
        "service-account-trust",
        provider="arn:provider",
        issuer="oidc.example/id/1",
        service_account="operator",
    )
    (statement,) = trust["Statement"]
    assert statement["Principal"] == {"Federated": "arn:provider"}
    assert statement["Condition"] == {
        "StringEquals": {
            "oidc.example/id/1:aud": "sts.amazonaws.com",
            "oidc.example/id/1:sub": "system:serviceaccount:kube-system:operator",
        }
    }


def test_nodes_take_their_role_as_ec2() -> None:
    (statement,) = document("service-trust", service="ec2.amazonaws.com")["Statement"]
    assert statement["Principal"] == {"Service": "ec2.amazonaws.com"}
