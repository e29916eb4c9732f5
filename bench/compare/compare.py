"""Two results against each other, metric by metric.

Which test is decided by what was planned, never by what the samples look like, or the better one
of two would be picked. Results of the same rounds (``interleaved``) are tested by pairs as soon as
the number of rounds lets a signed-rank test reach the corrected level (11 rounds for 45 metrics:
pairs have only two ways to fall). With fewer, and for results of separate runs, Mann–Whitney's
test serves; on interleaved rounds it is valid too and errs on the safe side, since a drift that
both sides share adds to the spread within them and not to the difference between them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.compare import power, ranks
from bench.compare.model import Comparison, Effect, MetricComparison, Verdict
from bench.compare.multiplicity import ALPHA, holm, runs_needed
from bench.compare.samples import Samples, differences, refusal, samples_of
from bench.metrics import Better
from bench.results import MetricResult, Results

_LEVEL = 0.95


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
    :param metrics: names of those to compare, chosen before any was looked at; by default all.
        The fewer there are, the fewer runs a verdict takes.
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
    return pairs > 1 and ranks.smallest_paired_p(pairs) <= rules.level


def _chosen(known: Mapping[str, MetricResult], wanted: Collection[str] | None) -> list[str]:
    unknown = sorted(set(wanted or ()) - known.keys())
    if unknown:
        raise ValueError(f"neither result has the metrics {', '.join(unknown)}")
    return [name for name in known if wanted is None or name in wanted]


@dataclass(frozen=True, slots=True)
class _Test:
    """The chosen test of one metric, before it is made."""

    samples: Samples
    by_pairs: bool

    def outcome(self) -> ranks.RankTest:
        if self.by_pairs:
            return ranks.signed_rank(self.samples.pairs)
        return ranks.mann_whitney(self.samples.a, self.samples.b)

    @property
    def smallest_p(self) -> float:
        """The smallest p-value that so many samples can have."""
        if self.by_pairs:
            return ranks.smallest_paired_p(len(self.samples.pairs))
        return ranks.smallest_p(len(self.samples.a), len(self.samples.b))

    def effect(self) -> Effect:
        samples = self.samples
        if self.by_pairs:
            shift = ranks.shift_of_pairs(samples.pairs, _LEVEL)
        else:
            shift = ranks.shift_between(samples.a, samples.b, _LEVEL)
        value, low, high = map(samples.percent, (shift.value, shift.low, shift.high))
        return Effect(value=value, low=low, high=high, level=shift.level, relative=samples.relative)

    def smallest_shift(self, level: float) -> float | None:
        """The shift that would have been seen, in % or in the metric's unit."""
        samples = self.samples
        if self.by_pairs:
            needed = power.detectable_by_pairs(len(samples.pairs), level)
            sides: tuple[Sequence[float], ...] = (samples.pairs,)
        else:
            needed = power.detectable(len(samples.a), len(samples.b), level)
            sides = (samples.a, samples.b)
        if needed is None or samples.constant:
            return None
        return samples.percent(needed * power.pooled_deviation(*sides))


def _compared(
    sides: tuple[MetricResult, MetricResult],
    test: _Test,
    outcome: ranks.RankTest,
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
            for note in (*metric.notes, *_throttled(metric))
        ],
    )


def _throttled(metric: MetricResult) -> Iterator[str]:
    if metric.throttled:
        yield (
            f"{len(metric.throttled)} of {metric.n} samples were taken while the platform held "
            "traffic back"
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
        self, better: Better, outcome: ranks.RankTest, corrected: float, smallest_p: float
    ) -> Verdict:
        if corrected <= self.alpha:
            higher = outcome.superiority > 0.5
            return "better" if higher == (better == "higher") else "worse"
        return "no evidence" if smallest_p <= self.level else "too few runs"
