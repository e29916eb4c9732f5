"""TCP throughput: iperf3 from pod to pod address, parallel streams, both ends' counts.

Throughput is the receiver's. No part of the run is omitted, as in the published study.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.metrics import TCP_RETRANSMITS, TCP_THROUGHPUT
from bench.parse.iperf import parse_tcp
from bench.plan import Plan
from bench.probes.base import CommandProbe, Reading
from bench.probes.iperf import BITS_PER_GBIT, BYTES_PER_GB, iperf_argv, limit_of, threads_of
from bench.session import CommandResult
from bench.targets import Targets
from bench.text import number

GIGABYTES = "gigabytes"
"""The fact that says how much arrived, in 10^9 bytes."""


def tcp_probe(plan: Plan) -> CommandProbe:
    """The TCP probe of a plan."""

    def argv(targets: Targets) -> tuple[str, ...]:
        return iperf_argv(targets, plan.bulk_seconds, "-P", str(plan.tcp_streams))

    return CommandProbe(
        name="tcp",
        role="iperf3-client",
        seconds=plan.bulk_seconds,
        metrics=(TCP_THROUGHPUT, TCP_RETRANSMITS),
        argv=argv,
        parse=lambda result: _read(result, plan.tcp_streams),
        describe=_describe,
    )


def _read(result: CommandResult, streams: int) -> Reading:
    report = parse_tcp(result.stdout, result.stderr)
    sent, received = report.end.sum_sent, report.end.sum_received
    values = {TCP_THROUGHPUT.name: received.bits_per_second / BITS_PER_GBIT}
    missing = {}
    if sent.retransmits is None:
        missing[TCP_RETRANSMITS.name] = "iperf3 does not count them on this system"
    else:
        values[TCP_RETRANSMITS.name] = float(sent.retransmits)
    return Reading(
        values=values,
        missing=missing,
        limit=limit_of(
            report.end.cpu_utilization_percent, threads_of(report.start.version, streams)
        ),
        facts={
            "iperf3": report.start.version,
            GIGABYTES: received.bytes / BYTES_PER_GB,
            "congestion_control": report.end.sender_tcp_congestion or "unknown",
            "client_cpu_percent": round(report.end.cpu_utilization_percent.host_total, 1),
            "server_cpu_percent": round(report.end.cpu_utilization_percent.remote_total, 1),
        },
    )


def _describe(values: Mapping[str, float]) -> str:
    text = f"{number(values[TCP_THROUGHPUT.name])} Gbit/s"
    retransmits = values.get(TCP_RETRANSMITS.name)
    return text if retransmits is None else f"{text}, {retransmits:.0f} retransmits"
