"""Which build of the VPC CNI EKS is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber

from cni.problems import Problem
from components.eks.dataplane.vpc_cni import VpcCni
from components.eks.preflight.offers import addon_builds, check_addon, latest_build
from components.eks.settings import EksSettings
from tests.components.stack_config import read

if TYPE_CHECKING:
    from mypy_boto3_eks import EKSClient

OFFERS = ["v1.20.4-eksbuild.1", "v1.19.2-eksbuild.1", "v1.19.2-eksbuild.10", "v1.19.2-eksbuild.5"]


def _page(offers: Iterable[str], token: str | None = None) -> dict[str, Any]:
    """An answer in the shape that botocore's model of EKS has; the stubber checks it."""
    versions = [{"addonVersion": each} for each in offers]
    page: dict[str, Any] = {"addons": [{"addonName": "vpc-cni", "addonVersions": versions}]}
    return {**page, **({"nextToken": token} if token else {})}


@pytest.fixture
def eks() -> EKSClient:
    return boto3.client(
        "eks", region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


def test_all_pages_of_offers_are_read(eks: EKSClient) -> None:
    asked = {"addonName": "vpc-cni", "kubernetesVersion": "1.31"}
    with Stubber(eks) as stub:
        stub.add_response("describe_addon_versions", _page(OFFERS[:2], "more"), asked)
        stub.add_response(
            "describe_addon_versions", _page(OFFERS[2:]), {**asked, "nextToken": "more"}
        )
        assert addon_builds(eks, VpcCni.addon, "1.31") == tuple(OFFERS)


def test_the_latest_build_is_by_number() -> None:
    assert latest_build(OFFERS, "1.19.2") == "v1.19.2-eksbuild.10"
    assert latest_build(OFFERS, "1.19.20") is None
    assert latest_build(["v1.19.2", "v1.19.2-eksbuild"], "1.19.2") is None


def _judged(offers: list[str]) -> list[Problem]:
    eks = read("scenario-a", {"target": "eks"}).section(EksSettings)
    return [
        each
        for each in check_addon(VpcCni.addon, "1.19.2", offers, eks)
        if isinstance(each, Problem)
    ]


def test_a_version_that_is_offered_is_no_finding() -> None:
    assert _judged(OFFERS) == []


@pytest.mark.parametrize(
    ("offers", "told", "fix"),
    [
        (["v1.20.4-eksbuild.1", "v1.9.0-eksbuild.1", "v1.21.1-eksbuild.8"], "the VPC CNI 1.9.0, "
         "1.20.4, 1.21.1", "1.20.4"),
        (["v1.9.0-eksbuild.1"], "the VPC CNI 1.9.0", "1.9.0"),
        ([], "no VPC CNI", None),
    ],
)  # fmt: skip
def test_a_version_that_is_not_offered_is_refused_with_those_that_are(
    offers: list[str], told: str, fix: str | None
) -> None:
    (problem,) = _judged(offers)
    assert problem.key == problem.fix_key == "scenario.cniVersion"
    assert problem.reason == f"EKS 1.31 in ap-northeast-2 offers {told}"
    assert problem.fix_value == fix
