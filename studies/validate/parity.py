"""Parity: the benchmark against the raw tools.

*Turns.* Generators differ in what they need for themselves: fortio's garbage collector and
goroutines, or dnsperf's threads, are in their figures, 10 µs and more of a round trip. So it is
asked what both see of one delay (:mod:`studies.validate.delays`): without and with it in
alternation, in one cluster, on the same CPUs. Pairs are added until the interval of the difference
lies within the limit, or the time for this path is over; the offset between the tools is shown.

*Readings.* Of what iperf3, fortio and dig print for the benchmark's own probes, other code has to
read the same, exactly: :data:`READERS`, a line or two per figure, as one would write by hand. It
uses nothing of :mod:`bench.probes` and checks nothing.
"""

import json
import math
import re
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bench.plan import Plan
from bench.probes.base import Bench
from bench.session import CommandResult
from bench.stats import Shift, shift_of_pairs
from bench.text import number
from studies.validate.delays import PATHS, Alternation, Path, alternate
from studies.validate.model import Check, Delay
from studies.validate.testbed import (
    Faults,
    MissingSampleError,
    Progress,
    Recorder,
    probe_named,
    take,
)

LIMIT_PERCENT = 20.0
"""Of the delay."""
NANOSECONDS = 60_000
"""Per packet: enough for a delay that a few short runs see well."""
EXACT = 1e-9
"""Relative difference that is only rounding."""

_UDP_OFFERED = "125M"
_HTTP_RATE = 200
_HTTP_MAX_CONNECTIONS = 8
_CONNECT_COUNT = 250
_OUTPUTS = 2
_FEWEST, _MOST = 8, 60
_LEVEL = 0.95
_SECONDS = 120.0
"""At most, for one tool."""
_OURS, _THEIRS = "turns", "tool"


@dataclass(frozen=True, slots=True)
class ParityChecks:
    """The checks on one lab; ``plan`` gives the probes' parameters."""

    bench: Bench
    faults: Faults
    plan: Plan
    say: Progress

    def delays(self) -> Iterator[tuple[str, Callable[[], tuple[Check, Delay]]]]:
        """Turns against tools, by path, each to be made by itself."""
        for path in PATHS:
            yield path.metric, partial(self.delay, path)

    def delay(self, path: Path) -> tuple[Check, Delay]:
        """What both see of one delay.

        :raises MissingSampleError: a run gave no number, or the tool sees no delay.
        """
        bench = self.bench
        end = bench.clock.monotonic() + _SECONDS

        def enough(seen: Mapping[str, Alternation]) -> bool:
            pairs = len(seen[_THEIRS].on)
            if pairs < _FEWEST:
                return False
            return pairs >= _MOST or bench.clock.monotonic() > end or _sure(_difference(seen))

        measures = {
            _OURS: lambda: path.by_turns(bench),
            _THEIRS: lambda: path.by_tool(bench),
        }
        found = judge_parity(path, alternate(measures, self.faults, path, NANOSECONDS, enough))
        self.say(f"{found[0].name}: {found[0].measured}, {found[0].interval}")
        return found

    def readings(self) -> Iterator[tuple[str, Callable[[], Check]]]:
        """Outputs of the probes' tools read by other code, each to be made by itself."""
        for name, metrics in {
            "tcp": ("tcp_streams_throughput",),
            "udp": ("udp_goodput", "udp_loss"),
            f"http_{_HTTP_RATE}": (f"http_{_HTTP_RATE}_p50",),
            "http_max": ("http_max_qps", "http_max_p50"),
            "fortio_rtt": ("fortio_rtt_p50",),
            "fortio_connect": ("fortio_connect_p50",),
            "dig": ("dig_p50",),
        }.items():
            yield name, partial(self.reading, name, metrics)

    def reading(self, name: str, metrics: tuple[str, ...]) -> Check:
        """Whether other code reads the same from one probe's outputs.

        :raises MissingSampleError: a run gave no number.
        """
        probe = probe_named(name, self._plan)
        recorder = Recorder(self.bench.session)
        recorded = replace(self.bench, session=recorder.session)
        invocation = probe.invocation(self.bench.targets)
        if invocation is None:
            raise MissingSampleError(f"{name} has no command")
        worst = 0.0
        for _ in range(_OUTPUTS):
            ours = take(probe, recorded, self.plan).values
            for metric in metrics:
                theirs = read_by_hand(metric, recorder.last(invocation.full()))
                mine = ours[metric]
                worst = max(worst, abs(mine / theirs - 1) if theirs else abs(mine))
        return Check(
            part="Parity",
            name=f"{name}: {', '.join(metrics)} read by other code",
            expectation="equal but for rounding",
            measured=f"largest difference {100 * worst:.2g} %",
            interval=f"exact, {_OUTPUTS} outputs",
            passed=worst <= EXACT,
        )

    @property
    def _plan(self) -> Plan:
        return replace(
            self.plan,
            bulk_seconds=1,
            http_seconds=1,
            latency_seconds=1,
            http_rates=(_HTTP_RATE,),
            http_max_connections=_HTTP_MAX_CONNECTIONS,
            connect_count=_CONNECT_COUNT,
            udp_bitrate=_UDP_OFFERED,
            tool_latencies=True,
        )


def _difference(found: Mapping[str, Alternation]) -> Shift:
    """Of our delay less theirs, as a share of theirs."""
    ours, theirs = found[_OURS].delays(), found[_THEIRS].delays()
    shift = shift_of_pairs([a - b for a, b in zip(ours, theirs, strict=True)], _LEVEL)
    whole = found[_THEIRS].delay()
    if whole <= 0:
        return Shift(math.inf, -math.inf, math.inf, shift.level)
    return Shift(shift.value / whole, shift.low / whole, shift.high / whole, shift.level)


def _sure(shift: Shift) -> bool:
    limit = LIMIT_PERCENT / 100
    return -limit <= shift.low and shift.high <= limit


def judge_parity(path: Path, found: Mapping[str, Alternation]) -> tuple[Check, Delay]:
    """Whether turns and the tool see the same of one delay.

    :raises MissingSampleError: the tool sees no delay.
    """
    ours, theirs = found[_OURS], found[_THEIRS]
    if theirs.delay() <= 0:
        raise MissingSampleError(f"{path.tool} sees nothing of the delay")
    shift = _difference(found)
    delay = Delay(
        metric=path.metric,
        tool=path.tool,
        per=path.per,
        usual=(statistics.median(ours.off), statistics.median(theirs.off)),
        added=(ours.delay(), theirs.delay()),
        percent=100 * shift.value,
        low=100 * shift.low,
        high=100 * shift.high,
        level=shift.level,
        pairs=len(ours.on),
    )
    check = Check(
        part="Parity",
        name=f"{path.metric} and {path.tool}: one delay",
        expectation=f"the same within {LIMIT_PERCENT:g} %, by the interval",
        measured=f"{number(delay.added[0])} and {number(delay.added[1])} µs per {path.per}: "
        f"{delay.percent:+.1f} %",
        interval=f"{delay.low:+.1f} to {delay.high:+.1f} % ({100 * delay.level:.0f} %, "
        f"{delay.pairs} pairs)",
        passed=_sure(shift),
        remarks=[
            f"Without it: {number(delay.usual[0])} µs by turns, {number(delay.usual[1])} by "
            f"{path.tool}, with what either needs for itself"
        ],
    )
    return check, delay


Reader = Callable[[str], float]


def _iperf3(text: str) -> Any:
    return json.loads(text)["end"]


def _fortio_p50(histogram: str) -> Reader:
    def read(text: str) -> float:
        percentiles = json.loads(text)[histogram]["Percentiles"]
        return float(next(1e6 * p["Value"] for p in percentiles if p["Percentile"] == 50))

    return read


def _fortio_log_p50(text: str) -> float:
    """From when each request was due, where its connection was still busy then."""
    log, _, rest = text.partition("\n{\n")
    result = json.loads("{" + rest)
    step = 1e9 * result["NumThreads"] / float(result["RequestedQPS"])
    rows = sorted(map(json.loads, log.splitlines()), key=lambda row: int(row["iter"]))
    threads: dict[int, list[tuple[int, float]]] = {}
    for row in rows:
        sent = row["timestamp"] - rows[0]["timestamp"]
        threads.setdefault(row["thread"], []).append((sent, 1e9 * row["latency"]))
    latencies: list[float] = []
    for calls in threads.values():
        due = [step * i * (1 + 1 / max(1, len(calls) - 1)) for i in range(len(calls))]
        start = min(sent - due[i] for i, (sent, _) in enumerate(calls))
        ended = -math.inf
        for i, (sent, took) in enumerate(calls):
            late = sent - start - due[i]
            latencies.append(took + late * (ended > start + due[i]))
            ended = sent + took
    return statistics.median(latencies) / 1e3


def _dig_p50(text: str) -> float:
    return statistics.median(map(int, re.findall(r"^;; Query time: (\d+) usec", text, re.M)))


READERS: Mapping[str, Reader] = {
    "tcp_streams_throughput": lambda text: _iperf3(text)["sum_received"]["bits_per_second"] / 1e9,
    "udp_goodput": lambda text: _iperf3(text)["sum_received"]["bits_per_second"] / 1e9,
    "udp_loss": lambda text: _iperf3(text)["sum_received"]["lost_percent"],
    "fortio_rtt_p50": _fortio_p50("DurationHistogram"),
    "fortio_connect_p50": _fortio_p50("ConnectionStats"),
    "http_200_p50": _fortio_log_p50,
    "http_max_qps": lambda text: json.loads(text)["ActualQPS"],
    "http_max_p50": _fortio_p50("DurationHistogram"),
    "dig_p50": _dig_p50,
}


def read_by_hand(metric: str, result: CommandResult) -> float:
    """One figure of one output, in the metric's unit.

    :raises Exception: whatever goes wrong: the output is not what it should be.
    """
    return float(READERS[metric](result.stdout))
