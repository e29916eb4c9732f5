"""The Cilium chart's values for a scenario: on EKS, and as the lab adapts them.

Chart 1.16.5. Both targets start from the same values, so the lab runs what EKS would.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cni.guards import Decision
from cni.scenario import Scenario
from cni.value_tree import HelmValues, merge, unknown_values

__all__ = [
    "ClusterEndpoint",
    "LabFabric",
    "LabValues",
    "helm_values",
    "lab_values",
    "unknown_values",
]

# As the chart's templates/validate.yaml checks it.
_CLUSTER_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterEndpoint:
    """What the values need to know of the cluster that they are for."""

    name: str
    """Unique among the clusters of an AWS account: Cilium tags its ENIs with it."""
    api_host: str
    """The API server's host, without scheme and port."""
    api_port: int = 443
    eni_subnet_ids: Sequence[str] = ()
    """Subnets in which ENIs may be made; empty for any in the VPC."""
    egress_interfaces: str = "ens+"
    """The nodes' own interfaces, as an iptables pattern. Amazon Linux 2023 names them ens5 …"""

    def __post_init__(self) -> None:
        if not _CLUSTER_NAME.fullmatch(self.name):
            raise ValueError(
                f"cluster name {self.name!r}: at most 32 of a-z, 0-9 and '-', with a letter or "
                "digit first and last"
            )
        if "/" in self.api_host:
            raise ValueError(f"API server host {self.api_host!r}: without scheme or path")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabFabric:
    """The lab's network between nodes."""

    pod_cidr: str | None
    """Holds every node's routed pod subnet (`spec.podCIDR`); None where pods get addresses of
    ENIs."""
    devices: str = "ens+"
    """The nodes' interfaces on it, as an iptables pattern, named as Amazon Linux 2023 does."""


class LabValues(NamedTuple):
    """Values for the lab, and in one sentence each what they change from EKS's."""

    values: HelmValues
    adaptations: tuple[str, ...]


def helm_values(
    scenario: Scenario, decisions: Iterable[Decision], cluster: ClusterEndpoint
) -> HelmValues:
    """Values of a Cilium scenario on EKS: its settings, its decided toggles, then its own values.

    Raises ValueError for scenarios with another CNI, which no chart installs.
    """
    if scenario.cni != "cilium":
        raise ValueError(f"{scenario.title}: {scenario.cni} is not installed by the Cilium chart")
    decided = {decision.toggle: decision for decision in decisions}
    return merge(
        {
            "cluster": {"name": cluster.name},
            "operator": {"replicas": 1},
            "kubeProxyReplacement": scenario.kube_proxy_replacement,
            "routingMode": "native" if scenario.overlay is None else "tunnel",
        },
        _service_values(scenario, cluster),
        _address_values(scenario, cluster),
        _path_values(scenario, decided, cluster),
        *(decision.values for decision in decided.values()),
        scenario.values,
    )


def _service_values(scenario: Scenario, cluster: ClusterEndpoint) -> HelmValues:
    if not scenario.kube_proxy_replacement:
        return {}
    # With no kube-proxy nothing makes the API server's ClusterIP work before Cilium does.
    return {"k8sServiceHost": cluster.api_host, "k8sServicePort": cluster.api_port}


def _address_values(scenario: Scenario, cluster: ClusterEndpoint) -> HelmValues:
    if scenario.ipam == "cluster-pool":
        pools = [scenario.pod_cidr]
        return {"ipam": {"mode": "cluster-pool", "operator": {"clusterPoolIPv4PodCIDRList": pools}}}
    eni: HelmValues = {
        "enabled": True,
        "awsEnablePrefixDelegation": scenario.prefix_delegation,
    }
    if cluster.eni_subnet_ids:
        eni["subnetIDsFilter"] = list(cluster.eni_subnet_ids)
    return {"ipam": {"mode": "eni"}, "eni": eni}


def _path_values(
    scenario: Scenario, decided: dict[str, Decision], cluster: ClusterEndpoint
) -> HelmValues:
    if scenario.overlay is not None:
        # DSR has to carry the service's address in the tunnel's own header.
        dsr = decided["dsr"].applied
        dispatch: HelmValues = {"loadBalancer": {"dsrDispatch": "geneve"}} if dsr else {}
        return {"tunnelProtocol": scenario.overlay, **dispatch}
    if scenario.ipam == "cluster-pool":
        # Nodes on one L2 network route each other's pods; nobody else knows the pool.
        return {"ipv4NativeRoutingCIDR": scenario.pod_cidr, "autoDirectNodeRoutes": True}
    if decided["bpfMasquerade"].applied:
        return {}
    return {"egressMasqueradeInterfaces": cluster.egress_interfaces}


# What the lab does without, whatever the scenario.
_LAB_VALUES: HelmValues = {
    "l7Proxy": False,
    "envoy": {"enabled": False},
    "healthChecking": False,
    "endpointHealthChecking": {"enabled": False},
    "hubble": {"tls": {"enabled": False}},
}
_LAB_ADAPTATIONS = (
    "No L7 proxy and no Envoy: the lab runs the agent alone.",
    "No health endpoints: nodes' reachability is the lab's own to check.",
    "Hubble, where it is on, listens without TLS: the lab makes no certificates.",
)


def lab_values(
    scenario: Scenario,
    decisions: Iterable[Decision],
    cluster: ClusterEndpoint,
    fabric: LabFabric,
) -> LabValues:
    """EKS's values with what the lab must change, and the list of what that is."""
    values = merge(
        helm_values(scenario, decisions, cluster), _LAB_VALUES, {"devices": fabric.devices}
    )
    adaptations = [
        *_LAB_ADAPTATIONS,
        f"BPF programs attach to {fabric.devices}, named explicitly: the agent's detection passes "
        "over the veth devices that stand for ENIs.",
    ]
    if scenario.ipam == "eni" and fabric.pod_cidr is not None:
        del values["eni"]
        values |= {
            "ipam": {"mode": "kubernetes"},
            "ipv4NativeRoutingCIDR": fabric.pod_cidr,
            "autoDirectNodeRoutes": False,
            # The chart turns it on with eni.enabled.
            "endpointRoutes": {"enabled": True},
        }
        adaptations.append(
            "ENI addresses are routed pod subnets: each node has one of "
            f"{fabric.pod_cidr}, and the lab's fabric routes them as a VPC would."
        )
    return LabValues(values, tuple(adaptations))
