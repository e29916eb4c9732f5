"""Two results against each other, metric by metric.

Which test is decided by what was planned, never by what the samples look like, or the better one
of two would be picked. Results of the same rounds (``interleaved``) are tested by pairs as soon as
the number of rounds lets a signed-rank test reach the corrected level (11 rounds for 45 metrics:
pairs have only two ways to fall). With fewer, and for results of separate runs, Mann–Whitney's
test serves; on interleaved rounds it is valid too and errs on the safe side, since a drift that
both sides share adds to the spread within them and not to the difference between them.

A comparison has some forty metrics. At 5 % each, two of them would differ between a scenario and
itself. Holm's method (Scandinavian Journal of Statistics 6 (1979) 65) keeps the chance of even one
false verdict in the whole comparison at 5 %, whatever the dependence between metrics, and metrics
of one probe depend on each other a great deal. Benjamini & Hochberg's would need fewer runs, but
bounds the share of false verdicts in the whole table: a single one, which is what a reader acts
upon, may then be wrong more often than 5 %, the more so the more other metrics truly differ.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from pydantic import Field, ValidationError

from bench import stats
from bench.environment import Model
from bench.metrics import Better
from bench.results import MetricResult, Results
from bench.text import number, problem

SCHEMA: Final = "cni-benchmark/comparison/v1"

Verdict = Literal["better", "worse", "no evidence", "too few runs"]
"""Of b against a, by the metric's direction. ``too few runs``: no samples whatever, however far
apart, would have reached the level; ``no evidence``: they could have, and did not."""

Test = Literal["mann-whitney", "signed-rank"]

ALPHA = 0.05
"""Chance of one or more false verdicts in a comparison of two equal things."""

DEFAULT_ROUNDS = 8
"""Rounds of an interleaved comparison. Two sides of 8 runs that lie wholly apart have p = 0.00016,
which survives the correction for 300 metrics; at the 45 of a whole comparison up to three of the
64 pairs of runs may lie the other way round."""

_MOST_RUNS = 100
_LEVEL = 0.95
_PLAN_MAY_DIFFER = frozenset({"profile", "runs"})
_MUST_AGREE = (
    "target", "instance_type", "emulated_instance_type", "region", "zone", "kernel", "cpus",
    "congestion_control", "node_mtu",
)  # fmt: skip
"""Facts of the environment that are not the scenario's own choice."""


class Effect(Model):
    """How much b lies above a: Hodges–Lehmann's shift, with the interval of the same rank test.

    ``relative`` says that it is in % of a (a shift of logarithms); otherwise it is in the metric's
    unit, because some sample is 0. ``level`` is the interval's real coverage, 0 to 1, for this one
    metric: the interval is not widened for the others.
    """

    value: float
    low: float
    high: float
    level: float
    relative: bool


class MetricComparison(Model):
    """One metric of b against a.

    ``p`` is the test's two-sided p-value, ``corrected`` the one after Holm's correction, by which
    the verdict is given. ``ratio`` is median b / median a, None where a's is 0.
    ``smallest`` is the shift that would have been seen with 90 % power at this spread and number
    of runs (see :mod:`bench.stats`; relative as ``effect`` is), None where there is none.
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
        """The effect in a few words: ``-4.2 % (-5.1 to -3.0)``."""
        unit = "percentage points" if self.unit == "%" else self.unit
        unit = "%" if self.effect.relative else unit
        text = f"{_signed(self.effect.value)} {unit}"
        if self.effect.level <= 0:
            return text
        return f"{text} ({_signed(self.effect.low)} to {_signed(self.effect.high)})"


class Comparison(Model):
    """Result b against result a.

    ``family`` is the number of metrics that the correction is over: all that were tested, less
    those whose samples are all equal and which therefore cannot differ. ``runs_needed`` is how many
    runs a side make a verdict possible for such a family. ``not_compared`` has the reason by
    metric; ``warnings`` say what else differs between the two than what they are called.
    """

    schema_: Literal["cni-benchmark/comparison/v1"] = Field(default=SCHEMA, alias="schema")
    labels: tuple[str, str]
    alpha: float
    correction: Literal["holm"] = "holm"
    interleaved: bool
    family: int
    runs_needed: int
    metrics: dict[str, MetricComparison]
    not_compared: dict[str, str] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)

    def verdicts(self, *wanted: Verdict) -> list[str]:
        """Names of the metrics with one of these verdicts."""
        return [name for name, metric in self.metrics.items() if metric.verdict in wanted]

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


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Corrected p-values (0 to 1) by name: at most ``alpha`` is a verdict at level ``alpha``.

    Not by statsmodels, which collects garbage at every call (70 ms).
    """
    p = np.fromiter(p_values.values(), float)
    order = np.argsort(p, kind="stable")
    steps = np.minimum(1, p[order] * np.arange(len(p), 0, -1))
    p[order] = np.maximum.accumulate(steps)
    return dict(zip(p_values, map(float, p), strict=True))


def runs_needed(family: int, *, paired: bool = False, alpha: float = ALPHA) -> int:
    """Runs of each side with which a verdict on one of ``family`` metrics is possible at all.

    :raises ValueError: not with 100 either.
    """
    for runs in range(2, _MOST_RUNS + 1):
        smallest = stats.smallest_paired_p(runs) if paired else stats.smallest_p(runs, runs)
        if family * smallest <= alpha:
            return runs
    raise ValueError(f"no verdict on {family} metrics at level {alpha} with {_MOST_RUNS} runs")


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)


def compare(
    a: Results,
    b: Results,
    *,
    labels: tuple[str, str] = ("a", "b"),
    interleaved: bool = False,
    metrics: Collection[str] | None = None,
    alpha: float = ALPHA,
) -> Comparison:
    """What differs in ``b`` from ``a``.

    :param interleaved: run i of both was made in the same round, right after each other.
    :param metrics: names of those to compare, chosen before any was looked at; by default all
        of which more or less is better. The fewer there are, the fewer runs a verdict takes.
    :param alpha: chance of one or more false verdicts where nothing differs.
    :raises ValueError: ``metrics`` has a name that neither result has.
    """
    names = _chosen({**a.metrics, **b.metrics}, metrics)
    refused = {n: why for n in names if (why := refusal(a.metrics.get(n), b.metrics.get(n)))}
    sides = {n: (a.metrics[n], b.metrics[n]) for n in names if n not in refused}
    samples = {name: samples_of(*pair) for name, pair in sides.items()}
    variable = [name for name, each in samples.items() if not each.constant]
    rules = _Rules(alpha, max(1, len(variable)))
    tests = {
        name: _Test(each, interleaved and _enough_pairs(each, rules))
        for name, each in samples.items()
    }
    outcomes = {name: test.outcome() for name, test in tests.items()}
    corrected = holm({name: outcomes[name].p for name in variable})
    return Comparison(
        labels=labels,
        alpha=alpha,
        interleaved=interleaved,
        family=rules.family,
        runs_needed=runs_needed(rules.family, alpha=alpha),
        metrics={
            name: _compared(sides[name], test, outcomes[name], corrected.get(name, 1.0), rules)
            for name, test in tests.items()
        },
        not_compared=refused,
        warnings=list(differences(a, b)),
    )


def _enough_pairs(samples: Samples, rules: _Rules) -> bool:
    pairs = len(samples.pairs)
    return pairs > 1 and stats.smallest_paired_p(pairs) <= rules.level


def _chosen(known: Mapping[str, MetricResult], wanted: Collection[str] | None) -> list[str]:
    unknown = sorted(set(wanted or ()) - known.keys())
    if unknown:
        raise ValueError(f"neither result has the metrics {', '.join(unknown)}")
    return [
        name
        for name, metric in known.items()
        if metric.better != "neither" and (wanted is None or name in wanted)
    ]


@dataclass(frozen=True, slots=True)
class _Test:
    """The chosen test of one metric, before it is made."""

    samples: Samples
    by_pairs: bool

    def outcome(self) -> stats.RankTest:
        if self.by_pairs:
            return stats.signed_rank(self.samples.pairs)
        return stats.mann_whitney(self.samples.a, self.samples.b)

    @property
    def smallest_p(self) -> float:
        """The smallest p-value that so many samples can have."""
        if self.by_pairs:
            return stats.smallest_paired_p(len(self.samples.pairs))
        return stats.smallest_p(len(self.samples.a), len(self.samples.b))

    def effect(self) -> Effect:
        samples = self.samples
        if self.by_pairs:
            shift = stats.shift_of_pairs(samples.pairs, _LEVEL)
        else:
            shift = stats.shift_between(samples.a, samples.b, _LEVEL)
        value, low, high = map(samples.percent, (shift.value, shift.low, shift.high))
        return Effect(value=value, low=low, high=high, level=shift.level, relative=samples.relative)

    def smallest_shift(self, level: float) -> float | None:
        """The shift that would have been seen, in % or in the metric's unit."""
        samples = self.samples
        if self.by_pairs:
            needed = stats.detectable_by_pairs(len(samples.pairs), level)
            sides: tuple[Sequence[float], ...] = (samples.pairs,)
        else:
            needed = stats.detectable(len(samples.a), len(samples.b), level)
            sides = (samples.a, samples.b)
        if needed is None or samples.constant:
            return None
        return samples.percent(needed * stats.pooled_deviation(*sides))


def _compared(
    sides: tuple[MetricResult, MetricResult],
    test: _Test,
    outcome: stats.RankTest,
    corrected: float,
    rules: _Rules,
) -> MetricComparison:
    a, b = sides
    return MetricComparison(
        unit=a.unit,
        better=a.better,
        group=a.group,
        n=(a.n, b.n),
        medians=(a.median, b.median),
        ratio=b.median / a.median if a.median else None,
        effect=test.effect(),
        test="signed-rank" if test.by_pairs else "mann-whitney",
        p=outcome.p,
        corrected=corrected,
        verdict=rules.verdict(a.better, outcome, corrected, test.smallest_p),
        smallest=test.smallest_shift(rules.level),
        notes=[
            f"{side}: {note}"
            for side, metric in zip("ab", sides, strict=True)
            for note in metric.note_texts()
        ],
    )


@dataclass(frozen=True, slots=True)
class _Rules:
    """When a difference counts: ``alpha`` for the whole family of metrics."""

    alpha: float
    family: int

    @property
    def level(self) -> float:
        """What the correction leaves for one metric at least."""
        return self.alpha / self.family

    def verdict(
        self, better: Better, outcome: stats.RankTest, corrected: float, smallest_p: float
    ) -> Verdict:
        if corrected <= self.alpha:
            higher = outcome.superiority > 0.5
            return "better" if higher == (better == "higher") else "worse"
        return "no evidence" if smallest_p <= self.level else "too few runs"


@dataclass(frozen=True, slots=True)
class Samples:
    """One metric's samples of both sides, on the scale on which their shift is estimated.

    ``relative``: they are natural logarithms, so that a shift is a ratio and means the same at any
    size. Where a sample is 0 (losses, errors) there is no logarithm, and they are plain values.
    ``pairs`` are the differences b - a of rounds that both sides have.
    """

    a: tuple[float, ...]
    b: tuple[float, ...]
    pairs: tuple[float, ...]
    relative: bool

    @property
    def constant(self) -> bool:
        """No sample differs from any other, so no test could tell the sides apart."""
        return len({*self.a, *self.b}) == 1

    def percent(self, shift: float) -> float:
        """A shift on this scale in % of a, or as it is where it is not relative."""
        return 100 * math.expm1(shift) if self.relative else shift


def samples_of(a: MetricResult, b: MetricResult) -> Samples:
    """Put one metric's samples side by side."""
    places_a, places_b = a.by_place(), b.by_place()
    relative = all(value > 0 for value in (*a.samples, *b.samples))
    scale = math.log if relative else float
    return Samples(
        tuple(map(scale, a.samples)),
        tuple(map(scale, b.samples)),
        tuple(
            scale(places_b[place]) - scale(value)
            for place, value in places_a.items()
            if place in places_b
        ),
        relative,
    )


def refusal(a: MetricResult | None, b: MetricResult | None) -> str | None:
    """Why a metric's two sides cannot be compared; None if they can."""
    if a is None or b is None:
        return f"{'a' if a is None else 'b'} has no samples of it"
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
    for label, side in (("a", a), ("b", b)):
        yield from (f"{label}: {check.mark}" for check in side.marks)
    sides_a, sides_b = ({(p.role, p.node) for p in side.placement} for side in (a, b))
    if sides_a != sides_b:
        yield "the pods are placed differently"


def _differs(what: str, a: object, b: object) -> Iterator[str]:
    if a != b:
        yield f"{what} is {a!r} in a, {b!r} in b"
