"""Which build of the VPC CNI's add-on EKS has: it offers several of a version, named by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from cni.problems import Problem
from components.eks.preflight.findings import Finding
from components.eks.settings import EksSettings

if TYPE_CHECKING:
    from mypy_boto3_eks import EKSClient

_KEY = "scenario.cniVersion"
_BUILD = re.compile(r"v(?P<version>\d+\.\d+\.\d+)-eksbuild\.(?P<build>\d+)")


def offered(client: EKSClient, kubernetes_version: str) -> tuple[str, ...]:
    """All builds of the VPC CNI for a Kubernetes version."""
    pages = client.get_paginator("describe_addon_versions").paginate(
        addonName="vpc-cni", kubernetesVersion=kubernetes_version
    )
    return tuple(
        version["addonVersion"]
        for page in pages
        for found in page["addons"]
        for version in found.get("addonVersions", [])
    )


def latest_build(offers: Iterable[str], version: str) -> str | None:
    """The highest build of a version among what EKS offers, v1.19.2-eksbuild.5; None for none."""
    builds = {
        int(match["build"]): offer
        for offer in offers
        if (match := _BUILD.fullmatch(offer)) and match["version"] == version
    }
    return builds[max(builds)] if builds else None


def judge(version: str, offers: Iterable[str], eks: EksSettings) -> Iterator[Finding]:
    """Whether EKS has the scenario's VPC CNI for the cluster's Kubernetes version."""
    offers = tuple(offers)
    if latest_build(offers, version) is not None:
        return
    versions = _versions(offers)
    listed = f"offers the VPC CNI {', '.join(versions)}" if versions else "offers no VPC CNI"
    reason = f"EKS {eks.version} in {eks.region} {listed}"
    newer = [each for each in versions if _order(each) > _order(version)]
    yield Problem(_KEY, version, reason, _KEY, next(iter(newer or versions), None))


def _versions(offers: Iterable[str]) -> list[str]:
    """The versions that have a build, oldest first."""
    matches = (_BUILD.fullmatch(offer) for offer in offers)
    return sorted({match["version"] for match in matches if match}, key=_order)


def _order(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
