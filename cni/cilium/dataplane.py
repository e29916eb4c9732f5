"""Cilium as a :class:`cni.dataplane.Dataplane`. Facts of the chart and the agent hold for
all of :mod:`cni.cilium.versions`, unless they say otherwise."""

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from cni.cilium import rules
from cni.cilium.evidence import EVIDENCE_COMMANDS, AgentEvidence, prometheus_text
from cni.cilium.toggles import TOGGLES, is_true, on_off, overlay, reported
from cni.cilium.values import chart_keys, unknown_values
from cni.cilium.versions import DEFAULT, VERSIONS, tested_with, version_of
from cni.dataplane import (
    Agents,
    Component,
    CountError,
    Dataplane,
    InstalledValues,
    Mechanism,
    PodSelector,
    Policies,
    Reported,
    Rollout,
    ServicePlan,
    Setting,
    of_kube_proxy,
)
from cni.platform import (
    ClusterEndpoint,
    Eni,
    Kernel,
    LabFabric,
    PlatformFacts,
    by_device,
)
from cni.settings import Problem, ScenarioSettings, TunnelProtocol, Values, leaves, merge
from cni.toggles import Decision, Evidence, Flat

CLUSTER_TAG = "io.cilium/cluster-name"
OPERATOR_ACCOUNT = "cilium-operator"
"""The operator's service account, as the chart names it."""
"""On every ENI that Cilium makes (`pkg/defaults`, ENIGarbageCollectionTag…)."""
MANAGED_TAG = "io.cilium/cilium-managed"

# What has been reported of a kernel, whatever Cilium's version.
_KERNEL_CAUTIONS = {
    Kernel(6, 18): "has cost clusters their network, by regressions in the kernel's BPF verifier "
    "(https://github.com/cilium/cilium/issues/44216, of Cilium 1.18 and 1.19)"
}

_AGENT = PodSelector(label="k8s-app=cilium", container="cilium-agent")
_OPERATOR = "io.cilium/app=operator"
_CRDS = tuple(
    f"{plural}.cilium.io"
    for plural in (
        "ciliumcidrgroups",
        "ciliumclusterwidenetworkpolicies",
        "ciliumendpoints",
        "ciliumidentities",
        "ciliuml2announcementpolicies",
        "ciliumloadbalancerippools",
        "ciliumnetworkpolicies",
        "ciliumnodes",
        "ciliumpodippools",
    )
)
"""Those that every agent waits for, whatever its settings (`pkg/k8s/synced`)."""


def _socket_count(stdout: str, host: str, port: int) -> int:
    if not re.search(r"^(?:Found \d+ element|key:)", stdout, re.MULTILINE):
        raise CountError("bpftool: its output is no map dump")
    wanted = ipaddress.IPv4Address(host).packed + port.to_bytes(2, "big")
    value = " ".join(f"{byte:02x}" for byte in wanted)
    return len(re.findall(rf"value:\s+{value}\b", stdout))


def _packet_count(stdout: str, host: str, port: int) -> int:
    entry = rf"^TCP SVC \S+ -> {re.escape(host)}:{port} "
    return len(re.findall(entry, stdout, re.MULTILINE))


SOCKET = Mechanism(
    name="Cilium at the socket",
    # An entry for each socket whose connect() was rewritten (`bpf/bpf_sock.c`,
    # sock4_update_revnat), from 1.18 on while it is open; packets never carry the ClusterIP.
    command=("bpftool", "map", "dump", "pinned", "/sys/fs/bpf/tc/globals/cilium_lb4_reverse_sk"),
    pods=_AGENT,
    count=_socket_count,
)
PER_PACKET = Mechanism(
    name="Cilium per packet",
    # The connection-tracking map has one entry of kind SVC per connection that `bpf_lxc` has
    # translated. Cilium does that for pods beside kube-proxy, too, whose rules then see no packet
    # of theirs.
    command=("cilium-dbg", "bpf", "ct", "list", "global"),
    pods=_AGENT,
    count=_packet_count,
)


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


class Cilium(Dataplane):
    """Cilium, installed by its Helm chart."""

    name = "cilium"
    title = "Cilium"
    versions = tuple(VERSIONS)
    default = DEFAULT
    toggles = TOGGLES
    rollout = Rollout(
        daemonset="cilium",
        operator=("cilium-operator", _OPERATOR),
        crds=_CRDS,
        # Two CNIs on a node would both wire pods, and nobody could tell whose figures those are.
        rivals=("aws-node",),
        taint="node.cilium.io/agent-not-ready",
        config_map="cilium-config",
    )
    components = (
        # Over its socket: a port for them (prometheus.enabled) is the scenario's to ask for.
        Component(
            name="cilium-agent",
            label="k8s-app=cilium",
            counters=("cilium-dbg", "metrics", "list", "-o", "json"),
        ),
        Component(name="cilium-envoy", label="k8s-app=cilium-envoy"),
        Component(name="cilium-operator", label=_OPERATOR, cluster_wide=True),
    )
    agents = Agents(
        container="cilium-agent", commands=EVIDENCE_COMMANDS, summary=("kube_proxy_replacement",)
    )
    policies = Policies(
        kinds=frozenset({"NetworkPolicy", "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy"}),
        enforced=True,
        layer_7=True,
    )
    installable = True
    serves_pods = True
    public_settings = frozenset(
        {
            *rules.OWNED_OPTIONS,
            *("bpf-lb-algorithm", "bpf-lb-external-clusterip", "bpf-lb-map-max"),
            *("bpf-lb-sock-hostns-only", "bpf-map-dynamic-size-ratio", "bpf-policy-map-max"),
            *("enable-endpoint-routes", "enable-host-firewall", "enable-ipsec"),
            *("enable-ipv4", "enable-ipv4-masquerade", "enable-ipv6", "enable-l7-proxy"),
            *("enable-policy", "identity-allocation-mode", "ipam"),
        }
    )
    words = frozenset(
        {
            *("cluster-pool", "eni", "kubernetes", "multi-pool", "azure", "alibabacloud"),
            *("native", "tunnel", "vxlan", "geneve", "disabled", "best-effort", "generic"),
            *("snat", "dsr", "hybrid", "opt", "ipip", "random", "maglev"),
            *("veth", "netkit", "netkit-l2", "default", "always", "never"),
            *("crd", "kvstore", "strict", "partial", "probe"),
        }
    )

    def problems(self, scenario: ScenarioSettings) -> Iterable[Problem]:
        return rules.find_problems(scenario)

    def cautions(self, version: str, kubernetes: str, kernel: Kernel | None) -> Iterable[str]:
        if not VERSIONS[version].tested_with(kubernetes):
            others = ", ".join(tested_with(kubernetes)) or "none that the project has"
            yield (
                f"Cilium {version} is tested by its makers with Kubernetes "
                f"{' to '.join(VERSIONS[version].kubernetes)}, and the cluster has {kubernetes}; "
                f"tested with that: {others}"
            )
        if kernel is not None and kernel in _KERNEL_CAUTIONS:
            yield f"Cilium on kernel {kernel} {_KERNEL_CAUTIONS[kernel]}"

    def overlay(self, scenario: ScenarioSettings) -> TunnelProtocol | None:
        return overlay(scenario)

    def values(
        self, scenario: ScenarioSettings, decisions: Iterable[Decision], cluster: ClusterEndpoint
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

    def lab_values(
        self,
        scenario: ScenarioSettings,
        decisions: Iterable[Decision],
        cluster: ClusterEndpoint,
        fabric: LabFabric,
    ) -> InstalledValues:
        """EKS's values with what the lab must change, and the list of what that is."""
        values = merge(
            self.values(scenario, decisions, cluster), _LAB_VALUES, {"devices": fabric.devices}
        )
        adaptations = [
            *_LAB_ADAPTATIONS,
            f"BPF programs attach to {fabric.devices}, named explicitly: the agent's detection "
            "passes over the veth devices that stand for ENIs.",
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

    def unknown_values(self, version: str, values: Values) -> list[str]:
        """The chart ignores what it does not know: a misspelt value would be measured as if set."""
        return unknown_values(values, chart_keys(version))

    def interface_tags(self, cluster: str, ours: Mapping[str, str]) -> Mapping[str, str]:
        """Marks of its own (`pkg/ipam/allocator/aws`)."""
        return {MANAGED_TAG: "true", CLUSTER_TAG: cluster}

    def differences(self, scenario: ScenarioSettings, config: Mapping[str, str]) -> list[str]:
        tunnel = overlay(scenario)
        wanted = {
            "ipam": scenario.ipam,
            "routing-mode": "tunnel" if tunnel else "native",
            "kube-proxy-replacement": "true" if scenario.kube_proxy_replacement else "false",
        }
        if tunnel:
            wanted["tunnel-protocol"] = tunnel
        return [
            f"Cilium was there and is measured as it is: its {key} is {config.get(key, 'not set')},"
            f" the scenario's {value}"
            for key, value in wanted.items()
            if config.get(key) != value
        ]

    def adopted_values(self, config: Mapping[str, str]) -> Values:
        return {
            "kubeProxyReplacement": config.get("kube-proxy-replacement") == "true",
            "routingMode": config.get("routing-mode", "tunnel"),
            "tunnelProtocol": config.get("tunnel-protocol", "vxlan"),
            "bpf": {"masquerade": config.get("enable-bpf-masquerade") == "true"},
            "enableIPv4Masquerade": config.get("enable-ipv4-masquerade") != "false",
            "socketLB": {
                "enabled": config.get("bpf-lb-sock") == "true",
                "hostNamespaceOnly": config.get("bpf-lb-sock-hostns-only") == "true",
            },
        }

    def parse_evidence(self, node: str, outputs: Mapping[str, str]) -> AgentEvidence:
        return AgentEvidence.parse(node, outputs)

    def read_counters(self, output: str) -> str:
        return prometheus_text(output)

    def settings(self, values: Flat, evidence: Sequence[Evidence]) -> Iterable[Setting]:
        path = "kubeProxyReplacement"
        answers = {
            reported(each.kube_proxy_replacement) or "not reported"
            for each in cast("Sequence[AgentEvidence]", evidence)
        }
        yield Setting.of("kube-proxy replacement", on_off(is_true(values, path)), answers)
        yield from super().settings(values, evidence)

    def services(self, kube_proxy: str, values: Mapping[str, object]) -> ServicePlan:
        flat = dict(leaves(values))
        at_socket = is_true(flat, "kubeProxyReplacement") or flat.get("socketLB.enabled") is True
        if at_socket and not flat.get("socketLB.hostNamespaceOnly"):
            own: tuple[Mechanism, ...] = (SOCKET, PER_PACKET)
        else:
            own = (PER_PACKET,)
        return ServicePlan(expected=own[0], possible=(*of_kube_proxy(kube_proxy), *own))

    def reported(self, agents: Mapping[str, Any]) -> Reported:
        return Reported(
            overlay=_one_of(agents.get("network_routing"), "Tunnel"),
            flows=_one_of(agents.get("hubble"), "Ok", "Warning", "Failure"),
        )

    def enis(self, report: Mapping[str, Any]) -> tuple[Eni, ...]:
        """From the status of a CiliumNode (`pkg/aws/eni/types`)."""
        return by_device(map(_eni, report.get("eni", {}).get("enis", {}).values()))

    def takes_prefixes(self, facts: PlatformFacts) -> bool:
        """On virtual machines of the Nitro hypervisor only, not on bare metal
        (`pkg/aws/eni/node.go`, IsPrefixDelegated)."""
        return facts.hypervisor == "nitro"

    def own_addresses(self, *, health_endpoint: bool) -> int:
        """One for the node's `cilium_host` device and, where health checking between endpoints is
        on (the chart's default), another one."""
        return 1 + health_endpoint


def _eni(eni: Mapping[str, Any]) -> Eni:
    prefixes = tuple(eni.get("prefixes", ()))
    # Cilium lists a prefix's addresses among the single ones as well.
    delegated = {str(ip) for prefix in prefixes for ip in ipaddress.IPv4Network(prefix)}
    single = tuple(each for each in eni.get("addresses", ()) if each not in delegated)
    # A field that is 0 is left out.
    return Eni(id=eni["id"], device=eni.get("number", 0), addresses=single, prefixes=prefixes)


def _one_of(said: object, *values: str) -> bool | None:
    """Agents that differ from each other say nothing."""
    return None if not isinstance(said, str) or said == "None" else said in values


def _eni_permissions(cluster: ClusterEndpoint) -> Values:
    """By what the operator manages ENIs; a scenario's own values cannot change it.

    The region is said, since the operator does not always find it out (cilium issue 39307).
    """
    if cluster.eni_role is None:
        return {}
    return {
        "eni": {"iamRole": cluster.eni_role, "eniTags": dict(cluster.eni_tags)},
        "operator": {"extraEnv": [{"name": "AWS_REGION", "value": cluster.region}]},
    }


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
    # The chart's own, said because pods in the lab's routed subnets would get another one.
    masquerade = not version_of(scenario.cni_version).since("1.18")
    return {"ipam": {"mode": "eni"}, "eni": eni, "enableIPv4Masquerade": masquerade}


def _path_values(scenario: ScenarioSettings) -> Values:
    tunnel = overlay(scenario)
    if tunnel is not None:
        return {"tunnelProtocol": tunnel}
    if scenario.ipam == "cluster-pool":
        # Nodes on one L2 network route each other's pods; nobody else knows the pool.
        return {"ipv4NativeRoutingCIDR": scenario.pod_cidr, "autoDirectNodeRoutes": True}
    return {}
