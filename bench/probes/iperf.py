"""iperf3: the command that its probes share, and its JSON report (``iperf3 -J``).

Source: the iperf3 manual and the JSON that 3.12 and 3.17 write. Both ends' totals are under
``end``: ``sum_sent`` is the sender's count and ``sum_received`` the receiver's. For UDP ``sum``
has the sender's rate under the name of a total, and that rate is not what arrived.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.limits import FULL, Limit
from bench.notes import LimitedBy
from bench.parse import ParseError
from bench.targets import Targets
from bench.text import tail
from bench.workloads import IPERF_PORT


class _Model(BaseModel):
    # JSON as Python reads it has NaN and Infinity, which are no measurements.
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


_Amount = Annotated[float, Field(ge=0)]
_Count = Annotated[int, Field(ge=0)]


class TcpSent(_Model):
    """The sender's side; rate in bit/s, ``retransmits`` in segments (absent off Linux)."""

    bits_per_second: _Amount
    retransmits: _Count | None = None


class TcpReceived(_Model):
    """The receiver's side; rate in bit/s."""

    bits_per_second: _Amount
    bytes: _Count


class CpuShare(_Model):
    """CPU of the two iperf3 processes during the run, in % of one core."""

    host_total: _Amount
    remote_total: _Amount


class StreamSent(_Model):
    """One stream's sender; ``mean_rtt`` is the mean of the kernel's smoothed RTT in µs."""

    mean_rtt: _Count | None = None


class TcpStream(_Model):
    """One stream of a TCP run."""

    sender: StreamSent


class TcpEnd(_Model):
    """Totals of a TCP run."""

    streams: list[TcpStream] = []
    sum_sent: TcpSent
    sum_received: TcpReceived
    cpu_utilization_percent: CpuShare
    sender_tcp_congestion: str | None = None


class UdpSent(_Model):
    """The sender's side; rate in bit/s."""

    bits_per_second: _Amount
    packets: _Count


class UdpReceived(_Model):
    """The receiver's side; rate in bit/s. ``packets`` is the highest number that it has seen, those
    that were lost on the way included: ``arrived`` are the others."""

    bits_per_second: _Amount
    jitter_ms: _Amount
    packets: _Count
    lost_packets: _Count
    lost_percent: Annotated[float, Field(ge=0, le=100)]

    @property
    def arrived(self) -> int:
        """Datagrams that came through."""
        return max(0, self.packets - self.lost_packets)


class UdpEnd(_Model):
    """Totals of a UDP run."""

    sum_sent: UdpSent
    sum_received: UdpReceived
    cpu_utilization_percent: CpuShare


class TestStart(_Model):
    """What the run was asked to do; ``blksize`` is bytes per write (per datagram for UDP)."""

    blksize: int


class Start(_Model):
    """The report's header."""

    version: str
    test_start: TestStart


class TcpReport(_Model):
    """A complete TCP report."""

    start: Start
    end: TcpEnd


class UdpReport(_Model):
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
        document: Any = json.loads(stdout)
    except json.JSONDecodeError as error:
        said = tail(stderr) or tail(stdout) or "nothing"
        raise ParseError(
            f"iperf3: no complete JSON report ({error.msg}); it said: {said}"
        ) from None
    if not isinstance(document, dict):
        raise ParseError(f"iperf3: its JSON is no report: {tail(stdout)}")
    if "error" in document:
        raise ParseError(f"iperf3: {document['error']}")
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ParseError(f"iperf3: {where or 'report'}: {first['msg']}") from None


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
