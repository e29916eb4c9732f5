"""Tails under load: HTTP requests on a fixed schedule, at shares of what the path can carry.

Each side's capacity is measured first: all connections in a closed loop, as fast as answers come,
with the request log that the points need as well (it takes the generator 15 to 36 % of the rate
that it reaches without). At a point requests are due at fixed times, whatever the answers do, and
latency counts from when a request was due if its connection was still busy then; percentiles are of
single requests, not of a histogram (:mod:`bench.probes.fortio`). The first ones of every run are
not counted.

A generator that wants for CPU is late itself: a request leaves late although its connection is
free, and misses the queue that it was to measure, or holds up the next ones, which have not waited
for the network then. What a punctual one would have seen lies between two bounds
(:class:`bench.probes.fortio.OnSchedule`). Where these are further apart than :data:`TOLERANCE` in
p99 or p99.9, the sample is void, and its reason is in the results.

Sides take turns at every point, in an order by chance in every round.
"""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from bench.interleave import Progress, Side, Step, Watch, interleave, prepare, shuffled
from bench.metrics import Metric, latency_metrics, percentile_suffix, rate_metric, share_metric
from bench.plan import Plan, plan_for
from bench.probes.base import CommandProbe, Reading, SampleError
from bench.probes.fortio import Load, Schedule, fortio_argv, load_of, load_reading
from bench.probes.http import service_url
from bench.results import MetricResult, Results
from bench.session import Clock, CommandResult, Session
from bench.stats import percentile, summarise
from bench.text import latency, minutes, number
from studies.experiments.definition import Definition, Extent, ExtentError
from studies.experiments.model import (
    Axis,
    Experiment,
    Findings,
    RateWithin,
    Series,
    point,
    recorded,
)

SWEEP = Definition(
    name="sweep",
    question="How long do the slowest requests take as the load grows, and what load is carried "
    "within a bound?",
    axis="share of the capacity",
    unit="%",
    needs=(),
    # A run lasts as long as its requests take.
    usual=Extent(points=(10, 30, 50, 70, 90), rounds=5, seconds=0),
    lowest=1,
    highest=100,
)
REQUESTS = 100_000
"""A point's, in all rounds: a hundred of them are slower than p99.9."""
BOUND_MS = 5.0
TOLERANCE = 1.25
"""By how much the bounds of a percentile may differ by the generator's own lateness."""
BOUNDED = "sweep_p99"
CAPACITY = "sweep_capacity"
_LEAST_REQUESTS = 1_000
_MOST_REQUESTS = 10_000_000
_CAPACITY_ROUNDS = 3
_ATTEMPTS = 2
_PREFIX = "sweep"
_PERCENTILES = (50.0, 99.0, 99.9)
_DECIDING = (99.0, 99.9)
_GROUP = "HTTP under load"
_WARM_SECONDS = 0.25
_LEAST_DROPPED = 2
"""Calls of each connection, or those of so many seconds, that are not counted at the beginning."""
_LEAST_RATE = 2_000
"""Requests/s that can be counted on, for the planned length of a run at full speed."""
_AROUND_SECONDS = _WARM_SECONDS + 1.5
"""What a sample takes beside its requests: its log is read, machines are asked."""


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """How much is swept: shares of the capacity in %, and at each so many requests in all rounds.

    ``bound`` is the p99 in µs within which the load is to be carried.
    """

    points: tuple[int, ...]
    rounds: int
    requests: int
    bound: float
    connections: int

    @classmethod
    def of(
        cls,
        points: Sequence[str | int] = (),
        *,
        rounds: int | None = None,
        requests: int = REQUESTS,
        bound_ms: float = BOUND_MS,
    ) -> "SweepPlan":
        """The usual sweep with a user's numbers in place of its own.

        :raises ExtentError: an impossible number.
        """
        extent = SWEEP.extent(points, rounds)
        least = extent.rounds * _LEAST_REQUESTS
        if not least <= requests <= _MOST_REQUESTS:
            raise ExtentError(
                f"requests must be from {least:,} ({_LEAST_REQUESTS:,} in each of {extent.rounds} "
                f"rounds) to {_MOST_REQUESTS:,} a point, not {requests:,}"
            )
        if not 0 < bound_ms < math.inf:
            raise ExtentError(f"the bound of p99 must be more than 0 ms, not {bound_ms:g}")
        return cls(
            points=tuple(sorted(int(each) for each in extent.points)),
            rounds=extent.rounds,
            requests=requests,
            bound=1e3 * bound_ms,
            connections=plan_for("quick").http_max_connections,
        )

    @property
    def calls(self) -> int:
        """Requests of each connection in one round, so that a point has as many as asked for."""
        return math.ceil(self.requests / self.rounds / self.connections)

    @property
    def per_round(self) -> int:
        """Requests of one sample."""
        return self.calls * self.connections

    def seconds(self, capacities: Mapping[str, float]) -> float:
        """What all points are expected to take, at these requests/s by side."""
        requests = sum(self.per_round / self.rate(share, capacity) + _AROUND_SECONDS
                       for share in self.points for capacity in capacities.values())  # fmt: skip
        return self.rounds * requests

    @staticmethod
    def rate(share: int, capacity: float) -> int:
        """A point's requests/s."""
        return max(1, round(share * capacity / 100))

    def remark(self) -> str:
        """What a reader of percentiles ought to know."""
        slowest = self.per_round / 1_000
        first = "" if self.requests >= REQUESTS else f"a first look ({REQUESTS:,} are usual): "
        return (
            f"{first}{self.requests:,} requests a point, in {self.rounds} rounds of "
            f"{self.per_round:,}: in each, p99.9 is that of the slowest {number(slowest, 2)}"
        )


def run_sweep(
    sessions: Mapping[str, Session],
    plan: SweepPlan,
    *,
    command: str,
    seed: int,
    allow: Sequence[str] = (),
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> dict[str, Experiment]:
    """Sweep the load on every session; an experiment of each, by the sessions' names.

    :param command: what makes it again, for the record.
    :param seed: of the order in which sides take turns.
    :param allow: preconditions that may fail, beside those of the quick profile.
    :raises PreconditionError: what would be measured is not what is meant; nothing was measured.
    :raises SessionError: a cluster cannot be asked.
    :raises PlanError: ``allow`` names no precondition.
    """
    say = progress or (lambda line: None)
    clock = clock or Clock()
    start = clock.monotonic()
    quick = plan_for("quick", runs=plan.rounds, allow=allow)
    measured = replace(quick, attempts=_ATTEMPTS)
    sides = {}
    for name, session in sessions.items():
        say(f"{name}: preparing")
        sides[name] = prepare(name, session, quick, clock=clock, deadline=math.inf, say=say)
    found = _capacities(sides, plan, measured, seed, say)
    capacities = {
        name: metric.median
        for name, results in found.items()
        if (metric := results.metrics.get(CAPACITY))
    }
    say(plan.remark())
    if capacities:
        say(f"{len(plan.points)} points a side: about {minutes(plan.seconds(capacities))}")
    results = _sweep(sides, capacities, plan, measured, seed, say)
    subjects = _subjects(sides)
    experiments = {}
    for name, side in sides.items():
        assert side.evidence is not None  # by prepare()
        experiments[name] = recorded(
            Axis(name=SWEEP.axis, unit=SWEEP.unit),
            _findings(name, subjects[name], found[name], results, plan),
            side.evidence,
            name=SWEEP.name,
            question=SWEEP.question,
            plan=_record(plan, seed, list(sides)),
            command=command,
            finished=clock.now(),
            seconds=clock.monotonic() - start,
        )
    return experiments


def _subjects(sides: Mapping[str, Side]) -> dict[str, str]:
    """What each side's series is called: its scenario's title, if no other has the same."""
    titles = {name: side.evidence and side.evidence.about.scenario.title
              for name, side in sides.items()}  # fmt: skip
    taken = list(titles.values())
    return {
        name: title if title and taken.count(title) == 1 else name for name, title in titles.items()
    }


def _capacities(
    sides: Mapping[str, Side], plan: SweepPlan, measured: Plan, seed: int, say: Progress
) -> dict[str, Results]:
    """What each side carries at full speed."""
    probe = capacity_probe(plan)
    return interleave(
        [replace(side, probes=(probe,)) for side in sides.values()],
        measured,
        shuffled(list(sides), _CAPACITY_ROUNDS, seed),
        watch=_watch(say),
    )


def _sweep(
    sides: Mapping[str, Side],
    capacities: Mapping[str, float],
    plan: SweepPlan,
    measured: Plan,
    seed: int,
    say: Progress,
) -> dict[str, Results]:
    """Results by side and point (:func:`_label`)."""
    if not capacities:
        return {}
    points = [
        replace(
            sides[name],
            label=_label(name, share),
            probes=(sweep_probe(share, plan.rate(share, capacity), plan),),
        )
        for share in random.Random(seed).sample(plan.points, len(plan.points))
        for name, capacity in capacities.items()
    ]
    order = shuffled([each.label for each in points], plan.rounds, seed)
    return interleave(points, measured, order, watch=_watch(say))


def _label(name: str, share: int) -> str:
    return f"{name}, {share} %"


def _watch(say: Progress) -> Watch:
    def watch(step: Step) -> None:
        if step.outcome is not None:
            say(
                f"[{step.done}/{step.total}, {minutes(step.seconds_left)} left] {step.label}, "
                f"round {step.round}: {step.said()}"
            )

    return watch


def _findings(
    name: str,
    subject: str,
    capacity: Results,
    results: Mapping[str, Results],
    plan: SweepPlan,
) -> Findings:
    reached = capacity.metrics.get(CAPACITY)
    if reached is None:
        reason = f"its capacity cannot be told: {capacity.errors[0].reason}"
        return Findings([Series(subject=subject, skipped=reason)])
    points, curve = [], []
    warnings = [plan.remark()] if plan.requests < REQUESTS else []
    warnings += _own_warnings("capacity", capacity)
    for share in plan.points:
        result = results[_label(name, share)]
        rate = plan.rate(share, reached.median)
        points.append(point(f"{share} %", result, x=share, facts={"offered": rate}))
        warnings += _own_warnings(f"{share} %", result)
        if BOUNDED in result.metrics:
            curve.append((float(rate), result.metrics[BOUNDED]))
    series = Series(subject=subject, points=points, within=rate_within(curve, plan.bound))
    return Findings(
        [series], {"capacity": reached.median, "capacity_ci": list(reached.ci)}, warnings
    )


def _own_warnings(place: str, result: Results) -> list[str]:
    """Those of these rounds: what a sample lacks is told once, not for each of its metrics, and
    what was found before is told already."""
    passed_over = {check.mark for check in result.marks}
    others = tuple(f"{name}: " for name in result.metrics if name not in (BOUNDED, CAPACITY))
    return [
        f"{place}: {text}"
        for text in result.warnings
        if text not in passed_over and not text.startswith(others)
    ]


def _record(plan: SweepPlan, seed: int, names: Sequence[str]) -> dict[str, Any]:
    return {
        "points": list(plan.points),
        "rounds": plan.rounds,
        "requests": plan.requests,
        "requests_per_round": plan.per_round,
        "connections": plan.connections,
        "bound_us": plan.bound,
        "seed": seed,
        "taking_turns": list(names),
    }


def capacity_probe(plan: SweepPlan) -> CommandProbe:
    """What the path carries: a sample's requests at full speed."""
    model = (
        f"closed loop at full speed (fortio, with its request log), {plan.connections} connections"
    )

    def read(result: CommandResult) -> Reading:
        load = load_of(result, request_log=True)
        return load_reading(CAPACITY, load, {}, (), rate_metric=CAPACITY)

    return CommandProbe(
        name=CAPACITY,
        role="fortio-client",
        seconds=plan.per_round / _LEAST_RATE,
        metrics=(
            rate_metric(CAPACITY, _GROUP, "requests answered at full speed", model),
            share_metric(f"{CAPACITY}_errors", _GROUP, "requests that failed at full speed"),
        ),
        argv=lambda targets: fortio_argv(
            service_url(targets),
            count=plan.per_round,
            connections=plan.connections,
            rate=None,
            resolution_us=None,
        ),
        parse=read,
        describe=lambda values: f"capacity {number(values[CAPACITY])} requests/s",
    )


def sweep_probe(share: int, rate: int, plan: SweepPlan) -> CommandProbe:
    """Requests on a schedule, at one rate."""
    each = rate / plan.connections
    dropped = max(_LEAST_DROPPED, math.ceil(_WARM_SECONDS * each))
    schedule = Schedule(plan.connections, plan.calls + dropped, each, dropped)
    count = schedule.threads * schedule.calls

    def read(result: CommandResult) -> Reading:
        load = load_of(result, request_log=True, schedule=schedule)
        refuse_late(load)
        return load_reading(
            _PREFIX, load, load.latency, _PERCENTILES,
            wanted_rate=rate, rate_metric=f"{_PREFIX}_qps",
        )  # fmt: skip

    def describe(values: Mapping[str, float]) -> str:
        tails = (f"p{q:g} {latency(values[_named(q)])}" for q in _PERCENTILES)
        return f"{values[f'{_PREFIX}_qps']:.0f} of {rate:,} requests/s, {', '.join(tails)}"

    return CommandProbe(
        name=f"{_PREFIX}_{share}",
        role="fortio-client",
        seconds=count / rate,
        metrics=_metrics(plan),
        argv=lambda targets: fortio_argv(
            service_url(targets),
            "-uniform",
            count=count,
            connections=plan.connections,
            rate=rate,
            resolution_us=None,
        ),
        parse=read,
        describe=describe,
    )


def _named(q: float) -> str:
    return f"{_PREFIX}_{percentile_suffix(q)}"


def _metrics(plan: SweepPlan) -> tuple[Metric, ...]:
    model = (
        f"fixed schedule (fortio), {plan.connections} connections spread over one period; latency "
        "from when a request was due, so without coordinated omission"
    )
    what = "HTTP request over a kept connection"
    return (
        rate_metric(f"{_PREFIX}_qps", _GROUP, "requests answered, good or bad", model),
        *latency_metrics(_PREFIX, what, _GROUP, model, _PERCENTILES),
        share_metric(f"{_PREFIX}_errors", _GROUP, "requests that failed"),
    )


def refuse_late(load: Load) -> None:
    """A sample is void where the generator's own lateness may decide what is asked.

    :raises SampleError: it is.
    """
    run = load.schedule
    assert run is not None  # it was read against one
    for q in _DECIDING:
        low, high = percentile(run.at_least, q), percentile(run.at_most, q)
        if high > TOLERANCE * low:
            late = latency(percentile(run.lateness, q))  # not empty: first calls wait for none
            raise SampleError(
                f"void: the generator was late itself (p{q:g} {late}, its connections free), so "
                f"p{q:g} may be anything from {latency(low)} to {latency(high)}"
            )


_Reach = Literal["interpolated", "at least", "below"]


def rate_within(curve: Sequence[tuple[float, MetricResult]], bound: float) -> RateWithin | None:
    """Up to which rate a latency stays within ``bound``, its median and interval over rounds.

    In every round the answer is where the line through the points (rates as they are, latencies as
    logarithms) first crosses the bound.

    :param curve: rates in requests/s, ascending, with the latency in µs; rounds may be missing.
    :returns: None where no round can tell.
    """
    rounds: dict[tuple[int, ...], list[tuple[float, float]]] = {}
    for rate, metric in curve:
        for place, value in metric.by_place().items():
            rounds.setdefault(place, []).append((rate, value))
    found = sorted(_crossing(each, bound) for each in rounds.values())
    # A round that lacks its lowest points cannot tell whether they were within the bound.
    crossings = [each for each in found if each[1] != "below" or each[0] == curve[0][0]]
    if not crossings:
        return None
    summary = summarise([rate for rate, _ in crossings])
    reach = crossings[(len(crossings) - 1) // 2][1]
    interval = f" ({number(summary.low)} to {number(summary.high)})" if summary.level > 0 else ""
    up_to = f"{number(summary.median)} requests/s{interval}"
    within = f"within {latency(bound)} up to {up_to}"
    verdict = {
        "interpolated": f"{within}, interpolated between the points on either side",
        "at least": f"{within} at least, the highest point that has a number",
        "below": f"beyond {latency(bound)} already at the lowest point that has a number, {up_to}",
    }[reach]
    return RateWithin(
        metric=BOUNDED,
        bound=bound,
        rate=summary.median,
        ci=(summary.low, summary.high),
        level=summary.level,
        reach=reach,
        verdict=verdict,
    )


def _crossing(curve: Sequence[tuple[float, float]], bound: float) -> tuple[float, _Reach]:
    """Where latencies of one round, by ascending rate, first leave the bound."""
    held: tuple[float, float] | None = None
    for rate, value in curve:
        if value > bound:
            if held is None:
                return rate, "below"
            share = math.log(bound / held[1]) / math.log(value / held[1])
            return held[0] + share * (rate - held[0]), "interpolated"
        held = rate, value
    assert held is not None  # a round has a point
    return held[0], "at least"
