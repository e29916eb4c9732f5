"""HTTP to the httpbin Service over kept-alive connections: at fixed rates and at full speed.

fortio's fixed-rate mode is not an open loop: every connection has its share of the rate, waits
for each answer, and catches up afterwards. Checked by stopping the server for 0.5 s of a 3 s run
at 1,000 requests/s over 32 connections: of some 500 requests that fell due in the stall, 32 (one
per connection) were recorded as slow, with and without ``-nocatchup`` (which drops the others
instead). Latency counts from the actual send, so a stall shows in one request per connection and
not in all those that it delayed (coordinated omission), which ``load_model`` says.

Each connection gets a whole number of calls, so in a run of a few seconds the rate reads low by
up to one request per connection (984 of 1,000/s in two seconds). Where that would pass for a rate
that was not reached, fewer connections are used: each has :data:`CALLS_PER_CONNECTION` or more.

By default the connections start together and stay in step, so requests leave in bursts of 32:
on the same idle path p50 was 763 µs, and 205 µs with ``-uniform``. The profile ``published`` keeps
the study's bursts; the others spread the connections over the period.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.metrics import Metric, latency_metrics, rate_metric, share_metric
from bench.plan import Plan
from bench.probes.base import CommandProbe, Reading
from bench.probes.fortio import REQUEST_LOG_LIMIT, fortio_argv, load_of, load_reading
from bench.session import CommandResult
from bench.targets import Targets
from bench.text import latency

REQUEST_PATH = "/get"
_PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_RESOLUTION_US = 50.0
CALLS_PER_CONNECTION = 50


def paced_model(connections: int, *, stagger: bool) -> str:
    """How fortio offers a fixed rate, in a sentence for ``Metric.load_model``."""
    start = "spread over one period" if stagger else "all starting together"
    return f"paced closed loop (coordinated omission possible), {connections} connections {start}"


def http_probe(plan: Plan, rate: int | None) -> CommandProbe:
    """The HTTP probe of a plan at ``rate`` requests/s, or at full speed (None)."""
    prefix = f"http_{rate or 'max'}"
    request_log = rate is not None and rate <= REQUEST_LOG_LIMIT
    connections = _connections(plan, rate)
    stagger = rate is not None and plan.stagger

    def argv(targets: Targets) -> tuple[str, ...]:
        service = targets.httpbin
        return fortio_argv(
            f"http://{service.host}:{service.port}{REQUEST_PATH}",
            *(("-uniform",) if stagger else ()),
            seconds=plan.http_seconds,
            connections=connections,
            rate=rate,
            resolution_us=None if request_log else _RESOLUTION_US,
        )

    def read(result: CommandResult) -> Reading:
        load = load_of(result, request_log=request_log)
        return load_reading(
            prefix, load, load.latency, _PERCENTILES,
            wanted_rate=rate, rate_metric=f"{prefix}_qps",
        )  # fmt: skip

    def describe(values: Mapping[str, float]) -> str:
        return f"{values[f'{prefix}_qps']:.0f} QPS, p99 {latency(values[f'{prefix}_p99'])}"

    return CommandProbe(
        name=prefix,
        role="fortio-client",
        seconds=plan.http_seconds,
        metrics=_metrics(prefix, rate, connections, stagger=stagger),
        argv=argv,
        parse=read,
        describe=describe,
    )


def _connections(plan: Plan, rate: int | None) -> int:
    if rate is None:
        return plan.http_max_connections
    return max(1, min(plan.http_connections, rate * plan.http_seconds // CALLS_PER_CONNECTION))


def _metrics(
    prefix: str, rate: int | None, connections: int, *, stagger: bool
) -> tuple[Metric, ...]:
    if rate is None:
        group = "HTTP at full speed"
        model = f"closed loop at full speed, {connections} connections"
    else:
        group = f"HTTP at {rate:,} requests/s"
        model = paced_model(connections, stagger=stagger)
    return (
        rate_metric(f"{prefix}_qps", group, "requests answered, good or bad", model),
        *latency_metrics(prefix, "HTTP request over a kept connection", group, model, _PERCENTILES),
        share_metric(f"{prefix}_errors", group, "requests that failed"),
    )
