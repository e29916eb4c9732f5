"""A delay that nobody knows of, and what it costs, by turns and by the tools that everybody uses.

Rules of a firewall that match nothing lie before a server's socket. Every packet has to pass them,
so the path is longer, by kernel code that the program that measures knows nothing of. What a rule
costs is not assumed but seen: by fortio, dig and iperf3, with many rules and with none in
alternation, and by them alone where turns are to be judged.

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
from bench.session import SessionError
from bench.workloads import DNS_SERVICE, TURNS_ECHO_PORT
from studies.validate.testbed import Faults, MissingSampleError

RULES = 1_000
"""Enough for a delay that a few short runs see well."""
_SECONDS = 0.3
_CONNECTIONS = 300
_QUERIES = 60
_BYTES = 1 << 30
_MIB_BITS = 8 * (1 << 20)
_TIMEOUT = 30.0

Measure = Callable[[], float]
"""Takes a look, and tells µs per operation."""


@dataclass(frozen=True, slots=True)
class Path:
    """One operation, by turns (its metric ``metric``) and by a tool.

    ``servers`` are the pods before whose sockets the rules lie, by their role. ``tool`` takes the
    bench to the command (where, what) and ``read`` its output to µs per operation.
    """

    kind: str
    metric: str
    tool: str
    servers: tuple[str, ...]
    client: str
    argv: Callable[[Bench], Sequence[str]]
    read: Callable[[str], float]
    per: str = "operation"

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
            done = bench.session.run(pod, self.argv(bench), timeout=_TIMEOUT)
            return self.read(done.stdout)
        except (SessionError, ValueError, LookupError, statistics.StatisticsError) as error:
            raise MissingSampleError(f"{self.tool} for {self.metric}: {error}") from None

    def microseconds(self, value: float) -> float:
        """A value of the metric in µs per operation."""
        return per_mib(value) if self.metric == "tcp_throughput" else value


def per_mib(gbit_per_second: float) -> float:
    """µs for a MiB at a rate."""
    return _MIB_BITS / (1e3 * gbit_per_second)


def _fortio(
    url: Callable[[Bench], str], *options: str, count: int | None = None
) -> Callable[[Bench], Sequence[str]]:
    seconds = _SECONDS if count is None else None

    def argv(bench: Bench) -> Sequence[str]:
        return fortio_argv(
            url(bench), *options, seconds=seconds, count=count, connections=1, rate=None,
            resolution_us=1.0,
        )  # fmt: skip

    return argv


def _fortio_p50(histogram: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        percentiles = json.loads(text)[histogram]["Percentiles"]
        return float(next(1e6 * p["Value"] for p in percentiles if p["Percentile"] == 50))

    return read


def _dig(bench: Bench) -> Sequence[str]:
    dns = bench.targets.dns
    return (
        "dig", f"@{dns.host}", "-p", str(dns.port), "-u", "+tries=1", "+time=1", "+noall",
        "+stats", *[bench.targets.dns_name] * _QUERIES,
    )  # fmt: skip


def _dig_p50(text: str) -> float:
    return statistics.median(map(int, re.findall(r"^;; Query time: (\d+) usec", text, re.M)))


def _iperf3_mib(text: str) -> float:
    return per_mib(json.loads(text)["end"]["sum_received"]["bits_per_second"] / 1e9)


def _url(bench: Bench) -> str:
    return service_url(bench.targets)


PATHS: tuple[Path, ...] = (
    Path(
        "rtt", "rtt_p50", "fortio", (SERVER,), "fortio-client",
        _fortio(lambda bench: f"tcp://{bench.targets.one(SERVER).ip}:{TURNS_ECHO_PORT}"),
        _fortio_p50("DurationHistogram"),
    ),
    Path(
        "connect", "connect_p50", "fortio, a connection per request", ("httpbin",),
        "fortio-client", _fortio(_url, "-keepalive=false", count=_CONNECTIONS),
        _fortio_p50("ConnectionStats"),
    ),
    Path(
        "http", "http_p50", "fortio, one connection", ("httpbin",), "fortio-client",
        _fortio(_url), _fortio_p50("DurationHistogram"),
    ),
    Path("dns", "dns_p50", "dig", (DNS_SERVICE,), "dns-client", _dig, _dig_p50),
    Path(
        "transfer", "tcp_throughput", "iperf3, one stream", (SERVER, "iperf3-server"), CLIENT,
        lambda bench: iperf_argv(bench.targets, None, "-P", "1", "-n", str(_BYTES)),
        _iperf3_mib, "MiB",
    ),
)  # fmt: skip
"""In the order of the primary metrics."""


def path_of(metric: str) -> Path:
    """The path that a metric is of."""
    return next(each for each in PATHS if each.metric == metric)


@dataclass(slots=True)
class Alternation:
    """One way to measure, without the rules and with them, pair by pair, in µs."""

    off: list[float]
    on: list[float]

    def delays(self) -> list[float]:
        """What the rules added, pair by pair."""
        return [on - off for off, on in zip(self.off, self.on, strict=True)]

    def delay(self) -> float:
        """What they added."""
        return statistics.median(self.delays())


Enough = Callable[[Mapping[str, Alternation]], bool]


def alternate(
    measures: Mapping[str, Measure], faults: Faults, path: Path, rules: int, enough: Enough
) -> dict[str, Alternation]:
    """Measure with the rules and without, in either order, until it is ``enough``."""
    found = {name: Alternation([], []) for name in measures}
    pairs = 0
    while not enough(found):
        for on in (False, True) if pairs % 2 else (True, False):
            with faults.useless_rules(path.servers, rules if on else 0):
                for name, measure in measures.items():
                    column = found[name].on if on else found[name].off
                    column.append(measure())
        pairs += 1
    return found


def cost_of_a_rule(bench: Bench, faults: Faults, path: Path, pairs: int) -> float:
    """What a rule adds to an operation, in µs, as the tool sees it.

    :raises MissingSampleError: the tool gives no number, or sees nothing of the rules.
    """
    measures = {"tool": lambda: path.by_tool(bench)}
    found = alternate(measures, faults, path, RULES, lambda seen: len(seen["tool"].on) >= pairs)
    cost = found["tool"].delay() / RULES
    if cost <= 0:
        raise MissingSampleError(f"{path.tool} sees no delay by {RULES} rules")
    return cost
