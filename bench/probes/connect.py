"""Connection setup: a new TCP connection per HTTP request, to the Service's ClusterIP.

This is where Service load-balancing costs most (NAT rules or maps are consulted for a connection's
first packet only). Two probes: how long it takes to open a connection while nothing else is done,
one after the other as netperf's TCP_CRR, and how many connections per second can be had.

fortio reports the time to open the connection by itself (``ConnectionStats``: the ``connect``
call, so SYN to SYN-ACK), apart from the request's latency. Both probes make a number of
connections, not as many as a duration allows, so that a long run does not fill
connection-tracking tables and thereby change what is measured after it.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.metrics import latency_metrics, rate_metric, share_metric
from bench.parse import ParseError
from bench.plan import Plan
from bench.probes.base import CommandProbe, Reading
from bench.probes.fortio import fortio_argv, load_of, load_reading
from bench.probes.http import service_url
from bench.session import CommandResult
from bench.targets import Targets
from bench.text import latency, number

_GROUP = "Connection setup"
_PERCENTILES = (50.0, 99.0)
_RESOLUTION_US = 1.0
_LEAST_RATE = 2_000
"""Connections/s that can be counted on, for the planned length of a run."""
LOAD_MODEL = "closed loop, one connection at a time: the next is opened when the answer is there"


def connect_probe(plan: Plan) -> CommandProbe:
    """The probe of a single connection's setup."""

    def read(result: CommandResult) -> Reading:
        load = load_of(result)
        if not load.connect:
            raise ParseError("fortio: its result lacks connection times")
        return load_reading("connect", load, load.connect, _PERCENTILES)

    def describe(values: Mapping[str, float]) -> str:
        return f"p50 {latency(values['connect_p50'])}, p99 {latency(values['connect_p99'])}"

    return CommandProbe(
        name="connect",
        role="fortio-client",
        seconds=plan.connect_count / _LEAST_RATE,
        metrics=(
            *latency_metrics(
                "connect", "opening a TCP connection to the Service", _GROUP, LOAD_MODEL,
                _PERCENTILES,
            ),
            share_metric("connect_errors", _GROUP, "requests that failed"),
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
        resolution_us=_RESOLUTION_US,
    )
