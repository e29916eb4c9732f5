"""TCP throughput: iperf3 from pod to pod address, parallel streams, both ends' counts.

Throughput is the receiver's. No part of the run is omitted, as in the published study.

CPU time per GB
---------------
A bulk transfer's cost, in everything that it makes a machine do: the machines of client and server
are read as wholes before and after the transfer, so the kernel's packet handling is in it, which no
process's own CPU time shows: that is where an overlay, BPF and iptables differ. What else runs on
these machines is in it too; the precondition "quiet-machine" bounds that. In the lab all nodes are
one machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.limits import between
from bench.metrics import TCP_CPU_PER_GB, TCP_RETRANSMITS, TCP_THROUGHPUT, Metric
from bench.plan import Plan
from bench.probes.base import (
    Bench,
    CommandProbe,
    Reading,
    SampleError,
    WrappedProbe,
)
from bench.probes.iperf import (
    BITS_PER_GBIT,
    BYTES_PER_GB,
    iperf_argv,
    limit_of,
    parse_tcp,
    threads_of,
)
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


@dataclass(frozen=True, slots=True)
class PerGigabyte(WrappedProbe):
    """The TCP probe, with the CPU time that its transfer takes.

    The inner probe's values stay when the CPU time cannot be told; it is then missing.
    """

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The inner probe's, and the CPU time."""
        return (*self.inner.metrics, TCP_CPU_PER_GB)

    def measure(self, bench: Bench) -> Reading:
        """See :class:`bench.probes.base.Probe`."""
        try:
            before = bench.snapshot()
        except SampleError as error:
            return _without(self.inner.measure(bench), str(error))
        reading = self.inner.measure(bench)
        try:
            seen = between(before, bench.snapshot())
        except (SampleError, ValueError) as error:
            return _without(reading, str(error))
        pods = (bench.targets.one(role) for role in ("iperf3-client", "iperf3-server"))
        used = seen.cpu_seconds({pod.node for pod in pods})
        if used is None:
            return _without(reading, "the target does not tell its machines' CPU time")
        per_gb = used / float(reading.facts[GIGABYTES])
        return replace(reading, values={**reading.values, TCP_CPU_PER_GB.name: per_gb})

    def summary(self, reading: Reading) -> str:
        """The inner probe's, and the CPU time."""
        text = self.inner.summary(reading)
        used = reading.values.get(TCP_CPU_PER_GB.name)
        return text if used is None else f"{text}, {number(used)} CPU s/GB"


def _without(reading: Reading, reason: str) -> Reading:
    return replace(reading, missing={**reading.missing, TCP_CPU_PER_GB.name: reason})
