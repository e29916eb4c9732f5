"""What a scenario is, as far as rules need it: read from what its results say was running."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cni.registry import DATAPLANES
from report.sources import MeasuredScenario

Services = Literal["kube-proxy iptables", "kube-proxy nftables", "kube-proxy ipvs", "eBPF"]


@dataclass(frozen=True, slots=True)
class Traits:
    """What the CNI can do and what its agents report; None wherever the results do not tell.

    ``services`` is who load-balances Services. ``overlay``: pods have addresses of their own
    between tunnels, and take none of the VPC's. ``flows``: they are observed, with identities and
    verdicts. ``layer_7``: the CNI has policies by HTTP, DNS name and host. ``serves_pods``: it
    leads pods to Services by itself, also beside kube-proxy.
    """

    services: Services | None
    overlay: bool | None
    flows: bool | None
    layer_7: bool | None
    serves_pods: bool | None


def traits(scenario: MeasuredScenario) -> Traits:
    """A scenario's traits."""
    environment, record = scenario.environment, scenario.results.cni
    services = _services(environment.kube_proxy)
    cni = DATAPLANES.get(record.name) if record else None
    if cni is None:
        none = False if record else None
        return Traits(services, None, None, layer_7=none, serves_pods=none)
    reported = cni.reported(environment.agents)
    return Traits(
        services,
        reported.overlay,
        reported.flows,
        layer_7=cni.policies.layer_7,
        serves_pods=cni.serves_pods,
    )


def _services(kube_proxy: str | None) -> Services | None:
    match kube_proxy:
        case "none":
            return "eBPF"
        case "iptables":
            return "kube-proxy iptables"
        case "nftables":
            return "kube-proxy nftables"
        case "ipvs":
            return "kube-proxy ipvs"
        case _:
            return None
