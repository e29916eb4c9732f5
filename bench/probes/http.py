"""HTTP to the httpbin Service over kept-alive connections: at fixed rates and at full speed.

At a fixed rate requests are due at fixed times, whatever the answers do, and latency counts from
when a request was due if its connection was still busy then (:mod:`bench.probes.fortio`), so a
stall shows in every request that it delays. fortio's own figures have coordinated omission:
checked by stopping the server for 0.5 s of a 3 s run at 1,000 requests/s over 32 connections, it
records 32 slow requests (one per connection) of the 500 that fell due in the stall, with and
without ``-nocatchup`` (which drops the others instead). The profile ``published`` keeps its
figures, as the study has them; ``load_model`` says which it is.

A generator that opens a connection for every overdue request (vegeta 12.8.4) was tried, too: it
took 2.2 times fortio's CPU per request (217 against 99 µs, at 5,000/s), which on two busy CPUs that
client and server share made its p50 21 ms in place of 254 µs.

Each connection gets a whole number of calls, so in a run of a few seconds the rate reads low by up
to one request per connection (984 of 1,000/s in two seconds). Where that would pass for a rate that
was not reached, fewer connections are used: each has :data:`CALLS_PER_CONNECTION` or more.

By default fortio's connections start together and stay in step, so requests leave in bursts of 32:
on the same idle path p50 was 763 µs, and 205 µs with ``-uniform``. ``published`` keeps the study's
bursts; the others spread the connections over the period.


Connection setup: a new TCP connection per HTTP request, to the Service's ClusterIP.

This is where Service load-balancing costs most (NAT rules or maps are consulted for a connection's
first packet only). Two probes: how long it takes to open a connection while nothing else is done,
one after the other as netperf's TCP_CRR, and how many connections per second can be had.

fortio reports the time to open the connection by itself (``ConnectionStats``: the ``connect``
call, so SYN to SYN-ACK), apart from the request's latency. Both probes make a number of
connections, not as many as a duration allows, so that a long run does not fill
connection-tracking tables and thereby change what is measured after it.
"""

from collections.abc import Mapping

from bench.metrics import Metric, latency_metrics, rate_metric, share_metric
from bench.plan import Plan
from bench.probes.base import CommandProbe, Reading
from bench.probes.fortio import PERCENTILES, Schedule, fortio_argv, load_of, load_reading
from bench.session import CommandResult, Targets
from bench.text import ParseError, latency, number

REQUEST_PATH = "/get"
_RESOLUTION_US = 50.0
CALLS_PER_CONNECTION = 50


def http_probe(plan: Plan, rate: int | None) -> CommandProbe:
    """The HTTP probe of a plan at ``rate`` requests/s, or at full speed (None)."""
    prefix = f"http_{rate or 'max'}"
    connections = _connections(plan, rate)
    stagger = rate is not None and plan.stagger
    schedule = None
    if rate is not None and plan.from_due_times:
        schedule = Schedule.of(rate, plan.http_seconds, connections)

    def argv(targets: Targets) -> tuple[str, ...]:
        return fortio_argv(
            service_url(targets),
            *(("-uniform",) if stagger else ()),
            seconds=plan.http_seconds,
            connections=connections,
            rate=rate,
            resolution_us=None if rate is not None else _RESOLUTION_US,
        )

    def read(result: CommandResult) -> Reading:
        load = load_of(result, request_log=rate is not None, schedule=schedule)
        return load_reading(
            prefix, load, load.latency, PERCENTILES,
            wanted_rate=rate, rate_metric=f"{prefix}_qps",
        )  # fmt: skip

    def describe(values: Mapping[str, float]) -> str:
        return f"{values[f'{prefix}_qps']:.0f} QPS, p99 {latency(values[f'{prefix}_p99'])}"

    return CommandProbe(
        name=prefix,
        role="fortio-client",
        seconds=plan.http_seconds,
        metrics=_metrics(prefix, rate, _model(plan, rate, connections)),
        argv=argv,
        parse=read,
        describe=describe,
    )


def service_url(targets: Targets) -> str:
    """What is asked of the httpbin Service."""
    return f"http://{targets.httpbin.host}:{targets.httpbin.port}{REQUEST_PATH}"


def _connections(plan: Plan, rate: int | None) -> int:
    if rate is None:
        return plan.http_max_connections
    return max(1, min(plan.http_connections, rate * plan.http_seconds // CALLS_PER_CONNECTION))


def _model(plan: Plan, rate: int | None, connections: int) -> str:
    """How fortio offers the load, in a sentence for ``Metric.load_model``."""
    if rate is None:
        return f"closed loop at full speed (fortio), {connections} connections"
    start = "spread over one period" if plan.stagger else "all starting together"
    if plan.from_due_times:
        return (
            f"fixed schedule (fortio), {connections} connections {start}; latency from when a "
            "request was due, so without coordinated omission"
        )
    return (
        f"paced closed loop (fortio, coordinated omission possible), {connections} connections "
        f"{start}"
    )


def _metrics(prefix: str, rate: int | None, model: str) -> tuple[Metric, ...]:
    group = "HTTP at full speed" if rate is None else f"HTTP at {rate:,} requests/s"
    return (
        rate_metric(f"{prefix}_qps", group, "requests answered, good or bad", model),
        *latency_metrics(prefix, "HTTP request over a kept connection", group, model, PERCENTILES),
        share_metric(f"{prefix}_errors", group, "requests that failed"),
    )


_GROUP = "Connection setup"
_PERCENTILES = (50.0, 99.0)
_CONNECT_RESOLUTION_US = 1.0
_LEAST_RATE = 2_000
"""Connections/s that can be counted on, for the planned length of a run."""
LOAD_MODEL = "closed loop, one connection at a time: the next is opened when the answer is there"


def connect_probe(plan: Plan) -> CommandProbe:
    """The probe of a single connection's setup."""

    def read(result: CommandResult) -> Reading:
        load = load_of(result)
        if not load.connect:
            raise ParseError("fortio: its result lacks connection times")
        return load_reading("fortio_connect", load, load.connect, _PERCENTILES)

    def describe(values: Mapping[str, float]) -> str:
        p50, p99 = (latency(values[f"fortio_connect_{q}"]) for q in ("p50", "p99"))
        return f"p50 {p50}, p99 {p99}"

    return CommandProbe(
        name="fortio_connect",
        role="fortio-client",
        seconds=plan.connect_count / _LEAST_RATE,
        metrics=(
            *latency_metrics(
                "fortio_connect", "opening a TCP connection to the Service", _GROUP, LOAD_MODEL,
                _PERCENTILES,
            ),
            share_metric("fortio_connect_errors", _GROUP, "requests that failed"),
        ),
        argv=lambda targets: _argv(targets, connections=1, count=plan.connect_count),
        parse=read,
        describe=describe,
    )  # fmt: skip


def connect_max_probe(plan: Plan) -> CommandProbe:
    """The probe of the highest rate of connections."""
    connections, count = plan.connect_max_connections, plan.connect_max_count

    def read(result: CommandResult) -> Reading:
        return load_reading("connect_max", load_of(result), {}, (), rate_metric="connect_max_rate")

    return CommandProbe(
        name="connect_max",
        role="fortio-client",
        seconds=count / _LEAST_RATE,
        metrics=(
            rate_metric(
                "connect_max_rate", _GROUP, "connections to the Service, with a request on each",
                f"closed loop at full speed, {connections} connections at a time",
            ),
            share_metric("connect_max_errors", _GROUP, "requests that failed, at full speed"),
        ),
        argv=lambda targets: _argv(targets, connections=connections, count=count),
        parse=read,
        describe=lambda values: f"{number(values['connect_max_rate'])} connections/s",
    )  # fmt: skip


def _argv(targets: Targets, *, connections: int, count: int) -> tuple[str, ...]:
    return fortio_argv(
        service_url(targets),
        "-keepalive=false",
        count=count,
        connections=connections,
        rate=None,
        resolution_us=_CONNECT_RESOLUTION_US,
    )
