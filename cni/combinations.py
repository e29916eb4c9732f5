"""Settings of a scenario that are valid one by one and impossible together.

Each rule is a generator of problems; what Cilium does about the combination is in its reason. What
merely cannot be applied on some machines is no problem here: that is for the guards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cni.cilium import versions as cilium_versions
from cni.problems import Problem
from cni.toggles import TOGGLES, CtTables
from cni.value_rules import find_value_problems
from cni.value_tree import leaves
from cni.vpc_cni import versions as vpc_cni_versions

if TYPE_CHECKING:
    from cni.scenario import Scenario

CILIUM_VERSION = cilium_versions.DEFAULT
LAB_VPC_CNI_VERSION = vpc_cni_versions.DEFAULT
"""Of the lab's own; elsewhere it is one that the cluster can have."""

# Helm reads the numbers of a values file as floats, and Go prints those with an exponent from here.
HELM_FLOAT_FROM = 1_000_000

# Helm values that follow from other settings, beside those that toggles set.
OWNED_VALUES = {
    "cluster.name": None,
    "eni.awsEnablePrefixDelegation": "prefixDelegation",
    "eni.enabled": "ipam",
    "eni.subnetIDsFilter": None,
    "ipam.mode": "ipam",
    "ipam.operator.clusterPoolIPv4PodCIDRList": "podCidr",
    "k8sServiceHost": None,
    "k8sServicePort": None,
    "kubeProxyReplacement": "kubeProxyReplacement",
    # A tunnel has to be Geneve for it, and without one the agent takes IP options only.
    "loadBalancer.dsrDispatch": "tunnelProtocol",
    "routingMode": "toggles.nativeRouting",
    "tunnelProtocol": "tunnelProtocol",
    "bpf.ctAnyMax": "toggles.ctTables.anyMax",
    "bpf.ctTcpMax": "toggles.ctTables.tcpMax",
    "extraConfig.bpf-ct-global-any-max": "toggles.ctTables.anyMax",
    "extraConfig.bpf-ct-global-tcp-max": "toggles.ctTables.tcpMax",
} | {
    path: f"toggles.{toggle.name}" for toggle in TOGGLES.values() for path, _ in leaves(toggle.off)
}


def find_problems(scenario: Scenario) -> list[Problem]:
    """Every contradiction in a scenario, in the order of its settings."""
    rules = _VPC_CNI_RULES if scenario.cni == "vpc-cni" else _CILIUM_RULES
    return [problem for rule in rules for problem in rule(scenario)]


def _cilium_version(scenario: Scenario) -> Iterator[Problem]:
    version = scenario.cni_version
    if version != CILIUM_VERSION:
        reason = f"values, proofs and the lab are made for cilium {CILIUM_VERSION} only"
        yield Problem("cniVersion", version, reason, "cniVersion", CILIUM_VERSION)


def _vpc_cni_version(scenario: Scenario) -> Iterator[Problem]:
    version = scenario.cni_version
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        reason = f"must be a version such as {LAB_VPC_CNI_VERSION}"
        yield Problem("cniVersion", version, reason, "cniVersion", LAB_VPC_CNI_VERSION)


def _vpc_cni_services(scenario: Scenario) -> Iterator[Problem]:
    if scenario.kube_proxy_replacement:
        reason = "only Cilium can replace kube-proxy, the VPC CNI cannot"
        yield Problem("kubeProxyReplacement", True, reason, "kubeProxyReplacement", False)
    if scenario.kube_proxy == "none":
        reason = "the VPC CNI does not load-balance Services, so nothing would"
        yield Problem("kubeProxy", "none", reason, "kubeProxy", "iptables")


def _vpc_cni_only(scenario: Scenario) -> Iterator[Problem]:
    if scenario.ipam != "vpc":
        reason = "the VPC CNI gives pods addresses of the VPC by its own means"
        yield Problem("ipam", scenario.ipam, reason, "ipam", "vpc")
    reason = "a setting of Cilium, which cni: vpc-cni does not run"
    if scenario.pod_cidr is not None:
        yield Problem("podCidr", scenario.pod_cidr, reason, "podCidr")
    if scenario.tunnel_protocol is not None:
        yield Problem("tunnelProtocol", scenario.tunnel_protocol, reason, "tunnelProtocol")
    for name, toggle in TOGGLES.items():
        asked = scenario.toggles.asked(toggle)
        if asked is not None:
            shown = "fixed sizes" if isinstance(asked, CtTables) else asked
            yield Problem(f"toggles.{name}", shown, reason, f"toggles.{name}")
    if scenario.values:
        yield Problem("values", ", ".join(scenario.values), reason, "values")


def _cilium_services(scenario: Scenario) -> Iterator[Problem]:
    if scenario.kube_proxy_replacement and scenario.kube_proxy != "none":
        reason = (
            "kubeProxyReplacement is true, so Cilium and kube-proxy would both load-balance "
            "Services"
        )
        yield Problem("kubeProxy", scenario.kube_proxy, reason, "kubeProxy", "none")
    if not scenario.kube_proxy_replacement and scenario.kube_proxy == "none":
        reason = "kubeProxyReplacement is false, so nothing would load-balance Services"
        yield Problem("kubeProxy", "none", reason, "kubeProxyReplacement", True)
    if scenario.kube_proxy_replacement and scenario.toggles.socket_lb is False:
        reason = (
            "kubeProxyReplacement turns socket load-balancing on whatever this says; "
            "values.socketLB.hostNamespaceOnly: true would take pods out of it"
        )
        yield Problem("toggles.socketLB", False, reason, "toggles.socketLB")


def _cilium_addresses(scenario: Scenario) -> Iterator[Problem]:
    if scenario.ipam == "vpc":
        reason = "that is the VPC CNI's way; Cilium's own with VPC addresses is eni"
        yield Problem("ipam", "vpc", reason, "ipam", "eni")
    if scenario.ipam == "cluster-pool":
        if scenario.pod_cidr is None:
            reason = (
                "missing with ipam: cluster-pool, and the chart's default 10.0.0.0/8 overlaps "
                "most VPCs and the Service range"
            )
            yield Problem("podCidr", None, reason, "podCidr", "10.244.0.0/16")
        if scenario.prefix_delegation:
            reason = "prefixes are delegated to ENIs, and ipam: cluster-pool has none"
            yield Problem("prefixDelegation", True, reason, "prefixDelegation", False)
    if scenario.ipam == "eni" and scenario.pod_cidr is not None:
        reason = "with ipam: eni the pods' addresses come from the VPC's subnets"
        yield Problem("podCidr", scenario.pod_cidr, reason, "podCidr")


def _cilium_path(scenario: Scenario) -> Iterator[Problem]:
    tunnel, native = scenario.tunnel_protocol, scenario.toggles.native_routing
    if scenario.ipam == "eni" and not native:
        reason = "the agent refuses to start with ipam: eni in tunnel mode"
        yield Problem("toggles.nativeRouting", native, reason, "toggles.nativeRouting", True)
    if tunnel is not None and (native or scenario.ipam == "eni"):
        reason = "packets are routed natively, so there is no tunnel"
        yield Problem("tunnelProtocol", tunnel, reason, "tunnelProtocol")
    elif scenario.toggles.dsr and scenario.ipam != "eni" and scenario.overlay == "vxlan":
        reason = "the agent refuses to start with DSR over VXLAN"
        yield Problem("toggles.dsr", True, reason, "tunnelProtocol", "geneve")


def _cilium_values(scenario: Scenario) -> Iterator[Problem]:
    for path, value in leaves(scenario.values):
        if path in OWNED_VALUES:
            setting = OWNED_VALUES[path]
            whose = f"the setting {setting}" if setting else "the cluster"
            yield Problem(f"values.{path}", value, f"follows from {whose}", f"values.{path}")
        if isinstance(value, int) and value >= HELM_FLOAT_FROM:
            reason = (
                f"Helm renders a number from {HELM_FLOAT_FROM:,} on as {float(value):e}, which "
                "agents refuse; values.extraConfig takes the agent's own option, as text"
            )
            yield Problem(f"values.{path}", value, reason, f"values.{path}")
    yield from find_value_problems(scenario)


_VPC_CNI_RULES = (_vpc_cni_version, _vpc_cni_services, _vpc_cni_only)
_CILIUM_RULES = (_cilium_version, _cilium_services, _cilium_addresses, _cilium_path, _cilium_values)
