"""How a running agent proves each toggle: pure functions over one agent's evidence.

Sources: Cilium 1.16.5 `daemon/cmd/status.go` for what each field says, `daemon/cmd/
kube_proxy_replacement.go` and `pkg/datapath/linux/bandwidth` for the silent fall-backs.
"""

from __future__ import annotations

from typing import NamedTuple

from cni.agent import AgentEvidence

TCP_CONNTRACK_MAP = "TCP connection tracking"
ANY_CONNTRACK_MAP = "Non-TCP connection tracking"


class Proof(NamedTuple):
    """Whether the toggle is at work (None: this agent did not tell), and what the agent said."""

    holds: bool | None
    said: str


def host_routing(agent: AgentEvidence) -> Proof:
    """The agent falls back to legacy host routing in silence."""
    return _equals("Host Routing", agent.host_routing, "BPF")


def bpf_masquerade(agent: AgentEvidence) -> Proof:
    """Masquerading is by BPF and not by iptables."""
    return _equals("Masquerading", agent.masquerading, "BPF")


def native_routing(agent: AgentEvidence) -> Proof:
    """Packets leave for other nodes without encapsulation."""
    said = agent.network_routing
    if said == "Tunnel" and agent.tunnel_protocol:
        return Proof(False, f"Network Routing: Tunnel [{agent.tunnel_protocol}]")
    return _equals("Network Routing", said, "Native")


def socket_lb(agent: AgentEvidence) -> Proof:
    """Services are resolved at connect(), for pods too."""
    if agent.socket_lb is None:
        return _silent("Socket LB")
    said = "Enabled" if agent.socket_lb else "Disabled"
    holds = agent.socket_lb and agent.socket_lb_coverage == "Full"
    return Proof(holds, f"Socket LB: {said}, Coverage: {agent.socket_lb_coverage}")


def bandwidth_manager(agent: AgentEvidence) -> Proof:
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


def bbr(agent: AgentEvidence) -> Proof:
    """The bandwidth manager is on and has set BBR for the node and its pods."""
    manager = bandwidth_manager(agent)
    if not manager.holds:
        return manager
    return Proof(agent.congestion_control == "bbr", manager.said)


def conntrack_tables(agent: AgentEvidence, wanted: tuple[int, int] | None) -> Proof:
    """The TCP and the other conntrack map have the sizes asked for, in entries."""
    sizes = agent.map_sizes or {}
    tcp, other = sizes.get(TCP_CONNTRACK_MAP), sizes.get(ANY_CONNTRACK_MAP)
    if tcp is None or other is None:
        return _silent("conntrack map sizes")
    return Proof((tcp, other) == wanted, f"conntrack maps: TCP {tcp}, any {other}")


def hubble_off(agent: AgentEvidence) -> Proof:
    """Hubble observes nothing."""
    return _equals("Hubble", agent.hubble, "Disabled")


def dsr(agent: AgentEvidence) -> Proof:
    """NodePort replies go straight back to the client."""
    return _equals("NodePort Mode", agent.node_port_mode, "DSR")


def xdp(agent: AgentEvidence) -> Proof:
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


def _equals(name: str, said: str | None, wanted: str) -> Proof:
    return _silent(name) if said is None else Proof(said == wanted, f"{name}: {said}")


def _silent(name: str) -> Proof:
    return Proof(None, f"{name}: not reported")
