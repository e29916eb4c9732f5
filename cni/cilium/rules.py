"""Settings of a Cilium scenario that contradict each other, and values that break it.

Each rule is a generator of problems; what Cilium does about the combination is in its reason. What
merely cannot be applied on some machines is no problem here: that is for the decisions.

Chart and agent 1.16.5 to 1.20.2. The chart takes all of this and, on a cloud, fails only once the
cluster is there and paid for. Sources: the chart's templates (validate.yaml, cilium-configmap.yaml)
and, in Cilium, `daemon/cmd` (daemon.go, daemon_main.go), kube_proxy_replacement.go (there, or in
`pkg/kpr/initializer`), `pkg/option/config.go`, `pkg/egressgateway/manager.go` and
`pkg/datapath/linux/bandwidth`.
"""

from collections.abc import Iterator, Mapping

from cni.cilium.toggles import TOGGLES, CtTables, overlay
from cni.cilium.versions import DEFAULT, VERSIONS, version_of
from cni.settings import Problem, ScenarioSettings, leaves, nearest

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
    "tunnelProtocol": "tunnelProtocol",
    **{
        path: f"toggles.{toggle.name}"
        for toggle in TOGGLES.values()
        for path, _ in leaves(toggle.off)
    },
    **{
        path: f"toggles.{toggle.name}.{part}" if part else f"toggles.{toggle.name}"
        for toggle in TOGGLES.values()
        for path, part in toggle.owned.items()
    },
}
# Options of the agent that follow from settings: extraConfig comes last and would undo them.
OWNED_OPTIONS = {
    "aws-enable-prefix-delegation": "prefixDelegation",
    "cluster-pool-ipv4-cidr": "podCidr",
    "kube-proxy-replacement": "kubeProxyReplacement",
    "tunnel-protocol": "tunnelProtocol",
    **{
        option: f"toggles.{toggle.name}" for toggle in TOGGLES.values() for option in toggle.options
    },
}
# Values that take one of a few words; the agent stops at any other, or the chart renders nothing.
_WORDS: Mapping[str, tuple[str, ...]] = {
    "encryption.type": ("ipsec", "wireguard"),
    "loadBalancer.algorithm": ("random", "maglev"),
}
_LATER_WORDS = {"encryption.type": ("ztunnel", "1.19")}
"""A further word, and the line that has brought it."""
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


def find_problems(scenario: ScenarioSettings) -> list[Problem]:
    """Every contradiction in a Cilium scenario, in the order of its settings."""
    return [problem for rule in _RULES for problem in rule(scenario)]


def _version(scenario: ScenarioSettings) -> Iterator[Problem]:
    version = scenario.cni_version
    if version not in VERSIONS:
        known = ", ".join(VERSIONS)
        reason = f"values, proofs and the lab are made for cilium {known} only"
        yield Problem("cniVersion", version, reason, "cniVersion", DEFAULT)


def _services(scenario: ScenarioSettings) -> Iterator[Problem]:
    if scenario.kube_proxy_replacement and scenario.kube_proxy != "none":
        reason = (
            "kubeProxyReplacement is true, so Cilium and kube-proxy would both load-balance "
            "Services"
        )
        yield Problem("kubeProxy", scenario.kube_proxy, reason, "kubeProxy", "none")
    if not scenario.kube_proxy_replacement and scenario.kube_proxy == "none":
        reason = "kubeProxyReplacement is false, so nothing would load-balance Services"
        yield Problem("kubeProxy", "none", reason, "kubeProxyReplacement", True)
    if scenario.kube_proxy_replacement and scenario.toggles.asked("socketLB") is False:
        reason = (
            "kubeProxyReplacement turns socket load-balancing on whatever this says; "
            "values.socketLB.hostNamespaceOnly: true would take pods out of it"
        )
        yield Problem("toggles.socketLB", False, reason, "toggles.socketLB")


def _addresses(scenario: ScenarioSettings) -> Iterator[Problem]:
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


def _path(scenario: ScenarioSettings) -> Iterator[Problem]:
    tunnel, native = scenario.tunnel_protocol, scenario.toggles.asked("nativeRouting")
    if scenario.ipam == "eni" and not native:
        reason = "the agent refuses to start with ipam: eni in tunnel mode"
        yield Problem("toggles.nativeRouting", native, reason, "toggles.nativeRouting", True)
    if tunnel is not None and (native or scenario.ipam == "eni"):
        reason = "packets are routed natively, so there is no tunnel"
        yield Problem("tunnelProtocol", tunnel, reason, "tunnelProtocol")
    elif scenario.toggles.asked("dsr") and scenario.ipam != "eni" and overlay(scenario) == "vxlan":
        reason = "the agent refuses to start with DSR over VXLAN"
        yield Problem("toggles.dsr", True, reason, "tunnelProtocol", "geneve")


def _values(scenario: ScenarioSettings) -> Iterator[Problem]:
    for path, value in leaves(scenario.values):
        if path in OWNED_VALUES:
            setting = OWNED_VALUES[path]
            whose = f"the setting {setting}" if setting else "the cluster"
            yield Problem(f"values.{path}", value, f"follows from {whose}", f"values.{path}")
        printed_whole = path in _MAP_SIZES and version_of(scenario.cni_version).since("1.18")
        if isinstance(value, int) and value >= HELM_FLOAT_FROM and not printed_whole:
            reason = (
                f"Helm renders a number from {HELM_FLOAT_FROM:,} on as {float(value):e}, which "
                "agents refuse; values.extraConfig takes the agent's own option, as text"
            )
            yield Problem(f"values.{path}", value, reason, f"values.{path}")
    given = dict(leaves(scenario.values))
    for rule in _VALUE_RULES:
        yield from rule(scenario, given)


# -- values against settings ----------------------------------------------------------------------


def _refused(
    path: str, given: Mapping[str, object], reason: str, fix: tuple[str, object] | None = None
) -> Problem:
    """A value that is best removed, unless there is another fix."""
    key, value = fix or (path, None)
    return Problem(f"values.{path}", given.get(path), reason, f"values.{key}", value)


def _masquerades(scenario: ScenarioSettings) -> bool:
    """Whether BPF masquerade will be applied, as far as settings alone decide it."""
    return bool(scenario.toggles.asked("bpfMasquerade")) and scenario.kube_proxy_replacement


def _masquerade(scenario: ScenarioSettings, given: Mapping[str, object]) -> Iterator[Problem]:
    stops = {
        "egressMasqueradeInterfaces": "devices takes its place",
        "enableMasqueradeRouteSource": "BPF masquerade takes the interface's address only",
    }
    if scenario.toggles.asked("bpfMasquerade"):
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


def _routes(scenario: ScenarioSettings, given: Mapping[str, object]) -> Iterator[Problem]:
    direct = given.get("autoDirectNodeRoutes")
    if direct and overlay(scenario):
        reason = "the agent stops with direct routes beside a tunnel"
        yield _refused("autoDirectNodeRoutes", given, reason)
    pool = scenario.ipam == "cluster-pool" and overlay(scenario) is None
    if given.get("directRoutingSkipUnreachable") and not (direct or pool):
        reason = "the agent stops with this and without autoDirectNodeRoutes"
        yield _refused("directRoutingSkipUnreachable", given, reason)
    if given.get("installNoConntrackIptablesRules"):
        yield from _no_conntrack(scenario, given)


def _no_conntrack(scenario: ScenarioSettings, given: Mapping[str, object]) -> Iterator[Problem]:
    path = "installNoConntrackIptablesRules"
    if scenario.ipam == "eni":
        yield _refused(path, given, "the chart ignores it with ENI addresses")
    elif overlay(scenario):
        yield _refused(path, given, "the agent stops with this in tunnel mode")
    elif not _masquerades(scenario):
        reason = "the agent stops with this and without kubeProxyReplacement and BPF masquerade"
        yield _refused(path, given, reason)


def _families(scenario: ScenarioSettings, given: Mapping[str, object]) -> Iterator[Problem]:
    if given.get("ipv4.enabled") is False:
        reason = "Services and pods have IPv4 addresses on every target"
        yield _refused("ipv4.enabled", given, reason)
    refuses = not version_of(scenario.cni_version).since("1.20")
    if given.get("ipv6.enabled") and scenario.ipam == "eni" and refuses:
        yield _refused("ipv6.enabled", given, "the agent stops with IPv6 and ipam: eni")


def _devices(scenario: ScenarioSettings, given: Mapping[str, object]) -> Iterator[Problem]:
    if given.get("bpf.tproxy") and scenario.toggles.asked("netkit"):
        reason = "netkit's programs cannot hand packets to a proxy (cilium #39892)"
        yield _refused("bpf.tproxy", given, reason)


def _encryption(scenario: ScenarioSettings, given: Mapping[str, object]) -> Iterator[Problem]:
    if scenario.toggles.asked("wireguard") or given.get("encryption.type") == "wireguard":
        for path in ("encryption.enabled", "encryption.type"):
            if path in given:
                yield _refused(path, given, "follows from the setting toggles.wireguard")
        return
    if not given.get("encryption.enabled") or given.get("encryption.type", "ipsec") != "ipsec":
        return
    if scenario.toggles.asked("bigTCP"):
        reason = "the agent stops with toggles.bigTCP and IPsec"
        yield _refused("encryption.enabled", given, reason)
    undone = ["bandwidthManager"]
    if not version_of(scenario.cni_version).since("1.19"):
        undone.insert(0, "hostRouting")
    names = [f"toggles.{name}" for name in undone if scenario.toggles.asked(name)]
    if names:
        reason = f"the agent silently drops {' and '.join(names)} with IPsec"
        yield _refused("encryption.enabled", given, reason)


def _sockets(scenario: ScenarioSettings, given: Mapping[str, object]) -> Iterator[Problem]:
    if scenario.kube_proxy_replacement or scenario.toggles.asked("socketLB"):
        return
    for path in ("socketLB.hostNamespaceOnly", "socketLB.terminatePodConnections"):
        if given.get(path):
            reason = "does nothing without toggles.socketLB or kubeProxyReplacement"
            yield _refused(path, given, reason)


def _hubble(scenario: ScenarioSettings, given: Mapping[str, object]) -> Iterator[Problem]:
    relay = given.get("hubble.relay.enabled")
    if relay and scenario.toggles.asked("hubbleOff"):
        reason = "the chart refuses Hubble's relay with toggles.hubbleOff"
        yield _refused("hubble.relay.enabled", given, reason)
    if given.get("hubble.ui.enabled") and not (relay or given.get("hubble.ui.standalone.enabled")):
        reason = "the chart refuses Hubble's UI without its relay"
        yield _refused("hubble.ui.enabled", given, reason, ("hubble.relay.enabled", True))


def _platform(scenario: ScenarioSettings, given: Mapping[str, object]) -> Iterator[Problem]:
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


def _words(scenario: ScenarioSettings, given: Mapping[str, object]) -> Iterator[Problem]:
    for path, words in _WORDS.items():
        later, line = _LATER_WORDS.get(path, ("", ""))
        if later and version_of(scenario.cni_version).since(line):
            words = (*words, later)
        if path in given and given[path] not in words:
            fix = nearest(str(given[path]), words) or words[0]
            yield _refused(path, given, f"must be one of {', '.join(words)}", (path, fix))


def _sizes(scenario: ScenarioSettings, given: Mapping[str, object]) -> Iterator[Problem]:
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


def _nat_size(scenario: ScenarioSettings, given: Mapping[str, object]) -> Iterator[Problem]:
    tables = scenario.toggles.asked("ctTables")
    if not isinstance(tables, CtTables):
        return
    entries = tables.tcp_max + tables.any_max
    for path in ("bpf.natMax", "extraConfig.bpf-nat-global-max"):
        size = given.get(path)
        if str(size).isdigit() and entries < int(str(size)) != _DEFAULT_NAT_SIZE:
            reason = f"the agent stops with more entries than toggles.ctTables has, {entries:,}"
            yield _refused(path, given, reason)


def _options(scenario: ScenarioSettings, given: Mapping[str, object]) -> Iterator[Problem]:
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


_VALUE_RULES = (
    _masquerade,
    _routes,
    _families,
    _devices,
    _encryption,
    _sockets,
    _hubble,
    _platform,
    _words,
    _sizes,
    _options,
)
_RULES = (_version, _services, _addresses, _path, _values)
