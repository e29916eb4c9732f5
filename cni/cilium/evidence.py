"""What one Cilium agent reports of itself, parsed once into typed facts.

Fields follow Cilium 1.16.5 to 1.20.2: `api/v1/models` (StatusResponse and below).
Go leaves a false boolean out of its JSON, so within a section that is there, absent means false;
a section that is absent altogether is unknown (None).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from cni.toggles import Evidence, EvidenceError

# What to run for each agent, in its pod or in the node's namespaces: name → command line.
# `ip` and `tc` see what the kernel has attached, where the agent only repeats its settings.
EVIDENCE_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "status": ("cilium-dbg", "status", "-o", "json"),
    "config": ("cilium-dbg", "config", "--all", "-o", "json"),
    "links": ("ip", "-json", "-details", "link", "show"),
    "qdiscs": ("tc", "-json", "qdisc", "show"),
}

# IFLA_XDP_ATTACHED in linux/if_link.h; `ip -json` prints the number.
_XDP_MODES = {1: "driver", 2: "generic", 3: "offload", 4: "several"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentEvidence(Evidence):
    """One agent's state; None wherever it did not say."""

    host_routing: str | None = None
    """BPF or Legacy."""
    network_routing: str | None = None
    """Native or Tunnel."""
    tunnel_protocol: str | None = None
    masquerading: str | None = None
    """BPF, iptables or Disabled."""
    bandwidth_manager: bool | None = None
    congestion_control: str | None = None
    kube_proxy_replacement: bool | None = None
    socket_lb: bool | None = None
    socket_lb_coverage: str | None = None
    """Full, or Hostns-only where pods are left out."""
    node_port_mode: str | None = None
    """SNAT, DSR or Hybrid; Disabled without NodePort."""
    acceleration: str | None = None
    """Disabled, Native, Generic or Best-Effort: the setting, not the attachment."""
    devices: tuple[str, ...] = ()
    map_sizes: Mapping[str, int] | None = None
    """Entries, by the map's name in the status."""
    hubble: str | None = None
    """Ok, Warning, Failure or Disabled."""
    device_mode: str | None = None
    """veth, netkit or netkit-l2: the setting, without which an agent does not start."""
    big_tcp_ipv4: int | None = None
    """The smaller one of the largest packets that devices were given for sending (GSO) and for
    receiving (GRO); 0 where it is not asked for. That it is enabled is the setting only."""
    big_tcp_ipv6: int | None = None
    encryption: str | None = None
    """Disabled, IPsec, Wireguard or Ztunnel."""
    wireguard_peers: Mapping[str, int] = field(default_factory=dict)
    """The kernel's WireGuard interfaces, with how many other nodes each has."""
    kinds: Mapping[str, str] | None = None
    """What interfaces are (veth, netkit, wireguard), by their names; physical ones are nothing."""
    xdp: Mapping[str, str] | None = None
    """Interfaces with an XDP program, and how it is attached: driver or generic."""
    qdiscs: Mapping[str, frozenset[str]] | None = None
    """Kinds of queueing disciplines, by interface."""

    @classmethod
    def parse(cls, node: str, outputs: Mapping[str, str]) -> Self:
        """Read the outputs of `EVIDENCE_COMMANDS`, by their names; only `status` is required.

        :raises EvidenceError: names the node and the command whose output is unusable.
        """
        unknown = outputs.keys() - EVIDENCE_COMMANDS.keys()
        if unknown or "status" not in outputs:
            raise EvidenceError(
                f"{node}: outputs of {sorted(outputs)}, expected {list(EVIDENCE_COMMANDS)}"
            )
        status = _load(node, "status", outputs, dict) or {}
        config = _load(node, "config", outputs, dict)
        links = _load(node, "links", outputs, list)
        qdiscs = _load(node, "qdiscs", outputs, list)
        routing = status.get("routing") or {}
        masquerading = status.get("masquerading")
        bandwidth = status.get("bandwidth-manager")
        return cls(
            node=node,
            config=config,
            kinds=None if links is None else _kinds(links),
            xdp=None if links is None else _xdp(links),
            qdiscs=None if qdiscs is None else _qdiscs(qdiscs),
            host_routing=routing.get("intra-host-routing-mode"),
            network_routing=routing.get("inter-host-routing-mode"),
            tunnel_protocol=routing.get("tunnel-protocol"),
            masquerading=None if masquerading is None else _mode(masquerading),
            bandwidth_manager=None if bandwidth is None else bandwidth.get("enabled", False),
            congestion_control=(bandwidth or {}).get("congestionControl"),
            **_load_balancing(status.get("kube-proxy-replacement")),
            map_sizes=_map_sizes(status.get("bpf-maps")),
            hubble=(status.get("hubble") or {}).get("state"),
            device_mode=status.get("datapath-mode"),
            big_tcp_ipv4=_big_tcp(status.get("ipv4-big-tcp")),
            big_tcp_ipv6=_big_tcp(status.get("ipv6-big-tcp")),
            **_encryption(status.get("encryption") or {}),
        )


_Shape = TypeVar("_Shape", dict[str, Any], list[Any])


def _load(node: str, name: str, outputs: Mapping[str, str], shape: type[_Shape]) -> _Shape | None:
    """The command's parsed output, or None where it was not run."""
    if name not in outputs:
        return None
    command = " ".join(EVIDENCE_COMMANDS[name])
    try:
        parsed = json.loads(outputs[name])
    except json.JSONDecodeError as error:
        start = outputs[name][:80].strip() or "nothing"
        raise EvidenceError(f"{node}: {command}: no JSON ({error}): {start}") from error
    if not isinstance(parsed, shape):
        raise EvidenceError(f"{node}: {command}: a {type(parsed).__name__}, not {shape.__name__}")
    return parsed


def _mode(section: Mapping[str, Any]) -> str | None:
    return section.get("mode") if section.get("enabled") else "Disabled"


def _load_balancing(section: Mapping[str, Any] | None) -> dict[str, Any]:
    if section is None:
        return {}
    features = section.get("features") or {}
    node_port = features.get("nodePort") or {}
    on = node_port.get("enabled", False)
    hostns_only = features.get("bpfSocketLBHostnsOnly", False)
    return {
        "kube_proxy_replacement": section.get("mode") == "True",
        "devices": tuple(section.get("devices") or ()),
        "socket_lb": (features.get("socketLB") or {}).get("enabled", False),
        "socket_lb_coverage": "Hostns-only" if hostns_only else "Full",
        "node_port_mode": _mode(node_port),
        "acceleration": node_port.get("acceleration") if on else "Disabled",
    }


def _map_sizes(section: Mapping[str, Any] | None) -> dict[str, int] | None:
    if section is None:
        return None
    return {entry["name"]: entry.get("size", 0) for entry in section.get("maps") or ()}


def _big_tcp(section: Mapping[str, int] | None) -> int | None:
    if section is None or not section.get("enabled"):
        return None if section is None else 0
    return min(section.get("maxGSO", 0), section.get("maxGRO", 0))


def _encryption(section: Mapping[str, Any]) -> dict[str, Any]:
    interfaces = (section.get("wireguard") or {}).get("interfaces") or ()
    peers = {each["name"]: each.get("peer-count", 0) for each in interfaces}
    return {"encryption": section.get("mode"), "wireguard_peers": peers}


def _kinds(links: list[dict[str, Any]]) -> dict[str, str]:
    kinds = {link.get("ifname"): link.get("linkinfo", {}).get("info_kind") for link in links}
    return {name: kind for name, kind in kinds.items() if name and kind}


def _xdp(links: list[dict[str, Any]]) -> dict[str, str]:
    attached = {link["ifname"]: link["xdp"]["mode"] for link in links if "xdp" in link}
    return {name: _XDP_MODES.get(mode, str(mode)) for name, mode in attached.items()}


def _qdiscs(entries: list[dict[str, Any]]) -> dict[str, frozenset[str]]:
    devices = {entry["dev"] for entry in entries if "dev" in entry}
    return {
        device: frozenset(entry["kind"] for entry in entries if entry.get("dev") == device)
        for device in devices
    }


def prometheus_text(text: str) -> str:
    """The text format of what ``cilium-dbg metrics list -o json`` prints.

    It tells a histogram by one number, which here stands under the histogram's own name: up to 1.17
    the sum of its values (``pkg/metrics/registry.go``, ``DumpMetrics``), then their median
    (``pkg/metrics/cmd.go``). It leaves out a value of 0.

    :raises EvidenceError: it is not that list.
    """
    try:
        return "".join(
            f"{each['name']}{_label_pairs(each.get('labels') or {})} "
            f"{float(each.get('value', 0))!r}\n"
            for each in json.loads(text)
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvidenceError(f"cilium-dbg: no list of metrics: {error}") from None


def _label_pairs(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""
