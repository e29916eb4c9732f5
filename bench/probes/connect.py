"""Connection setup: a new TCP connection per HTTP request, to the Service's ClusterIP.

This is where Service load-balancing costs most (NAT rules or maps are consulted for a
connection's first packet only). fortio reports the time to open the connection by itself
(``ConnectionStats``: the ``connect`` call, so SYN to SYN-ACK), apart from the request's latency.
The rate is fixed and low, so that this is the path's time and not a queue's, and so that a long
run does not fill connection-tracking tables and thereby change what is measured after it.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.metrics import latency_metrics, share_metric
from bench.parse import ParseError
from bench.plan import Plan
from bench.probes.base import CommandProbe, Reading
from bench.probes.fortio import fortio_argv, load_of, load_reading
from bench.probes.http import REQUEST_PATH, paced_model
from bench.session import CommandResult
from bench.targets import Targets
from bench.text import latency

_GROUP = "Connection setup"
_PERCENTILES = (50.0, 99.0)
_RESOLUTION_US = 1.0


def connect_probe(plan: Plan) -> CommandProbe:
    """The connection-setup probe of a plan."""

    def argv(targets: Targets) -> tuple[str, ...]:
        service = targets.httpbin
        return fortio_argv(
            f"http://{service.host}:{service.port}{REQUEST_PATH}",
            "-keepalive=false",
            "-uniform",
            seconds=plan.latency_seconds,
            connections=plan.connect_connections,
            rate=plan.connect_rate,
            resolution_us=_RESOLUTION_US,
        )

    def read(result: CommandResult) -> Reading:
        load = load_of(result)
        if not load.connect:
            raise ParseError("fortio: its result lacks connection times")
        return load_reading(
            "connect", load, load.connect, _PERCENTILES, wanted_rate=plan.connect_rate
        )

    return CommandProbe(
        name="connect",
        role="fortio-client",
        seconds=plan.latency_seconds,
        metrics=(
            *latency_metrics(
                "connect", "opening a TCP connection to the Service", _GROUP,
                f"{plan.connect_rate} connections/s: "
                + paced_model(plan.connect_connections, stagger=True),
                _PERCENTILES,
            ),
            share_metric("connect_errors", _GROUP, "requests that failed"),
        ),
        argv=argv,
        parse=read,
        describe=_describe,
    )  # fmt: skip


def _describe(values: Mapping[str, float]) -> str:
    return f"p50 {latency(values['connect_p50'])}, p99 {latency(values['connect_p99'])}"
