"""An experiment's points as tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from bench.experiments.model import Experiment, Point, Series
from bench.text import number


def tables(found: Experiment) -> Iterator[Table | str]:
    """A table per series, metrics by points, and what its fits and comparisons say."""
    yield found.question
    for series in found.series:
        yield from _series(found, series)
    for warning in found.warnings:
        yield f"warning: {warning}"


def _series(found: Experiment, series: Series) -> Iterator[Table | str]:
    if series.skipped:
        yield f"{series.subject}: skipped: {series.skipped}"
        return
    table = Table(title=f"{series.subject}: {found.axis.name}", title_justify="left")
    table.add_column("", no_wrap=True)
    for point in series.points:
        table.add_column(point.label, justify="right")
    table.add_column("unit")
    for name, unit in _names(series).items():
        table.add_row(name, *(_cell(point, name) for point in series.points), unit)
    yield table
    for fit in series.fits:
        yield f"{fit.metric}: {fit.verdict}"
    for comparison in series.comparisons:
        first, second = comparison.labels
        for name, metric in comparison.metrics.items():
            yield f"{second} against {first}: {name} {metric.effect_text()}, {metric.verdict}"


def _names(series: Series) -> dict[str, str]:
    """Every metric and fact of some point, with its unit."""
    metrics = {
        name: metric.unit for point in series.points for name, metric in point.metrics.items()
    }
    facts = {name: "" for point in series.points for name in point.facts}
    return {**facts, **metrics}


def _cell(point: Point, name: str) -> str:
    if name in point.metrics:
        metric = point.metrics[name]
        low, high = metric.ci
        return f"{number(metric.median)} ({number(low)} to {number(high)})"
    if name in point.facts:
        value = point.facts[name]
        return value if isinstance(value, str) else number(value)
    return "missing" if name in point.missing else "–"
