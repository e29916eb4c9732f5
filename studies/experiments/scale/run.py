"""The visits: every size on the way up and again on the way down, so that time is not size."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from bench.interleave import Entry, Side, interleave
from bench.plan import Plan
from bench.probes.base import Probe, SampleError
from bench.probes.cost import UnderLoad
from bench.probes.http import http_probe
from bench.probes.turns import in_turns
from bench.readiness import QUIET_MILLICORES, await_idle_agents
from bench.results import Results
from bench.session import SessionError
from bench.text import ParseError
from studies.experiments.capabilities import (
    ComponentCommands,
    ComponentMetrics,
    ComponentRestart,
    ObjectStore,
)
from studies.experiments.growth import Place, fits
from studies.experiments.model import Context, Findings, Series, point
from studies.experiments.scale.probes import Aim, ChangeProbe, EndsInTurns, FullSyncProbe, Towards
from studies.experiments.scale.services import Changing, Fillers, dataplane_of

Facts = dict[str, str | int | float]
"""What was counted at a size."""
RATE = 1_000
"""Requests/s over kept connections: the study's."""
FULL_SYNCS = 1
"""In each visit: a restart takes many times as long as any other sample."""
_SETTLE_SECONDS = 90.0
_CLEAR_SECONDS = 120.0
_CLEAR_LOOK_SECONDS = 10.0
_QUIET_WINDOWS = 2
"""So many in a row: kube-proxy waits for up to a second between two syncs."""
_COMMAND_SECONDS = 60.0
_MARGIN = 1.2
_USUAL_RATE = 400.0
"""Objects/s, until there is a measured one."""


def run(context: Context) -> Findings:
    experiment = _Experiment(context)
    planned = visits([int(size) for size in context.extent.points], context.plan.runs)
    try:
        for number, visit in enumerate(planned, 1):
            if not experiment.has_time_for(visit):
                experiment.left_out(visit)
                continue
            context.say(f"visit {number} of {len(planned)}: {visit}")
            experiment.visit(visit)
        return experiment.findings()
    finally:
        context.say(f"removing {len(experiment.fillers):,} Services")
        experiment.fillers.resize(0)
        experiment.changing.delete()


class _Experiment:
    """The sizes of one cluster."""

    def __init__(self, context: Context) -> None:
        bench = context.bench
        session = bench.session
        assert isinstance(session, ObjectStore)
        self._context = context
        self._store = session
        client = bench.targets.one("fortio-client")
        path = session.service_path(client, bench.targets.httpbin)
        self._dataplane = dataplane_of(path.expected)
        self._node = client.node
        self.fillers = Fillers(session, bench.targets, bench.clock, context.say)
        self.changing = Changing(session, bench.targets, context.say)
        self._sizes: dict[str, Size] = {}
        self._warnings: list[str] = []
        self._visited: list[str] = []
        self._longest = 0.0
        self._rate = _USUAL_RATE

    def has_time_for(self, visit: Visit) -> bool:
        """Whether a visit and the removal of all Services would end in time, as far as is known."""
        left = self._context.bench.deadline - self._context.bench.clock.monotonic()
        rounds = self._longest * visit.rounds / self._context.plan.runs
        # To its size from the present one, and then back to none.
        services = abs(visit.size - len(self.fillers)) + visit.size
        return left > _MARGIN * (rounds + 2 * services / self._rate)

    def left_out(self, visit: Visit) -> None:
        """A visit for which there is no time."""
        warning = f"{visit}: left out, it would end too late"
        self._context.say(warning)
        self._warnings.append(warning)

    def visit(self, visit: Visit) -> None:
        """Have so many Services, wait until all is quiet, and measure the rounds of this visit."""
        self._resize(visit)
        start = self._context.bench.clock.monotonic()
        self._measure(visit)
        self._visited.append(str(visit))
        took = self._context.bench.clock.monotonic() - start
        self._longest = max(self._longest, took * self._context.plan.runs / visit.rounds)

    def _resize(self, visit: Visit) -> None:
        self.changing.create()
        rate = self.fillers.resize(max(0, visit.size - self._others()))
        if rate:
            self._context.say(f"{rate:,.0f} objects/s")
            self._rate = min(self._rate, rate)
            if visit.way == "up":
                self._size(visit).facts["objects per second"] = round(rate, 1)

    def _size(self, visit: Visit) -> Size:
        return self._sizes.setdefault(f"{visit.size:,}", Size())

    def _measure(self, visit: Visit) -> None:
        self._settle(visit.size)
        label, known = f"{visit.size:,}", self._size(visit)
        counted = self._cleared(known.facts)
        if _differs(known.facts, counted):
            left = ", ".join(f"{name} {count:,}" for name, count in counted.items())
            self._warnings.append(
                f"{visit}: not measured, the dataplane is in another state than on the way up: "
                f"{left}"
            )
            return
        known.facts |= counted
        bench, dataplane = self._context.bench, self._dataplane
        if dataplane.full is not None and isinstance(bench.session, ComponentRestart):
            full = FullSyncProbe(dataplane.component, dataplane.full)
            # A failed restart is not to be made worse by another one.
            self._sample(known.full, label, (full,), FULL_SYNCS, attempts=1)
            self._settle(visit.size)
        plan = self._context.plan
        self._sample(known.samples, label, self._probes(plan), visit.rounds, attempts=plan.attempts)

    def _sample(
        self, samples: Samples, label: str, probes: tuple[Probe, ...], rounds: int, *, attempts: int
    ) -> None:
        """Add so many rounds."""
        samples.ends.append(samples.rounds + rounds)
        samples.latest = interleave(
            [Side(label, self._context.bench, probes)],
            replace(self._context.plan, attempts=attempts),
            ((label,),) * samples.rounds,
            known=tuple(samples.entries),
            keep=samples.entries.append,
            watch=self._context.watch,
        )[label]

    def _cleared(self, before: Facts) -> Facts:
        """What the dataplane holds, once it has cleared what a larger size has left.

        kube-proxy does so with a sync, at most every 30 s, and syncs when something changes.
        """
        clock = self._context.bench.clock
        end = clock.monotonic() + _CLEAR_SECONDS
        while _differs(before, found := self._counted()) and clock.monotonic() < end:
            self._context.say("waiting until what a larger size has left is cleared")
            clock.sleep(_CLEAR_LOOK_SECONDS)
            self.changing.change()
        return found

    def _others(self) -> int:
        """The cluster's Services that are not fillers."""
        return len(self._store.list_objects("v1", "Service")) - len(self.fillers)

    def _counted(self) -> Facts:
        services = len(self._store.list_objects("v1", "Service"))
        facts: Facts = {"services": services}
        try:
            facts |= self._dataplane.size(self._command)
            self._assert_complete(services)
        except (SessionError, ParseError) as error:
            self._warnings.append(f"{services:,} Services: the dataplane's size: {error}")
        return facts

    def _assert_complete(self, services: int) -> None:
        """A rule for each: or what is measured is not that size."""
        if self._dataplane.order is None:
            return
        measured = len(self.fillers) + 2  # httpbin's and the changing one
        rules = len(self._dataplane.order(self._command, self._context.bench.targets.httpbin.port))
        if rules != measured:
            raise ParseError(f"{rules:,} rules for {measured:,} of {services:,} Services")

    def _command(self, argv: Sequence[str]) -> str:
        session = self._context.bench.session
        assert isinstance(session, ComponentCommands)
        done = session.run_beside(
            self._dataplane.component, self._node, argv, timeout=_COMMAND_SECONDS
        )
        if done.returncode != 0:
            raise SessionError(f"`{' '.join(argv)}` on {self._node}: {done.stderr.strip()[-200:]}")
        return done.stdout

    def _syncs(self) -> float:
        """How many so far; only asked where rules have an order."""
        session = self._context.bench.session
        assert isinstance(session, ComponentMetrics)
        told = self._dataplane.syncs(
            session.component_metrics(self._dataplane.component)[self._node]
        )
        return told.count if told else 0

    def _settle(self, size: int) -> None:
        """Wait until the dataplane has all Services: until its components are idle again."""
        bench = self._context.bench
        self._context.say("waiting until the dataplane has them")
        try:
            used = await_idle_agents(bench, _SETTLE_SECONDS, windows=_QUIET_WINDOWS)
        except SampleError as error:
            self._warnings.append(f"{size:,} Services: whether they are taken up: {error}")
            return
        if used > QUIET_MILLICORES:
            self._warnings.append(
                f"{size:,} Services: the CNI's components still used {used:.0f} millicores per "
                f"node after {_SETTLE_SECONDS:.0f} s"
            )

    def _probes(self, plan: Plan) -> tuple[Probe, ...]:
        aim = Aim(
            self._dataplane,
            self._command,
            self._syncs,
            self.fillers,
            self._context.bench.targets.httpbin,
            self.changing.service,
        )
        connect, http = in_turns("connect", plan.turn_seconds), http_probe(plan, RATE)
        return (
            ChangeProbe(self.changing, self._dataplane, time.time),
            EndsInTurns(
                (
                    Towards(connect, "first", aim.first, aim.same),
                    Towards(connect, "last", aim.last, aim.same),
                )
            ),
            # Only a connection's first packet meets the rules: one end of them is enough.
            UnderLoad(Towards(http, "last", aim.last, aim.same)),
        )

    def findings(self) -> Findings:
        """Every size as a point, and growth over the visits, which is what repeats: sizes are not
        measured in turns, so none is compared with another by its rounds."""
        context, sizes = self._context, self._sizes
        for label, size in sizes.items():
            self._warnings += [f"{label} Services: {text}" for text in size.results.warnings]
        self._warnings += [
            f"{label} Services: visited once; what the machine did just then is in every sample"
            for label, size in sizes.items()
            if len(size.samples.ends) == 1
        ]
        series = Series(
            subject=f"{context.subject} ({self._dataplane.title})",
            points=[
                point(label, size.results, x=size.services, facts=size.facts)
                for label, size in sizes.items()
            ],
            fits=fits(self._medians(), _units(sizes.values()), "Services"),
        )
        plan = {
            "visits": self._visited,
            "rounds_per_visit": context.plan.runs,
            "endpoints_per_service": len(context.bench.targets.pods["httpbin"]),
        }
        return Findings([series], plan, self._warnings)

    def _medians(self) -> dict[str, list[Place]]:
        """The median of every metric in every visit, by metric."""
        places: defaultdict[str, list[Place]] = defaultdict(list)
        for size in self._sizes.values():
            for name, medians in size.medians().items():
                places[name] += [Place(size.services, median) for median in medians]
        return places


def _differs(before: Facts, found: Facts) -> bool:
    """By more than what comes and goes with a single Service."""
    return any(
        abs(float(before.get(name, count)) - float(count)) > max(2.0, 0.01 * float(count))
        for name, count in found.items()
    )


def _units(sizes: Iterable[Size]) -> dict[str, str]:
    return {name: each.unit for size in sizes for name, each in size.results.metrics.items()}


WAYS = 2
"""Every size is visited on the way up and on the way down."""


@dataclass(frozen=True, slots=True)
class Visit:
    """So many rounds at a size, on the way up or down."""

    size: int
    way: str
    rounds: int

    def __str__(self) -> str:
        return f"{self.size:,} Services, on the way {self.way}"


def visits(points: Sequence[int], rounds: int) -> list[Visit]:
    """The sizes in order, and back, so that time is not size; the largest once, for as many rounds
    as the others in all."""
    *sizes, largest = sorted(points)
    return [
        *(Visit(size, "up", rounds) for size in sizes),
        Visit(largest, "up", WAYS * rounds),
        *(Visit(size, "down", rounds) for size in reversed(sizes)),
    ]


@dataclass(slots=True)
class Samples:
    """Samples of some probes in rounds that several visits share; ``latest`` is of all so far."""

    entries: list[Entry] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """The last round of each visit."""
    latest: Results | None = None

    @property
    def rounds(self) -> int:
        """How many there were."""
        return self.ends[-1] if self.ends else 0

    def medians(self) -> dict[str, list[float]]:
        """The median of each visit, by metric."""
        values: defaultdict[str, defaultdict[int, list[float]]]
        values = defaultdict(lambda: defaultdict(list))
        for entry in self.entries:
            if entry.outcome.reading is not None:
                for name, value in entry.outcome.reading.values.items():
                    values[name][bisect_left(self.ends, entry.round)].append(value)
        return {
            name: [median(samples) for samples in by_visit.values()]
            for name, by_visit in values.items()
        }


@dataclass(slots=True)
class Size:
    """One size: its samples, those of full syncs apart, and what was counted at it."""

    samples: Samples = field(default_factory=Samples)
    full: Samples = field(default_factory=Samples)
    facts: Facts = field(default_factory=dict)

    @property
    def results(self) -> Results:
        """Of all its visits so far."""
        assert self.samples.latest is not None
        if self.full.latest is None:
            return self.samples.latest
        metrics = {**self.full.latest.metrics, **self.samples.latest.metrics}
        warnings = [*self.full.latest.warnings, *self.samples.latest.warnings]
        errors = [*self.full.latest.errors, *self.samples.latest.errors]
        return self.samples.latest.model_copy(
            update={"metrics": metrics, "warnings": warnings, "errors": errors}
        )

    @property
    def services(self) -> float:
        """How many there were."""
        return float(self.facts["services"])

    def medians(self) -> dict[str, list[float]]:
        """The median of each visit, by metric."""
        return {**self.full.medians(), **self.samples.medians()}
