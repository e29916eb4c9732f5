"""Which of several is best by some metrics: the first, unless a later one beats it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.compare import Comparison, MetricComparison, Verdict, compare
from bench.limits import NOTES
from bench.metrics import CNI_COST
from bench.results import MetricResult, Results
from bench.text import number

Outcome = Literal["better", "worse", "mixed", "no evidence", "too noisy", "too few runs"]
"""Of the later one against the one kept so far. ``too noisy``: there is no evidence, and there
could have been none of any difference that matters, in whatever metric."""
UNDECIDED: frozenset[Outcome] = frozenset({"too noisy", "too few runs"})


@dataclass(frozen=True, slots=True)
class Contender:
    """What takes part: a scenario, or a subject of an experiment at one point."""

    name: str
    results: Results


@dataclass(frozen=True, slots=True)
class Contest:
    """One against the one kept so far, over the deciding metrics.

    A difference counts from ``worth`` % on; where none below ``noisy`` % could have been seen in
    any of the metrics, nothing is said. ``unusable`` has the reason by metric for those that decide
    nothing.
    """

    kept: str
    other: str
    worth: float
    noisy: float
    comparison: Comparison
    unusable: dict[str, str]

    @property
    def outcome(self) -> Outcome:
        """What the verdicts come to."""
        gains, losses = self._worthwhile("better"), self._worthwhile("worse")
        if gains and losses:
            return "mixed"
        if gains or losses:
            return "better" if gains else "worse"
        if self.comparison.verdicts("too few runs"):
            return "too few runs"
        return "too noisy" if self.finest > self.noisy else "no evidence"

    @property
    def finest(self) -> float:
        """The smallest difference in % that would have been seen, in the metric that shows it best;
        0 where nothing varies."""
        known = [
            metric.smallest or 0.0
            for metric in self.comparison.metrics.values()
            if metric.effect.relative
        ]
        return min(known, default=0.0)

    def sentence(self) -> str:
        """The outcome with its figures."""
        gains, losses = self._worthwhile("better"), self._worthwhile("worse")
        pair = f"{self.other} against {self.kept}"
        match self.outcome:
            case "better" | "worse" as outcome:
                return f"{pair}: {outcome} in {_told(gains or losses)}"
            case "mixed":
                return f"{pair}: better in {_told(gains)}, worse in {_told(losses)}"
            case "too few runs":
                return f"{pair}: too few runs for a verdict ({self._runs()})"
            case "no evidence":
                return f"{pair}: no evidence of a difference of {self.worth:g} %{self._seen()}"
            case "too noisy":
                return f"{pair}: too noisy to tell{self._seen()}"

    def _worthwhile(self, verdict: Verdict) -> dict[str, MetricComparison]:
        return {
            name: metric
            for name, metric in self.comparison.metrics.items()
            if metric.verdict == verdict
            and (not metric.effect.relative or abs(metric.effect.value) >= self.worth)
        }

    def _runs(self) -> str:
        have = min((min(metric.n) for metric in self.comparison.metrics.values()), default=0)
        count = len(self.comparison.metrics)
        return (
            f"{have} of the {self.comparison.runs_needed} that "
            f"{count} metric{'s' if count > 1 else ''} take"
        )

    def _seen(self) -> str:
        """What would have been seen, metric by metric."""
        limits = [
            f"{name} from {number(metric.smallest, 2)} %"
            for name, metric in self.comparison.metrics.items()
            if metric.smallest is not None and metric.effect.relative
        ]
        return f" (would have been seen: {', '.join(limits)})" if limits else ""


def _told(metrics: dict[str, MetricComparison]) -> str:
    return ", ".join(f"{name} {metric.effect_text()}" for name, metric in metrics.items())


def best(
    contenders: Sequence[Contender], metrics: Sequence[str], *, worth: float, noisy: float
) -> tuple[str, tuple[Contest, ...]]:
    """The name of the best, and the contests that made it so.

    :param contenders: one or more, the simplest first.
    :param metrics: the deciding ones; those that a contender lacks, or that something other than
        the network limited, decide nothing.
    """
    kept, *others = contenders
    contests = []
    for other in others:
        held = _contest(kept, other, metrics, worth, noisy)
        if held is None:
            continue
        contests.append(held)
        if held.outcome == "better":
            kept = other
    return kept.name, tuple(contests)


def _contest(
    kept: Contender, other: Contender, metrics: Sequence[str], worth: float, noisy: float
) -> Contest | None:
    """None where no metric can decide."""
    unusable = dict(_unusable(kept, other, metrics))
    usable = [name for name in metrics if name not in unusable]
    if not usable:
        return None
    comparison = compare(
        kept.results,
        other.results,
        labels=(kept.name, other.name),
        interleaved=kept.results.interleaved_with(other.results),
        metrics=usable,
    )
    if not comparison.metrics:
        return None
    unusable |= comparison.not_compared
    return Contest(kept.name, other.name, worth, noisy, comparison, unusable)


def _unusable(
    kept: Contender, other: Contender, metrics: Sequence[str]
) -> Iterator[tuple[str, str]]:
    for name in metrics:
        for side in (kept, other):
            metric = side.results.metrics.get(name)
            reason = _why_not(metric)
            if reason:
                yield name, f"{side.name}: {reason}"
                break


def _why_not(metric: MetricResult | None) -> str | None:
    """Why a metric decides nothing.

    A machine's CPUs that all share are part of what is compared: the CPU that the packets' way
    takes. A server's or a generator's own limit is not, but for what the CNI uses meanwhile.
    """
    if metric is None:
        return "not measured"
    if metric.group == CNI_COST:
        return None
    for by in ("server", "client"):
        if any(NOTES[by] in note for note in metric.notes):
            return NOTES[by]
    return None
