"""What a run costs and how long it takes: prices, the duration of each part, and the estimate."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3

from bench.interleave import late_seconds, time_bound
from bench.plan import Plan
from bench.probes import build_probes
from cni.settings import Problem
from components.eks.aws import AwsError, Caution, Finding, connect, first_line
from components.eks.preflight.facts import FACTS, Product

if TYPE_CHECKING:
    from mypy_boto3_pricing import PricingClient


# -- how long a run takes ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Duration:
    """Minutes of each part of a run; ``measure`` is an upper bound.

    :param late: how many of ``measure`` are for the way to the region.
    :param round_trip: seconds to the region and back; 0 where that is not known.
    """

    create: float
    measure: float
    destroy: float
    late: float = 0.0
    round_trip: float = 0.0

    @property
    def up(self) -> float:
        """Minutes that `pulumi up` may take, for which credentials must hold."""
        return self.create + self.measure

    @property
    def total(self) -> float:
        """Minutes that things exist and cost money, if they are destroyed at once."""
        return self.up + self.destroy


# A command in a pod is a connection of its own: of TCP, of TLS, of the stream; then what it says.
_ROUND_TRIPS_OF_A_COMMAND = 4


def estimate_duration(
    plan: Plan, *, cluster_exists: bool, round_trip: float | None = None
) -> Duration:
    """The length of a run of a plan.

    :param cluster_exists: the stack is up already, so that nothing large is created.
    :param round_trip: seconds to the region and back; None where that is not known.
    """
    parts, probes = FACTS.minutes.values(), build_probes(plan)
    away = round_trip or 0.0
    late = late_seconds(plan, len(probes), _ROUND_TRIPS_OF_A_COMMAND * away) / 60
    return Duration(
        create=0 if cluster_exists else sum(part.create for part in parts),
        measure=time_bound(plan, probes) / 60 + late,
        destroy=sum(part.delete for part in parts),
        late=late,
        round_trip=away,
    )


def check_distance(region: str, length: Duration) -> Iterator[Finding]:
    """Whether the way to the region is most of what measuring takes."""
    if length.late > length.measure / 2:
        yield Caution(
            f"{region} is {1e3 * length.round_trip:.0f} ms away, there and back: measuring may "
            f"take {length.measure:.0f} min in place of {length.measure - length.late:.0f}, which "
            "the estimate of the cost includes. benchmark.runner: pod measures from there"
        )


# -- prices -----------------------------------------------------------------------------------


class PriceError(Exception):
    """Neither the price list nor the table has a price; says which and why."""


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars without tax. ``source`` says where they come from and when they were read."""

    cluster_hour: float
    extended_support_hour: float
    """Added to ``cluster_hour``."""
    node_hour: float
    volume_gib_month: float
    nat_gateway_hour: float
    nat_gateway_gib: float
    public_ipv4_hour: float
    source: str


def products(instance_type: str) -> dict[str, Product]:
    """The products behind :class:`Prices`, by its fields' names."""
    return {field: each.of_type(instance_type) for field, each in FACTS.products.items()}


def look_up_price(pricing: PricingClient, product: Product, region: str) -> float | str:
    """A product's on-demand price in US dollars, or why the list gives none."""
    filters = {"regionCode": region, **product.filters}
    pages = pricing.get_paginator("get_products").paginate(
        ServiceCode=product.service,
        FormatVersion="aws_v1",
        Filters=[
            {"Type": "TERM_MATCH", "Field": field, "Value": value}
            for field, value in filters.items()
        ],
    )
    items = [json.loads(text) for page in pages for text in page["PriceList"]]
    listed = {price for item in items for price in _matching(item, product.usage)}
    if len(listed) != 1:
        many = f"{len(listed)} prices" if listed else "no price"
        return f"the price list has {many} for {product.usage} in {region}"
    return listed.pop()


def _matching(item: Mapping[str, Any], usage: str) -> set[float]:
    """The first tier's price, if the item is of this usage type."""
    name = item["product"]["attributes"].get("usagetype", "")
    if not re.fullmatch(rf"(?:[A-Z0-9]+-)?{re.escape(usage)}", name):
        return set()
    return {
        float(dimension["pricePerUnit"]["USD"])
        for term in item["terms"].get("OnDemand", {}).values()
        for dimension in term["priceDimensions"].values()
        if dimension.get("beginRange", "0") == "0" and "USD" in dimension["pricePerUnit"]
    }


def complete(listed: Mapping[str, float | str], region: str, instance_type: str) -> Prices:
    """All prices; the table's stand in for those that the list did not give.

    :param listed: by field of :class:`Prices`, the list's price, or why it did not give one.
    :raises PriceError: the table does not have such a price either.
    """
    table = FACTS.prices.prices(region, instance_type)
    missing = {field: why for field, why in listed.items() if isinstance(why, str)}
    for field, why in missing.items():
        if field not in table:
            what = field.replace("_", " ")
            raise PriceError(f"no price of a {what} for {instance_type} in {region}: {why}")
    source = f"AWS's price list for {region}"
    if missing:
        every = len(missing) == len(listed)
        reasons = "; ".join(dict.fromkeys(missing.values()))
        dated = f"a table of {FACTS.prices.date:%Y-%m-%d} ({'all' if every else ', '.join(missing)}"
        source = f"{dated}: {reasons})" + ("" if every else f" and {source}")
    known = {field: price for field, price in listed.items() if not isinstance(price, str)}
    return Prices(**known, **{field: table[field] for field in missing}, source=source)


def by_table(field: str, instance_type: str, region: str) -> float | None:
    """The table's price by its field of :class:`Prices`; None where it has none."""
    return FACTS.prices.prices(region, instance_type).get(field)


def look_up_node(instance_type: str, region: str | None) -> tuple[float, str] | None:
    """A node's price in US dollars an hour and its source; None where nobody knows one.

    Without credentials or a network it is the table's, and the source says so.
    """
    table, region = FACTS.prices, region or FACTS.prices.region
    try:
        pricing = connect(boto3.Session(), region).pricing
        listed = look_up_price(pricing, products(instance_type)["node_hour"], region)
    except AwsError as error:
        listed = first_line(error)
    if not isinstance(listed, str):
        return listed, f"AWS's price list for {region}"
    known = by_table("node_hour", instance_type, region)
    why = f"a table of {table.date:%Y-%m-%d} (the price list was not read: {listed.rstrip('.')})"
    return None if known is None else (known, why)


# -- the estimate -----------------------------------------------------------------------------

HOURS_PER_MONTH = 730  # as AWS's own calculator counts


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
        measure = f"measure at most {length.measure:.0f} min"
        if length.late >= 1:
            way = f"{1e3 * length.round_trip:.0f} ms to the region"
            measure += f", {length.late:.0f} of them for the {way}"
        return (
            f"about ${self.usd:.2f} for this run if it is destroyed right after (create "
            f"{length.create:.0f} min, {measure}, destroy {length.destroy:.0f} min), "
            f"${self.usd_per_hour:.2f} per hour while it exists ({parts}); prices from "
            f"{self.source}"
        )


def estimate_cost(footprint: Footprint, prices: Prices, duration: Duration) -> Cost:
    """The cost of a footprint for a duration."""
    nodes = footprint.nodes
    volumes = nodes * footprint.volume_gib
    items = [Item("control plane", prices.cluster_hour)]
    if footprint.extended_support:
        items.append(Item("its extended support", prices.extended_support_hour))
    items += [
        Item(f"{nodes} x {footprint.instance_type}", nodes * prices.node_hour),
        Item(f"{volumes} GiB gp3", volumes * prices.volume_gib_month / HOURS_PER_MONTH),
    ]
    if footprint.nat_gateways:
        items.append(Item("NAT gateway", footprint.nat_gateways * prices.nat_gateway_hour))
    if footprint.public_addresses:
        items.append(Item("public IPv4", footprint.public_addresses * prices.public_ipv4_hour))
    through_nat = footprint.download_gib if footprint.nat_gateways else 0
    return Cost(tuple(items), through_nat * prices.nat_gateway_gib, duration, prices.source)


def check_cost(cost: Cost, ceiling: float) -> Iterator[Finding]:
    """Whether a run stays below the ceiling that the user has set, in US dollars."""
    if cost.usd > ceiling:
        reason = f"this run is estimated at {cost.summary()}"
        value = math.ceil(cost.usd * 1.1)
        yield Problem("eks.maxCostUsd", f"{ceiling:g}", reason, "eks.maxCostUsd", value)
