"""Dated facts about AWS, typed: what facts.yaml has."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from string import Template

import yaml
from pydantic import BaseModel

from cni.settings import SETTINGS as MODEL


class _Model(BaseModel):
    model_config = {**MODEL, "strict": False}


class VcpuQuota(_Model):
    """A quota of running instances' vCPUs. ``families`` are letters of instance types' names."""

    code: str
    title: str
    families: tuple[str, ...]


class Minutes(_Model):
    """How long a part of a stack takes."""

    create: float
    delete: float


class Product(_Model):
    """One price of AWS's list: filters that narrow it down, and its usage type."""

    service: str
    usage: str
    filters: Mapping[str, str]

    def of_type(self, instance_type: str) -> "Product":
        """The product for an instance type, whose name stands in for its placeholders."""
        text = Template(self.model_dump_json()).substitute(instance_type=instance_type)
        return Product.model_validate_json(text)


class PriceTable(_Model):
    """US dollars by field of :class:`~components.eks.preflight.cost.Prices`."""

    date: date
    everywhere: Mapping[str, float]
    region: str
    regional: Mapping[str, float]
    node_hour: Mapping[str, float]
    """By instance type, in ``region``."""

    def prices(self, region: str, instance_type: str) -> dict[str, float]:
        """All that the table has for a region and an instance type."""
        if region != self.region:
            return dict(self.everywhere)
        known = {**self.everywhere, **self.regional}
        if instance_type in self.node_hour:
            known["node_hour"] = self.node_hour[instance_type]
        return known


class Facts(_Model):
    """The whole file."""

    vcpu_quotas: tuple[VcpuQuota, ...]
    zones_without_eks: frozenset[str]
    minutes: Mapping[str, Minutes]
    products: Mapping[str, Product]
    prices: PriceTable


FACTS = Facts.model_validate(yaml.safe_load(Path(__file__).with_name("facts.yaml").read_text()))
