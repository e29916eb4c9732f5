"""What a scenario's own Helm values break: agents that stop, and settings silently undone.

Chart and agent 1.16.5. The chart takes all of this and, on a cloud, fails only once the cluster is
there and paid for. Sources: the chart's templates (validate.yaml, cilium-configmap.yaml) and, in
Cilium, `daemon/cmd` (daemon.go, daemon_main.go, kube_proxy_replacement.go), `pkg/option/config.go`,
`pkg/egressgateway/manager.go` and `pkg/datapath/linux/bandwidth`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from cni.problems import Problem, nearest
from cni.value_tree import leaves

if TYPE_CHECKING:
    from cni.scenario import Scenario

# Options of the agent that follow from settings: extraConfig comes last and would undo them.
OWNED_OPTIONS = {
    "aws-enable-prefix-delegation": "prefixDelegation",
    "bpf-lb-acceleration": "toggles.xdp",
    "bpf-lb-dsr-dispatch": "toggles.dsr",
    "bpf-lb-mode": "toggles.dsr",
    "bpf-lb-sock": "toggles.socketLB",
    "cluster-pool-ipv4-cidr": "podCidr",
    "egress-masquerade-interfaces": "toggles.bpfMasquerade",
    "enable-bandwidth-manager": "toggles.bandwidthManager",
    "enable-bbr": "toggles.bbr",
    "enable-bpf-masquerade": "toggles.bpfMasquerade",
    "enable-host-legacy-routing": "toggles.hostRouting",
    "enable-hubble": "toggles.hubbleOff",
    "kube-proxy-replacement": "kubeProxyReplacement",
    "routing-mode": "toggles.nativeRouting",
    "tunnel-protocol": "tunnelProtocol",
}
# Values that take one of a few words; the agent stops at any other, or the chart renders nothing.
_WORDS = {
    "bpf.datapathMode": ("veth", "netkit", "netkit-l2"),
    "encryption.type": ("ipsec", "wireguard"),
    "loadBalancer.algorithm": ("random", "maglev"),
}
_MAGLEV_SIZES = (251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071)
_MAP_SIZES = {
    "bpf.authMapMax": (1 << 8, 1 << 24),
    "bpf.lbMapMax": (1, None),
    "bpf.natMax": (1 << 10, 1 << 24),
    # A larger one is only lowered.
    "bpf.policyMapMax": (1 << 8, None),
}
_DEFAULT_NAT_SIZE = 524_288  # The agent fits this very size to the conntrack tables by itself.
# What makes it another platform's installation than the one that is measured.
_OTHER_PLATFORMS = (
    "aksbyocni.enabled",
    "alibabacloud.enabled",
    "azure.enabled",
    "gke.enabled",
    "loadBalancer.standalone",
)


def find_value_problems(scenario: Scenario) -> Iterator[Problem]:
    """Every contradiction between a Cilium scenario's values and its settings."""
    given = dict(leaves(scenario.values))
    for rule in _RULES:
        yield from rule(scenario, given)


def _refused(
    path: str, given: Mapping[str, object], reason: str, fix: tuple[str, object] | None = None
) -> Problem:
    """A value that is best removed, unless there is another fix."""
    key, value = fix or (path, None)
    return Problem(f"values.{path}", given.get(path), reason, f"values.{key}", value)


def _masquerades(scenario: Scenario) -> bool:
    """Whether BPF masquerade will be applied, as far as settings alone decide it."""
    return bool(scenario.toggles.bpf_masquerade) and scenario.kube_proxy_replacement


def _masquerade(scenario: Scenario, given: Mapping[str, object]) -> Iterator[Problem]:
    stops = {
        "egressMasqueradeInterfaces": "devices takes its place",
        "enableMasqueradeRouteSource": "BPF masquerade takes the interface's address only",
    }
    if scenario.toggles.bpf_masquerade:
        for path, why in stops.items():
            if given.get(path):
                reason = f"the agent stops with toggles.bpfMasquerade and this; {why}"
                yield _refused(path, given, reason)
        if given.get("enableIPv4Masquerade") is False:
            reason = "the agent stops with toggles.bpfMasquerade where nothing is masqueraded"
            yield _refused("enableIPv4Masquerade", given, reason)
    for path in ("ipMasqAgent.enabled", "egressGateway.enabled"):
        if given.get(path) and not _masquerades(scenario):
            reason = (
                "the agent stops with this and without BPF masquerade, which "
                "toggles.bpfMasquerade with kubeProxyReplacement brings"
            )
            yield _refused(path, given, reason)


def _routes(scenario: Scenario, given: Mapping[str, object]) -> Iterator[Problem]:
    direct = given.get("autoDirectNodeRoutes")
    if direct and scenario.overlay:
        reason = "the agent stops with direct routes beside a tunnel"
        yield _refused("autoDirectNodeRoutes", given, reason)
    pool = scenario.ipam == "cluster-pool" and scenario.overlay is None
    if given.get("directRoutingSkipUnreachable") and not (direct or pool):
        reason = "the agent stops with this and without autoDirectNodeRoutes"
        yield _refused("directRoutingSkipUnreachable", given, reason)
    if given.get("installNoConntrackIptablesRules"):
        yield from _no_conntrack(scenario, given)


def _no_conntrack(scenario: Scenario, given: Mapping[str, object]) -> Iterator[Problem]:
    path = "installNoConntrackIptablesRules"
    if scenario.ipam == "eni":
        yield _refused(path, given, "the chart ignores it with ENI addresses")
    elif scenario.overlay:
        yield _refused(path, given, "the agent stops with this in tunnel mode")
    elif not _masquerades(scenario):
        reason = "the agent stops with this and without kubeProxyReplacement and BPF masquerade"
        yield _refused(path, given, reason)


def _families(scenario: Scenario, given: Mapping[str, object]) -> Iterator[Problem]:
    if given.get("ipv4.enabled") is False:
        reason = "Services and pods have IPv4 addresses on every target"
        yield _refused("ipv4.enabled", given, reason)
    if given.get("ipv6.enabled") and scenario.ipam == "eni":
        yield _refused("ipv6.enabled", given, "the agent stops with IPv6 and ipam: eni")


def _encryption(scenario: Scenario, given: Mapping[str, object]) -> Iterator[Problem]:
    if not given.get("encryption.enabled") or given.get("encryption.type", "ipsec") != "ipsec":
        return
    toggles = scenario.toggles
    undone = {"hostRouting": toggles.host_routing, "bandwidthManager": toggles.bandwidth_manager}
    names = [f"toggles.{name}" for name, asked in undone.items() if asked]
    if names:
        reason = f"the agent silently drops {' and '.join(names)} with IPsec"
        yield _refused("encryption.enabled", given, reason, ("encryption.type", "wireguard"))


def _sockets(scenario: Scenario, given: Mapping[str, object]) -> Iterator[Problem]:
    if scenario.kube_proxy_replacement or scenario.toggles.socket_lb:
        return
    for path in ("socketLB.hostNamespaceOnly", "socketLB.terminatePodConnections"):
        if given.get(path):
            reason = "does nothing without toggles.socketLB or kubeProxyReplacement"
            yield _refused(path, given, reason)


def _hubble(scenario: Scenario, given: Mapping[str, object]) -> Iterator[Problem]:
    relay = given.get("hubble.relay.enabled")
    if relay and scenario.toggles.hubble_off:
        reason = "the chart refuses Hubble's relay with toggles.hubbleOff"
        yield _refused("hubble.relay.enabled", given, reason)
    if given.get("hubble.ui.enabled") and not (relay or given.get("hubble.ui.standalone.enabled")):
        reason = "the chart refuses Hubble's UI without its relay"
        yield _refused("hubble.ui.enabled", given, reason, ("hubble.relay.enabled", True))


def _platform(scenario: Scenario, given: Mapping[str, object]) -> Iterator[Problem]:
    for path in _OTHER_PLATFORMS:
        if given.get(path):
            reason = "an installation for another platform; the scenario's settings say which it is"
            yield _refused(path, given, reason)
    if given.get("cni.chainingMode", "none") != "none":
        reason = "another CNI would wire the pods, and it would be measured"
        yield _refused("cni.chainingMode", given, reason)
    cluster = given.get("cluster.id")
    if scenario.ipam == "eni" and isinstance(cluster, int) and cluster & 0x80:
        reason = "the chart refuses 128 to 255 and 384 to 511 with ENI addresses (cilium #21330)"
        yield _refused("cluster.id", given, reason)


def _words(scenario: Scenario, given: Mapping[str, object]) -> Iterator[Problem]:
    for path, words in _WORDS.items():
        if path in given and given[path] not in words:
            fix = nearest(str(given[path]), words) or words[0]
            yield _refused(path, given, f"must be one of {', '.join(words)}", (path, fix))


def _sizes(scenario: Scenario, given: Mapping[str, object]) -> Iterator[Problem]:
    for path, (least, most) in _MAP_SIZES.items():
        size = given.get(path)
        if isinstance(size, int) and not least <= size <= (most or size):
            limits = f"{least:,} to {most:,}" if most else f"at least {least:,}"
            yield _refused(path, given, f"the agent takes {limits} entries", (path, least))
    size = given.get("maglev.tableSize")
    if size is not None and size not in _MAGLEV_SIZES:
        reason = f"must be one of {', '.join(map(str, _MAGLEV_SIZES))}"
        yield _refused("maglev.tableSize", given, reason, ("maglev.tableSize", 16381))
    yield from _nat_size(scenario, given)


def _nat_size(scenario: Scenario, given: Mapping[str, object]) -> Iterator[Problem]:
    tables = scenario.toggles.ct_tables
    if not tables:
        return
    entries = tables.tcp_max + tables.any_max
    for path in ("bpf.natMax", "extraConfig.bpf-nat-global-max"):
        size = given.get(path)
        if str(size).isdigit() and entries < int(str(size)) != _DEFAULT_NAT_SIZE:
            reason = f"the agent stops with more entries than toggles.ctTables has, {entries:,}"
            yield _refused(path, given, reason)


def _options(scenario: Scenario, given: Mapping[str, object]) -> Iterator[Problem]:
    options = scenario.values.get("extraConfig")
    for option, value in options.items() if isinstance(options, dict) else ():
        path = f"extraConfig.{option}"
        if option in OWNED_OPTIONS:
            reason = f"follows from the setting {OWNED_OPTIONS[option]}"
            yield Problem(f"values.{path}", value, reason, f"values.{path}")
        elif option == "ipam" and value == "eni":
            reason = "without eni.enabled no operator would make ENIs; the setting ipam brings both"
            yield Problem(f"values.{path}", value, reason, f"values.{path}")
        elif not isinstance(value, str):
            reason = "a ConfigMap holds text only: put it in quotes"
            yield Problem(f"values.{path}", value, reason, f"values.{path}", f'"{value}"')


_RULES = (
    _masquerade,
    _routes,
    _families,
    _encryption,
    _sockets,
    _hubble,
    _platform,
    _words,
    _sizes,
    _options,
)
