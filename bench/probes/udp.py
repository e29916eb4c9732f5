"""UDP at a fixed offered rate: iperf3, what arrived (goodput), what was lost, jitter.

Goodput and loss are the receiver's counts; the sender's rate is kept beside them under its own
name, because the published study printed it as throughput.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.metrics import UDP_GOODPUT, UDP_JITTER, UDP_LOSS, UDP_SENDER_RATE
from bench.parse.iperf import parse_udp
from bench.plan import Plan
from bench.probes.base import CommandProbe, Reading
from bench.probes.iperf import BITS_PER_GBIT, iperf_argv, limit_of
from bench.probes.socket_loss import LOST
from bench.session import CommandResult
from bench.targets import Targets
from bench.text import number

_MICROSECONDS_PER_MILLISECOND = 1e3


def udp_probe(plan: Plan) -> CommandProbe:
    """The UDP probe of a plan."""

    def argv(targets: Targets) -> tuple[str, ...]:
        return iperf_argv(targets, plan.bulk_seconds, "-u", "-b", plan.udp_bitrate)

    return CommandProbe(
        name="udp",
        role="iperf3-client",
        seconds=plan.bulk_seconds,
        metrics=(UDP_GOODPUT, UDP_LOSS, UDP_JITTER, UDP_SENDER_RATE),
        argv=argv,
        parse=_read,
        describe=_describe,
    )


def _read(result: CommandResult) -> Reading:
    report = parse_udp(result.stdout, result.stderr)
    sent, received = report.end.sum_sent, report.end.sum_received
    return Reading(
        values={
            UDP_GOODPUT.name: received.bits_per_second / BITS_PER_GBIT,
            UDP_LOSS.name: received.lost_percent,
            UDP_JITTER.name: received.jitter_ms * _MICROSECONDS_PER_MILLISECOND,
            UDP_SENDER_RATE.name: sent.bits_per_second / BITS_PER_GBIT,
        },
        limit=limit_of(report.end.cpu_utilization_percent, threads=1),
        facts={
            "iperf3": report.start.version,
            LOST: received.lost_packets,
            "datagram_bytes": report.start.test_start.blksize,
            "client_cpu_percent": round(report.end.cpu_utilization_percent.host_total, 1),
            "server_cpu_percent": round(report.end.cpu_utilization_percent.remote_total, 1),
        },
    )


def _describe(values: Mapping[str, float]) -> str:
    return (
        f"{number(values[UDP_GOODPUT.name])} of {number(values[UDP_SENDER_RATE.name])} Gbit/s "
        f"arrived, {number(values[UDP_LOSS.name])} % lost"
    )
