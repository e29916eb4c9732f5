"""Results as tables for a terminal of 80 columns or more (rich)."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bench.environment import Environment, ToggleRecord
from bench.metrics import ARROWS, ARROWS_TEXT, shown_rank, table_heading
from bench.results import MetricResult, Results
from bench.text import number

ANSWERS: Mapping[bool | None, str] = {True: "yes", False: "no", None: "-"}

_ROOM = (
    "On a node of type {instance_type}, with {enis} ENIs, {pods} pods have an address of their "
    "own: {pods_with_single_addresses} with single addresses, {pods_with_prefixes} with prefixes. "
    "A kubelet there should run {recommended_max_pods} at most."
)


def render(
    results: Results,
    *,
    decisions: Sequence[ToggleRecord] = (),
    warnings: Sequence[str] = (),
) -> RenderableType:
    """All there is to show of one result; what marks it comes first.

    :param decisions: what became of the toggles, where the results do not say.
    :param warnings: the stack's own, beside those of the results.
    """
    marks = [check.mark for check in results.marks]
    parts: list[RenderableType] = [*_marked(marks), _heading(results)]
    parts.append(metrics_table(results))
    parts += _notes(results)
    if rows := results.decisions or decisions:
        parts.append(toggles_table(rows))
    parts += address_tables(results.environment)
    parts += listing("Adapted here", results.environment.adaptations, "cyan")
    texts = dict.fromkeys([*warnings, *results.warnings])
    parts += listing("Warnings", (text for text in texts if text not in marks), "yellow")
    parts += listing("No number", [each.text() for each in results.errors], "red")
    return Group(*parts)


def metrics_table(results: Results) -> Table:
    """Medians with their intervals, grouped; a star marks a value with a note below."""
    table = plain_table("Medians, marked: see the top" if results.marks else "Medians")
    table.add_column("metric", no_wrap=True)
    table.add_column("median", justify="right", no_wrap=True)
    levels = {metric.ci_level for metric in results.metrics.values()} - {0}
    level = _percent(max(levels)) if len(levels) == 1 else "level"
    heading = f"interval ({level})" if levels else "interval"
    table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    items = sorted(results.metrics.items(), key=lambda item: shown_rank(item[0], item[1].group))
    for group, members in groupby(items, key=lambda item: table_heading(item[0], item[1].group)):
        table.add_section()
        table.add_row(Text(group, style="bold cyan"))
        for name, metric in members:
            table.add_row(*_row(name, metric, each_level=len(levels) > 1))
    return table


def plain_table(title: str | None = None) -> Table:
    """An empty table in this module's style."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )


def _row(name: str, metric: MetricResult, *, each_level: bool) -> tuple[str, ...]:
    star = " *" if metric.notes else ""
    interval = metric.interval_text()
    if metric.ci_level > 0 and each_level:
        interval += f" ({_percent(metric.ci_level)})"
    unit = f"{metric.unit} {ARROWS[metric.better]}"
    return (f"  {name}{star}", number(metric.median), interval, unit, str(metric.n))


def _percent(level: float) -> str:
    return f"{100 * level:.0f} %"


def toggles_table(rows: Iterable[ToggleRecord]) -> Table:
    """What each toggle was asked to be, was made, and proves to be on the running agents."""
    table = plain_table("Toggles")
    table.add_column("toggle", no_wrap=True)
    for heading in ("requested", "applied", "verified"):
        table.add_column(heading, justify="center", no_wrap=True)
    table.add_column("why not", overflow="fold")
    for each in rows:
        marks = (ANSWERS[answer] for answer in (each.requested, each.applied, each.verified))
        table.add_row(each.toggle, *marks, escape(each.reason))
    return table


def print_results(console: Console, renderable: RenderableType) -> None:
    """Print what :func:`render` made, with paths, addresses and numbers left uncoloured."""
    console.print(renderable, highlight=False)


def _heading(results: Results) -> RenderableType:
    where = [text for text in (results.scenario.title, results.environment.target) if text]
    tools = ", ".join(f"{name} {version}" for name, version in results.tools.items())
    kernel = results.environment.kernel
    times = f"rounds: {results.plan.get('runs', '?')}"
    if len(results.bring_ups) > 1:
        times += f" in {len(results.bring_ups)} bring-ups"
    about = [
        f"profile {results.profile}, {times}, from {results.started}, {results.seconds:.0f} s",
        tools + (f", kernel {kernel}" if kernel else ""),
        *_preconditions(results),
        "clients on " + _nodes(results, "client") + "; servers on " + _nodes(results, "server"),
    ]
    return Text("\n".join([*([" · ".join(where)] if where else []), *about, ""]))


def _marked(marks: Sequence[str]) -> list[RenderableType]:
    if not marks:
        return []
    text = Text("\n".join(f"· {mark}" for mark in marks))
    title = "MARKED: no clean measurement, not to be published"
    return [Panel(text, title=f"[bold]{title}[/bold]", title_align="left", border_style="red")]


def _preconditions(results: Results) -> list[str]:
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
        for note in metric.note_texts():
            notes.setdefault(note, []).append(name)
    lines = [f"* {', '.join(names)}: {note}" for note, names in notes.items()]
    legend = (
        f"{ARROWS_TEXT}. The interval holds the true median with the "
        "confidence shown: all that n samples allow, whatever their distribution."
    )
    return [Text("\n".join([legend, *lines, ""]), style="dim")]


def listing(title: str, lines: Iterable[str], style: str) -> list[RenderableType]:
    """Lines under a heading with their count; nothing where there are none."""
    kept = list(lines)
    if not kept:
        return []
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(overflow="fold")
    for line in kept:
        table.add_row("·", Text(line))
    return [Text(f"{title} ({len(kept)})", style=f"bold {style}"), table, Text()]


def address_tables(environment: Environment) -> list[RenderableType]:
    """The pods' addresses with their ENIs, and how many pods a node has room for; nothing where the
    environment does not say."""
    parts: list[RenderableType] = []
    if environment.pod_addresses:
        table = plain_table("Pod addresses")
        for heading in ("pod", "node", "address", "of", "ENI", "device"):
            table.add_column(heading, no_wrap=heading != "ENI", overflow="fold")
        for each in environment.pod_addresses:
            words = (each.pod, each.node, each.address, each.block, each.eni, str(each.device))
            table.add_row(*map(escape, words))
        parts.append(table)
    if environment.pods_per_node:
        room = _ROOM.format(**environment.pods_per_node.model_dump())
        parts += [Text(room, style="dim"), Text()]
    return parts
