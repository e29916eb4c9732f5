"""Round trips: on an idle path, and during a bulk transfer.

Without load
------------
Request and answer of 24 bytes over one TCP connection on an idle path.

fortio's TCP mode against its TCP echo, pod address to pod address, in a closed loop: as netperf's
TCP_RR, so the path stays warm and no timer is in the figure. Percentiles come from fortio's
histogram with buckets from 1 µs (see :mod:`bench.probes.fortio`).

On an idle virtual machine this figure is mostly the wake-up of a halted CPU, not the network: on
two cores whose kernel halts at once (``haltpoll.guest_halt_poll_ns=0``) p50 fell anywhere from
11 to 108 µs, from one second to the next (24 runs, median 66), and from 11 to 18 µs (median 14) in
runs taken in turn with those while 0 was held in ``/dev/cpu_dma_latency`` (the kernel's PM QoS
interface: idle CPUs poll). HTTP p50 at 1,000/s went from 162 … 288 to 84 … 146 µs. A target
that can hold it while measuring should, and list it among its adaptations.

Under load
----------
Two commands at once, client node to server node: iperf3 with one stream, and fortio's TCP echo,
which starts once the transfer has and must end before it. The echo's percentiles are what another
connection's requests feel while the path is busy.

The same transfer gives the published study's own figure, for comparison: iperf3's ``mean_rtt``,
which is the mean of the kernel's smoothed round-trip time of the bulk stream itself, read once per
report interval (one second in the study). It says how long the stream's own data queues, grows
with the socket buffers, and has no percentiles; the study printed it as p50 and as p99.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.metrics import BULK_MEAN_RTT, Metric, latency_metrics, share_metric
from bench.plan import Plan
from bench.probes.base import Bench, CommandProbe, Invocation, Reading, SampleError
from bench.probes.fortio import fortio_argv, load_of, load_reading
from bench.probes.iperf import BITS_PER_GBIT, TcpReport, iperf_argv, parse_tcp
from bench.session import CommandResult, Targets
from bench.text import ParseError, latency
from bench.workloads import ECHO_PORT

_GROUP = "Latency without load"
_PERCENTILES = (50.0, 99.0, 99.9)
_RESOLUTION_US = 1.0
LOAD_MODEL = "closed loop, one request outstanding: the next one leaves when the answer is there"

METRICS = (
    *latency_metrics(
        "fortio_rtt", "TCP request and answer, pod to pod", _GROUP, LOAD_MODEL, _PERCENTILES
    ),
    share_metric("fortio_rtt_errors", _GROUP, "requests that failed"),
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
        name="fortio_rtt",
        role="fortio-client",
        seconds=plan.latency_seconds,
        metrics=METRICS,
        argv=lambda targets: echo_argv(targets, plan.latency_seconds),
        parse=_read_rtt,
        describe=_describe_rtt,
    )


def _read_rtt(result: CommandResult) -> Reading:
    load = load_of(result)
    return load_reading("fortio_rtt", load, load.latency, _PERCENTILES)


def _describe_rtt(values: Mapping[str, float]) -> str:
    return f"p50 {latency(values['fortio_rtt_p50'])}, p99 {latency(values['fortio_rtt_p99'])}"


_LOADED_GROUP = "Latency under load"
_PREFIX = "loaded_rtt"
LEAD_SECONDS = 0.4
"""How long the transfer runs before the first round trip: past its slow start."""
_REPORTS = 10
"""At least so many readings of the kernel's round-trip time."""
_LONGEST_INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class LoadedProbe:
    """Round trips of ``echo_seconds`` within a transfer of ``seconds``."""

    echo_seconds: int
    seconds: int
    name: str = "loaded_rtt"
    metrics: tuple[Metric, ...] = (
        *latency_metrics(
            _PREFIX,
            "TCP request and answer, pod to pod, during a one-stream bulk transfer",
            _LOADED_GROUP,
            LOAD_MODEL,
            _PERCENTILES,
        ),
        share_metric(
            f"{_PREFIX}_errors", _LOADED_GROUP, "requests that failed during the transfer"
        ),
        BULK_MEAN_RTT,
    )

    def invocation(self, targets: Targets) -> Invocation:
        """The round trips' command; the transfer's is among the facts of a reading."""
        return Invocation("fortio-client", echo_argv(targets, self.echo_seconds))

    def _transfer(self, targets: Targets) -> Invocation:
        interval = min(_LONGEST_INTERVAL, self.seconds / _REPORTS)
        return Invocation(
            "iperf3-client", iperf_argv(targets, self.seconds, "-P", "1", interval=interval)
        )

    def measure(self, bench: Bench) -> Reading:
        transfer = self._transfer(bench.targets)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(bench.run, transfer, self.seconds)
            bench.clock.sleep(LEAD_SECONDS)
            echo = bench.run(self.invocation(bench.targets), self.echo_seconds)
            bulk = running.result()
        reading = _read_loaded(echo, bulk, " ".join(transfer.full()))
        if LEAD_SECONDS + echo.seconds > self.seconds:
            raise SampleError(
                f"the round trips took {echo.seconds:.1f} s and may have outlasted the transfer"
            )
        return reading

    def summary(self, reading: Reading) -> str:
        values = reading.values
        return (
            f"p50 {latency(values[f'{_PREFIX}_p50'])}, p99 {latency(values[f'{_PREFIX}_p99'])}, "
            f"the stream's own mean {latency(values[BULK_MEAN_RTT.name])}"
        )


def _read_loaded(echo: CommandResult, bulk: CommandResult, transfer: str) -> Reading:
    try:
        load = load_of(echo)
        report = parse_tcp(bulk.stdout, bulk.stderr)
    except ParseError as error:
        raise SampleError(str(error)) from error
    reading = load_reading(_PREFIX, load, load.latency, _PERCENTILES)
    facts = {
        **reading.facts,
        "transfer": transfer,
        "transfer_gbps": round(report.end.sum_received.bits_per_second / BITS_PER_GBIT, 2),
    }
    values = {**reading.values, BULK_MEAN_RTT.name: _mean_rtt(report)}
    return Reading(values, warnings=reading.warnings, notes=reading.notes, facts=facts)


def _mean_rtt(report: TcpReport) -> float:
    told = [stream.sender.mean_rtt for stream in report.end.streams if stream.sender.mean_rtt]
    if not told:
        raise SampleError("iperf3: its report has no round-trip time on this system")
    return float(told[0])


def loaded_probe(plan: Plan) -> LoadedProbe:
    """The probe of a plan: its transfer is as long as the study's where the plan is the study's,
    and outlasts the round trips by a second or more."""
    transfer = max(2, plan.latency_seconds)
    return LoadedProbe(transfer - max(1, transfer // 5), transfer)
