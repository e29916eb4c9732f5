"""An experiment as Markdown tables, for a document: metrics by points, and effects by subjects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bench.compare import Comparison
from bench.text import latency
from report.experiments.names import facts, metrics, refuse_unknown
from report.experiments.table import cell
from studies.experiments.model import Experiment, ExperimentError, Point, Series

_MICROSECONDS = "µs"
_NONE = "–"


def points_table(found: Experiment, names: Sequence[str] = ()) -> str:
    """A table per series, metrics and facts by points, each median with its interval, and below it
    what the fits of these metrics say.

    :param names: metrics or facts in this order; by default all.
    :raises ExperimentError: one of the names is nowhere.
    """
    measured = [series for series in found.series if series.points]
    known = [*facts(measured), *metrics(measured)]
    refuse_unknown(names, known)
    wanted = names or known
    return "\n\n".join([*(_points(series, wanted) for series in measured), *_skipped(found)]) + "\n"


def effects_table(found: Experiment, names: Sequence[str] = ()) -> str:
    """One table of all comparisons: a row each, a column per metric, with interval and verdict.

    :param names: metrics in this order; by default all.
    :raises ExperimentError: nothing was compared, or one of the names is nowhere.
    """
    rows = [
        (_compared(series, comparison), comparison)
        for series in found.series
        for comparison in series.comparisons
    ]
    known = dict.fromkeys(name for _, comparison in rows for name in comparison.metrics)
    if not known:
        raise ExperimentError("nothing was compared")
    refuse_unknown(names, known)
    wanted = names or list(known)
    lines = _head(["", *(f"`{name}`" for name in wanted)])
    for label, comparison in rows:
        cells = [
            f"{metric.effect_text()}, {metric.verdict}"
            if (metric := comparison.metrics.get(name))
            else _NONE
            for name in wanted
        ]
        lines.append(_row([label, *cells]))
    return "\n\n".join(["\n".join(lines), *_skipped(found)]) + "\n"


def _points(series: Series, names: Sequence[str]) -> str:
    lines = _head([series.subject, *(point.label for point in series.points)])
    for name in names:
        units = {p.metrics[name].unit for p in series.points if name in p.metrics}
        unit = "".join(f", {each}" for each in sorted(units - {_MICROSECONDS}))
        lines.append(_row([f"`{name}`{unit}", *(_cell(point, name) for point in series.points)]))
    fits = [f"- `{fit.metric}`: {fit.verdict}" for fit in series.fits if fit.metric in names]
    return "\n".join([*lines, *([""] if fits else []), *fits])


def _cell(point: Point, name: str) -> str:
    """As in the terminal's table, but for times, each in the unit that suits it."""
    metric = point.metrics.get(name)
    if metric is None or metric.unit != _MICROSECONDS:
        return cell(point, name)
    middle, low, high = (latency(each) for each in (metric.median, *metric.ci))
    if metric.ci_level <= 0:
        return middle
    unit = middle.partition(" ")[2]
    if {low.partition(" ")[2], high.partition(" ")[2]} == {unit}:
        low, high = low.partition(" ")[0], high.partition(" ")[0]
    return f"{middle} ({low} to {high})"


def _compared(series: Series, comparison: Comparison) -> str:
    """The row of a comparison: one alone needs no more than its subject."""
    if len(series.comparisons) == 1:
        return series.subject
    first, second = comparison.labels
    return f"{series.subject}: {second} against {first}"


def _skipped(found: Experiment) -> Iterator[str]:
    lines = [f"- {each.subject}: {each.skipped}" for each in found.series if each.skipped]
    if lines:
        yield "\n".join(["Not measured:", "", *lines])


def _head(cells: Sequence[str]) -> list[str]:
    return [_row(cells), "|---" * len(cells) + "|"]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
