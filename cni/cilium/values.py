"""The Cilium chart's values for a scenario, on EKS and as the lab adapts them; unknown ones.

Both targets start from the same values, so the lab runs what EKS would. Facts of the chart: 1.16.5.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path

import yaml

from cni.cilium.toggles import TOGGLES, overlay
from cni.cilium.versions import DEFAULT, VERSIONS
from cni.dataplane import InstalledValues
from cni.platform import ClusterEndpoint, LabFabric
from cni.settings import (
    KeyPath,
    ScenarioSettings,
    Values,
    did_you_mean,
    leaf_paths,
    leaves,
    merge,
    property_path,
    show,
)
from cni.toggles import Decision

_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a map of values",
}
# Where the chart's schema takes more than its default shows. Source: values.schema.json.
_ALSO: tuple[tuple[str, tuple[type, ...]], ...] = (
    (r"autoDirectNodeRoutes|endpointRoutes\.enabled", (str,)),
    (r"ipam\.operator\.clusterPoolIPv[46]PodCIDRList", (str,)),
    (r"k8sServicePort", (int,)),
    (r".*\.rollingUpdate\.max(Surge|Unavailable)", (int, str)),
    (r".*\.podDisruptionBudget\.maxUnavailable", (str,)),
)
# Maps with defaults that templates render whole: they take any key of Kubernetes' own.
_RENDERED_WHOLE = re.compile(
    r"(.*\.)?(affinity|nodeSelector|podSecurityContext|resources|seLinuxOptions|updateStrategy)"
    r"|(clustermesh|hubble|nodeinit)\..*securityContext|nodeinit\.securityContext"
)
_MISSING = object()


def helm_values(
    scenario: ScenarioSettings, decisions: Iterable[Decision], cluster: ClusterEndpoint
) -> Values:
    """Values on EKS: a scenario's settings, its decided toggles, then its own values."""
    decided = {decision.toggle: decision for decision in decisions}
    return merge(
        {
            "cluster": {"name": cluster.name},
            "operator": {"replicas": 1},
            "kubeProxyReplacement": scenario.kube_proxy_replacement,
            "routingMode": "tunnel" if overlay(scenario) else "native",
        },
        _service_values(scenario, cluster),
        _address_values(scenario, cluster),
        _path_values(scenario),
        *(TOGGLES[name].beside(scenario, each, cluster) for name, each in decided.items()),
        *(each.values for each in decided.values()),
        scenario.values,
        _eni_permissions(cluster),
    )


def _eni_permissions(cluster: ClusterEndpoint) -> Values:
    """By what the operator manages ENIs; a scenario's own values cannot change it."""
    if cluster.eni_role is None:
        return {}
    return {"eni": {"iamRole": cluster.eni_role, "eniTags": dict(cluster.eni_tags)}}


def _service_values(scenario: ScenarioSettings, cluster: ClusterEndpoint) -> Values:
    if not scenario.kube_proxy_replacement:
        return {}
    # With no kube-proxy nothing makes the API server's ClusterIP work before Cilium does.
    return {"k8sServiceHost": cluster.api_host, "k8sServicePort": cluster.api_port}


def _address_values(scenario: ScenarioSettings, cluster: ClusterEndpoint) -> Values:
    if scenario.ipam == "cluster-pool":
        pools = [scenario.pod_cidr]
        return {"ipam": {"mode": "cluster-pool", "operator": {"clusterPoolIPv4PodCIDRList": pools}}}
    eni: Values = {
        "enabled": True,
        "awsEnablePrefixDelegation": scenario.prefix_delegation,
    }
    if cluster.eni_subnet_ids:
        eni["subnetIDsFilter"] = list(cluster.eni_subnet_ids)
    return {"ipam": {"mode": "eni"}, "eni": eni}


def _path_values(scenario: ScenarioSettings) -> Values:
    tunnel = overlay(scenario)
    if tunnel is not None:
        return {"tunnelProtocol": tunnel}
    if scenario.ipam == "cluster-pool":
        # Nodes on one L2 network route each other's pods; nobody else knows the pool.
        return {"ipv4NativeRoutingCIDR": scenario.pod_cidr, "autoDirectNodeRoutes": True}
    return {}


# What the lab does without, whatever the scenario.
_LAB_VALUES: Values = {
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
    scenario: ScenarioSettings,
    decisions: Iterable[Decision],
    cluster: ClusterEndpoint,
    fabric: LabFabric,
) -> InstalledValues:
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
    return InstalledValues(values, tuple(adaptations))


# -- values that the chart does not have ---------------------------------------------------------


@cache
def chart_keys(version: str = DEFAULT) -> Mapping[str, object]:
    """A chart's values with every scalar and list emptied, so that it is not needed to find unknown
    ones. The file is made from the chart's values.yaml, with which a test compares it:

        helm show values cilium --repo https://helm.cilium.io --version VERSION \\
            | python -m cni.cilium.values > cni/cilium/chart-VERSION.json
    """
    file = Path(__file__).with_name(VERSIONS[version].chart_keys)
    keys: dict[str, object] = json.loads(file.read_text())
    return keys


def skeleton(defaults: object) -> object:
    """A chart's default values with every scalar and list emptied; keys and types stay.

    What takes any content, `{}` or null, stays what it is.
    """
    if isinstance(defaults, Mapping):
        return {key: skeleton(value) for key, value in defaults.items()}
    return None if defaults is None else type(defaults)()


def rendered_whole(path: str) -> bool:
    """Whether the map at a path may have keys beside those of the chart's default."""
    return _RENDERED_WHOLE.fullmatch(path) is not None


def unknown_values(
    values: Mapping[str, object],
    chart_defaults: Mapping[str, object],
    optional: Collection[str] = VERSIONS[DEFAULT].optional_values,
) -> list[str]:
    """The dotted paths in `values` that a chart does not know so, each as one sentence.

    `chart_defaults` is the chart's parsed values.yaml, or a tree with the same keys and types;
    `optional` are paths it leaves out. Where a default is `{}` or null, any content below is
    free-form and accepted. The Cilium chart's own schema rejects no unknown key, so without this a
    misspelt one silently renders to nothing; a wrong type it refuses when it is installed, which on
    a cloud is long after the cluster has been made.
    """
    known = [path for path, _ in leaves(chart_defaults)] + list(optional)
    lines = []
    for keys, value in leaf_paths(values):
        path = property_path(keys)
        default = None if path in optional else _default(chart_defaults, keys)
        if default is _MISSING:
            lines.append(f"{path}: not a value of this chart{did_you_mean(path, known)}")
        elif not _fits(path, value, default):
            shown = f'"{value}"' if isinstance(value, str) else show(value)
            lines.append(f"{path}: {shown}: must be {_KINDS[type(default)]}, as in the chart")
    return lines


def kinds(path: str, default: object) -> frozenset[type]:
    """The types that a value at this path may have beside null; none for whatever one likes."""
    if default is None or default == {}:
        return frozenset()
    also = [types for pattern, types in _ALSO if re.fullmatch(pattern, path)]
    return frozenset({type(default)}.union(*also))


def _fits(path: str, value: object, default: object) -> bool:
    allowed = kinds(path, default)
    # Null is the chart's own default; a whole number does where any number does.
    if value is None or not allowed or type(value) in allowed:
        return True
    return isinstance(value, int) and not isinstance(value, bool) and float in allowed


def _default(defaults: Mapping[str, object], path: KeyPath) -> object:
    """The chart's value at a path, None where it is free-form, _MISSING where there is none."""
    node: object = defaults
    for depth, key in enumerate(path):
        if node is None or node == {}:
            return None
        if not isinstance(node, Mapping) or key not in node:
            above = (property_path(path[:end]) for end in range(1, depth + 1))
            return None if any(map(rendered_whole, above)) else _MISSING
        node = node[key]
    return node


if __name__ == "__main__":
    print(json.dumps(skeleton(yaml.safe_load(sys.stdin)), indent=1, sort_keys=True))
