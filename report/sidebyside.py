"""Scenarios side by side: every metric of each, and each but the first against the first."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.compare import ALPHA, Comparison, MetricComparison, compare
from bench.metrics import Better, LimitedBy, group_rank
from bench.results import MetricResult
from report.sources import MeasuredScenario


@dataclass(frozen=True, slots=True)
class Cell:
    """One scenario's result of one metric; ``against`` is it against the baseline's.

    ``against`` is None for the baseline itself and where the two cannot be compared.
    """

    scenario: str
    result: MetricResult | None
    against: MetricComparison | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of all scenarios, in their order."""

    name: str
    unit: str
    better: Better
    group: str
    description: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Some scenarios; ``comparisons`` are of all but the first, each against the first.

    ``chosen`` are the metrics that were asked for; None for all.
    """

    scenarios: tuple[MeasuredScenario, ...]
    comparisons: tuple[Comparison, ...]
    chosen: frozenset[str] | None = None

    @property
    def interleaved(self) -> bool:
        """All scenarios were measured in the same rounds."""
        return bool(self.comparisons) and all(each.interleaved for each in self.comparisons)

    @property
    def baseline(self) -> MeasuredScenario:
        """What the others are compared with."""
        return self.scenarios[0]

    def rows(self) -> Iterator[Row]:
        """Every metric that any scenario has and that was asked for, in the order of groups."""
        known: dict[str, MetricResult] = {}
        for scenario in reversed(self.scenarios):
            known = {**scenario.results.metrics, **known}
        shown = [item for item in known.items() if self.chosen is None or item[0] in self.chosen]
        for name, metric in sorted(shown, key=lambda item: group_rank(item[1].group)):
            cells = tuple(self._cells(name))
            yield Row(name, metric.unit, metric.better, metric.group, metric.description, cells)

    def _cells(self, name: str) -> Iterator[Cell]:
        yield Cell(self.baseline.name, self.baseline.results.metrics.get(name))
        for scenario, comparison in zip(self.scenarios[1:], self.comparisons, strict=True):
            result = scenario.results.metrics.get(name)
            yield Cell(scenario.name, result, comparison.metrics.get(name))


def side_by_side(
    scenarios: Sequence[MeasuredScenario],
    *,
    metrics: Collection[str] | None = None,
    alpha: float = ALPHA,
) -> SideBySide:
    """Compare every scenario with the first; by pairs where they share their rounds.

    :param metrics: those to compare, chosen before any was looked at; by default all.
    :param alpha: chance of one or more false verdicts in each comparison.
    :raises ValueError: no scenario, or ``metrics`` has a name that no scenario has.
    """
    if not scenarios:
        raise ValueError("no scenario to compare")
    first, *others = scenarios
    known = {name for scenario in scenarios for name in scenario.results.metrics}
    unknown = sorted(set(metrics or ()) - known)
    if unknown:
        raise ValueError(f"no scenario has the metrics {', '.join(unknown)}")
    comparisons = tuple(
        compare(
            first.results,
            other.results,
            labels=(first.name, other.name),
            interleaved=first.results.interleaved_with(other.results),
            metrics=_of_either(metrics, first, other),
            alpha=alpha,
        )
        for other in others
    )
    chosen = None if metrics is None else frozenset(metrics)
    return SideBySide(tuple(scenarios), comparisons, chosen)


def _of_either(
    metrics: Collection[str] | None, first: MeasuredScenario, other: MeasuredScenario
) -> Collection[str] | None:
    if metrics is None:
        return None
    have = {**first.results.metrics, **other.results.metrics}
    return [name for name in metrics if name in have]


def qualified(metric: MetricResult) -> list[str]:
    """In a few words each, what a reader of this number must know beside it."""
    said = []
    for by, words in _LIMITS.items():
        if note := metric.limited_by(by):
            said.append(f"limit: {words}{' in some runs' if note.rounds else ''}")
    if metric.throttled:
        said.append(f"traffic held back in {metric.throttled} of {metric.n}")
    if metric.missing:
        said.append(f"{len(metric.missing)} of {metric.n + len(metric.missing)} runs missing")
    return said


_LIMITS: Mapping[LimitedBy, str] = {
    "machine": "machine's CPUs", "server": "server", "client": "load generator",
}  # fmt: skip


def caveats(side: SideBySide) -> list[str]:
    """What else differs between the scenarios than what they are called, once each."""
    return list(
        dict.fromkeys(
            named(text, comparison)
            if text.startswith(("a: ", "b: "))
            else f"{' and '.join(comparison.labels)}: {named(text, comparison)}"
            for comparison in side.comparisons
            for text in comparison.warnings
        )
    )


_SIDE = re.compile(r"(?<=in )[ab](?=,|$)|^[ab](?= has |: )")


def named(text: str, comparison: Comparison) -> str:
    """What a comparison says of its sides a and b, with their names."""
    sides = dict(zip("ab", comparison.labels, strict=True))
    return _SIDE.sub(lambda found: sides[found[0]], text)


def certainty(side: SideBySide, advice: str) -> str:
    """How sure the verdicts are, in a sentence or two.

    :param advice: what is said beside it where there are too few runs for a verdict on all metrics.
    """
    if not side.comparisons:
        return "One scenario alone: nothing is compared."
    chance = f"{100 * side.comparisons[0].alpha:g} %"
    rounds = "in common interleaved rounds" if side.interleaved else "in separate runs"
    many = ", each" if len(side.comparisons) > 1 else ""
    sentence = (
        f"Measured {rounds}; the chance of even one false verdict is at most {chance} in "
        f"{len(side.comparisons)} comparison{'s' if many else ''}{many}."
    )
    short = [
        f"{comparison.labels[1]} ({runs} of {comparison.runs_needed} runs)"
        for comparison in side.comparisons
        if (runs := _runs(comparison)) < comparison.runs_needed
    ]
    if short:
        family = max(each.family for each in side.comparisons)
        sentence += (
            f" Too few runs for verdicts on {family} metrics at once: {', '.join(short)}. {advice}"
        )
    return sentence


def _runs(comparison: Comparison) -> int:
    """Of the side with fewer, at most metrics."""
    return max((min(metric.n) for metric in comparison.metrics.values()), default=0)
