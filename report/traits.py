"""What a scenario is, as far as rules need it: read from what its results say was running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from report.sources import MeasuredScenario

Services = Literal["kube-proxy iptables", "kube-proxy nftables", "kube-proxy ipvs", "eBPF"]


@dataclass(frozen=True, slots=True)
class Traits:
    """Stated settings and what the agents report; None wherever the results do not tell.

    ``services`` is who load-balances Services. ``overlay``: pods have addresses of their own
    between tunnels, and take none of the VPC's. ``hubble`` is on.
    """

    cni: str | None
    version: str | None
    services: Services | None
    overlay: bool | None
    hubble: bool | None

    @property
    def cilium(self) -> bool | None:
        """It is the CNI."""
        return None if self.cni is None else self.cni == "cilium"


def traits(scenario: MeasuredScenario) -> Traits:
    """A scenario's traits."""
    environment = scenario.environment
    name, _, version = str(environment.get("cni") or "").partition(" ")
    agents = environment.get("agents")
    told: Mapping[str, Any] = agents if isinstance(agents, Mapping) else {}
    cni = name or ("cilium" if told else None)
    return Traits(
        cni=cni,
        version=version or None,
        services=_services(environment),
        overlay=False if cni == "vpc-cni" else _is(told.get("network_routing"), "Tunnel"),
        hubble=False if cni == "vpc-cni" else _is(told.get("hubble"), "Ok", "Warning", "Failure"),
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


def _is(said: object, *values: str) -> bool | None:
    """Agents that differ from each other tell nothing."""
    return None if not isinstance(said, str) or said == "None" else said in values
