"""Which scenario for which kind of workload: every rule that the report's advice follows.

1. Only scenarios that fulfil a workload's need (:data:`USE_CASES`, ``needs``) are candidates, in
   the order in which the user named them: the first is the simplest, each later one a further
   change.
2. The first candidate is kept until a later one beats it: at least one deciding metric is better,
   none is worse, by the verdicts of :mod:`bench.compare` over the deciding metrics alone (so that
   few runs suffice) and by at least :data:`WORTH` %. Those metrics are fixed here, before any is
   looked at.
3. A metric that an HTTP server or a load generator limited decides nothing (but the CNI's own cost,
   which is not of the network).
4. With too few runs for a verdict, or where no difference below :data:`NOISY` % could have been
   seen, nothing beats the first candidate, and the advice says so; what was published is quoted,
   and never counted as a verdict, since it is of single runs.
5. Where an experiment measures the workload's own axis (``curve``), its deciding metrics at the
   furthest point that two subjects share decide in place of the others, by the same rules
   (:mod:`report.advise`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from report.traits import Traits

WORTH: Final = 5.0
"""Percent from which on a difference is worth a change of the network."""
NOISY: Final = 25.0
"""Percent: where no smaller difference could have been seen in any deciding metric, that none was
seen says nothing."""

Basis = Literal["measured", "published", "feature"]
"""What an advice rests on: verdicts of these results, the published study, documented features."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The experiment along a workload's own axis, by the axis's unit, and what decides there."""

    unit: str
    deciding: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Need:
    """What a scenario must be for a workload: a stated setting, not a measurement.

    ``met`` says None where the results do not tell.
    """

    says: str
    source: str
    met: Callable[[Traits], bool | None]


@dataclass(frozen=True, slots=True)
class UseCase:
    """A kind of workload.

    ``when`` is how a reader knows that theirs is one, ``why`` the reason for the deciding metrics.
    ``only_curve``: without the experiment nothing measured speaks for or against anything.
    ``published`` is the corrected reading of what the study has on it; ``change`` what would change
    the advice. ``any_cni``: why the choice of CNI does not matter to it, as ``source`` has it.
    """

    title: str
    when: str
    deciding: tuple[str, ...]
    why: str
    change: str
    needs: Need | None = None
    curve: Curve | None = None
    only_curve: bool = False
    published: str = ""
    any_cni: str = ""
    source: str = ""


_CILIUM: Final = Need(
    "Cilium: L7, FQDN (outside EKS Auto Mode) and host-level policies are its alone; for L3/L4 "
    "alone the VPC CNI's own policies do",
    "https://docs.cilium.io/en/v1.16/security/policy/",
    lambda traits: traits.cilium,
)
_HUBBLE: Final = Need(
    "Cilium with Hubble on: flows with identities and verdicts, and policies that tenants cannot "
    "override",
    "https://docs.cilium.io/en/v1.16/observability/hubble/",
    lambda traits: traits.cilium and traits.hubble,
)
_OVERLAY: Final = Need(
    "an overlay: pods take no address of the VPC. Prefix delegation does not help here: it fits "
    "more pods on a node, but takes whole /28 blocks from the subnet",
    "https://docs.cilium.io/en/v1.16/network/concepts/ipam/cluster-pool/",
    lambda traits: traits.overlay,
)
_NOT_IPTABLES: Final = Need(
    "Services by eBPF or nftables maps: iptables goes through its rules one by one for the first "
    "packet of each connection",
    "https://kubernetes.io/blog/2025/02/28/nftables-kube-proxy/",
    lambda traits: None if traits.services is None else traits.services != "kube-proxy iptables",
)

USE_CASES: Final[tuple[UseCase, ...]] = (
    UseCase(
        title="Small and simple",
        when="A few dozen services, nothing special asked of the network.",
        deciding=("http_1000_p99", "cni_cpu", "cni_memory"),
        why="what users feel at a moderate rate, and what the CNI itself takes from every node",
        change="a need for policies beyond L3/L4, or a scenario that is better without costing "
        "more",
        published="HTTP p99 at 1,000/s: 8.75 to 10.92 ms, single runs; nothing can be told apart.",
    ),
    UseCase(
        title="UDP-heavy",
        when="Media, games, telemetry, QUIC.",
        deciding=("udp_max_goodput", "udp_goodput"),
        why="payload that arrives: at the highest rate with hardly any loss, and under overload",
        change="an instance type with another bandwidth, or datagrams of another size",
        published="Goodput is 7.84 to 7.96 Gbit/s in all five scenarios: no difference. The "
        "published “10 against 8 Gbit/s” is the sender's rate.",
    ),
    UseCase(
        title="Network policies required",
        when="L7, FQDN, cluster-wide or host-level rules.",
        deciding=("rtt_p50", "connect_p50", "http_1000_p99"),
        why="among those that can enforce such rules: latency and connection setup, the paths that "
        "policies lie on",
        change="if L3/L4 rules are enough, every scenario qualifies; cluster-wide rules also "
        "come with VPC CNI 1.21",
        needs=_CILIUM,
        curve=Curve("policies", ("rtt_p50", "connect_p50", "http_1000_p99")),
    ),
    UseCase(
        title="500 services and more",
        when="Hundreds or thousands of Services, or endpoints that change often.",
        deciding=("connect_p50", "connect_p99"),
        why="the first packet of a connection meets the Services' rules",
        change="measure your own number: python -m bench scale",
        needs=_NOT_IPTABLES,
        curve=Curve("services", ("connect_p50_last", "connect_p99_last", "change_served")),
        only_curve=True,
        published="iptables from 4 to 1,000 services: connection setup 164 to 190 µs, sync 130 to "
        "170 ms, single runs. Nothing was measured at 5,000, nor eBPF at 1,000.",
    ),
    UseCase(
        title="Latency-sensitive",
        when="Trading, interactive APIs, caches, databases.",
        deciding=("rtt_p50", "rtt_p99", "connect_p50", "http_1000_p99"),
        why="round trips without load, connection setup, and the tail of paced requests",
        change="another rate or payload; long-lived connections never meet connection setup",
        published="The published “RTT” is the queue of a bulk transfer. HTTP p99 A to E is −9.4 "
        "% by E's own number, not −20 %; single runs.",
    ),
    UseCase(
        title="Short of addresses",
        when="The VPC's subnets are full or shared.",
        deciding=("tcp_throughput", "rtt_p50", "http_1000_p99"),
        why="among overlays: what is left of throughput and latency inside the tunnel",
        change="a secondary CIDR for pods (100.64.0.0/10, custom networking) or IPv6 instead of an "
        "overlay",
        needs=_OVERLAY,
    ),
    UseCase(
        title="Multi-tenant, observability",
        when="Several teams on one cluster; who talks to whom must be known.",
        deciding=("rtt_p50", "http_1000_p99", "cni_cpu"),
        why="among those that show flows: latency, and what showing them costs",
        change="the toggle hubbleOff, alone: python -m bench ablate tells what Hubble costs",
        needs=_HUBBLE,
    ),
    UseCase(
        title="Real-time inference",
        when="Small requests to models, kept connections, a tail that users feel.",
        deciding=("http_1000_p50", "http_1000_p99", "loaded_rtt_p99"),
        why="paced requests, and round trips while weights or batches are moved",
        change="if the model takes tens of milliseconds, no CNI shows in it",
        published="HTTP p99 at 1,000/s: 8.75 to 10.92 ms, single runs; nothing can be told apart.",
    ),
    UseCase(
        title="Multi-hop pipelines",
        when="Gateway, router, model, retrieval, vector store: one request, many hops.",
        deciding=("http_1000_p50", "http_1000_p99"),
        why="each hop adds its own latency, so a difference per request counts once per hop",
        change="fewer hops, or hops on one node",
        curve=Curve("hops", ("chain_kept_p50", "chain_kept_p99")),
    ),
    UseCase(
        title="Training with EFA",
        when="Collective operations between GPUs over an Elastic Fabric Adapter.",
        deciding=(),
        why="",
        change="training over plain TCP: then TCP throughput decides (see the table)",
        any_cni="EFA is an OS-bypass device: NCCL and MPI traffic goes from the process to the "
        "adapter, past kernel and CNI. The CNI carries control traffic only; choose it by the "
        "cluster's other workloads.",
        source="https://docs.aws.amazon.com/eks/latest/userguide/node-efa.html",
    ),
)
