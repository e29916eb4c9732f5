"""The region and its zones: that they exist, are open to the account, and are enough for EKS."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cni.problems import Problem, did_you_mean
from components.eks.preflight.findings import Finding, Refusal
from components.eks.settings import EksSettings

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client

# Zones where EKS puts no cluster. Source: EKS user guide, "VPC and subnet considerations".
_WITHOUT_EKS = {"use1-az3", "usw1-az2", "cac1-az3"}


@dataclass(frozen=True, slots=True)
class Zone:
    """An availability zone. ``id`` is the same place for every account, ``name`` is not."""

    name: str
    id: str
    available: bool


def regions(home: EC2Client) -> dict[str, str]:
    """The partition's regions, each with its opt-in status for the account."""
    found = home.describe_regions(AllRegions=True)["Regions"]
    return {region["RegionName"]: region["OptInStatus"] for region in found}


def zones(ec2: EC2Client) -> tuple[Zone, ...]:
    """The region's availability zones; not its local zones and Wavelength zones."""
    found = ec2.describe_availability_zones()["AvailabilityZones"]
    return tuple(
        Zone(zone["ZoneName"], zone["ZoneId"], zone["State"] == "available")
        for zone in found
        if zone.get("ZoneType", "availability-zone") == "availability-zone"
    )


def judge_region(region: str, known: Mapping[str, str] | Iterable[str]) -> Iterator[Finding]:
    """Whether the region exists and is enabled; names without a status only have to exist."""
    status = known if isinstance(known, Mapping) else dict.fromkeys(known, "")
    if region not in status:
        reason = f"no region of AWS{did_you_mean(region, list(status))}"
        yield Problem("eks.region", region, reason, "eks.region", "ap-northeast-2")
    elif status[region] == "not-opted-in":
        fix = f"aws account enable-region --region-name {region} (takes some minutes)"
        yield Refusal("region", f"{region} is not enabled for this account", fix)


def judge_zones(eks: EksSettings, found: Iterable[Zone]) -> Iterator[Finding]:
    """Whether the cluster's zones can hold it."""
    by_name = {zone.name: zone for zone in found}
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
    if zone.id in _WITHOUT_EKS:
        return f"EKS puts no cluster into {zone.id}, which is this zone for your account"
    if not zone.available:
        return f"{region} says that this zone is not available now"
    return None
