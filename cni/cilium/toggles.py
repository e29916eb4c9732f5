"""Cilium's tuning toggles, each with everything that the project knows of it.

Sources: the chart's values.yaml and the tuning guide (operations/performance/tuning) for values;
`daemon/cmd/status.go` for what each field of a status says, `daemon/cmd/kube_proxy_replacement.go`,
`pkg/datapath/linux/bandwidth` and `bigtcp` for silent fall-backs, `pkg/datapath/connector` and
`pkg/wireguard/agent` for what netkit and WireGuard want. Read in 1.16.5, and again in 1.20.2
(`pkg/status`, `pkg/kpr/initializer`).
"""

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from pydantic import BaseModel, Field

from cni.cilium.evidence import AgentEvidence
from cni.cilium.versions import version_of
from cni.platform import ClusterEndpoint, Feature, Kernel, PlatformFacts
from cni.settings import SETTINGS, Asked, ScenarioSettings, Values, leaves
from cni.toggles import Aspect, Decision, Flat, Needs, Proof, Toggle

CiliumToggle = Toggle[AgentEvidence]

TCP_CONNTRACK_MAP = "TCP connection tracking"
ANY_CONNTRACK_MAP = "Non-TCP connection tracking"
WIREGUARD_DEVICE = "cilium_wg0"
_CT_TCP, _CT_ANY = "bpf-ct-global-tcp-max", "bpf-ct-global-any-max"


class CtTables(BaseModel):
    """Fixed sizes of the conntrack maps, in entries; the agent takes 1 Ki to 16 Mi of each.

    Source: LimitTableMin and LimitTableMax in Cilium's `pkg/option/config.go`.
    """

    model_config = SETTINGS

    tcp_max: int = Field(ge=1024, le=1 << 24, examples=[1_048_576])
    any_max: int = Field(ge=1024, le=1 << 24, examples=[524_288])


def overlay(scenario: ScenarioSettings) -> Literal["vxlan", "geneve"] | None:
    """The tunnel between nodes, or None where packets are routed natively."""
    return None if scenario.toggles.asked("nativeRouting") else scenario.tunnel_protocol or "vxlan"


# -- what nodes' network hardware can do --------------------------------------------------------

Acceleration = Literal["native", "best-effort"]

# Drivers with native XDP and the kernels that brought it. Source: Cilium documentation, "NodePort
# XDP Acceleration" (network/kubernetes/kubeproxy-free).
XDP_DRIVERS = {
    "mlx5_core": Kernel(4, 9),
    "bnxt_en": Kernel(4, 11),
    "i40e": Kernel(4, 12),
    "ixgbe": Kernel(4, 12),
}
# Interfaces that are built on others, as `ethtool -i` names them.
_STACKED_DRIVERS = frozenset({"bonding", "team", "802.1Q VLAN Support"})


class XdpSupport(NamedTuple):
    """The acceleration mode that is safe here, or None; and why, in one sentence."""

    acceleration: Acceleration | None
    why: str


def xdp_support(facts: PlatformFacts) -> XdpSupport:
    """Whether XDP can attach natively on these nodes, decided without trying."""
    driver, kernel = facts.driver, facts.kernel
    since = XDP_DRIVERS.get(driver) if driver else None
    if since is not None:
        if kernel is not None and kernel < since:
            return XdpSupport(None, f"{driver} has native XDP from kernel {since}, not {kernel}")
        return XdpSupport("native", f"{driver} has native XDP")
    if facts.virtualised_ena:
        return XdpSupport(
            None,
            "the ENA driver on virtualised EC2 instances has no XDP bpf_link support, so XDP does "
            f"not attach{' (ENA Express is unrelated to XDP)' if facts.ena_srd else ''}",
        )
    if driver in _STACKED_DRIVERS:
        return XdpSupport(None, f"XDP wants a physical interface, and {driver} is stacked on one")
    if driver == "virtio_net":
        return XdpSupport(None, "virtio_net runs XDP in generic mode only")
    if facts.bare_metal:
        # `native` stops the agent where XDP cannot attach; `best-effort` attaches in the same
        # driver mode and goes on. Which it was, the interfaces tell afterwards.
        return XdpSupport(
            "best-effort",
            f"bare metal with {driver or 'a driver not known yet'}: set to best-effort, which "
            "attaches natively where the driver lets it (ENA wants an MTU of at most 3498 and at "
            "most half of its queues) instead of stopping the agent",
        )
    if driver is None:
        return XdpSupport(None, "the network driver is unknown, and the machine is not bare metal")
    return XdpSupport(None, f"XDP wants a physical interface, and {driver} is not one")


def _xdp_obstacle(scenario: ScenarioSettings, facts: PlatformFacts) -> str | None:
    support = xdp_support(facts)
    return None if support.acceleration else support.why


def dsr_obstacle(scenario: ScenarioSettings, facts: PlatformFacts) -> str | None:
    """Why direct server return must not be tried on these nodes, or None."""
    if facts.virtualised_ena:
        return "direct server return crashes the agent on virtualised EC2 instances with ENA"
    return None


def _big_tcp_obstacle(scenario: ScenarioSettings, facts: PlatformFacts) -> str | None:
    if facts.driver != "ena":
        # What a device takes at most (`tso_max_size`), the agent finds out, and its proof tells.
        return None
    return (
        "the ENA driver takes packets of 64 KiB at most "
        "(https://github.com/amzn/amzn-drivers/issues/319)"
    )


_NETKIT_SCRUB = Kernel(6, 13)
"""Has the attributes by which a pod's netkit device leaves marks of packets alone. They have been
in some 6.12 as well, and not in others (amazonlinux/amazon-linux-2023#1078)."""


def _marks_are_lost(scenario: ScenarioSettings, facts: PlatformFacts) -> bool:
    """With ENI addresses each pod has a route of its own, which needs those marks."""
    return scenario.ipam == "eni" and facts.kernel is not None and facts.kernel < _NETKIT_SCRUB


def _netkit_obstacle(scenario: ScenarioSettings, facts: PlatformFacts) -> str | None:
    if version_of(scenario.cni_version).since("1.20") and _marks_are_lost(scenario, facts):
        return (
            "with ENI addresses agents stop without the scrub attributes of netkit, which are "
            f"sure to be there from kernel {_NETKIT_SCRUB} on only, nodes have {facts.kernel}"
        )
    return None


# -- values -------------------------------------------------------------------------------------


def _ct_values(asked: Asked, facts: PlatformFacts) -> Values:
    if not isinstance(asked, CtTables):
        return {}
    # These are bpf.ctTcpMax and bpf.ctAnyMax. But Helm reads numbers of a values file as floats, so
    # charts up to 1.17 render 1048576 as 1.048576e+06, and agents stop at it ("unable to cast").
    # extraConfig goes into the agent's configuration as it is.
    return {"extraConfig": {_CT_TCP: str(asked.tcp_max), _CT_ANY: str(asked.any_max)}}


def _xdp_values(asked: Asked, facts: PlatformFacts) -> Values:
    return {"loadBalancer": {"acceleration": xdp_support(facts).acceleration}}


def _dsr_dispatch(
    scenario: ScenarioSettings, decision: Decision, cluster: ClusterEndpoint
) -> Values:
    """DSR over a tunnel has to carry the service's address in the tunnel's own header."""
    if decision.applied and overlay(scenario):
        return {"loadBalancer": {"dsrDispatch": "geneve"}}
    return {}


def _eni_masquerade(
    scenario: ScenarioSettings, decision: Decision, cluster: ClusterEndpoint
) -> Values:
    """With addresses of the VPC, BPF masquerade must be told to masquerade at all, and iptables
    which interfaces lead out of it."""
    if overlay(scenario) or scenario.ipam == "cluster-pool":
        return {}
    if decision.applied:
        return {"enableIPv4Masquerade": True}
    return {"egressMasqueradeInterfaces": cluster.egress_interfaces}


def _big_tcp_ipv6(
    scenario: ScenarioSettings, decision: Decision, cluster: ClusterEndpoint
) -> Values:
    """IPv6 too, where the scenario has it."""
    if decision.applied and is_true(dict(leaves(scenario.values)), "ipv6.enabled"):
        return {"enableIPv6BIGTCP": True}
    return {}


# -- notes --------------------------------------------------------------------------------------

DYNAMIC_MAP_RATIO = 0.0025
"""Share of a machine's memory that Cilium gives its dynamically sized maps, by default."""
# Entries by default, and bytes an entry, of the maps that share it: TCP and other conntrack, NAT,
# neighbours, socket reverse NAT. Source: calculateDynamicBPFMapSizes in `pkg/option/config.go`.
_SHARED_BYTES = 524_288 * 94 + 262_144 * 94 + 524_288 * 94 + 524_288 * 24 + 262_144 * 52
_MIN_TCP, _MIN_ANY = 1 << 17, 1 << 16


def dynamic_conntrack_sizes(memory_mib: int) -> tuple[int, int]:
    """About how many TCP and other conntrack entries an agent takes by itself, given a memory.

    A few per cent high: agents see what the kernel leaves of the machine's memory.
    """
    budget = int(memory_mib * (1 << 20) * DYNAMIC_MAP_RATIO)
    return (
        max(524_288 * budget // _SHARED_BYTES, _MIN_TCP),
        max(262_144 * budget // _SHARED_BYTES, _MIN_ANY),
    )


def _conntrack_note(scenario: ScenarioSettings, facts: PlatformFacts) -> str | None:
    tables = scenario.toggles.asked("ctTables")
    if not isinstance(tables, CtTables):
        return None
    tcp, other = dynamic_conntrack_sizes(facts.memory_mib)
    by_itself = f"the agent would take about {tcp:,} TCP and {other:,} other entries by itself"
    shrinks = tables.tcp_max < tcp or tables.any_max < other
    effect = "would shrink the tables" if shrinks else "enlarges the tables"
    return f"{effect}: with {facts.memory_mib:,} MiB of memory {by_itself}"


def _socket_lb_note(scenario: ScenarioSettings, facts: PlatformFacts) -> str | None:
    if not scenario.kube_proxy_replacement:
        return None
    if version_of(scenario.cni_version).since("1.18"):
        return "already on with kube-proxy replacement; this adds nothing"
    return (
        "already on with kube-proxy replacement; what this adds is that sockets of pods to deleted "
        "backends are closed (bpf-lb-sock-terminate-pod-connections)"
    )


def _masquerade_note(scenario: ScenarioSettings, facts: PlatformFacts) -> str | None:
    if scenario.toggles.asked("hostRouting") is not None:
        return None
    return "brings BPF host routing with it, the agent's default once iptables is not needed"


def _dsr_note(scenario: ScenarioSettings, facts: PlatformFacts) -> str | None:
    if scenario.ipam != "eni":
        return None
    return (
        "with ENI addresses EC2's source/destination check drops replies that leave from another "
        "node unless it is switched off (cilium #13600, #14243)"
    )


def _big_tcp_note(scenario: ScenarioSettings, facts: PlatformFacts) -> str | None:
    if not scenario.toggles.asked("wireguard"):
        return None
    return "the tuning guide has it without encryption only; agents take both"


def _netkit_note(scenario: ScenarioSettings, facts: PlatformFacts) -> str | None:
    if not _marks_are_lost(scenario, facts):
        return None
    return (
        f"on kernel {facts.kernel} network policies may take a pod's own node for the world "
        "(cilium #35060)"
    )


# -- proofs: pure functions over one agent's evidence and the decided values -----------------------


def native_routing(agent: AgentEvidence, values: Values) -> Proof:
    """Packets leave for other nodes without encapsulation."""
    said = agent.network_routing
    if said == "Tunnel" and agent.tunnel_protocol:
        return Proof(False, f"Network Routing: Tunnel [{agent.tunnel_protocol}]")
    return _equals("Network Routing", said, "Native")


def socket_lb(agent: AgentEvidence, values: Values) -> Proof:
    """Services are resolved at connect(), for pods too."""
    if agent.socket_lb is None:
        return _silent("Socket LB")
    said = "Enabled" if agent.socket_lb else "Disabled"
    holds = agent.socket_lb and agent.socket_lb_coverage == "Full"
    return Proof(holds, f"Socket LB: {said}, Coverage: {agent.socket_lb_coverage}")


def bandwidth_manager(agent: AgentEvidence, values: Values) -> Proof:
    """The manager is on, and fq stands on every one of its devices where `tc` was asked."""
    if agent.bandwidth_manager is None:
        return _silent("BandwidthManager")
    if not agent.bandwidth_manager:
        return Proof(False, "BandwidthManager: Disabled")
    said = f"BandwidthManager: EDT with BPF [{(agent.congestion_control or 'cubic').upper()}]"
    if agent.qdiscs is None:
        return Proof(True, said)
    without = [
        device for device in agent.devices if "fq" not in agent.qdiscs.get(device, frozenset())
    ]
    if without:
        return Proof(False, f"{said}, but no fq qdisc on {', '.join(without)}")
    return Proof(True, f"{said}, fq on {', '.join(agent.devices)}")


def bbr(agent: AgentEvidence, values: Values) -> Proof:
    """The bandwidth manager is on and has set BBR for the node and its pods."""
    manager = bandwidth_manager(agent, values)
    if not manager.holds:
        return manager
    return Proof(agent.congestion_control == "bbr", manager.said)


def conntrack_tables(agent: AgentEvidence, values: Values) -> Proof:
    """The TCP and the other conntrack map have the sizes asked for, in entries."""
    options = dict(leaves(values))
    wanted = (options.get(f"extraConfig.{_CT_TCP}"), options.get(f"extraConfig.{_CT_ANY}"))
    sizes = agent.map_sizes or {}
    tcp, other = sizes.get(TCP_CONNTRACK_MAP), sizes.get(ANY_CONNTRACK_MAP)
    if tcp is None or other is None:
        return _silent("conntrack map sizes")
    return Proof((str(tcp), str(other)) == wanted, f"conntrack maps: TCP {tcp}, any {other}")


def xdp(agent: AgentEvidence, values: Values) -> Proof:
    """The agent is set to it, and a program is attached in driver mode on every device.

    The status alone proves nothing under best-effort, which goes on where attaching failed.
    """
    if agent.acceleration is None:
        return _silent("XDP Acceleration")
    said = f"XDP Acceleration: {agent.acceleration}"
    if agent.acceleration not in ("Native", "Best-Effort"):
        return Proof(False, said)
    if agent.xdp is None:
        return Proof(True if agent.acceleration == "Native" else None, said)
    modes = {device: agent.xdp.get(device, "none") for device in agent.devices}
    listed = ", ".join(f"{device} {mode}" for device, mode in modes.items()) or "no device"
    holds = bool(modes) and set(modes.values()) == {"driver"}
    return Proof(holds, f"{said}, attached: {listed}")


BIG_TCP_ABOVE = 65_536
"""The largest packet without BIG TCP, in bytes."""


def big_tcp(agent: AgentEvidence, values: Values) -> Proof:
    """Devices were given larger packets than they have anyway; for IPv6 too, if it is enabled."""
    ipv4, ipv6 = agent.big_tcp_ipv4, agent.big_tcp_ipv6
    if ipv4 is None:
        return _silent("BIG TCP")
    said = f"BIG TCP: IPv4 {ipv4 or 'Disabled'}{f', IPv6 {ipv6}' if ipv6 else ''}"
    return Proof(min(ipv4, ipv6 or ipv4) > BIG_TCP_ABOVE, said)


def netkit(agent: AgentEvidence, values: Values) -> Proof:
    """The agent is set to it, and none of its pods has a device of another kind."""
    proof = _equals("Device Mode", agent.device_mode, "netkit")
    others = {kind for name, kind in (agent.kinds or {}).items() if name.startswith("lxc")} - {
        "netkit"
    }
    if proof.holds and others:
        return Proof(False, f"{proof.said}, but pods' devices are {', '.join(sorted(others))}")
    return proof


def wireguard(agent: AgentEvidence, values: Values) -> Proof:
    """The kernel has the agent's interface, with other nodes behind it."""
    if agent.encryption is None:
        return _silent("Encryption")
    said = f"Encryption: {agent.encryption}"
    if agent.encryption != "Wireguard":
        return Proof(False, said)
    peers = agent.wireguard_peers.get(WIREGUARD_DEVICE)
    if peers is None:
        return Proof(False, f"{said}, no {WIREGUARD_DEVICE}")
    return Proof(peers > 0, f"{said}, {WIREGUARD_DEVICE} with {peers} peers")


def _equals(name: str, said: str | None, wanted: str) -> Proof:
    return _silent(name) if said is None else Proof(said == wanted, f"{name}: {said}")


def _silent(name: str) -> Proof:
    return Proof(None, f"{name}: not reported")


# -- the precondition `configuration`: what values ask for, and what an agent reports ------------


def is_true(values: Flat, path: str) -> bool:
    """A switch, as YAML or as Helm's text."""
    return str(values.get(path, False)).lower() == "true"


def on_off(value: bool | None) -> str:
    """How settings show a switch."""
    return "on" if value else "off"


def reported(value: bool | None) -> str | None:
    """A switch as an agent reports it; None where it does not."""
    return None if value is None else on_off(value)


def _switch(path: str) -> Callable[[Flat], str | None]:
    """A switch that counts only where the values have it."""
    return lambda values: on_off(is_true(values, path)) if path in values else None


def _word(path: str) -> Callable[[Flat], str | None]:
    return lambda values: str(values[path]).lower() if values.get(path) else None


def _among(value: str | None, *on: str) -> str | None:
    return None if value is None else on_off(value in on)


def _lower(value: str | None) -> str | None:
    return None if value is None else value.lower()


def _map_size(name: str) -> Callable[[AgentEvidence], str | None]:
    return lambda agent: str(size) if (size := (agent.map_sizes or {}).get(name)) else None


def _masquerade(values: Flat) -> str:
    if values.get("enableIPv4Masquerade") is False:
        return "disabled"
    return "bpf" if is_true(values, "bpf.masquerade") else "iptables"


def _routing(values: Flat) -> str:
    if values.get("routingMode") == "native":
        return "native"
    return f"tunnel {values.get('tunnelProtocol') or 'vxlan'}"


def _routing_of(agent: AgentEvidence) -> str | None:
    if agent.network_routing is None:
        return None
    if agent.network_routing == "Tunnel":
        return f"tunnel {agent.tunnel_protocol}".lower()
    return agent.network_routing.lower()


def _bbr_of(agent: AgentEvidence) -> str | None:
    if agent.bandwidth_manager is None:
        return None
    return on_off(agent.bandwidth_manager and agent.congestion_control == "bbr")


def _large(size: int | None) -> str | None:
    return None if size is None else on_off(size > BIG_TCP_ABOVE)


def _encrypted(values: Flat) -> str | None:
    if not is_true(values, "encryption.enabled"):
        return None
    return str(values.get("encryption.type", "ipsec")).lower()


# -- the registry -------------------------------------------------------------------------------


def _constant(values: Values) -> Callable[[Asked, PlatformFacts], Values]:
    return lambda asked, facts: values


_ENTRIES: tuple[CiliumToggle, ...] = (
    Toggle(
        name="hostRouting",
        title="BPF host routing",
        on=_constant({"bpf": {"hostLegacyRouting": False}}),
        off={"bpf": {"hostLegacyRouting": True}},
        # The agent falls back to legacy host routing in silence.
        prove=lambda agent, values: _equals("Host Routing", agent.host_routing, "BPF"),
        aspects=(
            Aspect(
                "BPF host routing",
                lambda values: (
                    on_off(not is_true(values, "bpf.hostLegacyRouting"))
                    if "bpf.hostLegacyRouting" in values
                    else None
                ),
                lambda agent: _among(agent.host_routing, "BPF"),
            ),
        ),
        summary=("host_routing",),
        needs=Needs(kube_proxy_replacement=True, toggles=("bpfMasquerade",), kernel=Kernel(5, 10)),
        options=("enable-host-legacy-routing",),
    ),
    Toggle(
        name="bandwidthManager",
        title="Bandwidth Manager",
        on=_constant({"bandwidthManager": {"enabled": True}}),
        off={"bandwidthManager": {"enabled": False}},
        prove=bandwidth_manager,
        aspects=(
            Aspect(
                "Bandwidth Manager",
                _switch("bandwidthManager.enabled"),
                lambda agent: reported(agent.bandwidth_manager),
            ),
        ),
        summary=("bandwidth_manager",),
        needs=Needs(kernel=Kernel(5, 1), features=(Feature.FQ,)),
        options=("enable-bandwidth-manager",),
    ),
    Toggle(
        name="bbr",
        title="BBR congestion control",
        on=_constant({"bandwidthManager": {"bbr": True}}),
        off={"bandwidthManager": {"bbr": False}},
        prove=bbr,
        aspects=(Aspect("BBR", _switch("bandwidthManager.bbr"), _bbr_of),),
        summary=("congestion_control",),
        needs=Needs(
            toggles=("bandwidthManager", "hostRouting"),
            kernel=Kernel(5, 18),
            features=(Feature.BBR,),
        ),
        options=("enable-bbr",),
    ),
    Toggle(
        name="bpfMasquerade",
        title="BPF masquerade",
        on=_constant({"bpf": {"masquerade": True}}),
        off={"bpf": {"masquerade": False}},
        prove=lambda agent, values: _equals("Masquerading", agent.masquerading, "BPF"),
        aspects=(
            Aspect(
                "masquerading",
                _masquerade,
                lambda agent: _lower(agent.masquerading),
            ),
        ),
        summary=("masquerading",),
        # The agent stops without NodePort, which kube-proxy replacement brings.
        needs=Needs(kube_proxy_replacement=True),
        note=_masquerade_note,
        # Left to itself the agent turns it on as well, so that it would be both.
        brings=("hostRouting",),
        beside=_eni_masquerade,
        options=("egress-masquerade-interfaces", "enable-bpf-masquerade"),
    ),
    Toggle(
        name="socketLB",
        title="Socket load-balancing",
        on=_constant({"socketLB": {"enabled": True}}),
        off={"socketLB": {"enabled": False}},
        prove=socket_lb,
        aspects=(
            Aspect(
                "socket load-balancing",
                lambda values: on_off(
                    is_true(values, "kubeProxyReplacement") or is_true(values, "socketLB.enabled")
                ),
                lambda agent: reported(agent.socket_lb),
            ),
        ),
        summary=("socket_lb",),
        needs=Needs(kernel=Kernel(4, 19)),
        note=_socket_lb_note,
        options=("bpf-lb-sock",),
    ),
    Toggle(
        name="nativeRouting",
        title="Native routing",
        on=_constant({"routingMode": "native"}),
        off={"routingMode": "tunnel"},
        prove=native_routing,
        aspects=(Aspect("routing", _routing, _routing_of),),
        summary=("network_routing", "tunnel_protocol"),
        options=("routing-mode",),
    ),
    Toggle(
        name="ctTables",
        title="Larger conntrack tables",
        sizes=CtTables,
        on=_ct_values,
        # Nothing set is the chart's dynamic sizing.
        off={},
        prove=conntrack_tables,
        aspects=(
            Aspect(
                "TCP conntrack entries",
                _word(f"extraConfig.{_CT_TCP}"),
                _map_size(TCP_CONNTRACK_MAP),
            ),
            Aspect(
                "other conntrack entries",
                _word(f"extraConfig.{_CT_ANY}"),
                _map_size(ANY_CONNTRACK_MAP),
            ),
        ),
        note=_conntrack_note,
        owned={
            "bpf.ctAnyMax": "anyMax",
            "bpf.ctTcpMax": "tcpMax",
            f"extraConfig.{_CT_ANY}": "anyMax",
            f"extraConfig.{_CT_TCP}": "tcpMax",
        },
    ),
    Toggle(
        name="hubbleOff",
        title="Hubble off",
        on=_constant({"hubble": {"enabled": False}}),
        off={"hubble": {"enabled": True}},
        prove=lambda agent, values: _equals("Hubble", agent.hubble, "Disabled"),
        aspects=(
            Aspect(
                "Hubble",
                _switch("hubble.enabled"),
                lambda agent: _among(agent.hubble, "Ok", "Warning", "Failure"),
            ),
        ),
        summary=("hubble",),
        options=("enable-hubble",),
    ),
    Toggle(
        name="dsr",
        title="Direct server return (DSR)",
        on=_constant({"loadBalancer": {"mode": "dsr"}}),
        off={"loadBalancer": {"mode": "snat"}},
        prove=lambda agent, values: _equals("NodePort Mode", agent.node_port_mode, "DSR"),
        aspects=(
            Aspect(
                "NodePort mode",
                _word("loadBalancer.mode"),
                lambda agent: _lower(agent.node_port_mode),
            ),
        ),
        summary=("node_port_mode",),
        needs=Needs(kube_proxy_replacement=True, obstacle=dsr_obstacle),
        note=_dsr_note,
        beside=_dsr_dispatch,
        options=("bpf-lb-dsr-dispatch", "bpf-lb-mode"),
        north_south=True,
    ),
    Toggle(
        name="xdp",
        title="XDP acceleration",
        on=_xdp_values,
        off={"loadBalancer": {"acceleration": "disabled"}},
        prove=xdp,
        aspects=(
            Aspect(
                "acceleration",
                _word("loadBalancer.acceleration"),
                lambda agent: _lower(agent.acceleration),
            ),
        ),
        summary=("acceleration",),
        needs=Needs(kube_proxy_replacement=True, kernel=Kernel(5, 10), obstacle=_xdp_obstacle),
        note=lambda scenario, facts: xdp_support(facts).why,
        options=("bpf-lb-acceleration",),
        north_south=True,
    ),
    Toggle(
        name="netkit",
        title="netkit devices",
        on=_constant({"bpf": {"datapathMode": "netkit"}}),
        off={"bpf": {"datapathMode": "veth"}},
        prove=netkit,
        aspects=(
            Aspect("device mode", _word("bpf.datapathMode"), lambda agent: agent.device_mode),
        ),
        summary=("device_mode",),
        needs=Needs(
            toggles=("hostRouting",),
            kernel=Kernel(6, 8),
            features=(Feature.NETKIT,),
            obstacle=_netkit_obstacle,
        ),
        note=_netkit_note,
        options=("datapath-mode",),
    ),
    Toggle(
        name="bigTCP",
        title="BIG TCP",
        on=_constant({"enableIPv4BIGTCP": True}),
        off={"enableIPv4BIGTCP": False, "enableIPv6BIGTCP": False},
        prove=big_tcp,
        aspects=(
            Aspect(
                "IPv4 BIG TCP",
                _switch("enableIPv4BIGTCP"),
                lambda agent: _large(agent.big_tcp_ipv4),
            ),
            Aspect(
                "IPv6 BIG TCP",
                _switch("enableIPv6BIGTCP"),
                lambda agent: _large(agent.big_tcp_ipv6),
            ),
        ),
        summary=("big_tcp_ipv4", "big_tcp_ipv6"),
        needs=Needs(
            # The agent stops in tunnel mode, and with host routing by iptables.
            toggles=("nativeRouting", "hostRouting"),
            kernel=Kernel(6, 3),
            obstacle=_big_tcp_obstacle,
        ),
        note=_big_tcp_note,
        beside=_big_tcp_ipv6,
        options=("enable-ipv4-big-tcp", "enable-ipv6-big-tcp"),
    ),
    Toggle(
        name="wireguard",
        title="WireGuard encryption",
        on=_constant({"encryption": {"enabled": True, "type": "wireguard"}}),
        # The chart's default. What else encrypts is the scenario's to set.
        off={},
        prove=wireguard,
        aspects=(Aspect("encryption", _encrypted, lambda agent: _lower(agent.encryption)),),
        summary=("encryption",),
        needs=Needs(kernel=Kernel(5, 6), features=(Feature.WIREGUARD,)),
        options=("enable-wireguard",),
    ),
)

TOGGLES: Mapping[str, CiliumToggle] = {toggle.name: toggle for toggle in _ENTRIES}
"""Every toggle by its name, in the order of reports."""
