"""Several sides measured in turn, in rounds of one bring-up, as results that can be compared.

Before the first sample of a side come preconditions, warm-up and calibration (:func:`prepare`, or
:func:`prepare_all` for several).
Within a round the sides are measured probe by probe, one right after the other, so that a drift of
the machine, which moves over minutes, meets all sides alike (:func:`interleave`). A plain benchmark
is an interleave of one side (:func:`run_benchmark`). Results of several bring-ups are put together
by :mod:`bench.merge`.
"""

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime

from bench.environment import Environment
from bench.metrics import GBIT_PER_SECOND, ONE_FLOW, Note
from bench.plan import Plan
from bench.preparation import PREPARING_CALLS, Evidence, Ready, Say, Unready, make_ready
from bench.probes import FLOWS_PROBES, build_probes
from bench.probes.base import Bench, Probe
from bench.probes.turns import TurnProbe
from bench.readiness import Calibrations, near_limit, reading_seconds
from bench.results import MetricResult, PodPlace, Results, SharedRounds
from bench.sampling import BOUND_REASON, Ledger, Outcome, sample, sample_in_turn
from bench.session import Clock, Session, SessionError, Targets, resolve_targets
from bench.workloads import WORKLOADS

Progress = Callable[[str], None]
Build = Callable[[Plan, tuple[str, ...]], tuple[Probe, ...]]

GIVEN_UP = "not measured: too many samples in a row had no number"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the things compared: where it is measured, by which probes, and what is imposed
    meanwhile.

    Probes of different sides that have the same name belong together; they may differ in their
    metrics (a CNI's components). :func:`bench.interleave.prepare` makes a side with its
    ``evidence``, without which its preconditions count as not checked. Its pods are those of the
    session's workloads, but for the roles ``elsewhere``.
    """

    label: str
    bench: Bench
    probes: tuple[Probe, ...]
    imposed: Callable[[], AbstractContextManager[object]] = nullcontext
    evidence: Evidence | None = None
    elsewhere: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished sample of a side's probe in a round (1 …), which took ``seconds``."""

    round: int
    label: str
    probe: str
    outcome: Outcome
    seconds: float


def prepare(
    label: str, session: Session, plan: Plan, *, clock: Clock, deadline: float, say: Progress
) -> Side:
    """A side that is ready to be measured by the plan's probes.

    :param deadline: when (of ``clock.monotonic``) no further command is started, in the
        preparation and in the rounds.
    :raises PreconditionError: what would be measured is not what is meant; nothing was measured.
    :raises SessionError: the cluster cannot be asked.
    """
    found = prepare_all(
        {label: session}, plan, clock=clock, deadline=deadline, say=lambda _, line: say(line)
    )[label]
    if isinstance(found, Side):
        return found
    raise found


def prepare_all(
    sessions: Mapping[str, Session],
    plan: Plan,
    *,
    clock: Clock,
    deadline: float,
    say: Say,
    calibrations: Calibrations | None = None,
    build: Build = build_probes,
) -> dict[str, Side | Unready]:
    """The same for the sides of a comparison, by label; of one that cannot be measured, why.

    :param calibrations: of the whole comparison, where it has more sides than these.
    :param build: makes the probes of one round from the plan and the CNI's components.
    """
    found = make_ready(
        sessions, plan, clock=clock, deadline=deadline, say=say,
        calibrations=calibrations or Calibrations(),
    )  # fmt: skip
    sides = {
        label: Side(
            label,
            each.bench,
            (*build(plan, each.components), *_of_flows(plan, each.evidence.environment)),
            evidence=each.evidence,
        )
        for label, each in found.items()
        if isinstance(each, Ready)
    }
    # They are measured one after the other: what one takes longer, the others wait.
    late = sum(late_seconds(plan, len(side.probes), side.bench.latency) for side in sides.values())
    unready = {label: each for label, each in found.items() if not isinstance(each, Ready)}
    return unready | {
        label: replace(side, bench=replace(side.bench, deadline=deadline + late))
        for label, side in sides.items()
    }


def _of_flows(plan: Plan, environment: Environment) -> tuple[Probe, ...]:
    """Several flows where one is bounded."""
    wanted = plan.tools and environment.network
    return tuple(build(plan) for build in FLOWS_PROBES) if wanted else ()


def assemble(
    side: Side, entries: Collection[Entry], rounds: int, plan: Plan, shared: SharedRounds | None
) -> Results:
    """Results of ``rounds`` rounds; samples that are not among ``entries`` are missing."""
    bench = side.bench
    evidence = side.evidence or _none(side)
    targets = bench.targets
    ledger = Ledger(side.probes, rounds)
    made = {(entry.round, entry.probe): entry.outcome for entry in entries}
    for round_ in range(1, rounds + 1):
        for probe in side.probes:
            outcome = made.get((round_, probe.name), Outcome(None, (GIVEN_UP,)))
            ledger.add(probe, round_, outcome)
    metrics = {
        name: metric.model_copy(
            update={"notes": [*metric.notes, *_bounded(name, metric, evidence.environment)]}
        )
        for name, metric in ledger.metrics().items()
    }
    full_speed = metrics.get("http_max_qps")
    near = near_limit(evidence.calibration, full_speed.median if full_speed else None)
    spent = evidence.seconds + sum(entry.seconds for entry in entries)
    return Results(
        **evidence.about.record(),
        profile=plan.profile,
        started=_iso(evidence.started),
        finished=_iso(bench.clock.now()),
        seconds=round(spent, 1),
        plan={**plan.as_dict(), "runs": rounds},
        metrics=metrics,
        probes=ledger.probes({p.name: p.invocation(targets) for p in side.probes}),
        tools=dict(evidence.tools),
        environment=evidence.environment,
        bring_ups=[evidence.about.bring_up] if evidence.about.bring_up else [],
        placement=_places(targets),
        checks=list(evidence.checks),
        calibration=evidence.calibration,
        rounds=shared,
        warnings=[
            *evidence.warnings,
            *ledger.warnings(),
            *([near] if near else []),
            *_beside_dns(evidence.environment, targets),
            *_moved(side),
        ],
        errors=ledger.errors(),
    )


def _bounded(name: str, metric: MetricResult, environment: Environment) -> Iterator[Note]:
    """What a cloud is known to let through, about a metric that it may bound."""
    network = environment.network
    if network is None:
        return
    if name in ONE_FLOW:
        yield Note(kind="one-flow", figures={"gbit": network.flow_gbit})
    sustained = network.sustained_gbit
    rate = metric.unit == GBIT_PER_SECOND and metric.better == "higher"
    if rate and sustained is not None and metric.median > sustained:
        yield Note(kind="burst", figures={"gbit": sustained})


def _beside_dns(environment: Environment, targets: Targets) -> list[str]:
    """A warning if some answers of the cluster's DNS do not leave the clients' node."""
    pods = environment.dns_nodes
    beside = sum(node in targets.nodes("client") for node in pods)
    if not beside:
        return []
    return [
        f"{beside} of {len(pods)} pods of the cluster's DNS are on the clients' node: DNS figures "
        "are of a way within the node as well, and not comparable with others"
    ]


def _none(side: Side) -> Evidence:
    """Of a side that nobody has prepared."""
    session = side.bench.session
    return Evidence(side.bench.clock.now(), session.environment(), session.about())


def _moved(side: Side) -> list[str]:
    """A warning if the pods are no longer those that were checked at the start."""
    try:
        after = resolve_targets(side.bench.session)
    except SessionError as error:
        return [f"the workloads did not last until the end: {error}"]
    before = side.bench.targets.pods
    if any(after.pods.get(role) != before[role] for role in before.keys() - side.elsewhere):
        return ["the workloads' pods changed during the benchmark: samples may be of both"]
    return []


def _places(targets: Targets) -> list[PodPlace]:
    return [
        PodPlace(role=pod.role, side=workload.side, name=pod.name, node=pod.node, ip=pod.ip)
        for workload in WORKLOADS
        for pod in targets.pods[workload.role]
    ]


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


Order = tuple[tuple[str, ...], ...]
"""The sides' labels for every round."""

_AROUND_SECONDS = 0.5
"""What a probe takes beyond its planned time, as long as none has been timed."""
_HOPELESS = 10
"""A side with so many samples in a row without a number is given up."""


@dataclass(frozen=True, slots=True)
class Step:
    """One sample that begins (``outcome`` is None) or has ended.

    ``done`` of ``total`` samples have ended; ``seconds_left`` is what the others are expected to
    take.
    """

    round: int
    rounds: int
    label: str
    probe: Probe
    done: int
    total: int
    seconds_left: float
    outcome: Outcome | None = None

    def said(self) -> str:
        """What came out, in a few words."""
        if self.outcome is None:
            return "…"
        if self.outcome.reading is None:
            return f"missing: {self.outcome.failures[-1]}"
        failed = len(self.outcome.failures)
        again = f" (after {failed} failed)" if failed else ""
        return self.probe.summary(self.outcome.reading) + again


Keep = Callable[[Entry], None]
Watch = Callable[[Step], None]


def abba(labels: Sequence[str], rounds: int) -> Order:
    """Every other round the other way round, so that neither a drift nor the place within the
    round favours one of two sides."""
    there, back = tuple(labels), tuple(reversed(labels))
    return tuple(back if round_ % 2 else there for round_ in range(rounds))


def shuffled(labels: Sequence[str], rounds: int, seed: int) -> Order:
    """Every round in an order of its own, by chance: the same for the same seed."""
    chance = random.Random(seed)
    return tuple(tuple(chance.sample(list(labels), len(labels))) for _ in range(rounds))


def interleave(
    sides: Sequence[Side],
    plan: Plan,
    order: Order,
    *,
    known: Iterable[Entry] = (),
    keep: Keep = lambda entry: None,
    watch: Watch = lambda step: None,
    shared: SharedRounds | None = None,
) -> dict[str, Results]:
    """Measure every side in every round; results by label.

    Samples are tried again as in any benchmark. A metric without any sample is an error in its
    side's results. A side with ten of them in a row is given up, and the others go on.

    :param order: the sides' labels for every round; more than are ``sides`` are passed over.
    :param known: samples of an earlier part of the same rounds, which are not taken again; but for
        those that are missing for want of time.
    :param keep: gets every sample as soon as it is finished.
    :param watch: gets every sample's begin and end.
    :param shared: what these rounds are called, for the results.
    """
    rounds = _Rounds({side.label: side for side in sides}, plan, order, known)
    clock = sides[0].bench.clock
    for number in range(1, len(order) + 1):
        for alike in rounds.left_of(number):
            for group in _groups(alike):
                for side, probe in group:
                    watch(rounds.step(number, side, probe))
                began = clock.monotonic()
                outcomes = _sampled(group, plan.attempts)
                seconds = (clock.monotonic() - began) / len(group)
                for (side, probe), outcome in zip(group, outcomes, strict=True):
                    entry = Entry(number, side.label, probe.name, outcome, seconds)
                    rounds.add(entry)
                    keep(entry)
                    watch(rounds.step(number, side, probe, entry))
    return {
        side.label: assemble(side, rounds.entries_of(side.label), len(order), plan, shared)
        for side in sides
    }


_Pairs = Sequence[tuple[Side, Probe]]


def _groups(alike: _Pairs) -> Iterator[_Pairs]:
    """What is measured at once: sides that take turns, and each of the others alone.

    What is imposed on a side may be on the path of another, so such a side is alone, too.
    """
    in_turn = [pair for pair in alike if _takes_turns(*pair)]
    if in_turn:
        yield in_turn
    yield from ([pair] for pair in alike if pair not in in_turn)


def _takes_turns(side: Side, probe: Probe) -> bool:
    return isinstance(probe, TurnProbe) and side.imposed is nullcontext


def _sampled(group: _Pairs, attempts: int) -> list[Outcome]:
    probes = [probe for _, probe in group if isinstance(probe, TurnProbe)]
    if len(probes) == len(group) > 1:
        benches = [side.bench for side, _ in group]
        return sample_in_turn(probes, benches, attempts=attempts)
    ((side, probe),) = group
    with side.imposed():
        return [sample(probe, side.bench, attempts=attempts)]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a sample belongs."""

    round: int
    label: str
    probe: str


class _Rounds:
    """What has been sampled and what is left."""

    def __init__(
        self, sides: dict[str, Side], plan: Plan, order: Order, known: Iterable[Entry]
    ) -> None:
        self._sides = sides
        self._order = order
        self._probes = {
            label: {probe.name: probe for probe in side.probes} for label, side in sides.items()
        }
        self._names = tuple(dict.fromkeys(name for each in self._probes.values() for name in each))
        self._made: dict[_Place, Entry] = {}
        self._took: dict[str, tuple[int, float]] = {}
        self._failed = dict.fromkeys(sides, 0)
        for entry in known:
            if entry.label in sides and not _late(entry.outcome):
                self.add(entry)

    def add(self, entry: Entry) -> None:
        self._made[_Place(entry.round, entry.label, entry.probe)] = entry
        count, seconds = self._took.get(entry.probe, (0, 0.0))
        self._took[entry.probe] = (count + 1, seconds + entry.seconds)
        if entry.outcome.reading is not None:
            self._failed[entry.label] = 0
        # Once the time is over there is nothing to be saved, and that reason is to be told.
        elif not _late(entry.outcome):
            self._failed[entry.label] += 1

    def entries_of(self, label: str) -> list[Entry]:
        return [entry for place, entry in self._made.items() if place.label == label]

    def left_of(self, number: int) -> Iterator[list[tuple[Side, Probe]]]:
        """The samples of a round that are still to be taken: for each probe, the sides in order.

        Sides that take turns are measured together or not at all: where one has no sample, the
        others' are taken again with it.
        """
        for name in self._names:
            all_ = {
                place: (self._sides[place.label], self._probes[place.label][name])
                for place in self._of_probe(number, name)
            }
            left = all_.keys() - self._made.keys()
            cut_off = any(_takes_turns(*all_[place]) for place in left)
            yield [
                pair
                for place, pair in all_.items()
                if place in left or (cut_off and _takes_turns(*pair))
            ]

    def _of_probe(self, number: int, name: str) -> Iterator[_Place]:
        for label in self._order[number - 1]:
            if name in self._probes.get(label, {}) and self._failed[label] < _HOPELESS:
                yield _Place(number, label, name)

    def step(self, number: int, side: Side, probe: Probe, entry: Entry | None = None) -> Step:
        left = [
            place
            for later in range(number, len(self._order) + 1)
            for name in self._names
            for place in self._of_probe(later, name)
            if place not in self._made
        ]
        return Step(
            round=number,
            rounds=len(self._order),
            label=side.label,
            probe=probe,
            done=len(self._made),
            total=len(self._made) + len(left),
            seconds_left=sum(map(self._expected, left)),
            outcome=entry.outcome if entry else None,
        )

    def _expected(self, place: _Place) -> float:
        if took := self._took.get(place.probe):
            count, seconds = took
            return seconds / count
        return self._probes[place.label][place.probe].seconds + _AROUND_SECONDS


def _late(outcome: Outcome) -> bool:
    """Missing only because the time was over."""
    return outcome.reading is None and outcome.failures[-1] == BOUND_REASON


_BOUND_BASE_SECONDS = 60.0
_BOUND_PER_RUN_SECONDS = 3.0
_BOUND_FACTOR = 2.0
_CALLS_PER_RUN = 20
"""Calls of the session, about, for one run of a probe: half of them before it, half after."""
SIDE = "this"
"""The label of the one side of :func:`run_benchmark`."""


class BenchmarkError(Exception):
    """Some metric has no sample at all. ``results`` has all the others, and the evidence."""

    def __init__(self, results: Results) -> None:
        self.results = results
        super().__init__("no number for " + "; ".join(each.text() for each in results.errors))


def run_benchmark(
    session: Session,
    plan: Plan,
    *,
    progress: Progress | None = None,
    clock: Clock | None = None,
    known: Iterable[Entry] = (),
    keep: Keep = lambda entry: None,
) -> Results:
    """Measure what ``plan`` says on ``session``.

    Rounds are interleaved: run 1 of every probe, then run 2 of every probe, so that a drift of
    the machine hits all metrics alike. ``progress`` gets one line per run.

    :param known: samples of an earlier part of this very benchmark (:func:`interleave`); results
        say that there are some.
    :param keep: gets every sample as soon as it is finished.
    :raises PreconditionError: what would be measured is not what is meant; nothing was measured.
    :raises BenchmarkError: a metric has no sample; its ``results`` hold the rest.
    """
    say = progress or (lambda line: None)
    clock = clock or Clock()
    deadline = clock.monotonic() + time_bound(plan, build_probes(plan))
    side = prepare(SIDE, session, plan, clock=clock, deadline=deadline, say=say)

    def watch(step: Step) -> None:
        if step.outcome is not None:
            place = f"[{step.done}/{step.total}] run {step.round} of {step.rounds}"
            say(f"{place}: {step.probe.name} … {step.said()}")

    order = abba([SIDE], plan.runs)
    known = list(known)
    results = interleave([side], plan, order, known=known, keep=keep, watch=watch)[SIDE]
    if known:
        told = f"the benchmark was stopped and went on: {len(known)} samples are of an earlier part"
        results = results.model_copy(update={"warnings": [*results.warnings, told]})
    if results.errors:
        raise BenchmarkError(results)
    return results


def late_seconds(plan: Plan, probes: int, latency: float) -> float:
    """What is added to :func:`time_bound` for a cluster that is far away.

    :param latency: seconds that a command takes there which does nothing.
    """
    calls = PREPARING_CALLS + _BOUND_FACTOR * plan.runs * probes * _CALLS_PER_RUN
    return calls * latency + reading_seconds(latency)


def time_bound(plan: Plan, probes: Sequence[Probe]) -> float:
    """Seconds after which no further command is started: twice the plan, the wait for a quiet
    machine, and a minute. For a cluster that is far away, :func:`prepare_all` adds to it."""
    per_round = sum(probe.seconds + _BOUND_PER_RUN_SECONDS for probe in probes)
    base = _BOUND_BASE_SECONDS + plan.settle_seconds
    return base + _BOUND_FACTOR * plan.runs * per_round
