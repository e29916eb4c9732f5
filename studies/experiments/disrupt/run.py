"""Measures disruptions: one event after the other under load, a round with one of each kind.

An event counts only if the load can tell: its client sent in time, the control paths at both nodes
answered in time, and all was well before it. One that does not is told with its reason.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from bench.interleave import Side, interleave, shuffled
from bench.metrics import Metric
from bench.probes.base import GRACE_SECONDS, Bench, Invocation, Reading, SampleError
from bench.results import MetricResult, Results
from bench.sampling import BOUND_REASON
from bench.session import Pod, SessionError, Targets
from bench.text import ParseError, number, tail
from studies.experiments.capabilities import LoadGenerator
from studies.experiments.disrupt.events import CLIENT, Event, Stage, events, staged
from studies.experiments.disrupt.load import (
    ALL,
    CONNECTIONS,
    IN_TIME_MS,
    PATIENCE_MS,
    RATE,
    STREAMS,
    Aim,
    Impact,
    impact,
    parse,
    plan,
    starved,
)
from studies.experiments.model import Context, Findings, Point, Series, SkippedError, point

LEAD_SECONDS = 1.0
"""Of load before an event."""
_SEED = 1
"""Of the order of the kinds within a round."""
CPU = "client's CPU %"
"""The fact of what the client itself used of one CPU, in the last event."""
_GROUP = "Disruption"
_MS, _REQUESTS, _CONNECTIONS = "ms", "requests", "connections"
_IN_ALL = len(STREAMS) * RATE
_LOAD = f"open loop, {_IN_ALL:,} requests/s in all: {', '.join(STREAMS)} at {RATE}/s each"
_OF = {
    "new": "no new connection was answered",
    "kept": "no request over a kept connection was answered",
    "dns": "no query was answered",
    "udp": "no datagram was echoed",
    ALL: "no new connection, no query and no datagram was answered",
}


def _metric(name: str, unit: str, description: str) -> Metric:
    return Metric(name, unit, "lower", _GROUP, description, _LOAD)


LOST = _metric(
    "requests_lost", _REQUESTS, f"requests without an answer within {PATIENCE_MS / 1e3:g} s"
)
LATE = _metric(
    "requests_late", _REQUESTS, f"requests that were answered, but after {IN_TIME_MS:g} ms or more"
)
BROKEN = _metric(
    "connections_broken", _CONNECTIONS, f"kept connections that did not last, of {CONNECTIONS}"
)
GAPS = {
    name: _metric(
        f"gap_{name}", _MS, f"the longest time in which {what} within {IN_TIME_MS:g} ms of its due"
    )
    for name, what in _OF.items()
}
RECOVERY = _metric(
    "recovery", _MS, "from the event's begin until every request was answered in time again"
)
EVENT = _metric(
    "event", _MS, "what the event itself took: of a component, until it says that it is ready"
)
CLIENT_LATE = _metric(
    "client_late", _MS, "by how much the client sent a request late at most: gaps are known to that"
)
METRICS = (*GAPS.values(), LOST, LATE, BROKEN, RECOVERY, EVENT, CLIENT_LATE)


class DisruptionProbe:
    """A :class:`bench.probes.base.Probe`: one event of a kind under load.

    The load goes on for some seconds after the event. How long the next event will take is told by
    the last; one that takes longer than the load lasts gives no number, and is tried again.

    :param seconds_after: of load after the event.
    """

    metrics = METRICS

    def __init__(self, event: Event, stage: Stage, seconds_after: float) -> None:
        self.name = "disruption"
        self._event = event
        self._stage = stage
        self._after = seconds_after
        self._takes = event.seconds

    @property
    def seconds(self) -> float:
        """Of load, as planned."""
        return LEAD_SECONDS + self._takes + self._after

    def invocation(self, targets: Targets) -> Invocation:
        return Invocation(CLIENT, ("turns", "load", self._plan(self._stage.aims())))

    def _plan(self, aims: Sequence[Aim]) -> str:
        return plan(aims, seconds=self.seconds, cpu=-1)

    def measure(self, bench: Bench) -> Reading:
        stage, clock = self._stage, bench.clock
        loads = ((stage.client, stage.aims()), (stage.witness, stage.control()))
        timeout = min(2 * self.seconds + GRACE_SECONDS, bench.remaining())
        with ExitStack() as after, ThreadPoolExecutor(len(loads)) as pool:
            outputs = [
                pool.submit(_run, bench, pod, self._plan(aims), timeout) for pod, aims in loads
            ]
            clock.sleep(LEAD_SECONDS)
            began, start = clock.now().timestamp(), clock.monotonic()
            try:
                self._event.act(stage, after)
            except SessionError as error:
                raise SampleError(f"{self._event.name}: {tail(str(error))}") from error
            took = clock.monotonic() - start
            client, witness = (each.result() for each in outputs)
        planned, self._takes = self._takes, max(self._takes, 1.2 * took)
        if took > planned:
            raise SampleError(
                f"it took {took:.1f} s, more than the {planned:.1f} s for which there was load"
            )
        return read(client, witness, began, took)

    def summary(self, reading: Reading) -> str:
        values = reading.values
        gaps = ", ".join(
            f"{name} {number(values[GAPS[name].name])}" for name in GAPS if values[GAPS[name].name]
        )
        lost, broken = values[LOST.name], values[BROKEN.name]
        return f"gaps: {gaps or 'none'} (ms); {lost:.0f} lost, {broken:.0f} broken"


def _run(bench: Bench, pod: Pod, asked: str, timeout: float) -> str:
    """:raises SampleError: the load could not be run."""
    # As a capability it was asked for before.
    assert isinstance(bench.session, LoadGenerator)
    try:
        done = bench.session.run_load(pod, asked, timeout=timeout)
    except SessionError as error:
        raise SampleError(tail(str(error))) from error
    if done.returncode:
        raise SampleError(f"turns load: {tail(done.stderr)}")
    return done.stdout


def read(client: str, witness: str, began: float, took: float) -> Reading:
    """The reading of an event.

    :param client: what the client's load has written, and ``witness`` that at the servers' node.
    :param began: the wall clock's time when the event began, in seconds since 1970.
    :param took: seconds that the event itself took.
    :raises SampleError: the loads tell nothing of the network, or cannot be read.
    """
    try:
        log, beside = parse(client), parse(witness)
        for each, where in ((log, "client"), (beside, "servers' node")):
            if why := starved(each, where):
                raise SampleError(why)
        found = impact(log, began)
    except ParseError as error:
        raise SampleError(str(error)) from error
    values, missing = _values(found), {}
    if found.recovery is None:
        missing = {RECOVERY.name: "not all was as before when the load ended"}
    cpu = 100 * log.cpu / log.seconds if log.seconds else 0.0
    return Reading(
        values={**values, EVENT.name: 1_000 * took, CLIENT_LATE.name: log.latest},
        missing=missing,
        facts={"requests": found.requests, CPU: round(cpu, 1)},
    )


def _values(found: Impact) -> dict[str, float]:
    values = {
        LOST.name: float(found.lost),
        LATE.name: float(found.late),
        BROKEN.name: float(found.broken),
        **{GAPS[name].name: gap for name, gap in found.gaps.items()},
    }
    if found.recovery is not None:
        values[RECOVERY.name] = found.recovery
    return values


def run(context: Context) -> Findings:
    """See :mod:`studies.experiments.definition`."""
    bench, plan_ = context.bench, context.plan
    wanted = [str(each) for each in context.extent.points]
    found, reasons = events(bench, wanted)
    for name, why in reasons.items():
        context.say(f"{name}: {why}")
    if not found:
        raise SkippedError("; ".join(f"{name}: {why}" for name, why in reasons.items()))
    with staged(bench, context.say) as stage:
        sides = [
            Side(each.name, bench, (DisruptionProbe(each, stage, context.extent.seconds),))
            for each in found
        ]
        order = shuffled([side.label for side in sides], plan_.runs, _SEED)
        results = interleave(sides, plan_, order, watch=context.watch)
    points = [_point(each, results[each.name]) for each in found]
    series = Series(
        subject=context.subject,
        points=points,
        said={each.name: sentence(each, made) for each, made in zip(found, points, strict=True)}
        | {name: f"not measured: {why}" for name, why in reasons.items()},
    )
    settled = {
        "rate": _IN_ALL, "streams": list(STREAMS), "connections": CONNECTIONS,
        "in_time_ms": IN_TIME_MS, "patience_ms": PATIENCE_MS,
    }  # fmt: skip
    return Findings([series], settled, list(_warnings(results)))


def _point(event: Event, results: Results) -> Point:
    failures = _failures(results)
    made = point(event.name, results)
    lost, broken = made.metrics.get(LOST.name), made.metrics.get(BROKEN.name)
    facts: dict[str, str | int | float] = {
        "events": lost.n if lost else 0,
        "not counted": len(failures),
        "lost in all": int(sum(lost.samples)) if lost else 0,
        "broken in all": int(sum(broken.samples)) if broken else 0,
    }
    for each in results.probes.values():
        facts |= {name: value for name, value in each.facts.items() if name == CPU}
    return made.model_copy(update={"facts": facts})


def _failures(results: Results) -> list[str]:
    """Of events that were brought about and do not count."""
    all_ = (why for each in results.probes.values() for why in each.failures)
    return [why for why in all_ if not why.endswith(BOUND_REASON)]


def _warnings(results: dict[str, Results]) -> Iterator[str]:
    for label, each in results.items():
        yield from (f"{label}: {text}" for text in each.warnings)
        yield from (f"{label}: an event does not count: {why}" for why in _failures(each))


def sentence(event: Event, made: Point) -> str:
    """What a kind of event costs, in words, with how many events that says."""
    begin = event.what
    lost, broken = made.metrics.get(LOST.name), made.metrics.get(BROKEN.name)
    if lost is None or broken is None:
        return f"{begin}: no event counts: {'; '.join(sorted(set(made.missing.values())))}"
    count = lost.n
    gaps = [
        f"{_SHORT[name]} {_range(made.metrics[GAPS[name].name])}"
        for name in _SHORT
        if any(made.metrics[GAPS[name].name].samples)
    ]
    parts = [f"{count} event{'s' if count > 1 else ''}"]
    parts.append(f"without {', '.join(gaps)}" if gaps else "no gap in anything that was asked")
    parts.append(f"{sum(broken.samples):,.0f} of {count * CONNECTIONS:,} kept connections broken")
    parts.append(f"{sum(lost.samples):,.0f} requests lost in all")
    if (recovery := made.metrics.get(RECOVERY.name)) and any(recovery.samples):
        parts.append(f"all as before after {_range(recovery)}")
    return f"{begin}: {'; '.join(parts)}"


_SHORT = {
    "new": "new connections for",
    "kept": "answers over kept connections for",
    "dns": "DNS for",
    "udp": "datagrams for",
}


def _range(metric: MetricResult) -> str:
    """The median with the range of all events."""
    low, high = min(metric.samples), max(metric.samples)
    return f"{number(metric.median)} ms ({number(low)} to {number(high)})"
