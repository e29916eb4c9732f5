"""Unloaded latency: request and answer of 24 bytes over one TCP connection on an idle path.

fortio's TCP mode against its TCP echo, pod address to pod address, in a closed loop: as netperf's
TCP_RR, so the path stays warm and no timer is in the figure. Percentiles come from fortio's
histogram with buckets from 1 µs (see :mod:`bench.probes.fortio`).

On an idle virtual machine this figure is mostly the wake-up of a halted CPU, not the network: on
two cores whose kernel halts at once (``haltpoll.guest_halt_poll_ns=0``) p50 fell anywhere from
11 to 108 µs, from one second to the next (24 runs, median 66), and from 11 to 18 µs (median 14) in
runs taken in turn with those while 0 was held in ``/dev/cpu_dma_latency`` (the kernel's PM QoS
interface: idle CPUs poll). HTTP p50 at 1,000/s went from 162 … 288 to 84 … 146 µs. A target
that can hold it while measuring should, and list it among its adaptations.
"""

from __future__ import annotations

from collections.abc import Mapping

from bench.metrics import latency_metrics, share_metric
from bench.plan import Plan
from bench.probes.base import CommandProbe, Reading
from bench.probes.fortio import fortio_argv, load_of, load_reading
from bench.session import CommandResult
from bench.targets import Targets
from bench.text import latency
from bench.workloads import ECHO_PORT

_GROUP = "Latency without load"
_PERCENTILES = (50.0, 99.0, 99.9)
_RESOLUTION_US = 1.0
LOAD_MODEL = "closed loop, one request outstanding: the next one leaves when the answer is there"

METRICS = (
    *latency_metrics("rtt", "TCP request and answer, pod to pod", _GROUP, LOAD_MODEL, _PERCENTILES),
    share_metric("rtt_errors", _GROUP, "requests that failed"),
)


def echo_argv(targets: Targets, seconds: float) -> tuple[str, ...]:
    """Round trips to the echo server's pod, one after the other."""
    return fortio_argv(
        f"tcp://{targets.one('echo-server').ip}:{ECHO_PORT}",
        seconds=seconds,
        connections=1,
        rate=None,
        resolution_us=_RESOLUTION_US,
    )


def rtt_probe(plan: Plan) -> CommandProbe:
    """The round-trip probe of a plan."""
    return CommandProbe(
        name="rtt",
        role="fortio-client",
        seconds=plan.latency_seconds,
        metrics=METRICS,
        argv=lambda targets: echo_argv(targets, plan.latency_seconds),
        parse=_read,
        describe=_describe,
    )


def _read(result: CommandResult) -> Reading:
    load = load_of(result)
    return load_reading("rtt", load, load.latency, _PERCENTILES)


def _describe(values: Mapping[str, float]) -> str:
    return f"p50 {latency(values['rtt_p50'])}, p99 {latency(values['rtt_p99'])}"
