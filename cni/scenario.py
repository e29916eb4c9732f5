"""A scenario: one CNI in one configuration, as data that a stack file holds."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from cni.combinations import find_problems
from cni.problems import CombinationError
from cni.toggles import SETTINGS, Toggles

CniName = Literal["vpc-cni", "cilium"]
KubeProxyMode = Literal["none", "iptables", "nftables"]
Ipam = Literal["vpc", "eni", "cluster-pool"]
TunnelProtocol = Literal["vxlan", "geneve"]


def _ipv4_network(text: str) -> str:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        network = None
    # Without a length it would be the one address.
    if network is None or "/" not in text:
        raise ValueError("must be an IPv4 network such as 10.244.0.0/16")
    return text


Cidr = Annotated[str, AfterValidator(_ipv4_network)]
"""An IPv4 network such as 10.244.0.0/16, kept as the text that it was written as."""


class Scenario(BaseModel):
    """The CNI, who load-balances Services, where pods' addresses come from, and the tuning.

    Constructing one raises pydantic's ValidationError; contradictions between settings are in it as
    a `CombinationError` with all of them.
    """

    model_config = SETTINGS

    title: str = Field(min_length=1, examples=["My scenario"])
    cni: CniName
    cni_version: str = Field(examples=["1.16.5"])
    """Without a leading v. One that this program's values, proofs and lab are made for."""
    kube_proxy: KubeProxyMode
    kube_proxy_replacement: bool = False
    ipam: Ipam
    prefix_delegation: bool = False
    """Whole /28 prefixes on ENIs instead of single addresses: more pods per node."""
    pod_cidr: Cidr | None = Field(default=None, examples=["10.244.0.0/16"])
    """The cluster pool, of which each node takes a /24."""
    tunnel_protocol: TunnelProtocol | None = None
    toggles: Toggles = Toggles()
    values: dict[str, Any] = Field(default_factory=dict)
    """Further Helm values for the Cilium chart, for what no setting covers."""
    strict: bool = False
    """Make a toggle that cannot be applied an error, instead of falling back and saying so."""

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Self:
        problems = find_problems(self)
        if problems:
            raise CombinationError(problems)
        return self

    @property
    def overlay(self) -> TunnelProtocol | None:
        """The tunnel between nodes, or None where packets are routed natively."""
        if self.cni == "vpc-cni" or self.toggles.native_routing:
            return None
        return self.tunnel_protocol or "vxlan"
