"""What a run costs: per hour while it exists, and all in all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from cni.problems import Problem
from components.eks.preflight.duration import Duration
from components.eks.preflight.findings import Finding
from components.eks.preflight.prices import Prices

_HOURS_PER_MONTH = 730  # as AWS's own calculator counts


@dataclass(frozen=True, slots=True)
class Footprint:
    """What of a stack costs money."""

    instance_type: str
    nodes: int
    volume_gib: int
    """Of each node's root volume."""
    nat_gateways: int
    public_addresses: int
    download_gib: float
    """What all nodes pull through the NAT gateway, once."""
    extended_support: bool


@dataclass(frozen=True, slots=True)
class Item:
    """One kind of thing, with what all of it costs in US dollars an hour."""

    what: str
    usd_per_hour: float


@dataclass(frozen=True, slots=True)
class Cost:
    """An estimate in US dollars, without tax, credits and discounts."""

    items: tuple[Item, ...]
    once_usd: float
    duration: Duration
    source: str

    @property
    def usd_per_hour(self) -> float:
        """While everything exists."""
        return sum(item.usd_per_hour for item in self.items)

    @property
    def usd(self) -> float:
        """Of a whole run: create, measure, destroy."""
        return self.usd_per_hour * self.duration.total / 60 + self.once_usd

    def summary(self) -> str:
        """The estimate in one line, with its parts and where its prices come from."""
        length = self.duration
        parts = ", ".join(f"{item.what} ${item.usd_per_hour:.3f}" for item in self.items)
        return (
            f"about ${self.usd:.2f} for this run if it is destroyed right after (create "
            f"{length.create:.0f} min, measure at most {length.measure:.0f} min, destroy "
            f"{length.destroy:.0f} min), ${self.usd_per_hour:.2f} per hour while it exists "
            f"({parts}); prices from {self.source}"
        )


def estimate(footprint: Footprint, prices: Prices, duration: Duration) -> Cost:
    """The cost of a footprint for a duration."""
    nodes = footprint.nodes
    volumes = nodes * footprint.volume_gib
    items = [Item("control plane", prices.cluster_hour)]
    if footprint.extended_support:
        items.append(Item("its extended support", prices.extended_support_hour))
    items += [
        Item(f"{nodes} x {footprint.instance_type}", nodes * prices.node_hour),
        Item(f"{volumes} GiB gp3", volumes * prices.volume_gib_month / _HOURS_PER_MONTH),
    ]
    if footprint.nat_gateways:
        items.append(Item("NAT gateway", footprint.nat_gateways * prices.nat_gateway_hour))
    if footprint.public_addresses:
        items.append(Item("public IPv4", footprint.public_addresses * prices.public_ipv4_hour))
    through_nat = footprint.download_gib if footprint.nat_gateways else 0
    return Cost(tuple(items), through_nat * prices.nat_gateway_gib, duration, prices.source)


def judge(cost: Cost, ceiling: float) -> Iterator[Finding]:
    """Whether a run stays below the ceiling that the user has set."""
    if cost.usd > ceiling:
        reason = f"this run is estimated at {cost.summary()}"
        value = math.ceil(cost.usd * 1.1)
        yield Problem("eks.maxCostUsd", f"{ceiling:g}", reason, "eks.maxCostUsd", value)
