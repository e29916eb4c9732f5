"""By what a node's dataplane leads connections to a Service's pods, and how it counts them.

A mechanism is a command and a reader of its output. kube-proxy's are here, each read with 20 new
connections before and after in the running dataplane; those of a CNI are in its folder:

- iptables: the rule of KUBE-SERVICES that names the ClusterIP counts the packets that the nat table
  sees, one per connection (``iptables-save -c``).
- nftables: its verdict map has no counters, so conntrack's entries whose original destination is
  the ClusterIP are counted (``conntrack -L``).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass


class CountError(ValueError):
    """An output that is not that of the mechanism's command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSelector:
    """Whose pod on a node has a mechanism's program, and may run it."""

    label: str
    """A label selector, ``k8s-app=kube-proxy``."""
    container: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """One way from a Service's address to a pod.

    :ivar command: what to run on the client's node, with its agent's view of ``/sys/fs/bpf``.
    :ivar pods: those that can run it.
    :ivar count: connections translated so far, from the output and the Service's address and port;
        raises CountError where the output is not the command's.
    """

    name: str
    command: tuple[str, ...]
    pods: PodSelector
    count: Callable[[str, str, int], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """The mechanism that a dataplane's settings ask for, and all that can exist with them."""

    expected: Mechanism
    possible: tuple[Mechanism, ...]


def _iptables_count(stdout: str, host: str, port: int) -> int:
    if "*nat" not in stdout:
        raise CountError("iptables-save: no nat table in its output")
    rule = re.compile(
        rf"^\[(\d+):\d+\] -A KUBE-SERVICES -d {re.escape(host)}/32 .*"
        rf"--dport {port} -j KUBE-(?:SVC|EXT)-",
        re.MULTILINE,
    )
    return sum(int(packets) for packets in rule.findall(stdout))


def _conntrack_count(stdout: str, host: str, port: int) -> int:
    entry = re.compile(
        rf"^\w+ .*?src=\S+ dst={re.escape(host)} sport=\d+ dport={port} ", re.MULTILINE
    )
    return len(entry.findall(stdout))


KUBE_PROXY_PODS = PodSelector(label="k8s-app=kube-proxy", container="kube-proxy")
IPTABLES = Mechanism(
    name="kube-proxy iptables",
    command=("iptables-save", "-c", "-t", "nat"),
    pods=KUBE_PROXY_PODS,
    count=_iptables_count,
)
NFTABLES = Mechanism(
    name="kube-proxy nftables",
    command=("conntrack", "-L", "-f", "ipv4"),
    pods=KUBE_PROXY_PODS,
    count=_conntrack_count,
)


def of_kube_proxy(mode: str) -> tuple[Mechanism, ...]:
    """The mechanisms of kube-proxy in a mode; none where there is no kube-proxy."""
    return {"iptables": (IPTABLES,), "nftables": (NFTABLES,)}.get(mode, ())
