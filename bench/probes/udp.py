"""UDP: what arrives at a fixed offered rate, where the rest is lost, and the highest rate without
much loss.

Fixed rate
----------
Goodput and loss are the receiver's counts; the sender's rate is kept beside them under its own
name, because the published study printed it as throughput.

Loss at the socket
------------------
A datagram that reaches the server's pod while the socket's buffer is full, because iperf3 waits for
a CPU, has crossed the network and is lost all the same. The kernel counts those (``RcvbufErrors``
of snmp(7)'s Udp, in the pod's network namespace), so they can be told from losses on the path:
on two busy CPUs 4 of 6 runs at full rate lost exactly as many as it counted (26 to 43 % of all);
in the others it counted 6 and 269 more, which came after iperf3 had stopped counting. Such a loss
says how fast the receiver is, whatever the CNI. It is noted: on loss and goodput at the fixed rate,
and on the highest rate where the lowest rate that did not hold failed by it.

Highest rate
------------
The highest rate with loss below a limit is searched; its goodput is the metric.
At a fixed offered rate a sender that is faster than the path loses most, so goodput there says
little (RFC 2544, section 26.1, defines throughput by the highest rate without loss; here a small
loss is allowed). Trials are iperf3 runs at different rates. The first offers the plan's full rate,
each next half of what was put out until a trial holds; then the search halves the gap
(geometrically) between the highest rate that held and the lowest that did not. A trial sends a
number of bytes, not for a time, since iperf3 knows whole seconds only.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from bench.metrics import (
    UDP_FLOWS_GOODPUT,
    UDP_FLOWS_LOSS,
    UDP_GOODPUT,
    UDP_JITTER,
    UDP_LOSS,
    UDP_MAX_GOODPUT,
    UDP_SENDER_RATE,
    Metric,
    Note,
)
from bench.plan import Plan
from bench.probes.base import (
    Bench,
    CommandProbe,
    Invocation,
    Reading,
    SampleError,
    WrappedProbe,
)
from bench.probes.iperf import BITS_PER_GBIT, iperf_argv, limit_of, parse_udp, threads_of
from bench.session import CommandResult, Targets
from bench.text import ParseError, number

_MICROSECONDS_PER_MILLISECOND = 1e3
_Made = TypeVar("_Made")


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


def udp_flows_probe(plan: Plan) -> CommandProbe:
    """The same rate by several flows: for a network that bounds a single one's."""

    def argv(targets: Targets) -> tuple[str, ...]:
        each = str(round(bits_per_second(plan.udp_bitrate) / plan.tcp_streams))
        options = ("-u", "-b", each, "-P", str(plan.tcp_streams))
        return iperf_argv(targets, plan.bulk_seconds, *options)

    return CommandProbe(
        name="udp_flows",
        role="iperf3-client",
        seconds=plan.bulk_seconds,
        metrics=(UDP_FLOWS_GOODPUT, UDP_FLOWS_LOSS),
        argv=argv,
        parse=lambda result: _read_flows(result, plan.tcp_streams),
        describe=lambda values: (
            f"{number(values[UDP_FLOWS_GOODPUT.name])} Gbit/s arrived, "
            f"{number(values[UDP_FLOWS_LOSS.name])} % lost"
        ),
    )


def _read_flows(result: CommandResult, flows: int) -> Reading:
    report = parse_udp(result.stdout, result.stderr)
    received, cpu = report.end.sum_received, report.end.cpu_utilization_percent
    return Reading(
        values={
            UDP_FLOWS_GOODPUT.name: received.bits_per_second / BITS_PER_GBIT,
            UDP_FLOWS_LOSS.name: received.lost_percent,
        },
        limit=limit_of(cpu, threads_of(report.start.version, flows)),
        facts={"iperf3": report.start.version, "flows": flows},
    )


def _describe(values: Mapping[str, float]) -> str:
    return (
        f"{number(values[UDP_GOODPUT.name])} of {number(values[UDP_SENDER_RATE.name])} Gbit/s "
        f"arrived, {number(values[UDP_LOSS.name])} % lost"
    )


LOST = "lost_datagrams"
"""The fact that says how many iperf3 counted as lost."""
AT_SOCKET = "lost_at_the_socket"
MOST = 0.5
"""Share of the loss from which on it is the receiver's."""
_COUNTERS = Invocation("iperf3-server", ("cat", "/proc/net/snmp"))
_COUNTERS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class SocketLoss(WrappedProbe):
    """The UDP probe, with what its receiver's socket lost; counters that cannot be read cost no
    sample, and nothing is said then."""

    def measure(self, bench: Bench) -> Reading:
        reading, at_socket = _watching_the_socket(bench, lambda: self.inner.measure(bench))
        if at_socket is None:
            return reading
        note = _socket_note(int(reading.facts[LOST]), at_socket)
        noted = {metric.name: note for metric in (UDP_GOODPUT, UDP_LOSS)} if note else {}
        return replace(
            reading,
            facts={**reading.facts, AT_SOCKET: at_socket},
            notes={**reading.notes, **noted},
        )


def _watching_the_socket(bench: Bench, run: Callable[[], _Made]) -> tuple[_Made, int | None]:
    """What ``run`` gives, and how many datagrams found a full buffer meanwhile, if that is told."""
    before = _overflowed(bench)
    made = run()
    after = _overflowed(bench)
    return made, None if before is None or after is None else after - before


def _socket_note(lost: int, at_socket: int | None) -> tuple[Note, ...]:
    """A note where most of what was lost was lost at the socket."""
    if not lost or at_socket is None or at_socket < MOST * lost:
        return ()
    share = min(1.0, at_socket / lost)
    return (Note(kind="socket-buffer", figures={"percent": float(round(100 * share))}),)


def _overflowed(bench: Bench) -> int | None:
    """Datagrams that found a full buffer so far."""
    try:
        return overflows(bench.run(_COUNTERS, _COUNTERS_SECONDS).stdout)
    except (SampleError, ParseError):
        return None


def overflows(snmp: str) -> int:
    """``RcvbufErrors`` of /proc/net/snmp.

    :raises ParseError: it is not that.
    """
    return kernel_counter(snmp, "Udp", "RcvbufErrors")


def kernel_counter(text: str, group: str, name: str) -> int:
    """One of the counters of /proc/net/snmp or netstat: a row of names, and one of numbers.

    :raises ParseError: it is not there.
    """
    rows = [line.split()[1:] for line in text.splitlines() if line.startswith(f"{group}: ")]
    try:
        names, values = rows
        return int(values[names.index(name)])
    except (ValueError, IndexError):
        raise ParseError(f"no {name} of {group} in the kernel's counters") from None


CLOSE_ENOUGH = 1.03
"""The search ends when what failed is at most 3 % above what held."""
LOWEST_SHARE = 0.002
_BITRATE_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: rates in bit/s, as offered (asked for), put out by the sender, and received.

    Of the ``lost`` datagrams, so many were lost ``at_socket``; None is not known.
    """

    offered: float
    sent: float
    received: float
    loss_percent: float
    lost: int = 0
    at_socket: int | None = None

    def __str__(self) -> str:
        return f"{self.offered / BITS_PER_GBIT:.2f} Gbit/s: {number(self.loss_percent)} % lost"


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A search: the best trial that held, if any, and all trials in their order."""

    best: Trial | None
    trials: tuple[Trial, ...]
    failed: Trial | None = None
    """The trial at the lowest rate that did not hold: what the result is limited by."""

    @property
    def unlimited(self) -> bool:
        """The very first, highest rate held: the path's limit was not reached."""
        return self.best is not None and len(self.trials) == 1


def search(run: Callable[[float], Trial], highest: float, limit: float, most: int) -> SearchResult:
    """Search the highest rate whose loss is within ``limit`` %.

    :param run: makes a trial at a rate in bit/s.
    :param highest: the rate to begin with, in bit/s.
    :param most: how many trials are made at most, once one has held; until then rates fall to
        :data:`LOWEST_SHARE` of the highest.
    """
    trials: list[Trial] = []
    best: Trial | None = None
    limiting: Trial | None = None
    failed = math.inf
    rate = highest
    while rate >= LOWEST_SHARE * highest and (best is None or len(trials) < most):
        trial = run(rate)
        trials.append(trial)
        if trial.loss_percent > limit:
            # What was put out, which may be less than what was asked for.
            failed, limiting = min(rate, trial.sent), trial
        elif best is None or trial.received > best.received:
            best = trial
        if best is None:
            rate = failed / 2
        elif failed <= CLOSE_ENOUGH * best.sent or math.isinf(failed):
            break
        else:
            rate = math.sqrt(best.sent * failed)
    return SearchResult(best, tuple(trials), limiting)


@dataclass(frozen=True, slots=True)
class UdpSearchProbe:
    """The search as a probe."""

    highest: float
    limit_percent: float
    trials: int
    trial_seconds: float
    name: str = "udp_search"
    metrics: tuple[Metric, ...] = (UDP_MAX_GOODPUT,)

    @property
    def seconds(self) -> float:
        """All trials."""
        return self.trials * self.trial_seconds

    def invocation(self, targets: Targets) -> Invocation:
        """The first trial's; the others differ in rate and bytes, see the facts of a reading."""
        return self._trial(targets, self.highest)

    def _trial(self, targets: Targets, rate: float) -> Invocation:
        sent = round(rate * self.trial_seconds / 8)
        options = ("-u", "-b", str(round(rate)), "-n", str(sent))
        return Invocation("iperf3-client", iperf_argv(targets, None, *options))

    def measure(self, bench: Bench) -> Reading:
        """See :class:`bench.probes.base.Probe`. A trial that fails is made once more, so that one
        lost command does not cost the whole search."""
        failures: list[str] = []

        def run(rate: float) -> Trial:
            try:
                return self._run(bench, rate)
            except SampleError as error:
                failures.append(str(error))
                return self._run(bench, rate)

        result = search(run, self.highest, self.limit_percent, self.trials)
        listed = "; ".join(map(str, result.trials))
        if result.best is None:
            raise SampleError(f"no rate with at most {self.limit_percent:g} % loss ({listed})")
        notes: tuple[Note, ...] = (Note(kind="lower-bound"),) if result.unlimited else ()
        facts: dict[str, str | float] = {
            "trials": listed,
            "loss_percent": result.best.loss_percent,
        }
        if (limiting := result.failed) is not None:
            notes = _socket_note(limiting.lost, limiting.at_socket)
            facts[LOST] = limiting.lost
            if limiting.at_socket is not None:
                facts[AT_SOCKET] = limiting.at_socket
        return Reading(
            values={UDP_MAX_GOODPUT.name: result.best.received / BITS_PER_GBIT},
            notes={UDP_MAX_GOODPUT.name: notes} if notes else {},
            facts=facts,
            failures=tuple(failures),
        )

    def _run(self, bench: Bench, rate: float) -> Trial:
        trial = self._trial(bench.targets, rate)
        result, at_socket = _watching_the_socket(
            bench, lambda: bench.run(trial, self.trial_seconds)
        )
        try:
            report = parse_udp(result.stdout, result.stderr)
        except ParseError as error:
            raise SampleError(str(error)) from error
        sent, received = report.end.sum_sent, report.end.sum_received
        return Trial(
            rate,
            sent.bits_per_second,
            received.bits_per_second,
            received.lost_percent,
            received.lost_packets,
            at_socket,
        )

    def summary(self, reading: Reading) -> str:
        goodput = number(reading.values[UDP_MAX_GOODPUT.name])
        return f"{goodput} Gbit/s with at most {self.limit_percent:g} % lost"


def udp_search_probe(plan: Plan) -> UdpSearchProbe:
    """The search of a plan, from its fixed offered rate downwards."""
    return UdpSearchProbe(
        bits_per_second(plan.udp_bitrate),
        plan.udp_loss_limit_percent,
        plan.udp_search_trials,
        plan.udp_search_seconds,
    )


def bits_per_second(bitrate: str) -> float:
    """iperf3's notation of a rate, such as ``10G``, ``500M`` or plain bit/s.

    :raises ValueError: it is none.
    """
    factor = _BITRATE_UNITS.get(bitrate[-1:].upper())
    return float(bitrate) if factor is None else float(bitrate[:-1]) * factor
