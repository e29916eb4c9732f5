"""An experiment's points as tables for the terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from rich.console import Console
from rich.table import Table

from bench.text import number
from report.experiments.names import facts, metrics, refuse_unknown
from studies.experiments.model import Experiment, Point, Series


def tables(found: Experiment, names: Collection[str] = (), *, width: int) -> Iterator[Table | str]:
    """A table per series, metrics by points, and what its fits and comparisons say.

    :param names: of these metrics and facts only.
    :param width: characters that a table may be wide. One that would be wider has a row per point
        of each metric instead of a column per point.
    :raises ExperimentError: one of the names is nowhere.
    """
    refuse_unknown(names, [*facts(found.series), *metrics(found.series)])
    yield found.question
    for series in found.series:
        yield from _series(found, series, names, width)
    for warning in found.warnings:
        yield f"warning: {warning}"


def _series(
    found: Experiment, series: Series, names: Collection[str], width: int
) -> Iterator[Table | str]:
    if series.skipped:
        yield f"{series.subject}: skipped: {series.skipped}"
        return

    def wanted(name: str) -> bool:
        return not names or name in names

    units = {**dict.fromkeys(facts([series]), ""), **metrics([series])}
    units = {name: unit for name, unit in units.items() if wanted(name)}
    table = _wide(series, units)
    if Console(width=10_000).measure(table).maximum > width:
        table = _long(found.axis.name, series, units)
    table.title, table.title_justify = f"{series.subject}: {found.axis.name}", "left"
    yield table
    for fit in series.fits:
        if wanted(fit.metric):
            yield f"{fit.metric}: {fit.verdict}"
    for comparison in series.comparisons:
        first, second = comparison.labels
        for name, metric in comparison.metrics.items():
            if wanted(name):
                yield f"{second} against {first}: {name} {metric.effect_text()}, {metric.verdict}"


def _wide(series: Series, units: Mapping[str, str]) -> Table:
    table = Table()
    table.add_column("", no_wrap=True)
    for point in series.points:
        table.add_column(point.label, justify="right")
    table.add_column("unit")
    for name, unit in units.items():
        table.add_row(name, *(cell(point, name) for point in series.points), unit)
    return table


def _long(axis: str, series: Series, units: Mapping[str, str]) -> Table:
    table = Table()
    table.add_column("")
    table.add_column(axis, justify="right")
    table.add_column("median and interval", justify="right")
    table.add_column("unit")
    for name, unit in units.items():
        for place, point in enumerate(series.points):
            first = place == 0
            table.add_row(
                name if first else "", point.label, cell(point, name), unit if first else "",
                end_section=place == len(series.points) - 1,
            )  # fmt: skip
    return table


def cell(point: Point, name: str) -> str:
    """A metric's median with its interval, or a fact, of one point."""
    if name in point.metrics:
        metric = point.metrics[name]
        interval = f" ({metric.interval_text()})" if metric.ci_level > 0 else ""
        return f"{number(metric.median)}{interval}"
    if name in point.facts:
        value = point.facts[name]
        return value if isinstance(value, str) else number(value)
    return "missing" if name in point.missing else "–"
