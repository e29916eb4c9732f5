"""Which build of the VPC CNI EKS is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import boto3
import pulumi
import pytest
from botocore.stub import Stubber

from components.eks import addon_versions
from components.eks.addon_versions import latest_build, offered, vpc_cni_version
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
        assert offered(eks, "vpc-cni", "1.31") == OFFERS


def test_the_latest_build_is_by_number() -> None:
    assert latest_build(OFFERS, "1.19.2") == "v1.19.2-eksbuild.10"
    assert latest_build(OFFERS, "1.19.20") is None
    assert latest_build(["v1.19.2", "v1.19.2-eksbuild"], "1.19.2") is None


def _settings() -> EksSettings:
    return read("scenario-a", {"target": "eks"}).eks


def _asking(monkeypatch: pytest.MonkeyPatch, offers: list[str]) -> None:
    class _Clients:
        eks = None

    monkeypatch.setattr(addon_versions, "open_session", lambda profile, region: None)
    monkeypatch.setattr(addon_versions, "connect", lambda session, region: _Clients)
    monkeypatch.setattr(addon_versions, "offered", lambda client, addon, version: offers)
    monkeypatch.setattr(pulumi, "get_stack", lambda: "scenario-a")


def test_the_scenarios_version_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    _asking(monkeypatch, OFFERS)
    scenario = read("scenario-a").scenario
    assert vpc_cni_version(scenario, _settings()) == "v1.19.2-eksbuild.10"


def test_a_version_that_eks_does_not_offer_is_refused_with_those_that_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _asking(monkeypatch, ["v1.9.0-eksbuild.1", "v1.20.4-eksbuild.1", "v1.20.4-eksbuild.2"])
    with pytest.raises(pulumi.RunError) as caught:
        vpc_cni_version(read("scenario-a").scenario, _settings())
    told = str(caught.value)
    assert "scenario.cniVersion: 1.19.2: EKS 1.31 in ap-northeast-2" in told
    assert "offers the VPC CNI 1.20.4, 1.9.0." in told


def test_credentials_that_are_missing_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials")
    settings = _settings().model_copy(update={"profile": "nobody"})
    with pytest.raises(pulumi.RunError, match=r"VPC CNI versions: .*nobody"):
        vpc_cni_version(read("scenario-a").scenario, settings)
