"""Preflight without permissions: what it cannot do without, and what it only warns about."""

from __future__ import annotations

import pytest

from components.eks.preflight.account import POLICY
from tests.aws.conftest import Check
from tests.aws.server import AwsServer

NEEDED = {
    "ec2:DescribeAvailabilityZones",
    "ec2:DescribeInstanceTypeOfferings",
    "ec2:DescribeInstanceTypes",
    "eks:DescribeCluster",
}
# Asked only in other cases: by scenario A, for a role, for a quota that nobody has changed;
# and by the inventory.
ELSEWHERE = {
    "eks:DescribeAddonVersions",
    "iam:GetRole",
    "servicequotas:GetAWSDefaultServiceQuota",
    "ec2:DescribeVolumes",
    "eks:ListClusters",
}
# Has a table in its place.
PRICES = {"pricing:GetProducts"}
OPTIONAL = sorted({*POLICY["Statement"][0]["Action"]} - NEEDED - ELSEWHERE - PRICES)


def test_what_it_needs_is_a_line_each_that_names_the_permission(
    check: Check, aws: AwsServer
) -> None:
    aws.account.denied = sorted(NEEDED)
    assert sorted(check()[1].problems) == [
        f"permissions: AWS denies {action} to arn:aws:iam::123456789012:user/benchmark. "
        "Fix: allow it; docs/eks.md has the whole policy"
        for action in sorted(NEEDED)
    ]


def test_anything_else_is_a_warning_that_names_it(check: Check, aws: AwsServer) -> None:
    aws.account.denied = OPTIONAL
    report = check()[1]
    assert report.problems == ()
    unchecked = [line for line in report.warnings if line.startswith("not checked: ")]
    for action in OPTIONAL:
        assert any(f"AWS denies {action})" in line for line in unchecked), action


def test_without_the_versions_a_table_stands_in(check: Check, aws: AwsServer) -> None:
    aws.account.denied = ["eks:DescribeClusterVersions"]
    result, report = check({"eks.version": "1.31"})
    (problem,) = report.problems
    assert "1.31: EKS does not offer it any more: its extended support ended on 2026-11-26" in (
        problem
    )
    assert any("a table of 2026-11-28 stands in" in line for line in report.warnings)
    # What it does not know has the surcharge in the estimate, to be on the safe side.
    result, report = check({"eks.version": "1.99"})
    assert report.problems == ()
    assert result.cost is not None
    assert "its extended support" in [item.what for item in result.cost.items]


def test_without_the_price_list_there_is_a_table_that_says_so(check: Check, aws: AwsServer) -> None:
    listed, _ = check()
    aws.account.denied = ["pricing:GetProducts"]
    result, report = check()
    assert report.problems == ()
    assert result.cost is not None
    assert listed.cost is not None
    assert result.cost.source == "a table of 2026-10-01 (all: AWS denies pricing:GetProducts)"
    assert result.cost.usd == pytest.approx(listed.cost.usd)


def test_a_price_that_nobody_knows_is_a_refusal(check: Check, aws: AwsServer) -> None:
    aws.account.denied = ["pricing:GetProducts"]
    changes: dict[str, object] = {
        "eks.region": "eu-west-1",
        "eks.zones": ["eu-west-1a", "eu-west-1b"],
        "eks.nodeZone": "eu-west-1a",
    }
    (problem,) = check(changes)[1].problems
    assert problem.startswith("cost: no price of a node hour for m6i.xlarge in eu-west-1: AWS ")
    assert "so eks.maxCostUsd could not be kept" in problem


def test_one_price_that_the_list_lacks_is_the_tables(check: Check, aws: AwsServer) -> None:
    aws.account.unpriced = ["NatGateway-Hours"]
    result, report = check()
    assert report.problems == ()
    assert result.cost is not None
    assert result.cost.source == (
        "a table of 2026-10-01 (nat_gateway_hour: the price list has no price for "
        "NatGateway-Hours in ap-northeast-2) and AWS's price list for ap-northeast-2"
    )


def test_what_iam_would_deny_is_told(check: Check, aws: AwsServer) -> None:
    aws.account.policy_denies = ["eks:CreateCluster", "iam:CreateRole"]
    report = check()[1]
    assert report.problems == ()
    assert any(
        line.startswith("IAM's simulation denies you eks:CreateCluster, iam:CreateRole; unless")
        for line in report.warnings
    )


def test_a_roles_policies_are_found_by_its_session(check: Check, aws: AwsServer) -> None:
    """moto has no such role, which is a warning like any other failure."""
    aws.account.arn = "arn:aws:sts::123456789012:assumed-role/Admin/somebody"
    report = check()[1]
    assert report.problems == ()
    assert any(
        "your permissions (GetRole: Role Admin not found" in line for line in report.warnings
    )


def test_the_accounts_root_may_do_all(check: Check, aws: AwsServer) -> None:
    aws.account.arn = "arn:aws:iam::123456789012:root"
    aws.account.policy_denies = ["eks:CreateCluster"]
    assert not any("permissions" in line or "IAM" in line for line in check()[1].warnings)
