"""One sample of a probe, tried again a bounded number of times, and all samples by metric."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from bench.limits import (
    MOST_STEP_SECONDS,
    NOTABLE_OTHERS,
    NOTABLE_STEAL,
    Limit,
    Observation,
    between,
    faults,
    health,
)
from bench.metrics import CNI_COST, Metric, Note, limit_kind, merged
from bench.probes.base import Bench, BoundReachedError, Invocation, Probe, Reading, SampleError
from bench.probes.turns import TurnProbe, take_turns
from bench.results import (
    DisturbedResult,
    LimitResult,
    MetricResult,
    MissingMetric,
    MissingSample,
    Place,
    ProbeResult,
    StealResult,
    ThrottleResult,
    grouped,
)
from bench.stats import summarise_by_bring_up
from bench.text import tally

PAUSE_SECONDS = 0.5
BOUND_REASON = "the benchmark's time was over"
UNEXPECTED = "unexpected error"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one sample: its reading, or None; and why each failed attempt failed.

    ``observation`` is what happened on the machines during the attempt that gave the reading, and
    ``limit`` what was at its limit then.
    """

    reading: Reading | None
    failures: tuple[str, ...] = ()
    observation: Observation | None = None
    limit: Limit | None = None

    def __post_init__(self) -> None:
        if self.reading is None and not self.failures:
            raise ValueError("a sample is missing without a reason")

    @property
    def others(self) -> float:
        """Share of a machine's CPUs that others used meanwhile, as far as it is known."""
        return self.observation.others if self.observation else 0.0


def sample(probe: Probe, bench: Bench, *, attempts: int = 3) -> Outcome:
    """Measure once, again after a failure, at most ``attempts`` times.

    A failed attempt never yields a number; its reason is kept also where a later one succeeds.
    Attempts that others disturbed count as failed, but for the last one where such are kept.
    """

    def measured(_left: Sequence[int]) -> list[Reading | SampleError]:
        return [probe.measure(bench)]

    (outcome,) = _tried([probe], [bench], measured, attempts)
    return outcome


def sample_in_turn(
    probes: Sequence[TurnProbe], benches: Sequence[Bench], *, attempts: int = 3
) -> list[Outcome]:
    """Measure several sides once, in turns of milliseconds, as :func:`sample` does with one.

    :param probes: each side's, all of the same operation.
    """

    def measured(left: Sequence[int]) -> list[Reading | SampleError]:
        return take_turns([probes[i] for i in left], [benches[i] for i in left])

    return _tried(probes, benches, measured, attempts)


def _tried(
    probes: Sequence[Probe],
    benches: Sequence[Bench],
    measured: Callable[[Sequence[int]], Sequence[Reading | SampleError]],
    attempts: int,
) -> list[Outcome]:
    """Every side's outcome.

    :param measured: measures the sides at these places, the ones that have no outcome yet.
    """
    failures: list[list[str]] = [[] for _ in benches]
    outcomes: dict[int, Outcome] = {}
    disturbed: dict[int, Outcome] = {}
    for attempt in range(attempts):
        left = [place for place in range(len(benches)) if place not in outcomes]
        if not left:
            break
        if attempt:
            benches[0].clock.sleep(PAUSE_SECONDS)
        watches: dict[int, _Watch] = {}
        try:
            with _whatever_happens():
                watches = {place: _Watch(benches[place]) for place in left}
                taken = measured(left)
        except BoundReachedError:
            outcomes |= {i: Outcome(None, (*failures[i], BOUND_REASON)) for i in left}
            break
        except SampleError as error:
            taken = [error] * len(left)
        made: dict[int, Outcome] = {}
        for place, reading in zip(left, taken, strict=True):
            try:
                if isinstance(reading, SampleError):
                    raise reading
                _refuse_impossible(probes[place], reading)
                with _whatever_happens():
                    made[place] = watches[place].outcome(reading, alone=len(left) == 1)
            except SampleError as error:
                watch = watches.get(place)
                failures[place].append(watch.why(error) if watch else str(error))
        # They share a machine: what spoils one spoils all, and those that are left belong together.
        share = max((outcome.others for outcome in made.values()), default=0.0)
        disturbed = {i: made[i] for i in made if share > benches[i].most_others}
        for place in disturbed:
            failures[place].append(f"others used {100 * share:.0f} % of a machine's CPUs meanwhile")
        for place in made.keys() - disturbed.keys():
            outcomes[place] = replace(made[place], failures=tuple(failures[place]))
    for place, outcome in disturbed.items():
        if place not in outcomes and benches[place].keeps_disturbed:
            outcomes[place] = replace(outcome, failures=tuple(failures[place][:-1]))
    return [
        outcomes[place] if place in outcomes else Outcome(None, tuple(failures[place]))
        for place in range(len(benches))
    ]


@contextmanager
def _whatever_happens() -> Iterator[None]:
    """A want of processes or memory, or a flaw of ours, costs a sample, and not all the others.

    :raises SampleError: whatever was raised, but for the end of the benchmark's time.
    """
    try:
        yield
    except (SampleError, BoundReachedError):
        raise
    except Exception as error:
        raise SampleError(f"{UNEXPECTED}: {type(error).__name__}: {error}") from error


def _refuse_impossible(probe: Probe, reading: Reading) -> None:
    """A tool that divides by nothing prints numbers, too.

    A value that has a note is what the note says: a clock's limit, say.

    :raises SampleError: a value is no number, or none that can be.
    """
    for metric in probe.metrics:
        value = reading.values.get(metric.name, 1.0)
        noted = bool(reading.notes.get(metric.name))
        too_low = value < 0 or (value == 0 and not metric.may_be_zero)
        if not math.isfinite(value) or (too_low and not noted):
            raise SampleError(f"{metric.name} of {value:g} {metric.unit} is no measurement")


class _Watch:
    """What happens to a side from now on, beside its sample.

    Counters that cannot be read cost no sample, but a fault of what the scenario consists of does,
    also where it is the reason that they cannot be read.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._well = health(bench.session)
        self._unknown = ""
        try:
            self._before = bench.snapshot()
        except SampleError as error:
            self._unknown = str(error)

    def faults(self) -> list[str]:
        """What was at fault since then, in words."""
        return list(faults(self._well, health(self._bench.session)))

    def why(self, error: SampleError) -> str:
        """An attempt's failure, and what was at fault beside it: a tool tells its own view only."""
        said = str(error)
        return "; ".join([said, *(each for each in self.faults() if each not in said)])

    def outcome(self, reading: Reading, *, alone: bool) -> Outcome:
        """What a reading is worth.

        :param alone: its side was alone at work.
        :raises SampleError: a clock was set, or something was at fault.
        """
        seen, unknown = None, self._unknown
        if not unknown:
            try:
                seen = between(self._before, self._bench.snapshot(), alone=alone)
            except (SampleError, ValueError) as error:
                unknown = str(error)
        if wrong := self.faults():
            raise SampleError("; ".join(wrong))
        if seen is None:
            return Outcome(reading, limit=Limit("unknown", unknown))
        if abs(seen.clock_step) > MOST_STEP_SECONDS:
            step = f"{1e3 * seen.clock_step:+.0f} ms"
            raise SampleError(f"the wall clock was set by {step} meanwhile")
        limit = reading.limit or seen.limit(self._bench.targets.nodes("server"))
        return Outcome(reading, observation=seen, limit=limit)


_SIGNIFICANT_DIGITS = 6


@dataclass(slots=True)
class _Column:
    """One metric's samples by where they belong."""

    samples: dict[Place, float] = field(default_factory=dict)
    missing: list[MissingSample] = field(default_factory=list)
    notes: list[tuple[int, Note]] = field(default_factory=list)

    def rounds(self) -> int:
        """In how many rounds there is a sample."""
        return len({place.round for place in self.samples})

    def what_was_tried(self) -> str:
        return "; ".join(each.text() for each in self.missing)


class Ledger:
    """Collects the outcome of every run of every probe, for ``runs`` rounds of one bring-up."""

    def __init__(self, probes: Sequence[Probe], runs: int) -> None:
        self._probes = tuple(probes)
        self._runs = runs
        self._columns = {metric.name: _Column() for probe in probes for metric in probe.metrics}
        self._failures: dict[str, list[str]] = {probe.name: [] for probe in probes}
        self._facts: dict[str, dict[str, str | int | float]] = {p.name: {} for p in probes}
        self._limits: dict[str, list[LimitResult]] = {probe.name: [] for probe in probes}
        self._throttled: dict[str, list[ThrottleResult]] = {probe.name: [] for probe in probes}
        self._steal: dict[str, list[StealResult]] = {probe.name: [] for probe in probes}
        self._disturbed: dict[str, list[DisturbedResult]] = {probe.name: [] for probe in probes}
        self._warnings: list[str] = []

    def add(self, probe: Probe, run: int, outcome: Outcome) -> None:
        """Take in what became of run ``run`` (1 …) of ``probe``."""
        reading = outcome.reading or Reading({})
        reason = "" if outcome.reading else outcome.failures[-1]
        limit = self._limited(probe, run, outcome)
        held_back = self._held_back(probe, run, outcome)
        disturbed = self._noted_others(probe, run, outcome)
        for metric in probe.metrics:
            column = self._columns[metric.name]
            if metric.name in reading.values:
                if held_back:
                    column.notes.append((run, Note(kind="throttled")))
                if disturbed:
                    column.notes.append((run, disturbed))
                if limit and metric.group != CNI_COST:
                    column.notes.append((run, limit))
                column.samples |= _placed(reading, metric.name, run)
            else:
                why = reason or reading.missing.get(metric.name, "not in the tool's report")
                column.missing.append(MissingSample(round=run, reason=why))
            column.notes += [(run, note) for note in reading.notes.get(metric.name, ())]
        failures = (*outcome.failures, *reading.failures)
        self._failures[probe.name] += [f"run {run}: {why}" for why in failures]
        self._warnings += [f"{probe.name}, run {run}: {text}" for text in reading.warnings]
        if reading.facts:
            self._facts[probe.name] = dict(reading.facts)

    def _limited(self, probe: Probe, run: int, outcome: Outcome) -> Note | None:
        """Record what was at its limit; the note for the run's metrics, if any was."""
        if outcome.reading is None or outcome.limit is None:
            return None
        by, evidence = outcome.limit.by, outcome.limit.evidence
        self._limits[probe.name].append(LimitResult(run=run, by=by, evidence=evidence))
        kind = limit_kind(by)
        return Note(kind=kind) if kind else None

    def _held_back(self, probe: Probe, run: int, outcome: Outcome) -> bool:
        """Record what the platform and the hypervisor withheld; whether it was traffic."""
        if outcome.reading is None or outcome.observation is None:
            return False
        seen = outcome.observation
        if seen.steal > NOTABLE_STEAL:
            share = round(seen.steal, 4)
            self._steal[probe.name].append(StealResult(run=run, share=share))
        if not seen.held_back:
            return False
        counters = {node: dict(grown) for node, grown in seen.held_back.items()}
        self._throttled[probe.name].append(ThrottleResult(run=run, counters=counters))
        listed = "; ".join(f"{node}: {tally(grown)}" for node, grown in counters.items())
        self._warnings.append(f"{probe.name}, run {run}: the platform held traffic back ({listed})")
        return True

    def _noted_others(self, probe: Probe, run: int, outcome: Outcome) -> Note | None:
        """Record what others used of the machines; the note for the run's metrics, if any."""
        if outcome.reading is None or outcome.others <= NOTABLE_OTHERS:
            return None
        share = round(outcome.others, 4)
        self._disturbed[probe.name].append(DisturbedResult(run=run, share=share))
        return Note(kind="disturbed", figures={"percent": 100 * NOTABLE_OTHERS})

    def metrics(self) -> dict[str, MetricResult]:
        """The metrics that have a sample, in the probes' order."""
        rounds = range(1, self._runs + 1)
        return {
            metric.name: _summed(metric, probe.name, self._columns[metric.name], rounds)
            for probe in self._probes
            for metric in probe.metrics
            if self._columns[metric.name].samples
        }

    def probes(self, invocations: dict[str, Invocation | None]) -> dict[str, ProbeResult]:
        """The probes with their commands, failures and facts."""
        records = {}
        for probe in self._probes:
            invocation = invocations[probe.name]
            records[probe.name] = ProbeResult(
                role=invocation.role if invocation else None,
                argv=list(invocation.argv) if invocation else [],
                repeat_last=invocation.repeat_last if invocation else 1,
                runs=self._runs,
                failures=self._failures[probe.name],
                facts=self._facts[probe.name],
                limits=self._limits[probe.name],
                throttled=self._throttled[probe.name],
                steal=self._steal[probe.name],
                disturbed=self._disturbed[probe.name],
            )
        return records

    def warnings(self) -> list[str]:
        """What the runs warned of, and every metric with fewer samples than runs."""
        short = []
        for metric in self._all_metrics():
            column = self._columns[metric.name]
            if 0 < column.rounds() < self._runs:
                short.append(
                    f"{metric.name}: {column.rounds()} of {self._runs} samples "
                    f"({column.what_was_tried()})"
                )
        retried = [
            f"{name}: {len(reasons)} failed attempts (last: {reasons[-1]})"
            for name, reasons in self._failures.items()
            if reasons
        ]
        return [
            *self._warnings,
            *short,
            *retried,
            *_worst("the hypervisor withheld CPU time", self._steal),
            *_worst("others used the machines", self._disturbed),
        ]

    def errors(self) -> list[MissingMetric]:
        """Every metric without any sample, with what was tried."""
        return [
            MissingMetric(
                metric=metric.name,
                reason=f"no sample in {self._runs} runs ({column.what_was_tried()})",
            )
            for metric in self._all_metrics()
            if not (column := self._columns[metric.name]).samples
        ]

    def _all_metrics(self) -> list[Metric]:
        return [metric for probe in self._probes for metric in probe.metrics]


def _worst(
    what: str, runs: Mapping[str, Sequence[StealResult] | Sequence[DisturbedResult]]
) -> list[str]:
    """How many samples it happened to, and the one with the largest share of CPU time."""
    found = [(each, probe) for probe, of_probe in runs.items() for each in of_probe]
    if not found:
        return []
    worst, probe = max(found, key=lambda one: one[0].share)
    return [
        f"{what} during {len(found)} samples, {100 * worst.share:.0f} % at worst "
        f"({probe}, run {worst.run})"
    ]


def _placed(reading: Reading, metric: str, run: int) -> dict[Place, float]:
    slices = reading.slices.get(metric)
    if not slices:
        return {Place(1, run): _rounded(reading.values[metric])}
    return {
        Place(1, run, number): _rounded(value)
        for number, value in enumerate(slices, 1)
        if not math.isnan(value)
    }


def _summed(metric: Metric, probe: str, column: _Column, rounds: Sequence[int]) -> MetricResult:
    return MetricResult(
        **summed(column.samples),
        unit=metric.unit,
        better=metric.better,
        missing=column.missing,
        notes=merged(column.notes, rounds),
        group=metric.group,
        description=metric.description,
        load_model=metric.load_model,
        at_equal=metric.at_equal,
        decided_by=metric.decided_by,
        probe=probe,
    )


def summed(samples: Mapping[Place, float]) -> dict[str, Any]:
    """The fields of a :class:`bench.results.MetricResult` that follow from its samples.

    :param samples: one or more, by where they belong.
    """
    # Slices of a round share what the machine did then: the round is what is repeated.
    rounds = grouped(samples, lambda place: Place(place.bring_up, place.round))
    medians = {place: median(values) for place, values in rounds.items()}
    summary = summarise_by_bring_up(grouped(medians, lambda place: place.bring_up))
    return {
        "median": _rounded(summary.median),
        "ci": (summary.low, summary.high),
        "ci_level": _rounded(summary.level),
        "n": summary.n,
        "samples": list(samples.values()),
        "rounds": _told((place.round for place in samples), range(1, len(samples) + 1)),
        "bring_ups": _told((place.bring_up for place in samples), [1] * len(samples)),
        "slices": _told((place.slice for place in samples), [0] * len(samples)),
    }


def _told(places: Iterable[int], usual: Sequence[int]) -> list[int]:
    """Where samples belong; nothing where that goes without saying."""
    told = list(places)
    return [] if told == list(usual) else told


def _rounded(value: float) -> float:
    """To six significant digits: more than any tool has, and short in JSON."""
    return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
