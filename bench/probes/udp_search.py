"""The highest UDP rate with loss below a limit, found by search; its goodput is the metric.

At a fixed offered rate a sender that is faster than the path loses most, so goodput there says
little (RFC 2544, section 26.1, defines throughput by the highest rate without loss; here a small
loss is allowed). Trials are iperf3 runs at different rates. The first offers the plan's full rate,
each next half of what was put out until a trial holds; then the search halves the gap
(geometrically) between the highest rate that held and the lowest that did not. A trial sends a
number of bytes, not for a time, since iperf3 knows whole seconds only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from bench.metrics import UDP_MAX_GOODPUT, Metric
from bench.parse import ParseError
from bench.parse.iperf import parse_udp
from bench.plan import Plan
from bench.probes.base import Bench, Invocation, Reading, SampleError
from bench.probes.iperf import BITS_PER_GBIT, iperf_argv
from bench.targets import Targets
from bench.text import number

CLOSE_ENOUGH = 1.03
"""The search ends when what failed is at most 3 % above what held."""
LOWEST_SHARE = 0.002
_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: rates in bit/s, as offered (asked for), put out by the sender, and received."""

    offered: float
    sent: float
    received: float
    loss_percent: float

    def __str__(self) -> str:
        return f"{self.offered / BITS_PER_GBIT:.2f} Gbit/s: {number(self.loss_percent)} % lost"


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found: the best trial that held, if any, and all trials in their order."""

    best: Trial | None
    trials: tuple[Trial, ...]

    @property
    def unlimited(self) -> bool:
        """The very first, highest rate held: the path's limit was not reached."""
        return self.best is not None and len(self.trials) == 1


def search(run: Callable[[float], Trial], highest: float, limit: float, most: int) -> Found:
    """Search the highest rate whose loss is within ``limit`` %.

    :param run: makes a trial at a rate in bit/s.
    :param highest: the rate to begin with, in bit/s.
    :param most: how many trials are made at most, once one has held; until then rates fall to
        :data:`LOWEST_SHARE` of the highest.
    """
    trials: list[Trial] = []
    best: Trial | None = None
    failed = math.inf
    rate = highest
    while rate >= LOWEST_SHARE * highest and (best is None or len(trials) < most):
        trial = run(rate)
        trials.append(trial)
        if trial.loss_percent > limit:
            # What was put out, which may be less than what was asked for.
            failed = min(rate, trial.sent)
        elif best is None or trial.received > best.received:
            best = trial
        if best is None:
            rate = failed / 2
        elif failed <= CLOSE_ENOUGH * best.sent or math.isinf(failed):
            break
        else:
            rate = math.sqrt(best.sent * failed)
    return Found(best, tuple(trials))


@dataclass(frozen=True, slots=True)
class UdpSearchProbe:
    """The search as a probe."""

    highest: float
    limit_percent: float
    trials: int
    trial_seconds: float
    name: str = "udp_search"
    metrics: tuple[Metric, ...] = (UDP_MAX_GOODPUT,)

    @property
    def seconds(self) -> float:
        """All trials."""
        return self.trials * self.trial_seconds

    def invocation(self, targets: Targets) -> Invocation:
        """The first trial's; the others differ in rate and bytes, see the facts of a reading."""
        return self._trial(targets, self.highest)

    def _trial(self, targets: Targets, rate: float) -> Invocation:
        sent = round(rate * self.trial_seconds / 8)
        options = ("-u", "-b", str(round(rate)), "-n", str(sent))
        return Invocation("iperf3-client", iperf_argv(targets, None, *options))

    def measure(self, bench: Bench) -> Reading:
        """See :class:`bench.probes.base.Probe`. A trial that fails is made once more, so that one
        lost command does not cost the whole search."""
        failures: list[str] = []

        def run(rate: float) -> Trial:
            try:
                return self._run(bench, rate)
            except SampleError as error:
                failures.append(str(error))
                return self._run(bench, rate)

        found = search(run, self.highest, self.limit_percent, self.trials)
        listed = "; ".join(map(str, found.trials))
        if found.best is None:
            raise SampleError(f"no rate with at most {self.limit_percent:g} % loss ({listed})")
        note = {UDP_MAX_GOODPUT.name: "no loss at the highest rate tried: a lower bound"}
        return Reading(
            values={UDP_MAX_GOODPUT.name: found.best.received / BITS_PER_GBIT},
            notes=note if found.unlimited else {},
            facts={"trials": listed, "loss_percent": found.best.loss_percent},
            failures=tuple(failures),
        )

    def _run(self, bench: Bench, rate: float) -> Trial:
        result = bench.run(self._trial(bench.targets, rate), self.trial_seconds)
        try:
            report = parse_udp(result.stdout, result.stderr)
        except ParseError as error:
            raise SampleError(str(error)) from error
        sent, received = report.end.sum_sent, report.end.sum_received
        return Trial(rate, sent.bits_per_second, received.bits_per_second, received.lost_percent)

    def summary(self, reading: Reading) -> str:
        """See :class:`bench.probes.base.Probe`."""
        goodput = number(reading.values[UDP_MAX_GOODPUT.name])
        return f"{goodput} Gbit/s with at most {self.limit_percent:g} % lost"


def udp_search_probe(plan: Plan) -> UdpSearchProbe:
    """The search of a plan, from its fixed offered rate downwards."""
    return UdpSearchProbe(
        bits_per_second(plan.udp_bitrate),
        plan.udp_loss_limit_percent,
        plan.udp_search_trials,
        plan.udp_search_seconds,
    )


def bits_per_second(bitrate: str) -> float:
    """iperf3's notation of a rate, such as ``10G``, ``500M`` or plain bit/s.

    :raises ValueError: it is none.
    """
    factor = _UNITS.get(bitrate[-1:].upper())
    return float(bitrate) if factor is None else float(bitrate[:-1]) * factor
