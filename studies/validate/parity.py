"""Parity: the benchmark's numbers against the raw tools, run by hand in the same pods.

Two questions. Does our reading of an output agree with other code's reading of the same output?
That has to be exact. And does a command give the same when it is run by hand, without probe,
counters and retries around it? That is asked of pairs of runs, ours and by hand, in turn and in
either order, and answered by the median ratio of the pairs.

Two runs of anything differ by the machine's noise, so where it can be taken away it is: bulk
transfers go through a token bucket, HTTP to the slow server. Where it cannot, runs are as short as
they may be, so that both of a pair meet the same moment's noise. Pairs are added until the interval
of the ratio lies within the limit, or the time for this probe is over; the interval is shown.

The other code is :data:`READERS`: a line or two per figure, as one would write by hand with jq,
grep and awk. It uses nothing of :mod:`bench.probes` and checks nothing.
"""

import json
import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from bench.plan import Plan
from bench.probes.base import Bench, Invocation, Probe
from bench.probes.http import REQUEST_PATH
from bench.probes.rtt import echo_argv, rtt_probe
from bench.session import CommandResult, SessionError
from bench.stats import Shift, shift_of_pairs
from studies.validate.model import Check, Ratio
from studies.validate.testbed import (
    SLOW_PATH,
    Faults,
    MissingSampleError,
    Progress,
    Recorder,
    at_path,
    probe_named,
    slow_server,
    take,
)

LIMIT_PERCENT = 2.0
EXACT = 1e-9
"""Relative difference that is only rounding."""

_TCP_RATE = 500_000_000
_UDP_RATE = 100_000_000
_UDP_OFFERED = "125M"
_HTTP_RATE = 200
_HTTP_MAX_CONNECTIONS = 8
_CONNECT_COUNT = 250
_ECHO_SECONDS = 0.25
_FEWEST, _MOST = 8, 120
_LEVEL = 0.95
_GRACE = 15.0

Imposed = Callable[[Bench], AbstractContextManager[Bench]]


@dataclass(frozen=True, slots=True)
class Subject:
    """A probe, its metrics that are compared, what is imposed, and how long it may take."""

    probe: str
    metrics: tuple[str, ...]
    seconds: float
    imposed: Imposed


Columns = defaultdict[str, list[float]]


@dataclass(slots=True)
class Pairs:
    """By metric: our numbers and those by hand, pair by pair, and other code's reading of ours."""

    ours: Columns = field(default_factory=lambda: defaultdict(list))
    by_hand: Columns = field(default_factory=lambda: defaultdict(list))
    reread: Columns = field(default_factory=lambda: defaultdict(list))

    def shift(self, metric: str) -> Shift:
        """Of the logarithm of ours by that by hand."""
        pairs = zip(self.ours[metric], self.by_hand[metric], strict=True)
        return shift_of_pairs([math.log(mine / theirs) for mine, theirs in pairs], _LEVEL)

    def sure(self) -> bool:
        """Every metric's interval lies within the limit."""
        limit = math.log1p(LIMIT_PERCENT / 100)
        shifts = [self.shift(metric) for metric in self.ours]
        return all(-limit <= shift.low and shift.high <= limit for shift in shifts)


@dataclass(frozen=True, slots=True)
class ParityChecks:
    """The checks on one lab; ``plan`` gives the probes' parameters."""

    bench: Bench
    faults: Faults
    plan: Plan
    say: Progress

    def subjects(self) -> tuple[Subject, ...]:
        """What is compared."""
        return (
            Subject("tcp", ("tcp_streams_throughput",), 40, partial(self._limited, _TCP_RATE)),
            Subject("udp", ("udp_goodput", "udp_loss"), 40, partial(self._limited, _UDP_RATE)),
            Subject(f"http_{_HTTP_RATE}", (f"http_{_HTTP_RATE}_p50",), 40, _slow),
            Subject("http_max", ("http_max_qps", "http_max_p50"), 40, _slow),
            Subject("fortio_rtt", ("fortio_rtt_p50",), 60, nullcontext),
            Subject("fortio_connect", ("fortio_connect_p50",), 45, nullcontext),
            Subject("dig", ("dig_p50",), 25, nullcontext),
        )

    def check(self, subject: Subject) -> tuple[list[Check], list[Ratio]]:
        """Compare one probe.

        :raises MissingSampleError: a run gave no number.
        """
        probe = self._probe(subject.probe)
        with subject.imposed(self.bench) as bench:
            pairs = self._pairs(probe, subject, bench)
        ratios = [_ratio(metric, pairs) for metric in subject.metrics]
        checks = [_read_alike(subject, pairs), *map(_run_alike, ratios)]
        self.say(f"parity of {subject.probe}: {checks[1].measured}, {checks[1].interval}")
        return checks, ratios

    def _probe(self, name: str) -> Probe:
        if name != "fortio_rtt":
            return probe_named(name, self._plan)
        # A plan's seconds are whole ones; shorter pairs share more of the moment's noise.
        return replace(
            rtt_probe(self._plan),
            seconds=_ECHO_SECONDS,
            argv=lambda targets: echo_argv(targets, _ECHO_SECONDS),
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
        )

    @contextmanager
    def _limited(self, rate: int, bench: Bench) -> Iterator[Bench]:
        with self.faults.rate_limit(rate):
            yield bench

    def _pairs(self, probe: Probe, subject: Subject, bench: Bench) -> Pairs:
        pairs = Pairs()
        recorder = Recorder(bench.session)
        recorded = replace(bench, session=recorder.session)
        words = _command(probe, bench).full()
        end = bench.clock.monotonic() + subject.seconds
        for count in range(_MOST):
            if count >= _FEWEST and (pairs.sure() or bench.clock.monotonic() > end):
                break
            if count % 2:
                by_hand = _by_hand(probe, bench)
            ours = take(probe, recorded, self.plan).values
            if not count % 2:
                by_hand = _by_hand(probe, bench)
            for metric in subject.metrics:
                pairs.ours[metric].append(ours[metric])
                pairs.by_hand[metric].append(read_by_hand(metric, by_hand))
                pairs.reread[metric].append(read_by_hand(metric, recorder.last(words)))
        return pairs


def _command(probe: Probe, bench: Bench) -> Invocation:
    invocation = probe.invocation(bench.targets)
    if invocation is None:
        raise MissingSampleError(f"{probe.name} has no command to run by hand")
    return invocation


def _by_hand(probe: Probe, bench: Bench) -> CommandResult:
    invocation = _command(probe, bench)
    pod = bench.targets.one(invocation.role)
    try:
        return bench.session.run(pod, invocation.full(), timeout=2 * probe.seconds + _GRACE)
    except SessionError as error:
        raise MissingSampleError(f"{probe.name} by hand: {error}") from None


@contextmanager
def _slow(bench: Bench) -> Iterator[Bench]:
    with slow_server(bench) as (slow, _):
        yield replace(slow, session=at_path(slow.session, REQUEST_PATH, SLOW_PATH))


def _read_alike(subject: Subject, pairs: Pairs) -> Check:
    worst = max(
        abs(mine / theirs - 1) if theirs else abs(mine)
        for metric in subject.metrics
        for mine, theirs in zip(pairs.ours[metric], pairs.reread[metric], strict=True)
    )
    outputs = len(pairs.ours[subject.metrics[0]])
    return Check(
        part="Parity",
        name=f"{subject.probe}: {', '.join(subject.metrics)} of the same output",
        expectation="equal but for rounding",
        measured=f"largest difference {100 * worst:.2g} %",
        interval=f"exact, {outputs} outputs",
        passed=worst <= EXACT,
    )


def _ratio(metric: str, pairs: Pairs) -> Ratio:
    shift = pairs.shift(metric)
    value, low, high = (100 * math.expm1(each) for each in (shift.value, shift.low, shift.high))
    return Ratio(
        metric=metric, percent=value, low=low, high=high, level=shift.level,
        pairs=len(pairs.ours[metric]),
    )  # fmt: skip


def _run_alike(ratio: Ratio) -> Check:
    return Check(
        part="Parity",
        name=f"{ratio.metric}, against runs by hand",
        expectation=f"equal within {LIMIT_PERCENT:g} %",
        measured=f"{ratio.percent:+.2f} %",
        interval=f"{ratio.low:+.2f} to {ratio.high:+.2f} % ({100 * ratio.level:.0f} %, "
        f"{ratio.pairs} pairs)",
        passed=abs(ratio.percent) <= LIMIT_PERCENT,
    )


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
