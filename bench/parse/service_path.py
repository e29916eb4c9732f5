"""What a node's dataplane counts of connections to one Service: by what they were led to a pod.

Sources, each read with 20 new connections before and after in the running dataplanes:

- kube-proxy, iptables: the rule of KUBE-SERVICES that names the ClusterIP counts the packets that
  the nat table sees, one per connection (``iptables-save -c``).
- kube-proxy, nftables: its verdict map has no counters, so conntrack's entries whose original
  destination is the ClusterIP are counted (``conntrack -L``).
- Cilium at the socket: ``cilium_lb4_reverse_sk`` has an entry for each socket whose ``connect()``
  was rewritten (``bpf/bpf_sock.c``, ``sock4_update_revnat``); packets never carry the ClusterIP.
- Cilium per packet: the connection-tracking map has one entry of kind SVC per connection that
  ``bpf_lxc`` has translated. Cilium does that for pods also beside kube-proxy
  (``kubeProxyReplacement=false``), whose rules then see no packet of theirs.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping

from bench.parse import ParseError
from bench.session import Service

IPTABLES = "kube-proxy iptables"
NFTABLES = "kube-proxy nftables"
SOCKET = "Cilium at the socket"
PER_PACKET = "Cilium per packet"

_REVERSE_SK = "/sys/fs/bpf/tc/globals/cilium_lb4_reverse_sk"
COMMANDS: Mapping[str, tuple[str, ...]] = {
    IPTABLES: ("iptables-save", "-c", "-t", "nat"),
    NFTABLES: ("conntrack", "-L", "-f", "ipv4"),
    SOCKET: ("bpftool", "map", "dump", "pinned", _REVERSE_SK),
    PER_PACKET: ("cilium-dbg", "bpf", "ct", "list", "global"),
}
"""What to run on the client's node, with its agent's view of /sys/fs/bpf, by mechanism."""


def expected(kube_proxy: str, values: Mapping[str, object] | None) -> str:
    """The mechanism that a dataplane's settings ask for, for connections of pods.

    :param kube_proxy: iptables, nftables or none.
    :param values: Cilium's Helm values; None where Cilium is not the CNI.
    """
    if values is None:
        return NFTABLES if kube_proxy == "nftables" else IPTABLES
    socket_lb = values.get("socketLB")
    settings = socket_lb if isinstance(socket_lb, Mapping) else {}
    replaced = str(values.get("kubeProxyReplacement", False)).lower() == "true"
    if (replaced or settings.get("enabled") is True) and not settings.get("hostNamespaceOnly"):
        return SOCKET
    return PER_PACKET


def mechanisms(kube_proxy: str, values: Mapping[str, object] | None) -> tuple[str, ...]:
    """The mechanisms that can exist with these settings: those to look at."""
    found = {"iptables": [IPTABLES], "nftables": [NFTABLES]}.get(kube_proxy, [])
    if values is None:
        return tuple(found)
    socket = [SOCKET] if expected(kube_proxy, values) == SOCKET else []
    return (*found, *socket, PER_PACKET)


def count(mechanism: str, stdout: str, service: Service) -> int:
    """Connections to ``service`` that a mechanism has translated, from its command's output.

    :raises ParseError: the output is not that command's.
    """
    return _COUNTERS[mechanism](stdout, service)


def _iptables(stdout: str, service: Service) -> int:
    if "*nat" not in stdout:
        raise ParseError("iptables-save: no nat table in its output")
    rule = re.compile(
        rf"^\[(\d+):\d+\] -A KUBE-SERVICES -d {re.escape(service.host)}/32 .*"
        rf"--dport {service.port} -j KUBE-(?:SVC|EXT)-",
        re.MULTILINE,
    )
    return sum(int(packets) for packets in rule.findall(stdout))


def _conntrack(stdout: str, service: Service) -> int:
    entry = re.compile(
        rf"^\w+ .*?src=\S+ dst={re.escape(service.host)} sport=\d+ dport={service.port} ",
        re.MULTILINE,
    )
    return len(entry.findall(stdout))


def _reverse_sk(stdout: str, service: Service) -> int:
    if not re.search(r"^(?:Found \d+ element|key:)", stdout, re.MULTILINE):
        raise ParseError("bpftool: its output is no map dump")
    wanted = ipaddress.IPv4Address(service.host).packed + service.port.to_bytes(2, "big")
    value = " ".join(f"{byte:02x}" for byte in wanted)
    return len(re.findall(rf"value:\s+{value}\b", stdout))


def _service_entries(stdout: str, service: Service) -> int:
    entry = rf"^TCP SVC \S+ -> {re.escape(service.host)}:{service.port} "
    return len(re.findall(entry, stdout, re.MULTILINE))


_COUNTERS: Mapping[str, Callable[[str, Service], int]] = {
    IPTABLES: _iptables,
    NFTABLES: _conntrack,
    SOCKET: _reverse_sk,
    PER_PACKET: _service_entries,
}
