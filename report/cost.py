"""What requests cost: the nodes' CPU time for a million of them, in money.

``cpu_per_request`` is the CPU time of all nodes, kernel included, for one request over a kept
connection. A node's price is for all of its vCPUs, so a CPU second costs a share of it. Money is
told as a difference by the effect, with its interval: what a workload itself takes is the same
everywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bench.compare import MetricComparison
from report.sidebyside import SideBySide

METRIC: Final = "cpu_per_request"
MILLION: Final = 1_000_000
RATE: Final = 10_000
"""Requests/s of the month that is told, some 26 thousand million of them."""
_MONTH_SECONDS = 730 * 3_600  # as AWS's own calculator counts


@dataclass(frozen=True, slots=True)
class NodePrice:
    """US dollars an hour, on demand and without tax; ``source`` says where that was read."""

    instance_type: str
    vcpus: int
    usd_hour: float
    source: str

    def usd(self, cpu_seconds: float) -> float:
        """Of CPU time."""
        return cpu_seconds * self.usd_hour / self.vcpus / 3_600


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds for a million requests: the baseline's median, or how much more others take.

    ``low`` and ``high`` are the interval's ends.
    """

    scenario: str
    seconds: float
    low: float
    high: float
    against: MetricComparison | None = None


def spent(side: SideBySide) -> Iterator[Spent]:
    """The baseline's, then the differences of those that took turns with it."""
    result = side.baseline.results.metrics.get(METRIC)
    if result is None:
        return
    # CPU µs of one request are CPU seconds of a million.
    yield Spent(side.baseline.name, result.median, *result.ci)
    for comparison in side.comparisons:
        metric = comparison.metrics.get(METRIC)
        if metric and comparison.interleaved and (more := metric.effect.absolute):
            yield Spent(comparison.labels[1], more.value, more.low, more.high, metric)


def month(usd_of_a_million: float) -> float:
    """Of a month at :data:`RATE` requests/s."""
    return usd_of_a_million * RATE * _MONTH_SECONDS / MILLION
