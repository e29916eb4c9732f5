"""The cluster's Kubernetes version: offered by EKS, in which support, and until when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cni.problems import Problem
from components.eks.preflight.findings import Caution, Finding

if TYPE_CHECKING:
    from mypy_boto3_eks import EKSClient
    from mypy_boto3_eks.type_defs import ClusterVersionInformationTypeDef

_SOON = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Version:
    """A Kubernetes minor version that EKS offers.

    :param extended: in extended support, which costs a surcharge.
    :param ends: when its present support ends: after the extended one, EKS upgrades clusters.
    """

    name: str
    extended: bool
    ends: datetime | None


def offered(eks: EKSClient) -> tuple[Version, ...]:
    """The versions that a cluster can be created with, oldest first."""
    pages = eks.get_paginator("describe_cluster_versions").paginate()
    found = [item for page in pages for item in page["clusterVersions"]]
    # Without `includeAll` EKS leaves unsupported versions out already.
    versions = [_version(item) for item in found if item["versionStatus"] != "UNSUPPORTED"]
    return tuple(sorted(versions, key=_order))


def _version(item: ClusterVersionInformationTypeDef) -> Version:
    if item["versionStatus"] == "EXTENDED_SUPPORT":
        return Version(item["clusterVersion"], True, item.get("endOfExtendedSupportDate"))
    return Version(item["clusterVersion"], False, item.get("endOfStandardSupportDate"))


def find(name: str, versions: Sequence[Version]) -> Version | None:
    """The offered version of that name."""
    return next((version for version in versions if version.name == name), None)


def judge(
    name: str, versions: Sequence[Version], now: datetime, *, existing: str | None
) -> Iterator[Finding]:
    """Whether a cluster can have this version.

    :param existing: the version of the stack's own cluster, where it is there already.
    """
    if name == existing:
        return
    if existing is not None and _order_of(name) != _next(_order_of(existing)):
        reason = (
            f"the stack's cluster has {existing}, and EKS changes a version only to the next one; "
            "for any other destroy the stack first"
        )
        yield Problem("eks.version", name, reason, "eks.version", existing)
        return
    found = find(name, versions)
    if found is None:
        listed = ", ".join(_told(version) for version in versions)
        reason = (
            f"EKS does not offer it (any more); it offers {listed} (for all stacks at once: "
            "eks.version in Pulumi.yaml)"
        )
        yield Problem("eks.version", name, reason, "eks.version", _nearest(name, versions, now))
        return
    if found.extended:
        end = f", which ends on {found.ends:%Y-%m-%d}" if found.ends else ""
        yield Caution(
            f"Kubernetes {name} is in extended support{end}: EKS charges the surcharge that the "
            "estimate has"
        )
    elif found.ends and _ends_soon(found, now):
        yield Caution(
            f"Kubernetes {name} goes into extended support on {found.ends:%Y-%m-%d}, at a surcharge"
        )


def _told(version: Version) -> str:
    return f"{version.name} (extended support)" if version.extended else version.name


def _nearest(name: str, versions: Sequence[Version], now: datetime) -> str | None:
    """The offered version that changes least: the oldest newer one without a surcharge, now or
    soon."""
    newer = [v for v in versions if _order(v) > _order_of(name)] or list(versions)[::-1]
    standard = [v for v in newer if not v.extended] or newer
    lasting = [v for v in standard if not _ends_soon(v, now)] or standard
    return lasting[0].name if lasting else None


def _ends_soon(version: Version, now: datetime) -> bool:
    return version.ends is not None and version.ends < now + _SOON


def _order(version: Version) -> tuple[int, ...]:
    return _order_of(version.name)


def _order_of(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split("."))


def _next(version: tuple[int, ...]) -> tuple[int, ...]:
    return (*version[:-1], version[-1] + 1)
