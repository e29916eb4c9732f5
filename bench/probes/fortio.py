"""fortio: the command that its probes share, its result, and readings from a run.

The result
----------
It is JSON (``-json -``), with or without a request log (``-access-log-file``) before it. Source:
fortio 1.65.0, ``periodic/periodic.go`` (result, request log), ``stats/stats.go`` (histogram),
``fhttp/httprunner.go`` (connection times). Three things to know:

- fortio ends with code 0 and plausible percentiles when every single request failed; only
  ``ErrorsDurationHistogram`` and ``RetCodes`` tell.
- ``DurationHistogram`` counts failed requests too; its percentiles are linear inside buckets
  whose edges are ``-r`` times 0, 1 … 12, 14 … 20, 25 … 50, 60 … 100, then ten times these up to
  1000, and 2000, 3000 … above: 8 to 25 % of the value wide, below 12 and above 1000 much wider.
- the request log has one line per request: its latency in seconds to the microsecond, when it was
  sent in ns, its thread (connection) and its number on it.

Where percentiles come from
---------------------------
fortio keeps latencies in a histogram and interpolates inside its buckets. With its default
resolution (``-r 0.001``) everything below 1 ms is one bucket: a round trip whose median was 14 µs
was printed as 507 µs. With a resolution that suits the values the buckets are 8 to 25 % wide, and
compared with the same runs' request logs (three runs each on two namespaces, 3,000 to 60,000
requests) the largest errors were

===================  =======  ======  ======  ======
run                  ``-r``     p50     p99   p99.9
===================  =======  ======  ======  ======
echo, closed loop       1 µs   2.3 %   1.8 %    12 %
HTTP, 1,000/s          50 µs   1.8 %   2.2 %     2 %
HTTP, 5,000/s          50 µs   1.2 %   6.9 %     1 %
HTTP, full speed       50 µs   0.5 %    14 %    16 %
===================  =======  ======  ======  ======

and 5 to 30 % where a value fell into a wide bucket. A monotone cubic through the cumulative counts
was no better overall, so where the histogram is used its percentiles are fortio's own.

At fixed rates latencies come from fortio's request log on standard output instead: each request,
exact to 1 µs, and when it was sent, so that it can be counted from when it was due
(:mod:`bench.probes.fortio`). The log costs fortio 3 to 13 µs of CPU per request, outside the
latency, and the reader at the other end of the pipe 29 µs per request at 1,000/s and 11 µs at
5,000/s: 3 and 6 % of one core. On a quiet two-core machine p50 was then within 4 % either way at
1,000/s, and 3 % higher (four pairs: -4, -2, +7, +14 %) at 5,000/s. At full speed the log would cost
15 to 36 % of the rate, and in the one-connection closed loop its reader wakes between any two
requests: there the histogram is used.


Latency of requests on a schedule, without coordinated omission.

fortio's fixed rate gives every connection (thread) its own schedule of equal steps. A request that
is due while its connection still waits for the answer before it leaves late, and counted from its
sending it would look fast although its user waited: a server that stalls for 0.5 s at 1,000
requests/s over 32 connections shows 32 slow requests of the 500 that it delayed. Here such a
request counts from when it was due (as in wrk2, whose author named the omission). One whose
connection was free counts from its sending: if it left late, the generator's timer was, which is
told apart.

Source of the schedule: fortio 1.65.0, ``periodic/periodic.go``, runOne: call i of n of a thread at
q calls/s is due ``(i + i / (n - 1)) / q`` after the thread's start, which is staggered. The start
is not logged: the earliest call against its schedule gives it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from pydantic import Field, ValidationError

from bench.metrics import Note, percentile_suffix
from bench.probes.base import Amount, Reading, ToolModel
from bench.session import CommandResult
from bench.stats import percentile
from bench.text import ParseError, number, problem, tail, tally

_LOG_LINE = re.compile(
    r'^\{"latency":(\d{1,9}\.\d{1,18}),"timestamp":(\d{1,20}),"thread":(\d{1,9}),"iter":(\d{1,9})'
    r',"ok":(true|false)',
    re.MULTILINE,
)
_RESULT_START = re.compile(r"^\{$", re.MULTILINE)
_MICROSECONDS_PER_SECOND = 1e6
_NS_PER_MICROSECOND = 1e3


class _Bucket(ToolModel):
    Start: Amount
    End: Amount
    Percent: Amount


class _Percentile(ToolModel):
    Percentile: float
    Value: Amount


class _Histogram(ToolModel):
    Count: int
    Data: list[_Bucket] | None = None
    Percentiles: tuple[_Percentile, ...] = ()


class _Result(ToolModel):
    Version: str
    ActualQPS: Amount
    NumThreads: int
    DurationHistogram: _Histogram
    ErrorsDurationHistogram: _Histogram
    RetCodes: dict[str, int] = Field(default_factory=dict)
    ConnectionStats: _Histogram | None = None


@dataclass(frozen=True, slots=True)
class Quantile:
    """A percentile in µs; the true one lies in ``low`` … ``high`` (all equal: it is exact)."""

    value: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Width of that range, relative to the value."""
        return (self.high - self.low) / self.value if self.value > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Load:
    """One fortio run: rate in requests/s, latencies in µs by percentile (50.0, 99.9 …).

    ``latency`` is of the successful requests where it comes from the request log, of all of them
    otherwise. ``connect`` is the time to open a connection (HTTP only). ``schedule`` is there where
    the run was read against one.
    """

    version: str
    rate: float
    connections: int
    requests: int
    errors: int
    codes: Mapping[str, int]
    latency: Mapping[float, Quantile]
    connect: Mapping[float, Quantile]
    schedule: OnSchedule | None = None

    @property
    def error_percent(self) -> float:
        """Failed requests in % of all."""
        return 100.0 * self.errors / self.requests


def parse_load(
    stdout: str,
    stderr: str = "",
    *,
    percentiles: Sequence[float],
    request_log: bool = False,
    schedule: Schedule | None = None,
) -> Load:
    """Read a run's result.

    :param percentiles: those that the command asked for with ``-p``.
    :param request_log: the command had ``-access-log-file /dev/stdout``: take the latencies from
        there, exact to the microsecond, instead of from the histogram.
    :param schedule: count latencies from when requests were due (wants the request log).
    :raises ParseError: no complete result, every request failed, or a log with lines missing.
    """
    log, result = _split(stdout, stderr)
    requests = result.DurationHistogram.Count
    errors = result.ErrorsDurationHistogram.Count
    if requests <= 0:
        raise ParseError("fortio: no request was made")
    if errors >= requests:
        raise ParseError(f"fortio: all {requests} requests failed: {tally(result.RetCodes)}")
    on_schedule = None
    if request_log:
        logged = _logged(log, requests, errors)
        good = sorted(each.latency for each in logged if each.good)
        if schedule is not None:
            on_schedule = against(schedule, logged)
            good = list(on_schedule.latency)
        latency = _exact(good, percentiles)
    else:
        latency = _from_histogram(result.DurationHistogram, percentiles)
    connect = result.ConnectionStats
    return Load(
        version=result.Version,
        rate=result.ActualQPS,
        connections=result.NumThreads,
        requests=requests,
        errors=errors,
        codes=result.RetCodes,
        latency=latency,
        connect=_from_histogram(connect, percentiles) if connect and connect.Count else {},
        schedule=on_schedule,
    )


def _split(stdout: str, stderr: str) -> tuple[str, _Result]:
    start = _RESULT_START.search(stdout)
    if start is None:
        said = tail(stderr) or tail(stdout) or "nothing"
        raise ParseError(f"fortio: no JSON result; it said: {said}")
    try:
        result = _Result.model_validate_json(stdout[start.start() :])
    except ValidationError as error:
        raise ParseError(f"fortio: {problem(error, 'result')}") from None
    return stdout[: start.start()], result


def request_log(stdout: str) -> list[Request]:
    """The requests of a run's log, failed ones too, as they ended.

    ``sent`` is the client's time of day, in µs since 1970.

    :raises ParseError: there is none.
    """
    logged = _requests(stdout)
    if not logged:
        raise ParseError(f"fortio: no request in its log; it said: {tail(stdout) or 'nothing'}")
    return logged


def _requests(log: str) -> list[Request]:
    return [
        Request(
            thread=int(thread),
            number=int(number),
            sent=int(sent) / _NS_PER_MICROSECOND,
            latency=round(float(seconds) * _MICROSECONDS_PER_SECOND),
            good=ok == "true",
        )
        for seconds, sent, thread, number, ok in _LOG_LINE.findall(log)
    ]


def _logged(log: str, requests: int, errors: int) -> list[Request]:
    logged = _requests(log)
    good = sum(each.good for each in logged)
    if len(logged) != requests or good != requests - errors:
        raise ParseError(
            f"fortio: its request log has {len(logged)} requests, {good} of them good; "
            f"its result has {requests}, {errors} of them failed"
        )
    return logged


def _exact(ascending: Sequence[float], percentiles: Sequence[float]) -> dict[float, Quantile]:
    values = {q: percentile(ascending, q) for q in percentiles}
    return {q: Quantile(value, value, value) for q, value in values.items()}


def _from_histogram(histogram: _Histogram, percentiles: Sequence[float]) -> dict[float, Quantile]:
    values = {item.Percentile: item.Value for item in histogram.Percentiles}
    buckets = histogram.Data or []
    shares = [bucket.Percent for bucket in buckets]
    quantiles = {}
    for q in percentiles:
        if q not in values or not buckets:
            raise ParseError(f"fortio: its result lacks the {q:g}th percentile")
        bucket = buckets[min(bisect_left(shares, q), len(buckets) - 1)]
        quantiles[q] = Quantile(
            values[q] * _MICROSECONDS_PER_SECOND,
            bucket.Start * _MICROSECONDS_PER_SECOND,
            bucket.End * _MICROSECONDS_PER_SECOND,
        )
    return quantiles


PERCENTILES = (50.0, 90.0, 99.0, 99.9)
ENOUGH_OF_RATE = 0.95
TIMER_US = 1_200.0
"""Timers of an idle Go program are up to a millisecond late, by the resolution of its poller, plus
the time to wake (p99.9 of a run without others 1.28 ms), whatever the server does; what is more is
a want of CPU."""
LATE_US = TIMER_US
"""A request that leaves so much after it was due, although its connection is free, is late."""
LATE_SHARE = 0.01
COARSE_SPREAD = 0.26
"""A histogram bucket wider than this share of the value (fortio's regular ones are not)."""


def fortio_argv(
    url: str,
    *options: str,
    seconds: float | None = None,
    count: int | None = None,
    connections: int,
    rate: int | None,
    resolution_us: float | None,
) -> tuple[str, ...]:
    """A ``fortio load`` command that prints its JSON result on standard output.

    :param seconds: how long it runs, or
    :param count: how many requests it makes.
    :param rate: requests/s over all connections; None is as fast as answers come.
    :param resolution_us: width of the histogram's finest buckets (``-r``) in µs; None asks for
        the request log instead.
    """
    if resolution_us is None:
        latencies: tuple[str, ...] = ("-access-log-file", "/dev/stdout")
    else:
        latencies = ("-r", f"{resolution_us / 1e6:.7f}".rstrip("0"))
    until = ("-n", str(count)) if seconds is None else ("-t", f"{seconds}s")
    return (
        "fortio", "load", "-quiet", "-json", "-",
        "-p", ",".join(f"{q:g}" for q in PERCENTILES), *latencies,
        "-c", str(connections), "-qps", str(rate or 0), *until, *options, url,
    )  # fmt: skip


def load_of(
    result: CommandResult, *, request_log: bool = False, schedule: Schedule | None = None
) -> Load:
    """Parse a run of :func:`fortio_argv`.

    :raises ParseError: see :func:`bench.probes.fortio.parse_load`.
    """
    return parse_load(
        result.stdout,
        result.stderr,
        percentiles=PERCENTILES,
        request_log=request_log,
        schedule=schedule,
    )


def load_reading(
    prefix: str,
    load: Load,
    quantiles: Mapping[float, Quantile],
    percentiles: Sequence[float],
    *,
    wanted_rate: int | None = None,
    rate_metric: str | None = None,
) -> Reading:
    """A run's latencies and failures as a reading.

    Latencies are labelled (``Reading.notes``) where they are not those of the wanted load: the
    rate was not reached, requests failed, or the histogram is too coarse there.

    :param prefix: of the metrics: ``<prefix>_p50`` …, ``<prefix>_errors``.
    :param quantiles: the run's own latencies, or its connection times.
    :param percentiles: those that are metrics.
    :param wanted_rate: requests/s that the command asked for, if it did.
    :param rate_metric: the name under which the rate is a metric, if it is.
    """
    named = {f"{prefix}_{percentile_suffix(q)}": quantiles[q] for q in percentiles}
    values = {name: item.value for name, item in named.items()}
    values[f"{prefix}_errors"] = load.error_percent
    if rate_metric is not None:
        values[rate_metric] = load.rate
    labels, warnings = _labels(load, wanted_rate)
    notes = {name: (*labels, *_coarse(item)) for name, item in named.items()}
    facts: dict[str, str | int | float] = {"fortio": load.version, "connections": load.connections}
    if load.schedule is not None:
        facts |= _schedule_facts(load.schedule, load.requests)
    return Reading(
        values=values,
        warnings=tuple(warnings),
        notes={name: note for name, note in notes.items() if note},
        facts=facts,
    )


def _labels(load: Load, wanted_rate: int | None) -> tuple[list[Note], list[str]]:
    labels: list[Note] = []
    warnings: list[str] = []
    if wanted_rate is not None and load.rate < ENOUGH_OF_RATE * wanted_rate:
        figures = {"reached": round(load.rate, 1), "wanted": float(wanted_rate)}
        labels.append(Note(kind="rate-not-reached", figures=figures))
        warnings.append(f"only {number(load.rate, 4)} of {wanted_rate:,} requests/s were reached")
    labels += _schedule_labels(load)
    if load.errors:
        labels.append(Note(kind="requests-failed"))
        warnings.append(f"{load.errors} of {load.requests} requests failed ({tally(load.codes)})")
    return labels, warnings


def _schedule_facts(run: OnSchedule, requests: int) -> dict[str, float]:
    return {
        "waited_percent": round(100 * run.waited / requests, 3),
        "sent_late_p99_us": round(percentile(run.lateness, 99), 1) if run.lateness else 0.0,
    }


def _schedule_labels(load: Load) -> list[Note]:
    run = load.schedule
    if run is None:
        return []
    labels = []
    if run.unsent:
        labels.append(Note(kind="requests-unsent"))
    if sum(late > LATE_US for late in run.lateness) > LATE_SHARE * load.requests:
        figures = {"percent": 100 * LATE_SHARE, "late_ms": LATE_US / 1e3}
        labels.append(Note(kind="sent-late", figures=figures))
    return labels


def _coarse(item: Quantile) -> list[Note]:
    if item.spread <= COARSE_SPREAD:
        return []
    figures = {"low_us": float(round(item.low)), "high_us": float(round(item.high))}
    return [Note(kind="coarse-histogram", figures=figures)]


@dataclass(frozen=True, slots=True, order=True)
class Request:
    """One request: its thread and its number on it, when it left and how long it took, in µs."""

    thread: int
    number: int
    sent: float
    latency: float
    good: bool


@dataclass(frozen=True, slots=True)
class Schedule:
    """What was asked for: a number of threads, the calls of each, and its rate in 1/s.

    The first ``dropped`` calls of each thread are made and not counted. Of 64 connections at
    2,000/s on two busy CPUs (eight runs), p90 of the requests in the first 0.15 s, when connections
    and the server's threads are new, was 5 to 46 ms, and 1.3 to 18 ms of the others; they would be
    some percent of a run.
    """

    threads: int
    calls: int
    rate: float
    dropped: int = 0

    @classmethod
    def of(cls, rate: float, seconds: float, connections: int) -> Schedule:
        """The schedule that fortio makes of ``-qps``, ``-t`` and ``-c``."""
        return cls(connections, int(rate * seconds) // connections, rate / connections)

    def due(self, number: int) -> float:
        """When a call is due after its thread's start, in µs."""
        return (number + number / max(1, self.calls - 1)) / self.rate * _MICROSECONDS_PER_SECOND


@dataclass(frozen=True, slots=True)
class OnSchedule:
    """A run against its schedule.

    ``latency`` is of the good requests, ascending and in µs. ``waited`` counts requests that were
    due while their connection was busy, ``unsent`` those that never left before the run's end.
    ``lateness`` is that of requests whose connection was free: the generator's own, in µs,
    ascending.

    With a generator that is never late, ``latency`` would lie between ``at_least``, where each
    request leaves when it is due or its connection is free by answers that take as long as they
    did, and ``at_most``, where it is answered when it was (but for what a timer may be late).
    """

    latency: tuple[float, ...]
    waited: int
    unsent: int
    lateness: tuple[float, ...]
    at_least: tuple[float, ...]
    at_most: tuple[float, ...]


def against(schedule: Schedule, requests: Iterable[Request]) -> OnSchedule:
    """Latencies of ``requests`` from when they were due."""
    latency: list[float] = []
    at_least: list[float] = []
    at_most: list[float] = []
    lateness: list[float] = []
    waited = 0
    unsent = schedule.threads * schedule.calls
    for _, group in groupby(sorted(requests), key=lambda request: request.thread):
        calls = list(group)
        unsent -= len(calls)
        for call in _of_thread(schedule, calls):
            if call.request.number < schedule.dropped:
                continue
            waited += call.busy
            if not call.busy:
                lateness.append(call.late)
            if call.request.good:
                took = call.request.latency
                latency.append(took + (call.late if call.busy else 0.0))
                at_least.append(took + call.held_up)
                timer = 0.0 if call.busy else TIMER_US
                at_most.append(took + max(0.0, call.late - timer))
    return OnSchedule(
        latency=tuple(sorted(latency)),
        waited=waited,
        unsent=max(0, unsent),
        lateness=tuple(sorted(lateness)),
        at_least=tuple(sorted(at_least)),
        at_most=tuple(sorted(at_most)),
    )


@dataclass(frozen=True, slots=True)
class _Call:
    """A request, how late it left, whether it had to wait for its connection, and how long it had
    been held up by the answers before it alone; in µs."""

    request: Request
    late: float
    busy: bool
    held_up: float


def _of_thread(schedule: Schedule, calls: Sequence[Request]) -> Iterable[_Call]:
    start = min(call.sent - schedule.due(call.number) for call in calls)
    free = punctually_free = float("-inf")
    for call in calls:
        due = start + schedule.due(call.number)
        held_up = max(0.0, punctually_free - due)
        yield _Call(call, call.sent - due, free > due, held_up)
        free = call.sent + call.latency
        punctually_free = due + held_up + call.latency
