"""Which build of an add-on EKS has for a version: it offers several, named by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import pulumi
from botocore.exceptions import BotoCoreError, ClientError

from cni.scenario import Scenario
from components.eks.preflight.aws import connect
from components.eks.preflight.credentials import CredentialsError, open_session
from components.eks.preflight.failures import first_line
from components.eks.settings import EksSettings

if TYPE_CHECKING:
    from mypy_boto3_eks import EKSClient

_BUILD = re.compile(r"v(?P<version>\d+\.\d+\.\d+)-eksbuild\.(?P<build>\d+)")


def vpc_cni_version(scenario: Scenario, eks: EksSettings) -> str:
    """The latest build of the scenario's VPC CNI, as EKS names it: v1.19.2-eksbuild.5.

    :raises pulumi.RunError: EKS does not offer that version for the cluster's, or cannot be asked.
    """
    try:
        client = connect(open_session(eks.profile, eks.region), eks.region).eks
        offers = offered(client, "vpc-cni", eks.version)
    except (BotoCoreError, ClientError, CredentialsError) as error:
        raise pulumi.RunError(
            f"EKS cannot be asked for its VPC CNI versions: {first_line(error)}"
        ) from None
    found = latest_build(offers, scenario.cni_version)
    if found is None:
        raise pulumi.RunError(
            f"Pulumi.{pulumi.get_stack()}.yaml: cni-benchmark:scenario.cniVersion: "
            f"{scenario.cni_version}: EKS {eks.version} in {eks.region} offers the VPC CNI "
            f"{', '.join(_versions(offers)) or 'in no version'}. "
            "Fix: pulumi config set --path eks.version to a version that has it"
        )
    return found


def offered(client: EKSClient, addon: str, kubernetes_version: str) -> list[str]:
    """All builds of an add-on for a Kubernetes version.

    :raises botocore.exceptions.ClientError: EKS refuses.
    """
    pages = client.get_paginator("describe_addon_versions").paginate(
        addonName=addon, kubernetesVersion=kubernetes_version
    )
    return [
        version["addonVersion"]
        for page in pages
        for found in page["addons"]
        for version in found.get("addonVersions", [])
    ]


def latest_build(offers: Iterable[str], version: str) -> str | None:
    """The highest build of a version among what EKS offers; None where it has none."""
    builds = {
        int(match["build"]): offer
        for offer in offers
        if (match := _BUILD.fullmatch(offer)) and match["version"] == version
    }
    return builds[max(builds)] if builds else None


def _versions(offers: Iterable[str]) -> list[str]:
    matches = (_BUILD.fullmatch(offer) for offer in offers)
    return sorted(
        {match["version"] for match in matches if match},
        key=lambda version: [int(part) for part in version.split(".")],
        reverse=True,
    )
