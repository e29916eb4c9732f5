"""Comparisons as tables for a terminal of 80 columns or more (rich): one per scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bench.compare import Comparison, MetricComparison, Verdict
from bench.metrics import ARROWS, group_rank
from bench.results import MetricResult
from bench.text import number
from report.show import listing, plain_table
from report.sidebyside import SideBySide, caveats, certainty, named, qualified

_STYLES: dict[Verdict, str] = {
    "better": "green", "worse": "red", "no evidence": "default", "too few runs": "dim",
}  # fmt: skip


def render(side: SideBySide) -> RenderableType:
    """A table for each scenario against the baseline, and what to know of them."""
    parts: list[RenderableType] = []
    for comparison in side.comparisons:
        parts += [_table(side, comparison), Text(tally(comparison), style="bold"), Text()]
        missing = [
            f"{name}: {named(why, comparison)}" for name, why in comparison.not_compared.items()
        ]
        parts += listing("Not compared", missing, "yellow")
    notes: dict[str, None] = dict.fromkeys(_notes(side))
    parts.append(Text("\n".join([_LEGEND, certainty(side, _ADVICE), *notes, ""]), style="dim"))
    parts += listing("What else differs", caveats(side), "yellow")
    return Group(*parts)


_ADVICE = "Name the metrics that matter (--metrics), or measure more runs."
_LEGEND = (
    "↑ higher is better, ↓ lower is. The effect is that of the scenario on the baseline, with the "
    "95 % interval of this one metric (less where so few runs allow no more); the verdict is "
    "corrected for the number of metrics."
)


def tally(comparison: Comparison) -> str:
    """How often each verdict was given: "scenario-e: 3 better, 1 worse, …"."""
    counts = Counter(metric.verdict for metric in comparison.metrics.values())
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _STYLES if counts[verdict])
    return f"{comparison.labels[1]} against {comparison.labels[0]}: {said or 'nothing compared'}"


def _table(side: SideBySide, comparison: Comparison) -> Table:
    a, b = comparison.labels
    table = plain_table(f"{b} against {a}")
    table.padding = (0, 0, 0, 0)  # else 80 columns are too few
    table.add_column("metric", no_wrap=True)
    for label in (a, b):
        table.add_column(label, justify="right", overflow="fold", max_width=8)
    table.add_column("unit", no_wrap=True)
    table.add_column("effect", justify="right")
    table.add_column("verdict", no_wrap=True, width=11)
    items = sorted(comparison.metrics.items(), key=lambda item: group_rank(item[1].group))
    for group, members in groupby(items, key=lambda item: item[1].group):
        table.add_section()
        table.add_row(Text(group, style="bold cyan"))
        for name, metric in members:
            star = "*" if any(map(qualified, _sides(side, comparison, name))) else ""
            table.add_row(*_row(f"{name}{star}", metric))
    return table


def _row(name: str, metric: MetricComparison) -> Iterable[str | Text]:
    yield f"{ARROWS[metric.better]} {name}"
    yield from map(number, metric.medians)
    yield metric.unit
    yield metric.effect_text()
    yield Text(metric.verdict, style=_STYLES[metric.verdict])


def _sides(side: SideBySide, comparison: Comparison, name: str) -> Iterator[MetricResult]:
    for scenario in side.scenarios:
        metric = scenario.results.metrics.get(name)
        if scenario.name in comparison.labels and metric:
            yield metric


def _notes(side: SideBySide) -> Iterator[str]:
    """The stars' meanings: scenario and metrics by what is to be known of them."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in side.rows():
        for cell in row.cells:
            for text in qualified(cell.result) if cell.result else ():
                found.setdefault((cell.scenario, text), []).append(row.name)
    for (scenario, text), names in found.items():
        yield f"* {scenario}: {text}: {', '.join(names)}"
