"""What stops working when, by the tables of versions here. Standard library only, as they are."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from cni import kubernetes
from cni.cilium import versions as cilium
from cni.kubernetes import EKS_SUPPORT, EKS_SUPPORT_READ
from cni.vpc_cni import versions as vpc_cni


@dataclass(frozen=True, order=True, slots=True)
class Event:
    """Something that does not go on as before from a day on."""

    day: date
    what: str


def events() -> list[Event]:
    """All that the tables know, earliest first."""
    return sorted([*_of_kubernetes(), *_of_cnis()])


def calendar(today: date) -> Iterator[str]:
    """All events as lines: what is past already comes first.

    Of a version that is gone only that is told, not that it had begun to cost more.
    """
    gone = {name for name, support in EKS_SUPPORT.items() if support.extended <= today}
    yield f"What stops working when, by tables of {EKS_SUPPORT_READ}:"
    for event in events():
        if event.what not in map(_surcharge, gone):
            yield f"  {'since' if event.day <= today else 'from '} {event.day}  {event.what}"


def _surcharge(version: str) -> str:
    usual = ", which is the default," if version == kubernetes.DEFAULT else ""
    return f"Kubernetes {version}{usual} is in extended support on EKS, at a surcharge"


def _of_kubernetes() -> Iterator[Event]:
    for name, support in EKS_SUPPORT.items():
        yield Event(support.standard, _surcharge(name))
        yield Event(support.extended, f"EKS has Kubernetes {name} no more, and upgrades clusters")


def _of_cnis() -> Iterator[Event]:
    for release in cilium.VERSIONS.values():
        oldest, newest = release.kubernetes
        if newest in EKS_SUPPORT:
            yield Event(
                EKS_SUPPORT[newest].extended,
                f"EKS has no Kubernetes that Cilium {release.version} is tested with "
                f"({oldest} to {newest})",
            )
    for build in vpc_cni.VERSIONS.values():
        if build.kubernetes in EKS_SUPPORT:
            yield Event(
                EKS_SUPPORT[build.kubernetes].extended,
                f"EKS has no Kubernetes that is known to have the VPC CNI {build.version} as an "
                f"add-on (up to {build.kubernetes})",
            )
