"""The exact chart values of each scenario, on EKS and in the lab."""

from __future__ import annotations

from typing import Any

import pytest

from cni.cilium.dataplane import Cilium
from cni.cilium.values import Chart, unknown_values
from cni.decisions import decide
from cni.platform import ClusterEndpoint, LabFabric, PlatformFacts
from cni.settings import leaves, merge
from tests.cni.stackfiles import Load

ALL: dict[str, Any] = {"cluster": {"name": "bench-e"}, "operator": {"replicas": 1}}
NO_KUBE_PROXY: dict[str, Any] = {
    "kubeProxyReplacement": True,
    "k8sServiceHost": "ABC.gr7.ap-northeast-2.eks.amazonaws.com",
    "k8sServicePort": 443,
}
OVERLAY: dict[str, Any] = {
    "routingMode": "tunnel",
    "tunnelProtocol": "vxlan",
    "ipam": {
        "mode": "cluster-pool",
        "operator": {"clusterPoolIPv4PodCIDRList": ["10.244.0.0/16"]},
    },
}
ENI: dict[str, Any] = {
    "routingMode": "native",
    "ipam": {"mode": "eni"},
    "eni": {"enabled": True, "awsEnablePrefixDelegation": True, "subnetIDsFilter": ["subnet-2a"]},
}
TUNED: dict[str, Any] = {
    "bpf": {"hostLegacyRouting": False, "masquerade": True},
    "bandwidthManager": {"enabled": True, "bbr": True},
    "socketLB": {"enabled": True},
    "extraConfig": {"bpf-ct-global-tcp-max": "1048576", "bpf-ct-global-any-max": "524288"},
    "hubble": {"enabled": False},
    "loadBalancer": {"mode": "snat", "acceleration": "disabled"},
    "enableIPv4Masquerade": True,
}
GOLDEN = {
    "scenario-b": ALL | OVERLAY | {"kubeProxyReplacement": False},
    "scenario-c": ALL | OVERLAY | NO_KUBE_PROXY,
    "scenario-d": ALL
    | ENI
    | NO_KUBE_PROXY
    | {"egressMasqueradeInterfaces": "en+", "enableIPv4Masquerade": False},
    "scenario-e": ALL | ENI | NO_KUBE_PROXY | TUNED,
}


@pytest.mark.parametrize("stack", GOLDEN)
def test_values_on_eks(
    load: Load, m6i: PlatformFacts, endpoint: ClusterEndpoint, stack: str
) -> None:
    scenario = load(stack)
    assert Cilium().values(scenario, decide(scenario, m6i), endpoint) == GOLDEN[stack]


@pytest.mark.parametrize(("version", "masquerades"), [("1.16.5", True), ("1.20.2", False)])
def test_eni_addresses_are_masqueraded_where_the_versions_chart_does_it(
    load: Load, m6i: PlatformFacts, endpoint: ClusterEndpoint, version: str, *, masquerades: bool
) -> None:
    scenario = load("scenario-d", cniVersion=version)
    values = Cilium().values(scenario, decide(scenario, m6i), endpoint)
    assert values["enableIPv4Masquerade"] is masquerades
    # Both say what the precondition compares the agents with.
    asked = {each.name: each.requested for each in Cilium().settings(dict(leaves(values)), [])}
    assert asked["masquerading"] == ("iptables" if masquerades else "disabled")


def test_the_vpc_cni_takes_an_environment(
    load: Load, m6i: PlatformFacts, endpoint: ClusterEndpoint
) -> None:
    scenario = load("scenario-a", prefixDelegation=True)
    values = scenario.dataplane.values(scenario, decide(scenario, m6i), endpoint)
    assert values == {"env": {"ADDITIONAL_ENI_TAGS": "{}", "ENABLE_PREFIX_DELEGATION": "true"}}


def _eks_values(
    scenario_changes: dict[str, Any], load: Load, m6i: PlatformFacts, endpoint: ClusterEndpoint
) -> dict[str, Any]:
    stack = scenario_changes.pop("stack")
    scenario = load(stack, **scenario_changes)
    return Cilium().values(scenario, decide(scenario, m6i), endpoint)


def test_a_scenarios_own_values_come_last(
    load: Load, m6i: PlatformFacts, endpoint: ClusterEndpoint
) -> None:
    changes = {"stack": "scenario-d", "values": {"operator": {"replicas": 2}, "MTU": 1500}}
    values = _eks_values(changes, load, m6i, endpoint)
    assert values["operator"] == {"replicas": 2}
    assert values["MTU"] == 1500


def test_masquerading_by_iptables_returns_when_bpf_masquerade_is_off(
    load: Load, m6i: PlatformFacts, endpoint: ClusterEndpoint
) -> None:
    changes = {"stack": "scenario-e", "toggles": {"bpfMasquerade": False}}
    values = _eks_values(changes, load, m6i, endpoint)
    assert values["egressMasqueradeInterfaces"] == "en+"
    assert values["bpf"] == {"hostLegacyRouting": True, "masquerade": False}
    # BBR stops the agent without host routing, so it goes too.
    assert values["bandwidthManager"] == {"enabled": True, "bbr": False}


def test_a_cluster_pool_routed_natively_says_what_is_native(
    load: Load, lab: PlatformFacts, endpoint: ClusterEndpoint
) -> None:
    changes = {
        "stack": "scenario-c",
        "tunnelProtocol": None,
        "toggles": {"nativeRouting": True},
    }
    values = _eks_values(changes, load, lab, endpoint)
    assert values["routingMode"] == "native"
    assert values["ipv4NativeRoutingCIDR"] == "10.244.0.0/16"
    assert values["autoDirectNodeRoutes"] is True
    assert "tunnelProtocol" not in values


def test_dsr_over_geneve_uses_the_tunnels_header(
    load: Load, lab: PlatformFacts, endpoint: ClusterEndpoint
) -> None:
    changes = {"stack": "scenario-c", "tunnelProtocol": "geneve", "toggles": {"dsr": True}}
    values = _eks_values(changes, load, lab, endpoint)
    assert values["loadBalancer"] == {"mode": "dsr", "dsrDispatch": "geneve"}


LAB_ALWAYS = {
    "l7Proxy": False,
    "envoy": {"enabled": False},
    "healthChecking": False,
    "endpointHealthChecking": {"enabled": False},
    "devices": "ens+",
}
ROUTED = {
    "ipam": {"mode": "kubernetes"},
    "ipv4NativeRoutingCIDR": "172.30.0.0/16",
    "autoDirectNodeRoutes": False,
    "endpointRoutes": {"enabled": True},
}
NO_TLS = {"hubble": {"tls": {"enabled": False}}}
REAL = LabFabric(pod_cidr=None)
ROUTED_SUBNETS = LabFabric(pod_cidr="172.30.0.0/16")
# This lab's kernel has no fq; its interfaces are no EC2 ones.
LAB_TUNED = {"bandwidthManager": {"enabled": False, "bbr": False}, "loadBalancer": {"mode": "dsr"}}
LAB_GOLDEN: dict[str, list[dict[str, Any]]] = {
    "scenario-b": [GOLDEN["scenario-b"], LAB_ALWAYS, NO_TLS],
    "scenario-c": [GOLDEN["scenario-c"], LAB_ALWAYS, NO_TLS],
    "scenario-d": [GOLDEN["scenario-d"], LAB_ALWAYS, NO_TLS],
    "scenario-e": [GOLDEN["scenario-e"], LAB_ALWAYS, NO_TLS, LAB_TUNED],
}


@pytest.mark.parametrize("stack", LAB_GOLDEN)
@pytest.mark.parametrize("fabric", [REAL, ROUTED_SUBNETS], ids=["real", "routed"])
def test_values_in_the_lab(
    load: Load, lab: PlatformFacts, endpoint: ClusterEndpoint, stack: str, fabric: LabFabric
) -> None:
    scenario = load(stack)
    values, adaptations = Cilium().lab_values(scenario, decide(scenario, lab), endpoint, fabric)
    golden = merge(*LAB_GOLDEN[stack])
    routes = scenario.ipam == "eni" and fabric == ROUTED_SUBNETS
    if routes:
        golden = merge({key: value for key, value in golden.items() if key != "eni"}, ROUTED)
    assert values == golden
    told = [line for line in adaptations if line.startswith("ENI addresses are routed")]
    assert bool(told) == routes


ALWAYS_CHANGED = {
    "l7Proxy",
    "envoy.enabled",
    "healthChecking",
    "endpointHealthChecking.enabled",
    "hubble.tls.enabled",
    "devices",
}
ALWAYS_TOLD = (
    "No L7 proxy and no Envoy: the lab runs the agent alone.",
    "No health endpoints: nodes' reachability is the lab's own to check.",
    "Hubble, where it is on, listens without TLS: the lab makes no certificates.",
    "BPF programs attach to ens+, named explicitly: the agent's detection passes over the veth "
    "devices that stand for ENIs.",
)


@pytest.mark.parametrize(
    ("fabric", "changed", "told"),
    [
        (REAL, set(), ()),
        (
            ROUTED_SUBNETS,
            {
                "ipam.mode",
                "ipv4NativeRoutingCIDR",
                "autoDirectNodeRoutes",
                "endpointRoutes.enabled",
            },
            (
                "ENI addresses are routed pod subnets: each node has one of 172.30.0.0/16, and the "
                "lab's fabric routes them as a VPC would.",
            ),
        ),
    ],
    ids=["real", "routed"],
)
def test_every_change_of_the_lab_is_among_its_adaptations(
    load: Load,
    lab: PlatformFacts,
    endpoint: ClusterEndpoint,
    fabric: LabFabric,
    changed: set[str],
    told: tuple[str, ...],
) -> None:
    scenario = load("scenario-d")
    decisions = decide(scenario, lab)
    eks = dict(leaves(Cilium().values(scenario, decisions, endpoint)))
    adapted = Cilium().lab_values(scenario, decisions, endpoint, fabric)
    found = {path for path, value in leaves(adapted.values) if eks.get(path) != value}
    assert found == ALWAYS_CHANGED | changed
    assert adapted.adaptations == ALWAYS_TOLD + told


@pytest.mark.parametrize("name", ["", "Upper", "-a", "a" * 33, "a_b"])
def test_cluster_names_that_the_chart_refuses(name: str) -> None:
    with pytest.raises(ValueError, match="cluster name"):
        ClusterEndpoint(name=name, api_host="host")


def test_the_api_host_is_no_url() -> None:
    with pytest.raises(ValueError, match="without scheme"):
        ClusterEndpoint(name="a", api_host="https://host")


DEFAULTS = {
    "bpf": {"masquerade": None, "ctTcpMax": None},
    "hubble": {"enabled": True},
    "extraConfig": {},
    "podAnnotations": {},
    "eni": {"subnetIDsFilter": []},
    "MTU": 0,
}


@pytest.mark.parametrize(
    ("values", "unknown"),
    [
        ({"bpf": {"masquerade": True}}, []),
        ({"extraConfig": {"any": "thing"}}, []),
        ({"eni": {"subnetIDsFilter": ["a"]}}, []),
        ({"loadBalancer": {"mode": "dsr"}}, []),
        (
            {"bpf": {"ctGlobalTCPMax": 1}},
            ["bpf.ctGlobalTCPMax: not a value of this chart (did you mean bpf.ctTcpMax?)"],
        ),
        ({"mtu": 1}, ["mtu: not a value of this chart (did you mean MTU?)"]),
        ({"MTU": {"eth0": 1}}, ["MTU.eth0: not a value of this chart"]),
        ({"zzz": {"qqq": 1}}, ["zzz.qqq: not a value of this chart"]),
    ],
)
def test_unknown_values(values: dict[str, Any], unknown: list[str]) -> None:
    assert (
        unknown_values(values, Chart(values=DEFAULTS, optional=("loadBalancer.mode",))) == unknown
    )


def test_merging_leaves_its_arguments_alone() -> None:
    first, second = {"a": {"b": 1, "c": [1]}}, {"a": {"b": 2}, "d": {"e": 3}}
    assert merge(first, second) == {"a": {"b": 2, "c": [1]}, "d": {"e": 3}}
    assert (first, second) == ({"a": {"b": 1, "c": [1]}}, {"a": {"b": 2}, "d": {"e": 3}})
