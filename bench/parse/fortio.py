"""fortio's JSON result (``-json -``), with or without its request log (``-access-log-file``).

Source: fortio 1.65.0, ``periodic/periodic.go`` (result, request log), ``stats/stats.go``
(histogram), ``fhttp/httprunner.go`` (connection times). Three things to know:

- fortio ends with code 0 and plausible percentiles when every single request failed; only
  ``ErrorsDurationHistogram`` and ``RetCodes`` tell.
- ``DurationHistogram`` counts failed requests too; its percentiles are linear inside buckets
  whose edges are ``-r`` times 0, 1 … 12, 14 … 20, 25 … 50, 60 … 100, then ten times these up to
  1000, and 2000, 3000 … above: 8 to 25 % of the value wide, below 12 and above 1000 much wider.
- the request log has one line per request: its latency in seconds to the microsecond, when it was
  sent in ns, its thread (connection) and its number on it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.parse import ParseError
from bench.parse.schedule import OnSchedule, Request, Schedule, against
from bench.stats import percentile
from bench.text import tail, tally

_LOG_LINE = re.compile(
    r'^\{"latency":(\d+\.\d+),"timestamp":(\d+),"thread":(\d+),"iter":(\d+),"ok":(true|false)',
    re.MULTILINE,
)
_RESULT_START = re.compile(r"^\{$", re.MULTILINE)
_MICROSECONDS_PER_SECOND = 1e6
_NS_PER_MICROSECOND = 1e3


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


_Amount = Annotated[float, Field(ge=0)]


class _Bucket(_Model):
    Start: _Amount
    End: _Amount
    Percent: _Amount


class _Percentile(_Model):
    Percentile: float
    Value: _Amount


class _Histogram(_Model):
    Count: int
    Data: list[_Bucket] | None = None
    Percentiles: list[_Percentile] = []


class _Result(_Model):
    Version: str
    ActualQPS: _Amount
    NumThreads: int
    DurationHistogram: _Histogram
    ErrorsDurationHistogram: _Histogram
    RetCodes: dict[str, int] = {}
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
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "result"
        raise ParseError(f"fortio: {where}: {first['msg']}") from None
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
