"""What can be measured: every metric's name, unit, direction and meaning.

Latencies are in µs throughout, whatever the tool's unit, so that no two figures of one result
need a conversion; rates of data in Gbit/s (10^9 bit), of requests in 1/s, shares in %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"]
ARROWS: Mapping[Better, str] = {"higher": "↑", "lower": "↓"}
"""Which way is better, in tables."""

GBIT_PER_SECOND = "Gbit/s"
MICROSECONDS = "µs"
PERCENT = "%"
PER_SECOND = "1/s"
SEGMENTS = "segments"
MILLICORES = "millicores"
MEBIBYTES = "MiB"
CPU_SECONDS_PER_GB = "CPU s/GB"


@dataclass(frozen=True, slots=True)
class Metric:
    """A quantity with its unit and direction.

    ``group`` is the heading under which it is shown. ``load_model`` says how the load is offered
    where that decides what a latency means (open or closed loop, paced or not), else None.
    """

    name: str
    unit: str
    better: Better
    group: str
    description: str
    load_model: str | None = None


_GROUPS = ("Bulk transfer", "Latency", "Connection", "HTTP", "DNS", "CNI")
"""Beginnings of the groups' names, in the order in which they are shown."""


def group_rank(group: str) -> int:
    """Where a group is shown: its place among all, unknown ones last."""
    places = (place for place, start in enumerate(_GROUPS) if group.startswith(start))
    return next(places, len(_GROUPS))


TCP_THROUGHPUT = Metric(
    "tcp_throughput", GBIT_PER_SECOND, "higher", "Bulk transfer",
    "TCP payload received, all streams together",
)  # fmt: skip
TCP_RETRANSMITS = Metric(
    "tcp_retransmits", SEGMENTS, "lower", "Bulk transfer",
    "TCP segments sent again during one run, all streams together",
)  # fmt: skip
BULK_MEAN_RTT = Metric(
    "bulk_mean_rtt", MICROSECONDS, "lower", "Latency under load",
    "the published study's figure: the kernel's smoothed round-trip time of the one-stream "
    "transfer itself, its mean",
    "the transfer's own segments: mostly time in its own queues",
)  # fmt: skip
UDP_GOODPUT = Metric(
    "udp_goodput", GBIT_PER_SECOND, "higher", "Bulk transfer",
    "UDP payload that arrived, counted by the receiver",
)  # fmt: skip
UDP_LOSS = Metric(
    "udp_loss", PERCENT, "lower", "Bulk transfer",
    "UDP datagrams that did not arrive, of those sent",
)  # fmt: skip
UDP_JITTER = Metric(
    "udp_jitter", MICROSECONDS, "lower", "Bulk transfer",
    "smoothed variation of UDP transit time (RFC 1889) at the receiver",
)  # fmt: skip
UDP_MAX_GOODPUT = Metric(
    "udp_max_goodput", GBIT_PER_SECOND, "higher", "Bulk transfer",
    "UDP payload that arrived at the highest rate with loss below the limit, found by search",
)  # fmt: skip
TCP_CPU_PER_GB = Metric(
    "tcp_cpu_per_gb", CPU_SECONDS_PER_GB, "lower", "Bulk transfer",
    "CPU time of the machines of client and server, all that runs on them and in their kernels, "
    "per 10^9 bytes of TCP payload received",
)  # fmt: skip
UDP_SENDER_RATE = Metric(
    "udp_sender_rate", GBIT_PER_SECOND, "higher", "Bulk transfer",
    "UDP payload that the sender put out: the offered load, not what arrived",
)  # fmt: skip

CNI_COST = "CNI cost"
CNI_CPU = Metric(
    "cni_cpu", MILLICORES, "lower", CNI_COST,
    "CPU of CNI agent and kube-proxy under the HTTP load, mean per node "
    "(their processes; packets handled in the kernel are not in it)",
)  # fmt: skip
CNI_CPU_IDLE = Metric(
    "cni_cpu_idle", MILLICORES, "lower", CNI_COST,
    "CPU of CNI agent and kube-proxy without load, mean per node",
)  # fmt: skip
CNI_MEMORY = Metric(
    "cni_memory", MEBIBYTES, "lower", CNI_COST,
    "resident memory of CNI agent and kube-proxy under the HTTP load, mean per node",
)  # fmt: skip


def component_metric(component: str) -> Metric:
    """CPU of one component of the CNI under the HTTP load, such as ``cni_cpu_cilium_agent``."""
    return Metric(
        "cni_cpu_" + component.replace("-", "_"), MILLICORES, "lower", CNI_COST,
        f"CPU of {component} under the HTTP load, mean of the nodes that have one",
    )  # fmt: skip


def latency_metrics(
    prefix: str, what: str, group: str, load_model: str, percentiles: tuple[float, ...]
) -> tuple[Metric, ...]:
    """The percentiles of one latency as metrics, such as ``rtt_p50`` … ``rtt_p999``.

    :param what: the sentence's beginning: "round trip of …".
    :param percentiles: 0 to 100, as in :func:`percentile_suffix`.
    """
    return tuple(
        Metric(
            f"{prefix}_{percentile_suffix(q)}", MICROSECONDS, "lower", group,
            f"{what}, {q:g}th percentile", load_model,
        )
        for q in percentiles
    )  # fmt: skip


def percentile_suffix(q: float) -> str:
    """``p50`` for 50, ``p999`` for 99.9."""
    return "p" + f"{q:g}".replace(".", "")


def share_metric(name: str, group: str, description: str) -> Metric:
    """A failure ratio in %, lower is better."""
    return Metric(name, PERCENT, "lower", group, description)


def rate_metric(name: str, group: str, description: str, load_model: str) -> Metric:
    """A request rate in 1/s, higher is better."""
    return Metric(name, PER_SECOND, "higher", group, description, load_model)
