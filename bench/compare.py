"""Two results against each other, metric by metric.

Which test a metric gets, and on which scale its difference is taken: :mod:`bench.inference`.

A comparison has some forty metrics. At 5 % each, two of them would differ between a scenario and
itself. Holm's method (Scandinavian Journal of Statistics 6 (1979) 65) keeps the chance of even one
false verdict in a family of metrics at 5 %, whatever the dependence between metrics, and metrics
of one probe depend on each other a great deal. The primary metrics of all pairs of scenarios that
are compared at once are one family, and advice rests on them alone. All others are exploratory: a
family for each pair, so that what a comparison is made for does not pay for what stands beside it.
Benjamini & Hochberg's would need fewer runs, but bounds the share of false verdicts in the whole
table: a single one, which is what a reader acts upon, may then be wrong more often than 5 %, the
more so the more other metrics truly differ.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import numpy as np
from pydantic import Field, ValidationError

from bench import stats
from bench.environment import Model
from bench.inference import Outcome, Test, outcome_of, samples_of
from bench.metrics import PRIMARY, Better, Metric, shown_rank
from bench.results import MetricResult, Results
from bench.text import number, problem

SCHEMA: Final = "cni-benchmark/comparison/v2"

Verdict = Literal["better", "worse", "no evidence", "too few runs", "no direction"]
"""Of b against a, by the metric's direction. ``too few runs``: no samples whatever, however far
apart, would have reached the level; ``no evidence``: they could have, and did not; ``no
direction``: neither more nor less of it is better, and it is in no family."""

Scope = Literal["bring-ups", "this bring-up"]
"""What verdicts and intervals hold for: any bring-up, or the only one that was measured."""

ALPHA = 0.05
"""Chance of one or more false verdicts in each family of a comparison of two equal things."""

_MOST_RUNS = 100
_SAME_RATE = 0.01
"""Relative: offered rates that are this near count as equal."""
_PLAN_MAY_DIFFER = frozenset({"profile", "runs"})
_MUST_AGREE = (
    "target", "instance_type", "emulated_instance_type", "region", "zone", "kernel", "cpus",
    "congestion_control", "placement_of_cpus", "node_mtu",
)  # fmt: skip
"""Facts of the environment that are not the scenario's own choice."""


class Absolute(Model):
    """A relative effect in the metric's unit, at the baseline's median."""

    value: float
    low: float
    high: float
    unit: str


class Effect(Model):
    """How much b lies above a, by the test's own estimate, with the interval of the same test.

    ``relative`` says that it is in % of a; otherwise it is in the metric's unit, because some
    sample is 0. ``level`` is the interval's real coverage, 0 to 1, for this one metric: the
    interval is not widened for the others; 0 where there is no interval. The spreads are standard
    deviations on the same scale as ``value`` (of rates of data: as their time): ``spread_within`` a
    bring-up (over its slices or rounds) and ``spread_between`` bring-ups, of pairs where pairs are
    tested; None where there is none. ``absolute`` is of relative effects.
    """

    value: float
    low: float
    high: float
    level: float
    relative: bool
    spread_within: float | None = None
    spread_between: float | None = None
    absolute: Absolute | None = None


class MetricComparison(Model):
    """One metric of b against a.

    ``n`` is how many each side has of what the test draws: bring-ups, slices or rounds. ``p`` is
    its two-sided p-value, ``corrected`` the one after Holm's correction, by which the verdict is
    given (``p`` itself where the metric has no direction). ``ratio`` is median b / median a, None
    where a's is 0. ``smallest`` is the shift that would have been seen with 90 % power at this
    spread and number (see :mod:`bench.stats`; relative as ``effect`` is), None where there is none.
    ``notes`` are those of either side's samples.
    """

    unit: str
    better: Better
    group: str
    n: tuple[int, int]
    medians: tuple[float, float]
    ratio: float | None = None
    effect: Effect
    test: Test
    p: float
    corrected: float
    verdict: Verdict
    smallest: float | None = None
    notes: list[str] = Field(default_factory=list)

    def effect_text(self) -> str:
        """The effect in a few words: ``-4.2 % (-5.1 to -3.0), -1.1 µs``."""
        return ", ".join(filter(None, [self.change_text(), self.absolute_text()]))

    def change_text(self) -> str:
        """The effect with its interval: ``-4.2 % (-5.1 to -3.0)``."""
        effect = self.effect
        text = f"{_signed(effect.value)} {self.effect_unit}"
        if effect.level <= 0:
            return text
        return f"{text} ({_signed(effect.low)} to {_signed(effect.high)})"

    def absolute_text(self) -> str:
        """A relative effect in the metric's unit: ``-1.1 µs``; empty of others."""
        absolute = self.effect.absolute
        return f"{_signed(absolute.value)} {absolute.unit}" if absolute else ""

    def spread_text(self) -> str:
        """What repeats: ``within bring-ups ±0.8 %, between ±1.2 %``; empty where nobody knows."""
        parts = [
            f"{where} ±{number(spread, 2)} {self.effect_unit}"
            for where, spread in (
                ("within bring-ups", self.effect.spread_within),
                ("between", self.effect.spread_between),
            )
            if spread is not None
        ]
        return ", ".join(parts)

    @property
    def effect_unit(self) -> str:
        """The unit of the effect's figures."""
        if self.effect.relative:
            return "%"
        return "percentage points" if self.unit == "%" else self.unit


class Comparison(Model):
    """Result b against result a.

    ``primary`` and ``family`` are the numbers of tests in the two families: of the primary metrics,
    of all pairs that were compared at once, and of this pair's other metrics; of all that both
    sides were to measure and that have a direction, also where samples are missing.
    ``runs_needed`` is how many bring-ups (rounds, where ``scope`` is this bring-up) a side make a
    verdict possible on any of them. ``not_compared`` has the reason by metric; ``warnings`` say
    what else differs between the two than what they are called.
    """

    schema_: Literal["cni-benchmark/comparison/v2"] = Field(default=SCHEMA, alias="schema")
    labels: tuple[str, str]
    alpha: float
    correction: Literal["holm"] = "holm"
    interleaved: bool
    scope: Scope = "this bring-up"
    primary: int = 0
    family: int
    runs_needed: int
    metrics: dict[str, MetricComparison]
    not_compared: dict[str, str] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)

    def verdicts(self, *wanted: Verdict) -> list[str]:
        """Names of the metrics with one of these verdicts."""
        return [name for name, metric in self.metrics.items() if metric.verdict in wanted]

    @property
    def reach(self) -> str:
        """What is to be said after a verdict: " of this bring-up", or nothing."""
        return f" of {self.scope}" if self.scope == "this bring-up" else ""

    @property
    def title(self) -> str:
        """Which is against which, and how far the verdicts reach."""
        pair = f"{self.labels[1]} against {self.labels[0]}"
        return f"{pair}, verdicts{self.reach}" if self.reach else pair

    @property
    def runs(self) -> str:
        """What ``runs_needed`` counts."""
        return "rounds" if self.scope == "this bring-up" else "bring-ups"

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able data."""
        return self.model_dump(mode="json", by_alias=True)


class ComparisonError(ValueError):
    """Data that is no comparison of this schema."""


def from_dict(data: Mapping[str, Any]) -> Comparison:
    """Read a comparison from JSON data.

    :raises ComparisonError: another schema, or data that does not fit it.
    """
    try:
        return Comparison.model_validate(data)
    except ValidationError as error:
        raise ComparisonError(f"no comparison of schema {SCHEMA}: {problem(error)}") from None


_Key = TypeVar("_Key", bound=Hashable)


def holm(p_values: Mapping[_Key, float], family: int | None = None) -> dict[_Key, float]:
    """Corrected p-values (0 to 1) by name: at most ``alpha`` is a verdict at level ``alpha``.

    Not by statsmodels, which collects garbage at every call (70 ms).

    :param family: how many there were to be; those without a p-value count as the largest.
    """
    p = np.fromiter(p_values.values(), float)
    order = np.argsort(p, kind="stable")
    whole = max(len(p), family or 0)
    steps = np.minimum(1, p[order] * np.arange(whole, whole - len(p), -1))
    p[order] = np.maximum.accumulate(steps)
    return dict(zip(p_values, map(float, p), strict=True))


def primary_tests(scenarios: int, metrics: Collection[str] = PRIMARY) -> int:
    """How many there are of these primary metrics, of all pairs of so many scenarios."""
    return math.comb(scenarios, 2) * len(metrics)


def largest_family(metrics: Iterable[Metric], scenarios: int = 2) -> int:
    """How many tests the larger family has, where so many scenarios are compared by these."""
    names = {metric.name for metric in metrics if metric.better != "neither"}
    return max(primary_tests(scenarios, names & set(PRIMARY)), len(names - set(PRIMARY)))


def runs_needed(family: int, *, paired: bool = False, alpha: float = ALPHA) -> int:
    """Rounds of each side with which a verdict on one of ``family`` metrics is possible at all,
    where there is one bring-up. Of bring-ups, two do.

    :raises ValueError: not with 100 either.
    """
    for runs in range(2, _MOST_RUNS + 1):
        smallest = stats.smallest_paired_p(runs) if paired else stats.smallest_p(runs, runs)
        if family * smallest <= alpha:
            return runs
    raise ValueError(f"no verdict on {family} metrics at level {alpha} with {_MOST_RUNS} runs")


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two results to be compared: b against a.

    ``interleaved``: run i of both was made in the same round, right after each other.
    """

    a: Results
    b: Results
    labels: tuple[str, str] = ("a", "b")
    interleaved: bool = False


def compare(
    a: Results,
    b: Results,
    *,
    labels: tuple[str, str] = ("a", "b"),
    interleaved: bool = False,
    metrics: Collection[str] | None = None,
    alpha: float = ALPHA,
) -> Comparison:
    """What differs in ``b`` from ``a``; see :class:`Pair` and :func:`compare_together`.

    :raises ValueError: ``metrics`` has a name that neither result has.
    """
    if unknown := sorted(set(metrics or ()) - a.metrics.keys() - b.metrics.keys()):
        raise ValueError(f"neither result has the metrics {', '.join(unknown)}")
    (found,) = compare_together([Pair(a, b, labels, interleaved)], metrics=metrics, alpha=alpha)
    return found


def compare_together(
    pairs: Sequence[Pair], *, metrics: Collection[str] | None = None, alpha: float = ALPHA
) -> list[Comparison]:
    """What differs in each pair, with the primary metrics of all pairs as one family.

    :param metrics: names of those to compare, chosen before any was looked at; by default all.
        The fewer there are, the fewer runs a verdict takes.
    :param alpha: chance of one or more false verdicts in a family where nothing differs.
    """
    tested = [_Tested.of(pair, metrics) for pair in pairs]
    primary = sum(len(each.primary) for each in tested)
    outcomes = [each.outcomes(primary, alpha) for each in tested]
    corrected = holm(
        {
            (place, name): outcome.p
            for place, (each, found) in enumerate(zip(tested, outcomes, strict=True))
            for name, outcome in found.items()
            if name in each.primary
        },
        primary,
    )
    return [
        each.compared(
            found, {name: p for (of, name), p in corrected.items() if of == place}, primary, alpha
        )
        for place, (each, found) in enumerate(zip(tested, outcomes, strict=True))
    ]


def one_family(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Comparisons that were made one by one, with the primary metrics of all as one family.

    A family of more tests is stricter, so a verdict may only be lost.
    """
    whole = sum(each.primary for each in comparisons)
    corrected = holm(
        {
            (place, name): metric.p
            for place, each in enumerate(comparisons)
            for name, metric in each.metrics.items()
            if name in PRIMARY and metric.better != "neither"
        },
        whole,
    )

    def again(place: int, name: str, metric: MetricComparison) -> MetricComparison:
        p = corrected.get((place, name), metric.corrected)
        lost = metric.verdict in ("better", "worse") and p > comparisons[place].alpha
        return metric.model_copy(
            update={"corrected": p, "verdict": "no evidence" if lost else metric.verdict}
        )

    return [
        each.model_copy(
            update={
                "primary": whole,
                "metrics": {name: again(place, name, m) for name, m in each.metrics.items()},
            }
        )
        for place, each in enumerate(comparisons)
    ]


@dataclass(frozen=True, slots=True)
class _Tested:
    """A pair with the metrics that it has in both families, and those that are not compared."""

    pair: Pair
    sides: Mapping[str, tuple[MetricResult, MetricResult]]
    refused: Mapping[str, str]
    primary: frozenset[str]
    others: frozenset[str]
    several: bool

    @classmethod
    def of(cls, pair: Pair, metrics: Collection[str] | None) -> _Tested:
        a, b = pair.a, pair.b
        names = _chosen({**a.metrics, **b.metrics}, metrics)
        refused = {n: why for n in names if (why := _refusal(a, b, n))}
        sides = {n: (a.metrics[n], b.metrics[n]) for n in names if n not in refused}
        several = min(_bring_ups(a), _bring_ups(b)) > 1
        return cls(pair, sides, refused, *_families(a, b, metrics), several)

    def level(self, name: str, primary: int, alpha: float) -> float:
        """That of one metric, after the strictest correction."""
        if name in self.primary:
            return alpha / primary
        return alpha / (len(self.others) if name in self.others else 1)

    def outcomes(self, primary: int, alpha: float) -> dict[str, Outcome]:
        return {
            name: outcome_of(
                samples_of(self.pair.a.metrics, self.pair.b.metrics, name),
                self.level(name, primary, alpha),
                several=self.several, interleaved=self.pair.interleaved,
            )
            for name in self.sides
        }  # fmt: skip

    def compared(
        self,
        outcomes: Mapping[str, Outcome],
        corrected: Mapping[str, float],
        primary: int,
        alpha: float,
    ) -> Comparison:
        others = {name: outcomes[name].p for name in self.others if name in outcomes}
        p_values = {name: outcome.p for name, outcome in outcomes.items()}
        p_values |= {**corrected, **holm(others, len(self.others))}
        largest = max(1, primary, len(self.others))
        return Comparison(
            labels=self.pair.labels,
            alpha=alpha,
            interleaved=self.pair.interleaved,
            scope="bring-ups" if self.several else "this bring-up",
            primary=primary,
            family=len(self.others),
            runs_needed=2 if self.several else runs_needed(largest, alpha=alpha),
            metrics={
                name: _compared(
                    self.sides[name], outcome, p_values[name], alpha,
                    self.level(name, primary, alpha),
                )
                for name, outcome in outcomes.items()
            },
            not_compared=dict(self.refused),
            warnings=list(differences(self.pair.a, self.pair.b)),
        )  # fmt: skip


def _chosen(known: Mapping[str, MetricResult], wanted: Collection[str] | None) -> list[str]:
    names = [name for name in known if wanted is None or name in wanted]
    names = [name for name in names if name not in _deciders(known, names)]
    return sorted(names, key=lambda name: shown_rank(name, known[name].group)[0])


def _deciders(known: Mapping[str, MetricResult], names: Collection[str]) -> set[str | None]:
    """The metrics that only decide differences of others among these."""
    return {known[n].decided_by for n in names if n in known and known[n].decided_by != n}


def _families(
    a: Results, b: Results, wanted: Collection[str] | None
) -> tuple[frozenset[str], frozenset[str]]:
    """The primary metrics that are to be tested, and the others.

    A metric that a side has no sample of, though it was to be measured, counts: what fails must not
    make it easier for the rest.
    """
    planned = [side.metrics.keys() | {missing.metric for missing in side.errors} for side in (a, b)]
    named = {name for name in planned[0] & planned[1] if wanted is None or name in wanted}
    tested = frozenset(
        name
        for name in named - _deciders({**a.metrics, **b.metrics}, named)
        if not _another_quantity(a.metrics.get(name), b.metrics.get(name))
        and not any(
            metric.better == "neither"
            for side in (a, b)
            if (metric := side.metrics.get(name)) is not None
        )
    )
    return tested & set(PRIMARY), tested - set(PRIMARY)


def _bring_ups(results: Results) -> int:
    """How many there were, whatever came out of them."""
    seen = {
        bring_up
        for metric in results.metrics.values()
        for bring_up in (*metric.bring_ups, *(each.bring_up for each in metric.missing))
    }
    return max(len(results.bring_ups), len(seen))


def _compared(
    sides: tuple[MetricResult, MetricResult],
    outcome: Outcome,
    corrected: float,
    alpha: float,
    level: float,
) -> MetricComparison:
    a, b = sides
    return MetricComparison(
        unit=a.unit,
        better=a.better,
        group=a.group,
        n=outcome.n,
        medians=(a.median, b.median),
        ratio=b.median / a.median if a.median else None,
        effect=_effect(outcome, a),
        test=outcome.test,
        p=outcome.p,
        corrected=corrected,
        verdict=_verdict(a.better, outcome, corrected <= alpha, level),
        smallest=None if outcome.samples.constant else outcome.share(outcome.smallest),
        notes=[
            f"{side}: {note}"
            for side, metric in zip("ab", sides, strict=True)
            for note in metric.note_texts()
        ],
    )


def _effect(outcome: Outcome, baseline: MetricResult) -> Effect:
    samples, shift = outcome.samples, outcome.shift
    value, *ends = map(samples.share, (shift.value, shift.low, shift.high))
    low, high = sorted(ends)
    absolute = None
    if samples.scale != "plain":
        one = baseline.median / 100
        absolute = Absolute(value=one * value, low=one * low, high=one * high, unit=baseline.unit)
    return Effect(
        value=value,
        low=low,
        high=high,
        level=shift.level,
        relative=samples.scale != "plain",
        spread_within=outcome.share(outcome.within),
        spread_between=outcome.share(outcome.between),
        absolute=absolute,
    )


def _verdict(better: Better, outcome: Outcome, reached: bool, level: float) -> Verdict:
    if better == "neither":
        return "no direction"
    if reached:
        return "better" if outcome.upwards == (better == "higher") else "worse"
    return "no evidence" if outcome.smallest_p <= level else "too few runs"


def _refusal(a: Results, b: Results, name: str) -> str | None:
    """Why a metric's two sides cannot be compared; None if they can."""
    first, second = a.metrics.get(name), b.metrics.get(name)
    if first is None or second is None:
        return f"{'a' if first is None else 'b'} has no samples of it"
    return _another_quantity(first, second) or _another_rate(a, b, first.at_equal)


def _another_rate(a: Results, b: Results, rate: str | None) -> str | None:
    """A loss of more that was offered is no worse loss."""
    if rate is None:
        return None
    first, second = a.metrics.get(rate), b.metrics.get(rate)
    if first is None or second is None:
        return f"{rate}, at which it was taken, is not known of both"
    low, high = sorted((first.median, second.median))
    if high - low <= _SAME_RATE * high:
        return None
    return (
        f"it was taken at different rates: {rate} is {number(first.median)} {first.unit} in a, "
        f"{number(second.median)} in b"
    )


def _another_quantity(a: MetricResult | None, b: MetricResult | None) -> str | None:
    """How what was measured differs; None where it is the same, or of one side only."""
    if a is None or b is None:
        return None
    if a.unit != b.unit:
        return f"its unit is {a.unit} in a and {b.unit} in b"
    if a.better != b.better:
        return f"{a.better} is better in a, {b.better} in b"
    if a.load_model != b.load_model:
        return f"its load differs: {a.load_model} in a, {b.load_model} in b"
    return None


def differences(a: Results, b: Results) -> Iterator[str]:
    """What differs between two results besides what is compared: a warning for each."""
    for key in sorted((a.plan.keys() | b.plan.keys()) - _PLAN_MAY_DIFFER):
        yield from _differs(f"plan: {key}", a.plan.get(key), b.plan.get(key))
    for fact in _MUST_AGREE:
        yield from _differs(fact, getattr(a.environment, fact), getattr(b.environment, fact))
    yield from _differs("number of nodes", len(a.environment.nodes), len(b.environment.nodes))
    for versions, of in ((a.environment.versions, b.environment.versions), (a.tools, b.tools)):
        for program in sorted(versions.keys() | of.keys()):
            # A CNI's own programs are there on one side only.
            if versions is a.tools or (program in versions and program in of):
                yield from _differs(f"version of {program}", versions.get(program), of.get(program))
    if a.environment.network and b.environment.network:  # no earlier results' and no lab's
        yield from _differs(
            "being in one cluster placement group",
            a.environment.network.placement_group,
            b.environment.network.placement_group,
        )
    if a.dns_place and b.dns_place:  # earlier results do not know
        yield from _differs("place of the DNS's pods", a.dns_place, b.dns_place)
    for label, side in (("a", a), ("b", b)):
        yield from (f"{label}: {check.mark}" for check in side.marks)
    sides_a, sides_b = ({(p.role, p.node) for p in side.placement} for side in (a, b))
    if sides_a != sides_b:
        yield "the pods are placed differently"


def _differs(what: str, a: object, b: object) -> Iterator[str]:
    if a != b:
        yield f"{what} is {a!r} in a, {b!r} in b"
