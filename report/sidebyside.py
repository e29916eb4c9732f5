"""Scenarios side by side: every metric of each, and each but the first against the first.

They are shown as tables for a terminal of 80 columns or more (rich), and written as Markdown, CSV,
JSON, and in Go's benchmark format.
"""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from typing import Any, Final, Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench import benchstat
from bench.compare import (
    ALPHA,
    Comparison,
    MetricComparison,
    Pair,
    Scope,
    Verdict,
    compare,
    compare_together,
)
from bench.metrics import ARROWS, ARROWS_TEXT, PRIMARY, Better, LimitedBy, shown_rank, table_heading
from bench.results import MetricResult, Results
from bench.text import number
from report.show import listing, plain_table
from report.sources import MeasuredScenario

SCHEMA: Final = "cni-benchmark/side-by-side/v1"
COLUMNS: Final = (
    "metric", "group", "unit", "better", "scenario", "n", "median", "low", "high", "ci_level",
    "baseline", "effect", "effect_low", "effect_high", "effect_unit", "spread_within",
    "spread_between", "p", "p_corrected", "verdict", "scope", "notes",
)  # fmt: skip
"""Of the CSV: a line per metric and scenario."""

_STYLES: dict[Verdict, str] = {
    "better": "green", "worse": "red", "no evidence": "default", "too few runs": "dim",
    "no direction": "dim",
}  # fmt: skip
_LEGEND = (
    f"{ARROWS_TEXT}. The effect is that of the scenario on the baseline, with the interval of this "
    "one metric; the verdict is "
    "corrected for the number of tests: of the primary metrics, of all pairs of scenarios; of the "
    "others, of this pair. "
    "± is the standard deviation of the effect within and between bring-ups."
)


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

    @property
    def heading(self) -> str:
        """Under which it is shown."""
        return table_heading(self.name, self.group)


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Some scenarios; ``pairs`` has the comparison of each with every later one, by their names.

    All pairs' primary metrics are one family, so that no page, table or advice needs a test of its
    own. ``chosen`` are the metrics that were asked for; None for all. ``decisive`` are those that
    decide beside the primary ones, named before anything was measured.
    """

    scenarios: tuple[MeasuredScenario, ...]
    pairs: Mapping[tuple[str, str], Comparison]
    chosen: frozenset[str] | None = None
    decisive: tuple[str, ...] = ()

    @property
    def comparisons(self) -> tuple[Comparison, ...]:
        """Those against the baseline."""
        return tuple(self.pairs[self.baseline.name, each.name] for each in self.scenarios[1:])

    @property
    def scope(self) -> Scope:
        """What all verdicts hold for."""
        alone = any(each.scope == "this bring-up" for each in self.comparisons)
        return "this bring-up" if alone else "bring-ups"

    @property
    def interleaved(self) -> bool:
        """All scenarios were measured in the same rounds."""
        return bool(self.comparisons) and all(each.interleaved for each in self.comparisons)

    @property
    def baseline(self) -> MeasuredScenario:
        """What the others are compared with."""
        return self.scenarios[0]

    def rows(self) -> Iterator[Row]:
        """Every metric that any scenario has and that was asked for, primary ones first."""
        known: dict[str, MetricResult] = {}
        for scenario in reversed(self.scenarios):
            known = {**scenario.results.metrics, **known}
        shown = [item for item in known.items() if self.chosen is None or item[0] in self.chosen]
        for name, metric in sorted(shown, key=lambda item: shown_rank(item[0], item[1].group)):
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
    """Compare every scenario with every other; by pairs where they share their rounds.

    :param metrics: those to compare, chosen before any was looked at; by default all.
    :param alpha: chance of one or more false verdicts in each family.
    :raises ValueError: no scenario, or ``metrics`` has a name that no scenario has.
    """
    if not scenarios:
        raise ValueError("no scenario to compare")
    known = {name for scenario in scenarios for name in scenario.results.metrics}
    if unknown := sorted(set(metrics or ()) - known):
        raise ValueError(f"no scenario has the metrics {', '.join(unknown)}")
    pairs = [
        Pair(a.results, b.results, (a.name, b.name), a.results.interleaved_with(b.results))
        for a, b in combinations(scenarios, 2)
    ]
    found = compare_together(pairs, metrics=metrics, alpha=alpha)
    chosen = None if metrics is None else frozenset(metrics)
    return SideBySide(tuple(scenarios), {each.labels: each for each in found}, chosen)


def qualified(metric: MetricResult) -> list[str]:
    """In a few words each, what a reader of this number must know beside it."""
    said = []
    for by, words in _LIMITS.items():
        if note := metric.limited_by(by):
            said.append(f"limit: {words}{' in some runs' if note.rounds else ''}")
    if metric.throttled:
        said.append(f"traffic held back in {metric.throttled} of {metric.n}")
    if metric.missing:
        runs = len({place[:2] for place in metric.places}) + len(metric.missing)
        said.append(f"{len(metric.missing)} of {runs} runs missing")
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
    return _SIDE.sub(lambda side: sides[side[0]], text)


def level_text(levels: Iterable[float]) -> str:
    """What intervals cover: ``95 %``; ``75 to 96 %`` where so few or so many ranks allow that."""
    known = sorted({round(100 * each) for each in levels if each > 0})
    ends = dict.fromkeys(map(str, known[:1] + known[-1:]))
    return f"{' to '.join(ends)} %" if known else "of single runs: none"


def levels(side: SideBySide) -> str:
    """Of the effects' intervals."""
    return level_text(
        metric.effect.level
        for comparison in side.comparisons
        for metric in comparison.metrics.values()
    )


def certainty(side: SideBySide, advice: str) -> str:
    """How sure the verdicts are, in a sentence or two.

    :param advice: what is said beside it where there are too few runs for a verdict on all metrics.
    """
    if not side.comparisons:
        return "One scenario alone: nothing is compared."
    first = side.comparisons[0]
    chance = f"{100 * first.alpha:g} %"
    rounds = "in common interleaved rounds" if side.interleaved else "in separate runs"
    all_pairs = f"all {len(side.pairs)} pairs of scenarios" if len(side.pairs) > 1 else "the pair"
    others = "and no advice rests on them"
    if side.decisive:
        others = f"and of them only {', '.join(side.decisive)} decides anything"
    sentence = (
        f"Measured {rounds}. The chance of even one false verdict among the {first.primary} tests "
        f"of primary metrics, of {all_pairs}, is at most {chance}. All other metrics are "
        f"exploratory: each pair's have {chance} of their own, {others}. "
        f"{_SCOPES[side.scope]}"
    )
    short = []
    for each in side.comparisons:
        lacking = [each.metrics[name] for name in each.verdicts("too few runs")]
        if lacking:
            # The runs of the side with fewer, at most metrics.
            runs = max(min(metric.n) for metric in lacking)
            short.append(f"{each.labels[1]} ({runs} of {each.runs_needed} {each.runs})")
    if short:
        family = max(max(each.primary, each.family) for each in side.comparisons)
        sentence += (
            f" Too few runs for verdicts on {family} metrics at once: {', '.join(short)}. {advice}"
        )
    return sentence


_SCOPES: Mapping[Scope, str] = {
    "bring-ups": "Verdicts and intervals are over bring-ups.",
    "this bring-up": "Verdicts and intervals are of this bring-up alone: another may differ.",
}


def render(side: SideBySide) -> RenderableType:
    """A table for each scenario against the baseline, and what to know of them."""
    parts: list[RenderableType] = []
    for comparison in side.comparisons:
        parts += [_table(side, comparison), Text(tally(comparison), style="bold"), Text()]
        missing = [
            f"{name}: {named(why, comparison)}" for name, why in comparison.not_compared.items()
        ]
        parts += listing("Not compared", missing, "yellow")
    sure = certainty(side, "Name the metrics that matter (--metrics), or measure more runs.")
    parts.append(Text("\n".join([_LEGEND, sure, *_notes(side), ""]), style="dim"))
    parts += listing("What else differs", caveats(side), "yellow")
    return Group(*parts)


def tally(comparison: Comparison) -> str:
    """How often each verdict was given: "scenario-e: 3 better, 1 worse, …"."""
    counts = Counter(metric.verdict for metric in comparison.metrics.values())
    counted = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _STYLES if counts[verdict])
    return f"{comparison.title}: {counted or 'nothing compared'}"


def _table(side: SideBySide, comparison: Comparison) -> Table:
    a, b = comparison.labels
    table = plain_table(comparison.title)
    table.padding = (0, 0, 0, 0)  # else 80 columns are too few
    table.add_column("metric", no_wrap=True)
    for label in (a, b):
        table.add_column(label, justify="right", overflow="fold", max_width=10)
    table.add_column("effect", justify="right")
    table.add_column("verdict", no_wrap=True)
    items = sorted(comparison.metrics.items(), key=lambda item: shown_rank(item[0], item[1].group))
    for group, members in groupby(items, key=lambda item: table_heading(item[0], item[1].group)):
        table.add_section()
        table.add_row(Text(group, style="bold cyan"))
        for name, metric in members:
            either = [s.results.metrics.get(name) for s in side.scenarios if s.name in (a, b)]
            star = "*" if any(result and qualified(result) for result in either) else ""
            table.add_row(
                f"{ARROWS[metric.better]} {name}{star}\n  {metric.unit}",
                *map(number, metric.medians),
                metric.change_text().replace(" (", "\n(") + _aside(name, metric),
                Text(metric.verdict, style=_STYLES[metric.verdict]),
            )
    return table


def _aside(name: str, metric: MetricComparison) -> str:
    """What there is room for below the effect of a primary metric."""
    if name not in PRIMARY:
        return ""
    effect = metric.effect
    known = (each for each in (effect.spread_within, effect.spread_between) if each is not None)
    spread = "/".join(number(each, 2) for each in known)
    parts = (metric.absolute_text(), f"±{spread} {metric.effect_unit}" if spread else "")
    return "\n" + ", ".join(filter(None, parts))


def _notes(side: SideBySide) -> Iterator[str]:
    """The stars' meanings: scenario and metrics by what is to be known of them."""
    metrics: dict[tuple[str, str], list[str]] = {}
    for row in side.rows():
        for cell in row.cells:
            for text in qualified(cell.result) if cell.result else ():
                metrics.setdefault((cell.scenario, text), []).append(row.name)
    for (scenario, text), names in metrics.items():
        yield f"* {scenario}: {text}: {', '.join(names)}"


def as_csv(side: SideBySide) -> str:
    """A line per metric and scenario, with full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in side.rows():
        writer.writerows(_record(row, cell, side.baseline.name, side.scope) for cell in row.cells)
    return text.getvalue()


def _record(row: Row, cell: Cell, baseline: str, scope: Scope) -> dict[str, Any]:
    record: dict[str, Any] = {
        "metric": row.name,
        "group": row.group,
        "unit": row.unit,
        "better": row.better,
        "scenario": cell.scenario,
        "n": cell.result.n if cell.result else 0,
    }
    if cell.result:
        low, high = cell.result.ci
        record |= {"median": cell.result.median, "low": low, "high": high}
        record |= {"ci_level": cell.result.ci_level, "notes": "; ".join(qualified(cell.result))}
    if cell.against:
        effect = cell.against.effect
        record |= {
            "baseline": baseline,
            "effect": effect.value,
            "effect_low": effect.low,
            "effect_high": effect.high,
            "effect_unit": "%" if effect.relative else row.unit,
            "spread_within": effect.spread_within,
            "spread_between": effect.spread_between,
            "p": cell.against.p,
            "p_corrected": cell.against.corrected,
            "verdict": cell.against.verdict,
            "scope": scope,
        }
    return record


def as_markdown(side: SideBySide) -> str:
    """One table: medians with intervals, and below each its effect and verdict."""
    names = [scenario.name for scenario in side.scenarios]
    sure = certainty(side, "Fewer metrics need fewer runs.")
    medians = level_text(
        cell.result.ci_level for row in side.rows() for cell in row.cells if cell.result
    )
    lines = [
        f"| metric | unit | {' | '.join(names)} |",
        f"|---|---|{'---|' * len(names)}",
        *(_markdown_row(row) for row in side.rows()),
        "",
        f"Median (interval, {medians}); effect on {names[0]} (interval, {levels(side)}); verdict. "
        f"{sure}",
        *(f"- {text}" for text in caveats(side)),
        "",
    ]
    return "\n".join(lines)


def _markdown_row(row: Row) -> str:
    cells = " | ".join("<br>".join(_cell_lines(cell)) or "-" for cell in row.cells)
    return f"| {row.name} | {row.unit} {ARROWS[row.better]} | {cells} |"


def _cell_lines(cell: Cell) -> Iterator[str]:
    """A cell of a table: median and interval, effect and verdict, what limits them."""
    if cell.result is None:
        return
    interval = f" ({cell.result.interval_text()})" if cell.result.ci_level > 0 else ""
    yield f"{number(cell.result.median)}{interval}"
    if cell.against:
        yield f"{cell.against.effect_text()}: {cell.against.verdict}"
        if spread := cell.against.spread_text():
            yield spread
    yield from qualified(cell.result)


def as_json(side: SideBySide) -> str:
    """The comparisons, each as :mod:`bench.compare` has it."""
    data = {
        "schema": SCHEMA,
        "baseline": side.baseline.name,
        "interleaved": side.interleaved,
        "scope": side.scope,
        "comparisons": [comparison.to_dict() for comparison in side.comparisons],
    }
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def as_benchstat(side: SideBySide) -> str:
    """All samples in one file: ``benchstat -col scenario FILE`` compares them."""
    names = [row.name for row in side.rows()]
    return "".join(
        f"scenario: {scenario.name}\n{benchstat.export(scenario.results.only(names))}\n"
        for scenario in side.scenarios
    )


FORMATS: Mapping[str, Callable[[SideBySide], str]] = {
    "markdown": as_markdown,
    "csv": as_csv,
    "json": as_json,
    "benchstat": as_benchstat,
}


# -- the regression gate ----------------------------------------------------------------------

Outcome = Literal["pass", "fail", "undecided"]


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What the gate says, and why, for people."""

    outcome: Outcome
    lines: tuple[str, ...]


def judge(
    baseline: Results,
    new: Results,
    *,
    labels: tuple[str, str],
    metrics: Collection[str] | None = None,
    missing_fails: bool = False,
) -> GateVerdict:
    """The regression gate: whether new results are worse than a baseline's.

    A gate that cannot fail is none: so few runs that no metric could have had a verdict are an
    outcome of their own, not a pass.

    :param metrics: names of those to compare, chosen before any was looked at; by default all.
    :param missing_fails: a metric of the baseline that cannot be compared fails, too.
    :raises ValueError: ``metrics`` has a name that neither has.
    """
    comparison = compare(
        baseline, new,
        labels=labels, metrics=metrics, interleaved=new.interleaved_with(baseline),
    )  # fmt: skip
    worse = comparison.verdicts("worse")
    lost = [name for name in comparison.not_compared if name in baseline.metrics]
    lines = [f"warning: {text}" for text in comparison.warnings]
    lines += [f"worse: {name} {comparison.metrics[name].effect_text()}" for name in worse]
    lines += [f"not compared: {name}: {comparison.not_compared[name]}" for name in lost]
    can_fail = bool(comparison.verdicts("better", "worse", "no evidence"))
    if worse or (lost and missing_fails):
        outcome: Outcome = "fail"
    elif not can_fail:
        outcome = "undecided"
        lines.append(
            f"too few runs: a verdict on {max(comparison.primary, comparison.family)} metrics "
            f"takes {comparison.runs_needed} {comparison.runs} of each side. Fix: more "
            f"{comparison.runs}, or fewer metrics: --metrics"
        )
    else:
        outcome = "pass"
    lines.append(
        f"{outcome}: {comparison.title}: {len(worse)} worse, "
        f"{len(comparison.verdicts('better'))} better of {len(comparison.metrics)} metrics"
    )
    return GateVerdict(outcome, tuple(lines))
