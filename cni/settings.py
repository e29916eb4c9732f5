"""A scenario's settings as data, before any CNI has judged them.

What is checked here holds for every CNI. :class:`cni.scenario.Scenario` adds the known CNIs, their
toggles, and their rules.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

KubeProxyMode = Literal["none", "iptables", "nftables"]
Ipam = Literal["vpc", "eni", "cluster-pool"]
TunnelProtocol = Literal["vxlan", "geneve"]
Asked = bool | BaseModel | None
"""What a scenario asks of one toggle: on, off, on with sizes, or nothing."""

# How every settings model reads YAML: camelCase keys, nothing unknown, no silent conversions.
SETTINGS = ConfigDict(
    frozen=True,
    extra="forbid",
    strict=True,
    alias_generator=to_camel,
    validate_by_name=True,
    validate_by_alias=True,
)


def setting_name(model: type[BaseModel], field: str) -> str:
    """The name that a model's field has in YAML."""
    alias = model.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else field


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


class Toggles(BaseModel):
    """What a scenario asks of each toggle: true, false (explicitly off), sizes, or unset.

    Unset leaves it to the CNI's default, which is not always off: with kube-proxy replacement
    Cilium's socket load-balancing is on, and with BPF masquerade so is its BPF host routing.

    The model in :class:`cni.scenario.Scenario` has a field for every toggle of every CNI.
    """

    model_config = SETTINGS

    def asked(self, name: str) -> Asked:
        """What is asked of the toggle with this name."""
        asked: Asked = getattr(self, self._fields().get(name, ""), None)
        return asked

    def every(self) -> Iterator[tuple[str, Asked]]:
        """The name of each toggle with what is asked of it."""
        return ((name, getattr(self, field)) for name, field in self._fields().items())

    def replaced(self, changes: Mapping[str, Asked]) -> Self:
        """These toggles with others asked for, by their names."""
        fields = self._fields()
        return self.model_copy(update={fields[name]: asked for name, asked in changes.items()})

    @classmethod
    def _fields(cls) -> dict[str, str]:
        return {setting_name(cls, field): field for field in cls.model_fields}


class ScenarioSettings(BaseModel):
    """The CNI, who load-balances Services, where pods' addresses come from, and the tuning."""

    model_config = SETTINGS

    title: str = Field(min_length=1, examples=["My scenario"])
    cni: str
    cni_version: str
    """Without a leading v. One that the CNI's table of versions has."""
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
    """Further values for the CNI's chart, for what no setting covers."""
    strict: bool = False
    """Make a toggle that cannot be applied an error, instead of falling back and saying so."""
