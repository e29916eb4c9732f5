"""What a Service dataplane has made of its Services, as its node tells.

Sources: kube-proxy 1.31 (``pkg/proxy/iptables/proxier.go``, ``pkg/proxy/nftables/proxier.go``,
``pkg/proxy/metrics``), Cilium 1.16.5 (``pkg/maps/lbmap``, ``pkg/k8s/watchers/service.go``).
kube-proxy's own ``kubeproxy_sync_proxy_rules_iptables_total`` is not used: its IPv6 half
overwrites what its IPv4 half has counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bench.parse import ParseError
from cni.cilium import dataplane as cilium
from cni.dataplane import IPTABLES, KUBE_PROXY_PODS, NFTABLES
from studies.experiments.base import SkippedError

KUBE_PROXY, CILIUM = KUBE_PROXY_PODS.container, cilium.SOCKET.pods.container
Run = Callable[[Sequence[str]], str]
"""Runs a command beside the component on the client's node, and gives its output."""


@dataclass(frozen=True, slots=True)
class Syncs:
    """How often a component has brought its dataplane up to date so far, and for how long."""

    count: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Dataplane:
    """One kind of dataplane.

    ``size`` counts what it holds. ``order`` are the ClusterIPs with a port in the order in which
    they are compared with a packet; None where they are looked up at once. ``syncs`` reads
    changes that were brought in, ``full`` those that wrote everything anew (None where there are
    no such).
    """

    component: str
    title: str
    size: Callable[[Run], dict[str, int]]
    order: Callable[[Run, int], list[str]] | None
    syncs: Callable[[str], Syncs]
    full: Callable[[str], Syncs] | None


def dataplane_of(path: str) -> Dataplane:
    """The dataplane whose mechanism leads connections to Services (``ServicePath.expected``).

    :raises SkippedError: it is not known how that one tells what it holds.
    """
    if path not in _BY_PATH:
        raise SkippedError(f"{path}: what it holds of Services cannot be read here")
    return _BY_PATH[path]


def total(text: str, name: str, **labels: str) -> float | None:
    """The sum of a metric's samples that have these labels; None where it has no sample.

    :param name: of the sample, so with ``_sum``, ``_count`` or ``_total``.
    :raises ParseError: the text is not of that format.
    """
    try:
        values = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
    except ValueError as error:
        raise ParseError(f"no metrics in Prometheus's format: {error}") from None
    return sum(values) if values else None


# -- kube-proxy -------------------------------------------------------------------------------


def _iptables_size(run: Run) -> dict[str, int]:
    lines = run(("iptables-save", "-t", "nat")).splitlines()
    if "*nat" not in lines:
        raise ParseError("iptables-save: no nat table in its output")
    return {
        "nat rules": sum(line.startswith("-A") for line in lines),
        "nat chains": sum(line.startswith(":") for line in lines),
    }


def iptables_order(listing: str, port: int) -> list[str]:
    """The ClusterIPs of KUBE-SERVICES with a port, in the order of its rules.

    kube-proxy writes them in the order of a Go map's iteration, so in another one with every sync.

    :param listing: ``iptables -t nat -S KUBE-SERVICES``.
    """
    rule = rf"^-A KUBE-SERVICES -d (\S+)/32 .*--dport {port} -j KUBE-(?:SVC|EXT)-"
    return re.findall(rule, listing, re.MULTILINE)


def _iptables_order(run: Run, port: int) -> list[str]:
    return iptables_order(run(("iptables", "-t", "nat", "-S", "KUBE-SERVICES")), port)


def nftables_size(listing: str) -> dict[str, int]:
    """Rules, chains and elements of maps and sets.

    :param listing: ``nft --json list table ip kube-proxy``.
    """
    try:
        objects: list[dict[str, Any]] = json.loads(listing)["nftables"]
    except (ValueError, KeyError) as error:
        raise ParseError(f"nft: no table in its output: {error}") from None
    holders = [each[kind] for each in objects for kind in ("map", "set") if kind in each]
    return {
        "nft rules": sum("rule" in each for each in objects),
        "nft chains": sum("chain" in each for each in objects),
        "nft map elements": sum(len(holder.get("elem", ())) for holder in holders),
    }


def _nftables_size(run: Run) -> dict[str, int]:
    return nftables_size(run(("nft", "--json", "list", "table", "ip", "kube-proxy")))


def _proxy_syncs(name: str) -> Callable[[str], Syncs]:
    def read(text: str) -> Syncs:
        metric = f"kubeproxy_{name}_duration_seconds"
        return _syncs(metric, total(text, f"{metric}_count"), total(text, f"{metric}_sum"))

    return read


def _syncs(metric: str, count: float | None, seconds: float | None) -> Syncs:
    if count is None or seconds is None:
        raise ParseError(f"the component does not tell {metric}")
    return Syncs(count, seconds)


# -- Cilium -----------------------------------------------------------------------------------

_MAPS: Mapping[str, str] = {
    "service map entries": "cilium_lb4_services_v2",
    "backend map entries": "cilium_lb4_backends_v3",
    "reverse NAT map entries": "cilium_lb4_reverse_nat",
}


def _bpf_size(run: Run) -> dict[str, int]:
    sizes = {}
    for title, name in _MAPS.items():
        dumped = run(
            ("bpftool", "--json", "map", "dump", "pinned", f"/sys/fs/bpf/tc/globals/{name}")
        )
        try:
            sizes[title] = len(json.loads(dumped))
        except (ValueError, TypeError) as error:
            raise ParseError(f"bpftool: no dump of {name}: {error}") from None
    return sizes


def _cilium_syncs(text: str) -> Syncs:
    """Upserts of Services, and the time they took without that in the event queue.

    A histogram is told as its sum over the agent's socket, as ``_sum`` over its metrics port.
    """
    delay = "cilium_service_implementation_delay"
    seconds = total(text, delay, action="service-updated")
    if seconds is None:
        seconds = total(text, f"{delay}_sum", action="service-updated")
    events = [total(text, "cilium_services_events_total", action=a) for a in ("add", "update")]
    known = [each for each in events if each is not None]
    return _syncs(delay, sum(known) if known else None, seconds)


_KUBE_PROXY_FULL = _proxy_syncs("sync_full_proxy_rules")
_IPTABLES = Dataplane(
    KUBE_PROXY, "kube-proxy iptables", _iptables_size, _iptables_order,
    _proxy_syncs("sync_proxy_rules"), _KUBE_PROXY_FULL,
)  # fmt: skip
_NFTABLES = Dataplane(
    KUBE_PROXY, "kube-proxy nftables", _nftables_size, None,
    _proxy_syncs("sync_proxy_rules"), _KUBE_PROXY_FULL,
)  # fmt: skip
_EBPF = Dataplane(CILIUM, "Cilium eBPF", _bpf_size, None, _cilium_syncs, None)
_BY_PATH: Mapping[str, Dataplane] = {
    IPTABLES.name: _IPTABLES,
    NFTABLES.name: _NFTABLES,
    cilium.SOCKET.name: _EBPF,
    cilium.PER_PACKET.name: _EBPF,
}
