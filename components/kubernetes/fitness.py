"""Whether a cluster that somebody else has made fits a scenario: pure."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from cni.problems import Problem
from cni.scenario import Scenario
from components.kubernetes import facts
from components.kubernetes.discovery import Cluster
from components.kubernetes.names import SYSTEM_NAMESPACE
from kube.objects import Json

_FEWEST_NODES = 2


def installs(scenario: Scenario, cluster: Cluster, stack: str) -> bool:
    """Whether the CNI is this stack's to install, or was installed by it already."""
    present = cluster.cni
    if not scenario.dataplane.installable:
        return False
    return present.kind == "none" or (present.kind == scenario.cni and present.owner == stack)


def obstacles(scenario: Scenario, cluster: Cluster, stack: str) -> list[Problem]:
    """Everything that stands against measuring the scenario on the cluster."""
    rules = [_nodes(cluster), _cni(scenario, cluster, stack), _kube_proxy(scenario, cluster)]
    if installs(scenario, cluster, stack):
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
    present, wanted = cluster.cni, scenario.dataplane
    if present.kind != scenario.cni:
        if not wanted.installable:
            reason = (
                f"the cluster's CNI is {present.name}, and {wanted.title} is not installed by us"
            )
            yield _other_cluster("scenario.cni", scenario.cni, reason)
        elif present.kind != "none":
            reason = f"the cluster already has a CNI, {present.name}: a second one would fight it"
            yield _other_cluster("scenario.cni", scenario.cni, reason)
        return
    if wanted.installable and present.namespace != SYSTEM_NAMESPACE:
        reason = (
            f"the cluster's {present.name} is in the namespace {present.namespace}, not in "
            f"{SYSTEM_NAMESPACE}"
        )
        yield _other_cluster("scenario.cni", scenario.cni, reason)
    if present.owner != stack and present.version != scenario.cni_version:
        yield _version(scenario, present.name, present.version)


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
