"""What things cost in a region: AWS's price list, and a dated table where it cannot be read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_pricing import PricingClient


class PriceError(Exception):
    """Neither the price list nor the table has a price; says which and why."""


@dataclass(frozen=True, slots=True)
class Product:
    """One price of the list: filters that narrow it down, and its usage type.

    Usage types have the region's short name in front (`APN2-NatGateway-Hours`), except in
    us-east-1 for the older services.
    """

    service: str
    usage: str
    filters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars without tax. ``source`` says where they come from and of when they are."""

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
    node = {
        "instanceType": instance_type,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    nat = {"productFamily": "NAT Gateway"}
    volume = {"productFamily": "Storage", "volumeApiName": "gp3"}
    address = {"group": "VPCPublicIPv4Address"}
    eks = "AmazonEKS-Hours"
    return {
        "cluster_hour": Product("AmazonEKS", f"{eks}:perCluster", {"operation": "CreateOperation"}),
        "extended_support_hour": Product(
            "AmazonEKS", f"{eks}:extendedSupport", {"operation": "ExtendedSupport"}
        ),
        "node_hour": Product("AmazonEC2", f"BoxUsage:{instance_type}", node),
        "volume_gib_month": Product("AmazonEC2", "EBS:VolumeUsage.gp3", volume),
        "nat_gateway_hour": Product("AmazonEC2", "NatGateway-Hours", nat),
        "nat_gateway_gib": Product("AmazonEC2", "NatGateway-Bytes", nat),
        "public_ipv4_hour": Product("AmazonVPC", "PublicIPv4:InUseAddress", address),
    }


def look_up(pricing: PricingClient, product: Product, region: str) -> float | str:
    """A product's on-demand price in US dollars, or why the list does not tell one."""
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
    found = {price for item in items for price in _matching(item, product.usage)}
    if len(found) != 1:
        many = f"{len(found)} prices" if found else "no price"
        return f"the price list has {many} for {product.usage} in {region}"
    return found.pop()


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


# Prices by :class:`Prices`' fields for where the list cannot be read: those that AWS asks in every
# region, and those of ap-northeast-2 (nodes to a tenth of a cent). From public records of the price
# list, August to October 2026.
_TABLE_DATE = date(2026, 10, 1)
_TABLE_REGION = "ap-northeast-2"
_TABLE_EVERYWHERE = {
    "cluster_hour": 0.10,
    "extended_support_hour": 0.50,
    "public_ipv4_hour": 0.005,
}
_TABLE = {"volume_gib_month": 0.0912, "nat_gateway_hour": 0.059, "nat_gateway_gib": 0.059}
_TABLE_NODES = {
    "c6i.xlarge": 0.192,
    "c6in.xlarge": 0.256,
    "c7g.xlarge": 0.163,
    "m6i.xlarge": 0.236,
    "m6in.xlarge": 0.337,
    "m7g.xlarge": 0.201,
}


def complete(found: Mapping[str, float | str], region: str, instance_type: str) -> Prices:
    """All prices, with the table's in place of those that could not be had.

    :param found: by field, a price or the reason why the list did not give one.
    :raises PriceError: a price that the table does not have either.
    """
    table = {**_TABLE_EVERYWHERE}
    if region == _TABLE_REGION:
        table |= _TABLE
        if instance_type in _TABLE_NODES:
            table["node_hour"] = _TABLE_NODES[instance_type]
    missing = {field: why for field, why in found.items() if isinstance(why, str)}
    for field, why in missing.items():
        if field not in table:
            what = field.replace("_", " ")
            raise PriceError(f"no price of a {what} for {instance_type} in {region}: {why}")
    source = f"AWS's price list for {region}"
    if missing:
        what = "all" if len(missing) == len(found) else ", ".join(missing)
        reasons = "; ".join(dict.fromkeys(missing.values()))
        source = f"a table of {_TABLE_DATE:%Y-%m-%d} ({what}: {reasons})"
        source += "" if len(missing) == len(found) else f" and AWS's price list for {region}"
    listed = {field: price for field, price in found.items() if not isinstance(price, str)}
    from_table = {field: table[field] for field in missing}
    return Prices(**listed, **from_table, source=source)
