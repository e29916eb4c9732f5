"""What AWS offers: regions, zones, Kubernetes versions, instance types, and builds of add-ons."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from cni.capacity import vpc_cni_max_pods
from cni.kubernetes import EKS_SUPPORT
from cni.platform import PlatformFacts, version_numbers
from cni.settings import Problem, did_you_mean
from components.eks.aws import Caution, Finding, Refusal
from components.eks.cluster import ARCHITECTURES
from components.eks.preflight.facts import FACTS
from components.eks.settings import EksSettings

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_eks import EKSClient
    from mypy_boto3_eks.type_defs import (
        AddonVersionInfoTypeDef,
        ClusterVersionInformationTypeDef,
    )

# -- the region and its zones -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Zone:
    """An availability zone. ``id`` is the same place for every account, ``name`` is not."""

    name: str
    id: str
    available: bool


def regions(home: EC2Client) -> dict[str, str]:
    """The partition's regions, each with its opt-in status for the account."""
    known = home.describe_regions(AllRegions=True)["Regions"]
    return {region["RegionName"]: region["OptInStatus"] for region in known}


def zones(ec2: EC2Client) -> tuple[Zone, ...]:
    """The region's availability zones, without its local zones and Wavelength zones."""
    every = ec2.describe_availability_zones()["AvailabilityZones"]
    return tuple(
        Zone(zone["ZoneName"], zone["ZoneId"], zone["State"] == "available")
        for zone in every
        if zone.get("ZoneType", "availability-zone") == "availability-zone"
    )


def check_region(region: str, known: Mapping[str, str] | Iterable[str]) -> Iterator[Finding]:
    """Whether the region exists and is enabled; names without a status only have to exist."""
    status = known if isinstance(known, Mapping) else dict.fromkeys(known, "")
    if region not in status:
        reason = f"no region of AWS{did_you_mean(region, list(status))}"
        yield Problem("eks.region", region, reason, "eks.region", "ap-northeast-2")
    elif status[region] == "not-opted-in":
        fix = f"aws account enable-region --region-name {region} (takes some minutes)"
        yield Refusal("region", f"{region} is not enabled for this account", fix)


def check_zones(eks: EksSettings, offered: Iterable[Zone]) -> Iterator[Finding]:
    """Whether the cluster's zones can hold it."""
    by_name = {zone.name: zone for zone in offered}
    usable = [zone.name for zone in by_name.values() if _obstacle(zone, eks.region) is None]
    if len(usable) < 2:
        have = f"only {usable[0]}" if usable else "no zone"
        reason = f"EKS wants two zones, and {eks.region} offers this account {have} for a cluster"
        yield Problem("eks.region", eks.region, reason, "eks.region", "ap-northeast-2")
        return
    spare = [name for name in usable if name not in eks.zones]
    for index, name in enumerate(eks.zones):
        if name in usable:
            continue
        zone = by_name.get(name)
        obstacle = _obstacle(zone, eks.region) if zone else f"{eks.region} has no such zone"
        reason = f"{obstacle}; there are {', '.join(usable)}"
        other = spare.pop(0) if spare else None
        key = f"eks.zones[{index}]"
        yield Problem(key, name, reason, key, other)
        if name == eks.node_zone:
            yield Problem("eks.nodeZone", name, reason, "eks.nodeZone", other)


def _obstacle(zone: Zone, region: str) -> str | None:
    if zone.id in FACTS.zones_without_eks:
        return f"EKS puts no cluster into {zone.id}, which is this zone for your account"
    if not zone.available:
        return f"{region} says that this zone is not available now"
    return None


# -- Kubernetes versions ----------------------------------------------------------------------

_SOON = timedelta(days=60)


@dataclass(frozen=True, slots=True)
class Version:
    """A Kubernetes minor version that EKS offers.

    :param extended: in extended support, which costs a surcharge.
    :param ends: when its present support ends: after the extended one, EKS upgrades clusters.
    """

    name: str
    extended: bool
    ends: date | None


def cluster_versions(eks: EKSClient) -> tuple[Version, ...]:
    """The versions that a cluster can be created with, oldest first."""
    pages = eks.get_paginator("describe_cluster_versions").paginate()
    items = [item for page in pages for item in page["clusterVersions"]]
    # Without `includeAll` EKS leaves unsupported versions out already.
    versions = [_version(item) for item in items if item["versionStatus"] != "UNSUPPORTED"]
    return tuple(sorted(versions, key=lambda version: version_numbers(version.name)))


def _version(item: ClusterVersionInformationTypeDef) -> Version:
    extended = item["versionStatus"] == "EXTENDED_SUPPORT"
    ends = (
        item.get("endOfExtendedSupportDate") if extended else item.get("endOfStandardSupportDate")
    )
    return Version(item["clusterVersion"], extended, ends.date() if ends else None)


def versions_by_table(today: date) -> tuple[Version, ...]:
    """The same by the table, for where EKS cannot be asked."""
    return tuple(
        Version(name, extended=True, ends=support.extended)
        if support.standard <= today
        else Version(name, extended=False, ends=support.standard)
        for name, support in EKS_SUPPORT.items()
        if today < support.extended
    )


def find_version(name: str, versions: Sequence[Version]) -> Version | None:
    """The offered version of that name."""
    return next((version for version in versions if version.name == name), None)


def check_version(
    name: str, versions: Sequence[Version], today: date, *, existing: str | None
) -> Iterator[Finding]:
    """Whether a cluster can have this version.

    :param existing: the version of the stack's own cluster, where it is there already.
    """
    if name == existing:
        version = find_version(name, versions)
        yield from _support_ends(version, today) if version else ()
        return
    if existing is not None and version_numbers(name) != _next(version_numbers(existing)):
        reason = (
            f"the stack's cluster has {existing}, and EKS changes a version only to the next one; "
            "for any other destroy the stack first"
        )
        yield Problem("eks.version", name, reason, "eks.version", existing)
        return
    version = find_version(name, versions)
    if version is None:
        listed = ", ".join(
            f"{each.name} (extended support)" if each.extended else each.name for each in versions
        )
        known = EKS_SUPPORT.get(name)
        why = ""
        if known and known.extended <= today:
            why = f" any more: its extended support ended on {known.extended}"
        reason = (
            f"EKS does not offer it{why}; it offers {listed} (for all stacks at once: "
            "eks.version in Pulumi.yaml)"
        )
        yield Problem("eks.version", name, reason, "eks.version", _nearest(name, versions, today))
        return
    yield from _support_ends(version, today)


def _support_ends(version: Version, today: date) -> Iterator[Caution]:
    """What is to be known of a version's support."""
    name = version.name
    if version.extended:
        end = f", which ends on {version.ends}" if version.ends else ""
        last = "; then EKS offers it no more" if _ends_soon(version, today) else ""
        yield Caution(
            f"Kubernetes {name} is in extended support{end}: EKS charges the surcharge that the "
            f"estimate has{last}"
        )
    elif _ends_soon(version, today):
        yield Caution(
            f"Kubernetes {name} goes into extended support on {version.ends}, at a surcharge"
        )


def _nearest(name: str, versions: Sequence[Version], today: date) -> str | None:
    """The oldest newer version that has no surcharge, now or soon; or the next best."""
    newer = [v for v in versions if version_numbers(v.name) > version_numbers(name)] or list(
        versions
    )[::-1]
    standard = [v for v in newer if not v.extended] or newer
    lasting = [v for v in standard if not _ends_soon(v, today)] or standard
    return lasting[0].name if lasting else None


def _ends_soon(version: Version, today: date) -> bool:
    return version.ends is not None and version.ends < today + _SOON


def _next(version: tuple[int, ...]) -> tuple[int, ...]:
    return (*version[:-1], version[-1] + 1)


# -- instance types ---------------------------------------------------------------------------

_WORKING = "m6i.xlarge"
_IMAGES_FOR = " and ".join(ARCHITECTURES)


def describe_type(ec2: EC2Client, name: str) -> Mapping[str, Any] | None:
    """The type as EC2 describes it, or None where the region has no such type."""
    # The parameter `InstanceTypes` would make an unknown type an error.
    page = ec2.describe_instance_types(Filters=[{"Name": "instance-type", "Values": [name]}])
    return next(iter(page["InstanceTypes"]), None)


def zones_with_type(ec2: EC2Client, name: str) -> frozenset[str]:
    """The region's zones that have the type."""
    return frozenset(
        offering["Location"]
        for offering in ec2.describe_instance_type_offerings(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": [name]}]
        )["InstanceTypeOfferings"]
    )


def all_types(ec2: EC2Client) -> frozenset[str]:
    """Every type that the region has. Several pages, so only for a type that does not exist."""
    pages = ec2.get_paginator("describe_instance_type_offerings").paginate(LocationType="region")
    return frozenset(
        str(offering["InstanceType"])
        for page in pages
        for offering in page["InstanceTypeOfferings"]
    )


def check_type_exists(eks: EksSettings, known: frozenset[str]) -> Iterator[Finding]:
    """Whether the region has the type at all."""
    if eks.instance_type in known:
        return
    near = did_you_mean(eks.instance_type, known)
    reason = f"{eks.region} does not have this instance type{near}"
    other = _WORKING if _WORKING in known else None
    yield Problem("eks.instanceType", eks.instance_type, reason, "eks.instanceType", other)


def check_type_zones(eks: EksSettings, having: frozenset[str]) -> Iterator[Finding]:
    """Whether the nodes' zone has the type.

    :param having: the region's zones that have it.
    """
    if eks.node_zone in having:
        return
    listed = ", ".join(sorted(having))
    reason = f"has no {eks.instance_type}; {listed} {'have' if len(having) > 1 else 'has'}"
    ours = [zone for zone in eks.zones if zone in having]
    if not ours:
        index = eks.zones.index(eks.node_zone)
        key = f"eks.zones[{index}]"
        yield Problem(key, eks.node_zone, reason, key, min(having))
    better = ours[0] if ours else min(having)
    yield Problem("eks.nodeZone", eks.node_zone, reason, "eks.nodeZone", better)


def check_type_fits(eks: EksSettings, facts: PlatformFacts, pods: int) -> Iterator[Finding]:
    """Whether nodes of this type can run what the benchmark runs.

    :param pods: how many one node must be able to hold.
    """

    def unfit(reason: str) -> Problem:
        return Problem("eks.instanceType", eks.instance_type, reason, "eks.instanceType", _WORKING)

    if facts.arch not in ARCHITECTURES:
        yield unfit(f"its architecture is {facts.arch}; nodes' images are for {_IMAGES_FOR}")
    if eks.placement_group and not facts.cluster_placement:
        key, reason = "eks.placementGroup", f"{eks.instance_type} cannot be in a cluster one"
        yield Problem(key, True, reason, key, False)
    if facts.max_enis is None or facts.addresses_per_eni is None:
        return
    # EKS's default, whatever the CNI.
    room = vpc_cni_max_pods(facts, prefix_delegation=False)
    if room < pods:
        enis = f"{facts.max_enis} network interfaces of {facts.addresses_per_eni} addresses"
        yield unfit(f"its {enis} let a node hold {room} pods, and the benchmark's needs {pods}")


# -- builds of add-ons ------------------------------------------------------------------------

_BUILD = re.compile(r"v(?P<version>\d+\.\d+\.\d+)-eksbuild\.(?P<build>\d+)")


def addon_builds(eks: EKSClient, addon: str, kubernetes_version: str) -> tuple[str, ...]:
    """All builds of an add-on for a Kubernetes version, v1.19.2-eksbuild.5 for example."""
    return tuple(each["addonVersion"] for each in _builds(eks, addon, kubernetes_version))


def default_build(eks: EKSClient, addon: str, kubernetes_version: str) -> str | None:
    """The build that EKS itself takes for a Kubernetes version; None where it names none."""
    for build in _builds(eks, addon, kubernetes_version):
        if any(each.get("defaultVersion") for each in build.get("compatibilities", [])):
            return build["addonVersion"]
    return None


def _builds(
    eks: EKSClient, addon: str, kubernetes_version: str
) -> Iterator[AddonVersionInfoTypeDef]:
    pages = eks.get_paginator("describe_addon_versions").paginate(
        addonName=addon, kubernetesVersion=kubernetes_version
    )
    for page in pages:
        for item in page["addons"]:
            yield from item.get("addonVersions", [])


def latest_build(builds: Iterable[str], version: str) -> str | None:
    """The highest build of a version, by number; None where there is none."""
    numbers = {
        int(match["build"]): build
        for build in builds
        if (match := _BUILD.fullmatch(build)) and match["version"] == version
    }
    return numbers[max(numbers)] if numbers else None


def check_addon(
    cni: str, version: str, builds: Iterable[str], eks: EksSettings
) -> Iterator[Finding]:
    """Whether EKS has the scenario's CNI for the cluster's Kubernetes version.

    :param cni: as it stands in a sentence, `the VPC CNI`.
    :param version: the scenario's, 1.19.2 for example.
    """
    builds = tuple(builds)
    if latest_build(builds, version) is not None:
        return
    matches = (_BUILD.fullmatch(build) for build in builds)
    versions = sorted({match["version"] for match in matches if match}, key=version_numbers)
    listed = f"{cni} {', '.join(versions)}" if versions else f"no {cni.removeprefix('the ')}"
    reason = f"EKS {eks.version} in {eks.region} offers {listed}"
    newer = [each for each in versions if version_numbers(each) > version_numbers(version)]
    key = "scenario.cniVersion"
    yield Problem(key, version, reason, key, next(iter(newer or versions), None))
