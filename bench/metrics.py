"""What can be measured, and notes about its samples.

Latencies are in µs throughout, whatever the tool's unit, so that no two figures of one result
need a conversion; rates of data in Gbit/s (10^9 bit), of requests in 1/s, shares in %.

A note qualifies the value of one metric: something other than the network was at its limit, the
load came late, the platform held traffic back. Rules ask for its kind; people read its text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from pydantic import Field

from bench.environment import Model
from bench.text import number

Better = Literal["higher", "lower", "neither"]
"""``neither``: it says under which conditions something was measured, and is no merit itself."""
ARROWS: Mapping[Better, str] = {"higher": "↑", "lower": "↓", "neither": "·"}
"""Which way is better, in tables."""
ARROWS_TEXT: Final = "↑ higher is better, ↓ lower is, · neither"

GBIT_PER_SECOND = "Gbit/s"
MICROSECONDS = "µs"
PERCENT = "%"
PER_SECOND = "1/s"
SEGMENTS = "segments"
MILLICORES = "millicores"
MEBIBYTES = "MiB"
CPU_SECONDS_PER_GB = "CPU s/GB"
CPU_MICROSECONDS = "CPU µs"
CPU_SECONDS = "CPU s"
KILOPACKETS_PER_SECOND = "kpps"
"""1,000 packets per second."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A quantity with its unit and direction.

    ``group`` is the heading under which it is shown. ``load_model`` says how the load is offered
    where that decides what a latency means (open or closed loop, paced or not), else None.
    ``at_equal`` names the metric, of the same probe, that has to be equal on both sides for a
    comparison of this one to mean something. ``decided_by`` names the one, of the same probe
    or itself, the lower half of whose samples decides differences of this one
    (:mod:`bench.inference`).
    """

    name: str
    unit: str
    better: Better
    group: str
    description: str
    load_model: str | None = None
    at_equal: str | None = None
    decided_by: str | None = None

    @property
    def may_be_zero(self) -> bool:
        """0 is a measurement of it: of a rate or a time it is a tool's way to say that there was
        none."""
        return self.unit not in _NEVER_ZERO


_NEVER_ZERO = frozenset(
    (GBIT_PER_SECOND, MICROSECONDS, PER_SECOND, MEBIBYTES, KILOPACKETS_PER_SECOND)
)
PRIMARY: Final = (
    "rtt_p50", "connect_p50", "http_p50", "dns_p50", "tcp_throughput", "cpu_per_request",
)  # fmt: skip
"""What a comparison is made for, in the order in which it is shown; all else is beside it."""

_GROUPS = ("Bulk transfer", "Packet rate", "Latency", "Connection", "HTTP", "DNS", "CNI")
"""Beginnings of the groups' names, in the order in which they are shown."""


def shown_rank(name: str, group: str) -> tuple[int, int]:
    """Where a metric is shown: primary ones first, then by groups, unknown ones last."""
    if name in PRIMARY:
        return PRIMARY.index(name), 0
    places = (place for place, start in enumerate(_GROUPS) if group.startswith(start))
    return len(PRIMARY), next(places, len(_GROUPS))


def table_heading(name: str, group: str) -> str:
    """Under which a metric is shown."""
    return "Primary metrics" if name in PRIMARY else group


TCP_STREAMS_THROUGHPUT = Metric(
    "tcp_streams_throughput", GBIT_PER_SECOND, "higher", "Bulk transfer",
    "TCP payload received, all of iperf3's streams together",
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
    at_equal="udp_sender_rate",
)  # fmt: skip
UDP_JITTER = Metric(
    "udp_jitter", MICROSECONDS, "lower", "Bulk transfer",
    "smoothed variation of UDP transit time (RFC 1889) at the receiver",
)  # fmt: skip
UDP_FLOWS_GOODPUT = Metric(
    "udp_flows_goodput", GBIT_PER_SECOND, "higher", "Bulk transfer",
    "UDP payload that arrived, several flows together, counted by the receiver",
)  # fmt: skip
UDP_FLOWS_LOSS = Metric(
    "udp_flows_loss", PERCENT, "lower", "Bulk transfer",
    "UDP datagrams that did not arrive, of those sent by several flows together",
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
    "udp_sender_rate", GBIT_PER_SECOND, "neither", "Bulk transfer",
    "UDP payload that the sender put out: the offered load, not what arrived",
)  # fmt: skip

ONE_FLOW = frozenset(("tcp_throughput", "udp_goodput", "udp_loss", "udp_max_goodput"))
"""What is measured with one connection, or one flow of datagrams."""

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


Kind = Literal[
    "machine-limit",
    "server-limit",
    "client-limit",
    "rate-not-reached",
    "requests-failed",
    "requests-unsent",
    "sent-late",
    "coarse-histogram",
    "coarse-clock",
    "socket-buffer",
    "lower-bound",
    "throttled",
    "one-flow",
    "burst",
    "disturbed",
    "two-clocks",
    "remark",
]
LimitedBy = Literal["machine", "server", "client", "none", "unknown"]

TEXTS: Final[Mapping[Kind, str]] = {
    "machine-limit": "the CPUs of the machine that all nodes share were the limit, not the network",
    "server-limit": "the server's CPUs were the limit, not the network",
    "client-limit": "the load generator's CPUs were the limit, not the network",
    "rate-not-reached": "only {reached} of {wanted} requests/s were reached: "
    "latency of a saturated path, not at that rate",
    "requests-failed": "some requests failed",
    "requests-unsent": "some requests that were due had not left at the end and are not in it",
    "sent-late": "more than {percent} % of the requests left over {late_ms} ms late by the "
    "generator's own fault; latency counts from the sending",
    "coarse-histogram": "fortio's histogram only says between {low_us} and {high_us} µs",
    "coarse-clock": "this dig prints whole milliseconds only",
    "socket-buffer": "{percent} % of the loss was at the receiver's full socket buffer: the "
    "server was too slow, not the network",
    "lower-bound": "no loss at the highest rate tried: a lower bound",
    "throttled": "the platform held traffic back",
    "one-flow": "of one flow, which AWS bounds at {gbit} Gbit/s here (5 outside a cluster "
    "placement group, 10 inside): near that it is AWS's limit, which no counter shows",
    "burst": "more than the {gbit} Gbit/s that these instances sustain: of a burst of minutes",
    "two-clocks": "from one machine's clock to another's, which are known to {error_us} µs only",
    "disturbed": "others used more than {percent} % of a machine's CPUs",
}
"""The text of each kind, with its figures filled in; a remark has its own text."""

_LIMITS: Mapping[LimitedBy, Kind] = {
    "machine": "machine-limit", "server": "server-limit", "client": "client-limit",
}  # fmt: skip


class Note(Model):
    """One thing that qualifies a metric's value.

    ``figures`` fill its text. ``rounds`` (1 …) are those that it is about; none are named where it
    is about all. ``words`` are a remark's own, of which no rule knows the meaning.
    """

    kind: Kind
    figures: dict[str, float] = Field(default_factory=dict)
    rounds: list[int] = Field(default_factory=list)
    words: str | None = None

    @property
    def meaning(self) -> str:
        """What it says, whatever rounds it is about."""
        figures = {name: number(value, 4) for name, value in self.figures.items()}
        return self.words or TEXTS[self.kind].format(**figures)

    def text(self) -> str:
        """What it says, after the rounds that it is about."""
        if not self.rounds:
            return self.meaning
        return f"run {', '.join(map(str, self.rounds))}: {self.meaning}"


def limit_kind(by: LimitedBy) -> Kind | None:
    """The kind of note about a metric whose limit was not the network; None where it may be."""
    return _LIMITS.get(by)


def merged(notes: Iterable[tuple[int, Note]], rounds: Sequence[int]) -> list[Note]:
    """Notes by round, as one note each with all its rounds.

    :param notes: with the round that each is about.
    :param rounds: all rounds of the metric; a note that is about every one names none.
    """
    about: dict[str, tuple[Note, list[int]]] = {}
    for round_, note in notes:
        about.setdefault(note.model_dump_json(), (note, []))[1].append(round_)
    return [
        note.model_copy(update={"rounds": [] if set(where) >= set(rounds) else where})
        for note, where in about.values()
    ]
