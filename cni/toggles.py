"""The ten tuning toggles: what each needs, which Helm values it sets, how an agent proves it.

A toggle is data. Guards decide over the registry below, values are merged from it, verification
asks it; none of them knows a toggle by name. Sources: the Cilium 1.16.5 chart's values.yaml and
tuning guide (operations/performance/tuning), and the agent's own checks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from cni import proofs
from cni.agent import AgentEvidence
from cni.hardware import dsr_obstacle, xdp_support
from cni.platform import Kernel, PlatformFacts
from cni.proofs import Proof
from cni.value_tree import HelmValues

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


class CtTables(BaseModel):
    """Fixed sizes of the conntrack maps, in entries; the agent takes 1 Ki to 16 Mi of each.

    Source: LimitTableMin and LimitTableMax in Cilium's `pkg/option/config.go`.
    """

    model_config = SETTINGS

    tcp_max: int = Field(ge=1024, le=1 << 24, examples=[1_048_576])
    any_max: int = Field(ge=1024, le=1 << 24, examples=[524_288])


class Toggles(BaseModel):
    """What a scenario asks of each toggle: true, false (explicitly off), or unset.

    Unset leaves it to the chart's default, which is not always off: with kube-proxy replacement
    socket load-balancing is on, and with BPF masquerade so is BPF host routing.
    """

    model_config = SETTINGS

    host_routing: bool | None = None
    bandwidth_manager: bool | None = None
    bbr: bool | None = None
    bpf_masquerade: bool | None = None
    socket_lb: bool | None = Field(
        default=None, validation_alias="socketLB", serialization_alias="socketLB"
    )
    native_routing: bool | None = None
    ct_tables: CtTables | None = None
    hubble_off: bool | None = None
    dsr: bool | None = None
    xdp: bool | None = None

    def asked(self, toggle: Toggle) -> Asked:
        """What this scenario asks of one toggle."""
        asked: Asked = getattr(self, toggle.field)
        return asked


Asked = bool | CtTables | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What must be so before a toggle may be applied."""

    kube_proxy_replacement: bool = False
    toggles: tuple[str, ...] = ()
    kernel: Kernel | None = None
    fq: bool = False
    bbr: bool = False
    obstacle: Callable[[PlatformFacts], str | None] = lambda facts: None
    """Any other reason against it that lies in the platform."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toggle:
    """One tuning toggle of the dataplane."""

    field: str
    """The field of `Toggles`."""
    title: str
    on: Callable[[Asked, PlatformFacts], HelmValues]
    """The Helm values that apply it."""
    off: HelmValues
    """The Helm values that keep it off: for an explicit false, and for a fall-back."""
    prove: Callable[[AgentEvidence, Asked], Proof]
    needs: Needs = Needs()

    @property
    def name(self) -> str:
        """The name in settings and outputs: the field in camelCase."""
        return setting_name(Toggles, self.field)


def _switch(
    field: str,
    title: str,
    *,
    on: HelmValues,
    off: HelmValues,
    prove: Callable[[AgentEvidence], Proof],
    needs: Needs | None = None,
) -> Toggle:
    """A toggle that is on or off, with the same values wherever it is on."""
    return Toggle(
        field=field,
        title=title,
        on=lambda asked, facts: on,
        off=off,
        prove=lambda agent, asked: prove(agent),
        needs=needs or Needs(),
    )


def _ct_values(asked: Asked, facts: PlatformFacts) -> HelmValues:
    if not isinstance(asked, CtTables):
        return {}
    # These are bpf.ctTcpMax and bpf.ctAnyMax. But Helm reads numbers of a values file as floats, so
    # the chart renders 1048576 as 1.048576e+06, and the agent stops at that ("unable to cast").
    # extraConfig goes into the agent's configuration as it is.
    return {
        "extraConfig": {
            "bpf-ct-global-tcp-max": str(asked.tcp_max),
            "bpf-ct-global-any-max": str(asked.any_max),
        }
    }


def _prove_ct_tables(agent: AgentEvidence, asked: Asked) -> Proof:
    wanted = (asked.tcp_max, asked.any_max) if isinstance(asked, CtTables) else None
    return proofs.conntrack_tables(agent, wanted)


def _xdp_values(asked: Asked, facts: PlatformFacts) -> HelmValues:
    return {"loadBalancer": {"acceleration": xdp_support(facts).acceleration}}


def _xdp_obstacle(facts: PlatformFacts) -> str | None:
    support = xdp_support(facts)
    return None if support.acceleration else support.why


_REGISTRY = (
    _switch(
        "host_routing",
        "BPF host routing",
        on={"bpf": {"hostLegacyRouting": False}},
        off={"bpf": {"hostLegacyRouting": True}},
        prove=proofs.host_routing,
        needs=Needs(kube_proxy_replacement=True, toggles=("bpfMasquerade",), kernel=Kernel(5, 10)),
    ),
    _switch(
        "bandwidth_manager",
        "Bandwidth Manager",
        on={"bandwidthManager": {"enabled": True}},
        off={"bandwidthManager": {"enabled": False}},
        prove=proofs.bandwidth_manager,
        needs=Needs(kernel=Kernel(5, 1), fq=True),
    ),
    _switch(
        "bbr",
        "BBR congestion control",
        on={"bandwidthManager": {"bbr": True}},
        off={"bandwidthManager": {"bbr": False}},
        prove=proofs.bbr,
        needs=Needs(toggles=("bandwidthManager", "hostRouting"), kernel=Kernel(5, 18), bbr=True),
    ),
    _switch(
        "bpf_masquerade",
        "BPF masquerade",
        on={"bpf": {"masquerade": True}},
        off={"bpf": {"masquerade": False}},
        prove=proofs.bpf_masquerade,
        # The agent stops without NodePort, which kube-proxy replacement brings.
        needs=Needs(kube_proxy_replacement=True),
    ),
    _switch(
        "socket_lb",
        "Socket load-balancing",
        on={"socketLB": {"enabled": True}},
        off={"socketLB": {"enabled": False}},
        prove=proofs.socket_lb,
        needs=Needs(kernel=Kernel(4, 19)),
    ),
    _switch(
        "native_routing",
        "Native routing",
        on={"routingMode": "native"},
        off={"routingMode": "tunnel"},
        prove=proofs.native_routing,
    ),
    Toggle(
        field="ct_tables",
        title="Larger conntrack tables",
        on=_ct_values,
        # Nothing set is the chart's dynamic sizing.
        off={},
        prove=_prove_ct_tables,
    ),
    _switch(
        "hubble_off",
        "Hubble off",
        on={"hubble": {"enabled": False}},
        off={"hubble": {"enabled": True}},
        prove=proofs.hubble_off,
    ),
    _switch(
        "dsr",
        "Direct server return (DSR)",
        on={"loadBalancer": {"mode": "dsr"}},
        off={"loadBalancer": {"mode": "snat"}},
        prove=proofs.dsr,
        needs=Needs(kube_proxy_replacement=True, obstacle=dsr_obstacle),
    ),
    Toggle(
        field="xdp",
        title="XDP acceleration",
        on=_xdp_values,
        off={"loadBalancer": {"acceleration": "disabled"}},
        prove=lambda agent, asked: proofs.xdp(agent),
        needs=Needs(kube_proxy_replacement=True, kernel=Kernel(5, 10), obstacle=_xdp_obstacle),
    ),
)

TOGGLES: dict[str, Toggle] = {toggle.name: toggle for toggle in _REGISTRY}
"""Every toggle by its name, in the order of reports."""
