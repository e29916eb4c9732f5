"""iperf3: the command that its probes share, and its JSON report (``iperf3 -J``).

Source: the iperf3 manual and the JSON that 3.12 and 3.17 write. Both ends' totals are under
``end``: ``sum_sent`` is the sender's count and ``sum_received`` the receiver's. For UDP ``sum``
has the sender's rate under the name of a total, and that rate is not what arrived.


TCP throughput: iperf3 from pod to pod address, parallel streams, both ends' counts.

Throughput is the receiver's. No part of the run is omitted, as in the published study.

CPU time per GB
---------------
A bulk transfer's cost, in everything that it makes a machine do: the machines of client and server
are read as wholes before and after the transfer, so the kernel's packet handling is in it, which no
process's own CPU time shows: that is where an overlay, BPF and iptables differ. What else runs on
these machines is in it too; the precondition "quiet-machine" bounds that. In the lab all nodes are
one machine.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar

from pydantic import Field, ValidationError

from bench.limits import FULL, Limit, between
from bench.metrics import TCP_CPU_PER_GB, TCP_RETRANSMITS, TCP_STREAMS_THROUGHPUT, LimitedBy, Metric
from bench.plan import Plan
from bench.probes.base import (
    Amount,
    Bench,
    CommandProbe,
    Reading,
    SampleError,
    ToolModel,
    WrappedProbe,
)
from bench.session import CommandResult, Targets
from bench.text import ParseError, load_json, number, problem, tail
from bench.workloads import IPERF_PORT

_Count = Annotated[int, Field(ge=0)]


class TcpSent(ToolModel):
    """The sender's side; rate in bit/s, ``retransmits`` in segments (absent off Linux)."""

    bits_per_second: Amount
    retransmits: _Count | None = None


class TcpReceived(ToolModel):
    """The receiver's side; rate in bit/s."""

    bits_per_second: Amount
    bytes: _Count


class CpuShare(ToolModel):
    """CPU of the two iperf3 processes during the run, in % of one core."""

    host_total: Amount
    remote_total: Amount


class StreamSent(ToolModel):
    """One stream's sender; ``mean_rtt`` is the mean of the kernel's smoothed RTT in µs."""

    mean_rtt: _Count | None = None


class TcpStream(ToolModel):
    """One stream of a TCP run."""

    sender: StreamSent


class TcpEnd(ToolModel):
    """Totals of a TCP run."""

    streams: tuple[TcpStream, ...] = ()
    sum_sent: TcpSent
    sum_received: TcpReceived
    cpu_utilization_percent: CpuShare
    sender_tcp_congestion: str | None = None
    receiver_tcp_congestion: str | None = None


class UdpSent(ToolModel):
    """The sender's side; rate in bit/s."""

    bits_per_second: Amount
    packets: _Count


class UdpReceived(ToolModel):
    """The receiver's side; rate in bit/s. ``packets`` is the highest number that it has seen, those
    that were lost on the way included: ``arrived`` are the others."""

    bits_per_second: Amount
    jitter_ms: Amount
    packets: _Count
    lost_packets: _Count
    lost_percent: Annotated[float, Field(ge=0, le=100)]

    @property
    def arrived(self) -> int:
        """Datagrams that came through."""
        return max(0, self.packets - self.lost_packets)


class UdpEnd(ToolModel):
    """Totals of a UDP run."""

    sum_sent: UdpSent
    sum_received: UdpReceived
    cpu_utilization_percent: CpuShare


class TestStart(ToolModel):
    """What the run was asked to do; ``blksize`` is bytes per write (per datagram for UDP)."""

    blksize: int


class Start(ToolModel):
    """The report's header."""

    version: str
    test_start: TestStart


class TcpReport(ToolModel):
    """A complete TCP report."""

    start: Start
    end: TcpEnd


class UdpReport(ToolModel):
    """A complete UDP report."""

    start: Start
    end: UdpEnd


_Report = TypeVar("_Report", TcpReport, UdpReport)


def parse_tcp(stdout: str, stderr: str = "") -> TcpReport:
    """Read a TCP report.

    :raises ParseError: no JSON, an ``error`` in it, a missing total, or nothing received.
    """
    report = _validate(TcpReport, stdout, stderr)
    if report.end.sum_received.bytes <= 0:
        raise ParseError("iperf3: the receiver reports no bytes")
    return report


def parse_udp(stdout: str, stderr: str = "") -> UdpReport:
    """Read a UDP report.

    :raises ParseError: no JSON, an ``error`` in it, a missing total, or no datagram counted by
        the receiver (its report is then empty, not a loss of 100 %).
    """
    report = _validate(UdpReport, stdout, stderr)
    if report.end.sum_received.arrived <= 0:
        raise ParseError("iperf3: the receiver reports no datagrams")
    return report


def _validate(model: type[_Report], stdout: str, stderr: str) -> _Report:
    try:
        document = load_json(stdout)
    except ValueError as error:
        said = tail(stderr) or tail(stdout) or "nothing"
        raise ParseError(f"iperf3: no complete JSON report ({error}); it said: {said}") from None
    if not isinstance(document, dict):
        raise ParseError(f"iperf3: its JSON is no report: {tail(stdout)}")
    if "error" in document:
        raise ParseError(f"iperf3: {tail(str(document['error']))}")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise ParseError(f"iperf3: {problem(error, 'report')}") from None


BITS_PER_GBIT = 1e9
BYTES_PER_GB = 1e9
_CONNECT_TIMEOUT_MS = "3000"


def iperf_argv(
    targets: Targets, seconds: int | None, *options: str, interval: float = 0
) -> tuple[str, ...]:
    """An iperf3 client command against the iperf3 server's pod address.

    A server that does not answer is an error after three seconds.

    :param seconds: how long it runs; None where ``options`` say how much to send.
    :param interval: seconds between interval reports, 0 for none.
    """
    length = () if seconds is None else ("-t", str(seconds))
    return (
        "iperf3", "-c", targets.one("iperf3-server").ip, "-p", str(IPERF_PORT), *length, *options,
        "-i", f"{interval:g}", "-J", "--connect-timeout", _CONNECT_TIMEOUT_MS,
    )  # fmt: skip


def limit_of(cpu: CpuShare, threads: int) -> Limit | None:
    """Which end of a run had no CPU left, by iperf3's own account; None where neither.

    :param threads: how many CPUs an end can use: one, or one per stream from iperf3 3.16 on.
    """
    ends: tuple[tuple[LimitedBy, float], ...] = (
        ("server", cpu.remote_total),
        ("client", cpu.host_total),
    )
    for end, percent in ends:
        if percent >= 100 * FULL * threads:
            return Limit(end, f"iperf3's {end} used {percent:.0f} % of a CPU, of {threads * 100} %")
    return None


def threads_of(version: str, streams: int) -> int:
    """CPUs that an end of this version can use: it has a thread per stream since 3.16."""
    numbers = re.search(r"(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) >= (3, 16):
        return streams
    return 1


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
        metrics=(TCP_STREAMS_THROUGHPUT, TCP_RETRANSMITS),
        argv=argv,
        parse=lambda result: _read(result, plan.tcp_streams),
        describe=_describe,
    )


def _read(result: CommandResult, streams: int) -> Reading:
    report = parse_tcp(result.stdout, result.stderr)
    sent, received = report.end.sum_sent, report.end.sum_received
    values = {TCP_STREAMS_THROUGHPUT.name: received.bits_per_second / BITS_PER_GBIT}
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
    text = f"{number(values[TCP_STREAMS_THROUGHPUT.name])} Gbit/s"
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
        if used <= 0:
            return _without(reading, "the machines' CPU time did not grow")
        per_gb = used / float(reading.facts[GIGABYTES])
        return replace(reading, values={**reading.values, TCP_CPU_PER_GB.name: per_gb})

    def summary(self, reading: Reading) -> str:
        """The inner probe's, and the CPU time."""
        text = self.inner.summary(reading)
        used = reading.values.get(TCP_CPU_PER_GB.name)
        return text if used is None else f"{text}, {number(used)} CPU s/GB"


def _without(reading: Reading, reason: str) -> Reading:
    return replace(reading, missing={**reading.missing, TCP_CPU_PER_GB.name: reason})
