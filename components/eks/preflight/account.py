"""What AWS tells about the account and the region, each question asked once and all together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from components.eks.preflight import (
    existing,
    instance,
    permissions,
    prices,
    quota,
    region,
    versions,
    vpc_cni,
)
from components.eks.preflight.actions import ACTIONS, conditions
from components.eks.preflight.aws import Clients
from components.eks.preflight.enquiry import Asked, Enquiry
from components.eks.preflight.quota import Use
from components.eks.preflight.subject import Subject


@dataclass(frozen=True, slots=True)
class Questions:
    """The calls under way; see the functions behind them for what they answer."""

    zones: Asked[tuple[region.Zone, ...]]
    versions: Asked[tuple[versions.Version, ...]]
    vpc_cni: Asked[tuple[str, ...]] | None
    cluster: Asked[existing.ExistingCluster | None]
    description: Asked[Mapping[str, Any] | None]
    zones_with_type: Asked[frozenset[str]]
    vcpu_limit: Asked[float]
    vcpus: Asked[Use]
    vpc_limit: Asked[float]
    vpcs: Asked[Use]
    address_limit: Asked[float]
    addresses: Asked[Use]
    interfaces: Asked[tuple[str, ...]]
    prices: Mapping[str, Asked[float | str]]
    denied: Asked[tuple[str, ...]]


def ask(enquiry: Enquiry, clients: Clients, subject: Subject, caller: str) -> Questions:
    """Start all calls.

    :param caller: the ARN of who asks.
    """
    eks, tag = subject.eks, subject.tag
    ec2, limits, name = clients.ec2, clients.quotas, eks.instance_type
    vcpus = quota.vcpu_quota(name)
    # Many organisations deny what is not in a region of theirs.
    context = {"aws:RequestedRegion": eks.region, **conditions()}

    def limit(of: quota.Quota) -> Asked[float]:
        return enquiry.ask("servicequotas", partial(quota.limit, limits, of))

    return Questions(
        zones=enquiry.ask("ec2", partial(region.zones, ec2)),
        versions=enquiry.ask("eks", partial(versions.offered, clients.eks)),
        vpc_cni=enquiry.ask("eks", partial(vpc_cni.offered, clients.eks, eks.version))
        if subject.vpc_cni
        else None,
        cluster=enquiry.ask("eks", partial(existing.cluster, clients.eks, subject.cluster, tag)),
        description=enquiry.ask("ec2", partial(instance.describe, ec2, name)),
        zones_with_type=enquiry.ask("ec2", partial(instance.zones_with, ec2, name)),
        vcpu_limit=limit(vcpus),
        vcpus=enquiry.ask("ec2", partial(quota.vcpus_in_use, ec2, vcpus, tag)),
        vpc_limit=limit(quota.VPCS),
        vpcs=enquiry.ask("ec2", partial(existing.vpcs, ec2, tag)),
        address_limit=limit(quota.ADDRESSES),
        addresses=enquiry.ask("ec2", partial(existing.addresses, ec2, tag)),
        interfaces=enquiry.ask("ec2", partial(existing.stray_interfaces, ec2, tag)),
        prices={
            what: enquiry.ask(
                "pricing", partial(prices.look_up, clients.pricing, product, eks.region)
            )
            for what, product in prices.products(name).items()
        },
        denied=enquiry.ask(
            "iam", partial(permissions.denied, clients.iam, caller, ACTIONS, context)
        ),
    )
