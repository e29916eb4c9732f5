"""What a scenario is, as far as rules need it: read from what its results say was running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cni.registry import of_environment
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
    environment = scenario.environment
    services, cni = _services(environment), of_environment(environment)
    if cni is None:
        none = False if environment.get("cni") else None
        return Traits(services, None, None, layer_7=none, serves_pods=none)
    agents = environment.get("agents")
    reported = cni.reported(agents if isinstance(agents, Mapping) else {})
    return Traits(
        services,
        reported.overlay,
        reported.flows,
        layer_7=cni.policies.layer_7,
        serves_pods=cni.serves_pods,
    )


def _services(environment: Mapping[str, Any]) -> Services | None:
    match environment.get("kube_proxy"):
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
