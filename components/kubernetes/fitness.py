"""Whether a cluster that somebody else has made fits a scenario: pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from cni.problems import Problem
from cni.scenario import Scenario
from cni.value_tree import HelmValues
from components.kubernetes import facts
from components.kubernetes.discovery import Cluster
from components.kubernetes.names import SYSTEM_NAMESPACE
from kube.objects import Json

_FEWEST_NODES = 2


def installs_cilium(scenario: Scenario, cluster: Cluster, stack: str) -> bool:
    """Whether Cilium is this stack's to install, or was installed by it already."""
    if scenario.cni != "cilium":
        return False
    found = cluster.cni
    return found.kind == "none" or (found.kind == "cilium" and found.owner == stack)


def obstacles(scenario: Scenario, cluster: Cluster, stack: str) -> list[Problem]:
    """Everything that stands against measuring the scenario on the cluster."""
    rules = [_nodes(cluster), _cni(scenario, cluster, stack), _kube_proxy(scenario, cluster)]
    if installs_cilium(scenario, cluster, stack):
        rules.append(_addresses(scenario, cluster))
    return [problem for rule in rules for problem in rule]


def _nodes(cluster: Cluster) -> Iterator[Problem]:
    found = len(cluster.schedulable)
    if found < _FEWEST_NODES:
        reason = (
            f"of the cluster's nodes {found} take ordinary pods; client and server want one each"
        )
        yield Problem("kubeconfig.context", None, reason, "kubeconfig.context", "CONTEXT")


def _cni(scenario: Scenario, cluster: Cluster, stack: str) -> Iterator[Problem]:
    found, wanted = cluster.cni, scenario.cni
    if wanted == "vpc-cni":
        if found.kind != "aws":
            reason = f"the cluster's CNI is {found.name}, and the VPC CNI is not installed by us"
            yield _other_cluster("scenario.cni", wanted, reason)
        elif found.version != scenario.cni_version:
            yield _version(scenario, found.name, found.version)
        return
    if found.kind in ("aws", "other"):
        reason = f"the cluster already has a CNI, {found.name}: a second one would fight it"
        yield _other_cluster("scenario.cni", wanted, reason)
    if found.kind == "cilium" and found.namespace != SYSTEM_NAMESPACE:
        reason = f"the cluster's Cilium is in the namespace {found.namespace}, not in kube-system"
        yield _other_cluster("scenario.cni", wanted, reason)
    if found.kind == "cilium" and found.owner != stack and found.version != scenario.cni_version:
        yield _version(scenario, found.name, found.version)


def _version(scenario: Scenario, name: str, version: str) -> Problem:
    reason = f"the cluster has {name} {version or 'of an unknown version'}, and it is not replaced"
    return _other_cluster("scenario.cniVersion", scenario.cni_version, reason)


def _other_cluster(key: str, value: object, reason: str) -> Problem:
    return Problem(key, value, reason, "kubeconfig.context", "CONTEXT")


def _kube_proxy(scenario: Scenario, cluster: Cluster) -> Iterator[Problem]:
    wanted, found = scenario.kube_proxy, cluster.kube_proxy
    if found in (wanted, "unknown"):
        return
    if wanted == "none":
        reason = (
            f"kube-proxy runs in the cluster (mode {found}): it and Cilium would both "
            "load-balance Services. Remove its DaemonSet and its rules, or measure with it"
        )
        yield _other_cluster("scenario.kubeProxy", wanted, reason)
    elif found == "none":
        reason = "no kube-proxy runs in the cluster"
        yield _other_cluster("scenario.kubeProxy", wanted, reason)
    else:
        reason = f"kube-proxy's mode in the cluster is {found}"
        fix = found if found in ("iptables", "nftables") else None
        if fix:
            yield Problem("scenario.kubeProxy", wanted, reason, "scenario.kubeProxy", fix)
        else:
            yield _other_cluster("scenario.kubeProxy", wanted, reason)


def _addresses(scenario: Scenario, cluster: Cluster) -> Iterator[Problem]:
    if scenario.ipam == "eni" and not all(_on_ec2(node) for node in cluster.nodes):
        reason = "the cluster's nodes are no EC2 instances, so they have no ENIs"
        yield Problem("scenario.ipam", "eni", reason, "scenario.ipam", "cluster-pool")
    if scenario.pod_cidr is None:
        return
    pool = IPv4Network(scenario.pod_cidr, strict=False)
    for node in cluster.nodes:
        for address in node["status"].get("addresses", ()):
            if address["type"] == "InternalIP" and _in(address["address"], pool):
                reason = f"the node {node['metadata']['name']} has the address {address['address']}"
                key = "scenario.podCidr"
                yield Problem(key, scenario.pod_cidr, f"{reason} in it", key, "10.244.0.0/16")
                return


def _in(address: str, network: IPv4Network) -> bool:
    return ":" not in address and IPv4Address(address) in network


def _on_ec2(node: Json) -> bool:
    return str(node["spec"].get("providerID", "")).startswith("aws://")


def differences(scenario: Scenario, cluster: Cluster) -> list[str]:
    """How a Cilium that is measured as it is differs from the scenario, one sentence each."""
    config = cluster.cni.config
    overlay = scenario.overlay
    wanted = {
        "ipam": scenario.ipam,
        "routing-mode": "tunnel" if overlay else "native",
        "kube-proxy-replacement": "true" if scenario.kube_proxy_replacement else "false",
    }
    if overlay:
        wanted["tunnel-protocol"] = overlay
    return [
        f"Cilium was there and is measured as it is: its {key} is {config.get(key, 'not set')}, "
        f"the scenario's {value}"
        for key, value in wanted.items()
        if config.get(key) != value
    ]


def found_values(cluster: Cluster) -> HelmValues:
    """The settings of a Cilium that is measured as it is, by the chart's names for them."""
    config = cluster.cni.config
    return {
        "kubeProxyReplacement": config.get("kube-proxy-replacement") == "true",
        "routingMode": config.get("routing-mode", "tunnel"),
        "tunnelProtocol": config.get("tunnel-protocol", "vxlan"),
        "bpf": {"masquerade": config.get("enable-bpf-masquerade") == "true"},
        "socketLB": {
            "enabled": config.get("bpf-lb-sock") == "true",
            "hostNamespaceOnly": config.get("bpf-lb-sock-hostns-only") == "true",
        },
    }


def remarks(cluster: Cluster) -> list[str]:
    """What a reader of the results should know of the nodes."""
    said = []
    zones = _labels(cluster, "topology.kubernetes.io/zone")
    if len(zones) > 1:
        said.append(f"nodes are in {len(zones)} zones ({', '.join(zones)}): samples may cross them")
    types = sorted({facts.instance_type(node) or "unknown" for node in cluster.schedulable})
    if len(types) > 1:
        said.append(f"nodes are of {len(types)} types ({', '.join(types)})")
    if cluster.kube_proxy == "unknown":
        said.append("kube-proxy's mode is not told by the cluster")
    return said


def _labels(cluster: Cluster, label: str) -> list[str]:
    found = (node["metadata"].get("labels", {}).get(label) for node in cluster.schedulable)
    return sorted({value for value in found if value})
