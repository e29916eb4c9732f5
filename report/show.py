"""Results as tables for a terminal of 80 columns or more (rich)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bench.metrics import ARROWS, group_rank
from bench.results import MetricResult, Results
from bench.text import number
from report import addresses

_MARKS = {True: "yes", False: "no", None: "-"}


def render(
    results: Results,
    *,
    toggles: object = None,
    warnings: Sequence[str] = (),
    environment: Mapping[str, Any] | None = None,
) -> RenderableType:
    """All there is to show of one result; what marks it comes first.

    :param toggles: the stack's toggles with requested, applied, verified and reason each: a
        mapping by name or a list of mappings with ``toggle``; nothing else is shown.
    :param warnings: the stack's own, beside those of the results.
    :param environment: the stack's own; by default that of the results.
    """
    facts = results.environment if environment is None else environment
    marks = [check.mark for check in results.marks]
    parts: list[RenderableType] = [*_marked(marks), _heading(results, facts)]
    parts.append(metrics_table(results))
    parts += _notes(results)
    rows = toggle_rows(toggles)
    if rows:
        parts.append(toggles_table(rows))
    parts += addresses.render(facts)
    adaptations = facts.get("adaptations") or []
    if isinstance(adaptations, list):
        parts += listing("Adapted here", [str(item) for item in adaptations], "cyan")
    told = dict.fromkeys([*warnings, *results.warnings])
    parts += listing("Warnings", (text for text in told if text not in marks), "yellow")
    parts += listing("No number", results.errors, "red")
    return Group(*parts)


def metrics_table(results: Results) -> Table:
    """Medians with their intervals, grouped; a star marks a value with a note below."""
    table = plain_table("Medians, marked: see the top" if results.marks else "Medians")
    table.add_column("metric", no_wrap=True)
    table.add_column("median", justify="right", no_wrap=True)
    levels = {metric.ci_level for metric in results.metrics.values()}
    level = _percent(levels.pop()) if len(levels) == 1 else None
    table.add_column(f"interval ({level or 'level'})", justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    items = sorted(results.metrics.items(), key=lambda item: group_rank(item[1].group))
    for group, members in groupby(items, key=lambda item: item[1].group):
        table.add_section()
        table.add_row(Text(group, style="bold cyan"))
        for name, metric in members:
            table.add_row(*_row(name, metric, each_level=level is None))
    return table


def plain_table(title: str) -> Table:
    """An empty table in this module's style."""
    return Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )


def _row(name: str, metric: MetricResult, *, each_level: bool) -> tuple[str, ...]:
    star = " *" if metric.notes or metric.throttled else ""
    interval = metric.interval_text()
    if metric.ci_level > 0 and each_level:
        interval += f" ({_percent(metric.ci_level)})"
    unit = f"{metric.unit} {ARROWS[metric.better]}"
    return (f"  {name}{star}", number(metric.median), interval, unit, str(metric.n))


def _percent(level: float) -> str:
    return f"{100 * level:.0f} %"


def toggles_table(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> Table:
    """What each toggle was asked to be, was made, and is found to be on the running agents."""
    table = plain_table("Toggles")
    table.add_column("toggle", no_wrap=True)
    for heading in ("requested", "applied", "verified"):
        table.add_column(heading, justify="center", no_wrap=True)
    table.add_column("why not", overflow="fold")
    for name, state in rows:
        marks = (_mark(state.get(key)) for key in ("requested", "applied", "verified"))
        table.add_row(name, *marks, escape(str(state.get("reason") or "")))
    return table


def print_results(console: Console, renderable: RenderableType) -> None:
    """Print what :func:`render` made, with paths, addresses and numbers left uncoloured."""
    console.print(renderable, highlight=False)


def _heading(results: Results, facts: Mapping[str, Any]) -> RenderableType:
    where = [str(facts[key]) for key in ("scenario", "target", "label") if facts.get(key)]
    tools = ", ".join(f"{name} {version}" for name, version in results.tools.items())
    kernel = facts.get("kernel")
    about = [
        f"profile {results.profile}, {results.plan.get('runs', '?')} runs, "
        f"from {results.started}, {results.seconds:.0f} s",
        tools + (f", kernel {kernel}" if kernel else ""),
        *_about_preconditions(results),
        "clients on " + _nodes(results, "client") + "; servers on " + _nodes(results, "server"),
    ]
    return Text("\n".join([*([" · ".join(where)] if where else []), *about, ""]))


def _marked(marks: Sequence[str]) -> list[RenderableType]:
    if not marks:
        return []
    text = Text("\n".join(f"· {mark}" for mark in marks))
    title = "MARKED: no clean measurement, not to be published"
    return [Panel(text, title=f"[bold]{title}[/bold]", title_align="left", border_style="red")]


def _about_preconditions(results: Results) -> list[str]:
    if not results.checks:
        return []
    failed = [check.name for check in results.checks if not check.passed]
    hold = f"{len(results.checks) - len(failed)} preconditions held"
    return [f"{hold}, not {', '.join(failed)}" if failed else hold]


def _nodes(results: Results, side: str) -> str:
    return ", ".join(sorted({pod.node for pod in results.placement if pod.side == side})) or "?"


def _notes(results: Results) -> list[RenderableType]:
    notes: dict[str, list[str]] = {}
    for name, metric in results.metrics.items():
        for note in [*metric.notes, *_throttled(metric)]:
            notes.setdefault(note, []).append(name)
    lines = [f"* {', '.join(names)}: {note}" for note, names in notes.items()]
    legend = (
        "↑ higher is better, ↓ lower is. The interval holds the true median with the "
        "confidence shown: all that n samples allow, whatever their distribution."
    )
    return [Text("\n".join([legend, *lines, ""]), style="dim")]


def _throttled(metric: MetricResult) -> list[str]:
    count = len(metric.throttled)
    return [f"{count} of {metric.n} samples while the platform held traffic back"] if count else []


def listing(title: str, lines: Iterable[str], style: str) -> list[RenderableType]:
    """Lines under a heading with their count; nothing where there are none."""
    found = list(lines)
    if not found:
        return []
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(overflow="fold")
    for line in found:
        table.add_row("·", Text(line))
    return [Text(f"{title} ({len(found)})", style=f"bold {style}"), table, Text()]


def toggle_rows(toggles: object) -> list[tuple[str, Mapping[str, Any]]]:
    """A stack's toggles by name, whichever of its forms the output has; none of another form."""
    if isinstance(toggles, Mapping):
        return [(str(name), state) for name, state in toggles.items() if isinstance(state, Mapping)]
    if isinstance(toggles, list):
        states = [state for state in toggles if isinstance(state, Mapping)]
        return [(str(state.get("toggle", state.get("name", "?"))), state) for state in states]
    return []


def _mark(value: object) -> str:
    return _MARKS[value] if value is None or isinstance(value, bool) else escape(str(value))
