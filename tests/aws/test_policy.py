"""Policies are evaluated as IAM says that it does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.aws.policy import Request, allows, managed

ENI = "arn:aws:ec2:eu-west-1:123456789012:network-interface/eni-1"
DELETE = Request("ec2:DeleteNetworkInterface", ENI, {"aws:ResourceTag/team": "net"})


def policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def statement(effect: str = "Allow", **changes: Any) -> dict[str, Any]:
    return {"Effect": effect, "Action": "ec2:Delete*", "Resource": "*", **changes}


def test_nothing_is_allowed_that_no_statement_allows() -> None:
    assert not allows(policy(), DELETE)
    assert not allows(policy(statement(Action="ec2:Describe*")), DELETE)
    assert allows(policy(statement()), DELETE)


def test_a_denial_outweighs_what_is_allowed_and_only_where_it_holds() -> None:
    denial = statement("Deny", Condition={"StringEquals": {"aws:ResourceTag/team": "net"}})
    assert not allows(policy(statement(), denial), DELETE)
    assert allows(policy(statement(), denial), Request(DELETE.action, ENI))


def test_one_of_several_statements_is_enough() -> None:
    failing = statement(Condition={"StringEquals": {"aws:ResourceTag/team": "other"}})
    assert allows(policy(failing, statement()), DELETE)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"StringEquals": {"aws:ResourceTag/team": ["other", "net"]}}, True),
        ({"StringEquals": {"AWS:resourcetag/team": "net"}}, True),
        ({"StringEquals": {"aws:ResourceTag/team": "n*"}}, False),
        ({"StringLike": {"aws:ResourceTag/team": "n?t"}}, True),
        ({"StringLike": {"aws:ResourceTag/team": "n.t"}}, False),
        ({"StringEquals": {"aws:ResourceTag/absent": "net"}}, False),
        (
            {
                "StringEquals": {"aws:ResourceTag/team": "net"},
                "StringLike": {"aws:ResourceTag/team": "x*"},
            },
            False,
        ),
    ],
)
def test_all_conditions_have_to_hold_each_by_one_of_its_values(
    condition: dict[str, Any], holds: bool
) -> None:
    assert allows(policy(statement(Condition=condition)), DELETE) is holds


@pytest.mark.parametrize(
    ("pattern", "holds"),
    [
        ("arn:aws:ec2:*:*:network-interface/*", True),
        ("arn:aws:ec2:eu-west-1:123456789012:instance/*", False),
        ("arn:aws:ec2:us-*:123456789012:network-interface/eni-1", False),
    ],
)
def test_resources_are_patterns(pattern: str, holds: bool) -> None:
    assert allows(policy(statement(Resource=[pattern])), DELETE) is holds


def test_a_star_of_an_arn_stays_in_its_part() -> None:
    vpc = "arn:aws:ec2:eu-west-1:123456789012:vpc/vpc-1"
    request = Request(DELETE.action, ENI, {"ec2:Vpc": vpc})
    for pattern, holds in (("arn:aws:ec2:*:123456789012:vpc/*", True), ("arn:*:vpc/vpc-1", False)):
        made = policy(statement(Condition={"ArnLike": {"ec2:Vpc": pattern}}))
        assert allows(made, request) is holds


def test_a_trust_is_of_its_principal_only() -> None:
    trust = policy({"Effect": "Allow", "Principal": {"Federated": "arn:p"}, "Action": "sts:Assume"})
    assert allows(trust, Request("sts:Assume", principal=("Federated", "arn:p")))
    assert not allows(trust, Request("sts:Assume", principal=("Federated", "arn:q")))
    assert not allows(trust, Request("sts:Assume", principal=("AWS", "arn:p")))
    assert not allows(trust, Request("sts:Assume"))


@pytest.mark.parametrize(
    "unknown",
    [
        {"NotAction": "ec2:*"},
        {"NotResource": "*"},
        {"Condition": {"DateGreaterThan": {"aws:CurrentTime": "2026-01-01"}}},
        {"Condition": {"StringEqualsIfExists": {"aws:ResourceTag/team": "net"}}},
    ],
)
def test_what_is_not_known_here_is_no_guess(unknown: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not evaluated here"):
        allows(policy(statement(**unknown)), DELETE)


def test_awss_own_policies_are_at_hand() -> None:
    tagging = Request("ec2:CreateTags", ENI)
    assert allows(managed("AmazonEKS_CNI_Policy"), tagging)
    assert not allows(managed("AmazonEKSWorkerNodePolicy"), tagging)
