"""Known truth: what is imposed on the path is what the probes must measure.

Rates and losses are the kernel's own (a token bucket, a random match with counters), the delay is
the HTTP server's. Nothing is calibrated: each expectation follows from the imposition alone, by
the arithmetic of :mod:`studies.validate.testbed`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from bench.interleave import Side, abba, interleave
from bench.plan import Plan
from bench.probes.base import Bench, Probe, Reading
from bench.probes.http import REQUEST_PATH
from bench.stats import summarise
from bench.text import number
from studies.validate.model import Check, Deviation
from studies.validate.testbed import (
    DELAY_SECONDS,
    SLOW_PATH,
    Faults,
    Link,
    LossCount,
    MissingSampleError,
    Progress,
    at_path,
    probe_named,
    samples_of,
    say_rounds,
    slow_server,
    take,
)

TCP_RATES = (1_000_000_000,)
"""Bits/s on the wire, well below what two cores carry, so that nothing else is the limit."""
UDP_RATES = (100_000_000,)
"""Lower: a datagram that comes while the receiver has to wait for a CPU is lost, not late."""
RATE_PERCENT = 3.0
LOSSES = (0.01,)
COUNT_PERCENT = 2.0
DELAY_PERCENT = 2.0

_OVERLOAD = 1.25
_LOSS_BITRATE = "200M"
_RUNS = 3
_SECONDS = 1
_HTTP_RATE = 200
_DEVIATIONS = 3.29
"""Standard deviations that a binomial share exceeds once in a thousand times."""

Judged = tuple[Check, Deviation]


def deviation(
    name: str, truth: float, samples: Sequence[float], unit: str, limit: float, because: str
) -> Judged:
    """Whether the median of samples lies within ``limit`` % of the truth; ``because`` explains it.

    :raises ValueError: no samples.
    """
    made = Deviation(name=name, unit=unit, truth=truth, samples=list(samples), limit=limit)
    errors = summarise(made.errors())
    check = Check(
        part="Known truth",
        name=name,
        expectation=f"{number(truth, 4)} {unit} within {limit:g} %: {because}",
        measured=f"{number(summarise(samples).median, 4)} {unit} ({errors.median:+.2f} %)",
        interval=f"{errors.low:+.2f} to {errors.high:+.2f} % ({100 * errors.level:.0f} %, "
        f"{errors.n} runs)",
        passed=abs(errors.median) <= limit,
    )
    return check, made


@dataclass(frozen=True, slots=True)
class TruthChecks:
    """The checks on one lab; ``plan`` gives the probes' parameters but for what is imposed."""

    bench: Bench
    faults: Faults
    link: Link
    plan: Plan
    say: Progress

    def all(self) -> Iterator[tuple[str, Callable[[], list[Judged]]]]:
        """The checks with their names, each to be made by itself."""
        for rate in TCP_RATES:
            yield f"TCP through {rate / 1e6:g} Mbit/s", partial(self.tcp_rate, rate)
        for rate in UDP_RATES:
            yield f"UDP through {rate / 1e6:g} Mbit/s", partial(self.udp_rate, rate)
        for probability in LOSSES:
            yield f"UDP loss of {100 * probability:g} %", partial(self.loss, probability)
        yield "HTTP with a slow server", self.server_delay

    def tcp_rate(self, rate: int) -> list[Judged]:
        """TCP throughput through a token bucket of ``rate`` bits/s."""
        readings = self._limited(rate, probe_named("tcp", self._short))
        samples = [reading.values["tcp_streams_throughput"] for reading in readings]
        return [_through("TCP", rate, self.link.tcp_share(), samples)]

    def udp_rate(self, rate: int) -> list[Judged]:
        """UDP goodput through a token bucket of ``rate`` bits/s, offered a quarter more."""
        offered = math.ceil(_OVERLOAD * rate)
        probe = probe_named("udp", replace(self._short, udp_bitrate=str(offered)))
        readings = self._limited(rate, probe)
        datagram = int(readings[0].facts["datagram_bytes"])
        samples = [reading.values["udp_goodput"] for reading in readings]
        share, size = self.link.udp_share(datagram), f", datagrams of {datagram} bytes"
        return [_through("UDP", rate, share, samples, size)]

    def loss(self, probability: float) -> list[Judged]:
        """UDP loss where the kernel drops every datagram with this probability."""
        probe = probe_named("udp", replace(self._short, udp_bitrate=_LOSS_BITRATE))
        samples: list[float] = []
        with self.faults.udp_loss(probability) as counts:
            total = LossCount()
            for _ in range(_RUNS):
                # Run by run: what an attempt without a sample sent is not in the samples either.
                before = counts()
                samples.append(self._read(probe).values["udp_loss"])
                total += counts() - before
        return judge_loss(probability, total, samples)

    def server_delay(self) -> list[Judged]:
        """HTTP p50 where the server waits 10 ms before it answers, by its own clock."""
        name = f"http_{_HTTP_RATE}"
        plan = replace(self._short, runs=_RUNS, http_rates=(_HTTP_RATE,))
        with slow_server(self.bench) as (bench, delays):
            slow = replace(bench, session=at_path(bench.session, REQUEST_PATH, SLOW_PATH))
            probes = (probe_named(name, plan),)
            sides = [Side("at once", bench, probes), Side("delayed", slow, probes)]
            order = abba([side.label for side in sides], plan.runs)
            results = interleave(sides, plan, order, watch=say_rounds(self.say))
        at_once, late = samples_of(results, f"{name}_p50")
        delay = summarise(delays()).median
        judged = deviation(
            f"HTTP p50 with a server's delay of {1e3 * DELAY_SECONDS:g} ms",
            at_once.median + delay,
            late.samples,
            "µs",
            DELAY_PERCENT,
            f"{number(delay, 5)} µs by the server's own clock, and {number(at_once.median)} µs "
            "without the delay (in the same rounds)",
        )
        return [judged]

    def _limited(self, rate: int, probe: Probe) -> list[Reading]:
        with self.faults.rate_limit(rate):
            return [self._read(probe) for _ in range(_RUNS)]

    @property
    def _short(self) -> Plan:
        return replace(self.plan, bulk_seconds=_SECONDS, http_seconds=_SECONDS)

    def _read(self, probe: Probe) -> Reading:
        reading = take(probe, self.bench, self.plan)
        self.say(f"{probe.name}: {probe.summary(reading)}")
        return reading


def _through(
    protocol: str, rate: int, share: float, samples: Sequence[float], remark: str = ""
) -> Judged:
    """Throughput in Gbit/s through a limit of ``rate`` bits/s, of which ``share`` is payload."""
    return deviation(
        f"{protocol} through a limit of {rate / 1e6:g} Mbit/s",
        rate * share / 1e9,
        samples,
        "Gbit/s",
        RATE_PERCENT,
        f"{100 * share:.2f} % of each frame is payload{remark}",
    )


def judge_loss(probability: float, total: LossCount, samples: Sequence[float]) -> list[Judged]:
    """Whether loss in % is what chance makes of the probability, and what the kernel counted.

    :raises MissingSampleError: the kernel dropped nothing, so that there is no truth.
    """
    name = f"UDP loss of {100 * probability:g} %"
    if not total.dropped:
        raise MissingSampleError(f"the kernel dropped none of {total.seen} datagrams")
    # The mean, not the median: the kernel's counts are of all runs together.
    mean = sum(samples) / len(samples)
    overflowed = 100 * total.overflowed / total.seen
    chance = 100 * math.sqrt(probability * (1 - probability) / total.seen) * _DEVIATIONS
    imposed = [value - overflowed for value in samples]
    summary = summarise(imposed)
    by_chance = Check(
        part="Known truth",
        name=name,
        expectation=f"{100 * probability:g} ± {chance:.2f} % "
        f"(binomial, 99.9 %, {total.seen:,} datagrams)",
        measured=f"{mean - overflowed:.2f} % (mean of {len(samples)} runs)",
        interval=f"{summary.low:.2f} to {summary.high:.2f} % ({100 * summary.level:.0f} %)",
        passed=abs(mean - overflowed - 100 * probability) <= chance,
        remarks=[
            f"{overflowed:.2f} % more were lost to a full socket buffer, by the kernel's count"
        ],
    )
    against_chance = Deviation(
        name=name, unit="%", truth=100 * probability, samples=imposed, limit=chance / probability
    )
    lost = total.dropped + total.overflowed
    by_count, counted = deviation(
        f"{name}, as the kernel counted it",
        100 * lost / total.seen,
        [mean],
        "%",
        COUNT_PERCENT,
        f"{lost} of {total.seen} datagrams dropped",
    )
    return [
        (by_chance, against_chance),
        (by_count.model_copy(update={"interval": "exact: the same datagrams"}), counted),
    ]
