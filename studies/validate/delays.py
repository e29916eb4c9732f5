"""A delay that nobody knows of, and what turns and the tools that everybody uses see of it.

Each packet to a server is held for so many ns (:meth:`studies.validate.testbed.Faults.delay`), by
code that the program that measures knows nothing of. What that adds to an operation is arithmetic:
the ns times the packets that come to the server while it is timed. "Without" is the same code
with 0 ns, so that what it needs for itself is on both sides.

The work that a server has after its answer can hide a part of a delay: it goes on while the next
packet is held. So tools leave pauses between operations, as turns do.

All is told in µs per operation (of a transfer: per MiB), as a delay adds to that, whatever the
generator needs for itself.
"""

import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.probes.base import Bench, BoundReachedError, SampleError
from bench.probes.fortio import fortio_argv
from bench.probes.http import service_url
from bench.probes.iperf import iperf_argv
from bench.probes.turns import CLIENT, SERVER, in_turns
from bench.session import SessionError, Targets
from bench.workloads import DNS_SERVICE, TURNS_ECHO_PORT
from studies.validate.testbed import Faults, MissingSampleError, Passed

_SECONDS = 0.3
_RATE = 1_000
_CONNECTIONS = 120
_CONNECTIONS_RATE = 400
_QUERIES = 200
_BYTES = 1 << 30
_MIB_BITS = 8 * (1 << 20)
_TIMEOUT = 30.0

Measure = Callable[[], float]
"""Takes a look, and tells µs per operation."""


@dataclass(frozen=True, slots=True)
class Path:
    """One operation, by turns (its metric ``metric``) and by a tool.

    ``servers`` are the pods to which packets are held, by their role. ``argv`` takes the targets
    to the tool's command, ``client`` is where it runs, and ``read`` takes its output to µs per
    operation. ``packets`` are about those that come to the server in an operation.
    """

    kind: str
    metric: str
    tool: str
    servers: tuple[str, ...]
    client: str
    argv: Callable[[Targets], Sequence[str]]
    read: Callable[[str], float]
    per: str = "operation"
    packets: float = 1.0

    def by_turns(self, bench: Bench) -> float:
        """As the benchmark measures it, of this side alone.

        :raises MissingSampleError: no number.
        """
        try:
            values = in_turns(self.kind, _SECONDS).measure(bench).values
        except (SampleError, BoundReachedError) as error:
            raise MissingSampleError(f"{self.kind}: {error}") from None
        return self.microseconds(values[self.metric])

    def by_tool(self, bench: Bench) -> float:
        """As the tool measures it.

        :raises MissingSampleError: it gave no number.
        """
        pod = bench.targets.one(self.client)
        try:
            done = bench.session.run(pod, self.argv(bench.targets), timeout=_TIMEOUT)
            return self.read(done.stdout)
        except (SessionError, ValueError, LookupError, statistics.StatisticsError) as error:
            raise MissingSampleError(f"{self.tool} for {self.metric}: {error}") from None

    def microseconds(self, value: float) -> float:
        """A value of the metric in µs per operation."""
        return per_mib(value) if self.metric == "tcp_throughput" else value

    def packets_of(self, passed: Passed) -> float:
        """Those of an operation, where they depend on the kernel as it counted them."""
        return passed.packets * (1 << 20) / passed.bytes if self.per == "MiB" else self.packets


def per_mib(gbit_per_second: float) -> float:
    """µs for a MiB at a rate."""
    return _MIB_BITS / (1e3 * gbit_per_second)


def _fortio(
    url: Callable[[Targets], str], *options: str, count: int | None = None, rate: int = _RATE
) -> Callable[[Targets], Sequence[str]]:
    seconds = _SECONDS if count is None else None

    def argv(targets: Targets) -> Sequence[str]:
        return fortio_argv(
            url(targets), *options, seconds=seconds, count=count, connections=1, rate=rate,
            resolution_us=1.0,
        )  # fmt: skip

    return argv


def _fortio_p50(histogram: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        percentiles = json.loads(text)[histogram]["Percentiles"]
        return float(next(1e6 * p["Value"] for p in percentiles if p["Percentile"] == 50))

    return read


def _dnsperf(targets: Targets) -> Sequence[str]:
    dns = targets.dns
    one_by_one = (
        f"dnsperf -s {dns.host} -p {dns.port} -c 1 -T 1 -q 1 -Q {_RATE} -v"  # -v tells each latency
    )
    ask = f"yes '{targets.dns_name} A' | head -n {_QUERIES} | {one_by_one}"
    return ("sh", "-c", ask)


def _dnsperf_p50(text: str) -> float:
    answered = re.findall(r"^> NOERROR \S+ A (\S+)$", text, re.M)
    return 1e6 * statistics.median(map(float, answered))


def _iperf3_mib(text: str) -> float:
    return per_mib(json.loads(text)["end"]["sum_received"]["bits_per_second"] / 1e9)


PATHS: tuple[Path, ...] = (
    Path(
        "rtt", "rtt_p50", "fortio", (SERVER,), "fortio-client",
        _fortio(lambda targets: f"tcp://{targets.one(SERVER).ip}:{TURNS_ECHO_PORT}"),
        _fortio_p50("DurationHistogram"),
    ),
    Path(
        "connect", "connect_p50", "fortio, a connection per request", ("httpbin",),
        "fortio-client",
        _fortio(service_url, "-keepalive=false", count=_CONNECTIONS, rate=_CONNECTIONS_RATE),
        _fortio_p50("ConnectionStats"),
    ),
    Path(
        "http", "http_p50", "fortio, one connection", ("httpbin",), "fortio-client",
        _fortio(service_url), _fortio_p50("DurationHistogram"),
    ),
    Path(
        "dns", "dns_p50", "dnsperf", (DNS_SERVICE,), "dnsperf-client", _dnsperf, _dnsperf_p50
    ),
    Path(
        "transfer", "tcp_throughput", "iperf3, one stream", (SERVER, "iperf3-server"), CLIENT,
        lambda targets: iperf_argv(targets, None, "-P", "1", "-n", str(_BYTES)),
        _iperf3_mib, "MiB", 24.0,
    ),
)  # fmt: skip
"""In the order of the primary metrics."""


def path_of(metric: str) -> Path:
    """The path that a metric is of."""
    return next(each for each in PATHS if each.metric == metric)


@dataclass(slots=True)
class Alternation:
    """One way to measure, without the delay and with it, pair by pair, in µs."""

    off: list[float]
    on: list[float]

    def delays(self) -> list[float]:
        """What it added, pair by pair."""
        return [on - off for off, on in zip(self.off, self.on, strict=True)]

    def delay(self) -> float:
        """What it added."""
        return statistics.median(self.delays())


Enough = Callable[[Mapping[str, Alternation]], bool]


def alternate(
    measures: Mapping[str, Measure], faults: Faults, path: Path, nanoseconds: int, enough: Enough
) -> dict[str, Alternation]:
    """Measure with the delay and without, in either order, until it is ``enough``."""
    found = {name: Alternation([], []) for name in measures}
    pairs = 0
    while not enough(found):
        for on in (False, True) if pairs % 2 else (True, False):
            with faults.delay(path.servers, nanoseconds if on else 0):
                for name, measure in measures.items():
                    column = found[name].on if on else found[name].off
                    column.append(measure())
        pairs += 1
    return found
