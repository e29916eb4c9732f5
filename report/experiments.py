"""Experiments as tables: for the terminal, and for Markdown documents that name their data.

A document's table stands between two comments, of which the first says what it is made of::

    <!-- table: points scale.json connect_p50_last,cni_memory -->
    <!-- end -->

``points`` or ``effects``, experiments' files relative to the document, separated by commas, and
metrics or facts.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.compare import Comparison
from bench.text import latency, number
from studies.experiments.model import Experiment, ExperimentError, Point, Series, from_dict


def tables(
    experiment: Experiment, names: Collection[str] = (), *, width: int
) -> Iterator[Table | str]:
    """A table per series, metrics by points, and what its fits, bounds and comparisons say.

    :param names: of these metrics and facts only.
    :param width: characters that a table may be wide. One that would be wider has a row per point
        of each metric instead of a column per point.
    :raises ExperimentError: one of the names is nowhere.
    """
    refuse_unknown(names, [*facts(experiment.series), *metrics(experiment.series)])
    yield experiment.question
    for series in experiment.series:
        yield from _series(experiment, series, names, width)
    for warning in experiment.warnings:
        yield f"warning: {warning}"


def _series(
    experiment: Experiment, series: Series, names: Collection[str], width: int
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
        table = _long(experiment.axis.name, series, units)
    table.title, table.title_justify = f"{series.subject}: {experiment.axis.name}", "left"
    yield table
    for metric_name, said in series.statements():
        if wanted(metric_name) or metric_name in series.said:
            yield f"{metric_name}: {said}"
    for comparison in series.comparisons:
        first, second = comparison.labels
        for name, metric in comparison.metrics.items():
            if wanted(name):
                yield (
                    f"{second} against {first}: {name} {metric.effect_text()}, "
                    f"{metric.verdict}{comparison.reach}"
                )


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


_MICROSECONDS = "µs"
_NONE = "–"


def points_table(experiment: Experiment, names: Sequence[str] = ()) -> str:
    """A table per series, metrics and facts by points, each median with its interval, and below it
    what fits and bounds of these metrics say.

    :param names: metrics or facts in this order; by default all.
    :raises ExperimentError: one of the names is nowhere.
    """
    measured = [series for series in experiment.series if series.points]
    known = [*facts(measured), *metrics(measured)]
    refuse_unknown(names, known)
    wanted = names or known
    return (
        "\n\n".join([*(_points_of(series, wanted) for series in measured), *_skipped(experiment)])
        + "\n"
    )


def effects_table(experiment: Experiment, names: Sequence[str] = ()) -> str:
    """One table of all comparisons: a row each, a column per metric, with interval and verdict.

    :param names: metrics in this order; by default all.
    :raises ExperimentError: nothing was compared, or one of the names is nowhere.
    """
    rows = [
        (_compared(series, comparison), comparison)
        for series in experiment.series
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
    return "\n\n".join(["\n".join(lines), *_skipped(experiment)]) + "\n"


def _points_of(series: Series, names: Sequence[str]) -> str:
    lines = _head([series.subject, *(point.label for point in series.points)])
    for name in names:
        units = {p.metrics[name].unit for p in series.points if name in p.metrics}
        unit = "".join(f", {each}" for each in sorted(units - {_MICROSECONDS}))
        lines.append(_row([f"`{name}`{unit}", *(_cell(point, name) for point in series.points)]))
    said = [
        f"- `{name}`: {text}"
        for name, text in series.statements()
        if name in names or name in series.said
    ]
    return "\n".join([*lines, *([""] if said else []), *said])


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


def _skipped(experiment: Experiment) -> Iterator[str]:
    lines = [f"- {each.subject}: {each.skipped}" for each in experiment.series if each.skipped]
    if lines:
        yield "\n".join(["Not measured:", "", *lines])


def _head(cells: Sequence[str]) -> list[str]:
    return [_row(cells), "|---" * len(cells) + "|"]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


_TABLES = {"points": points_table, "effects": effects_table}
_PLACE = re.compile(
    rf"(?P<head><!-- table: (?P<kind>{'|'.join(_TABLES)}) (?P<files>\S+) (?P<names>.+?) -->\n)"
    r".*?(?P<foot><!-- end -->)",
    re.DOTALL,
)


def filled(text: str, folder: Path) -> str:
    """The document with its tables made anew.

    :param folder: the document's.
    :raises OSError: a file cannot be read.
    :raises ValueError: it is no JSON, or (ExperimentError) no experiment or without such a metric.
    """

    def made(place: re.Match[str]) -> str:
        experiment = load([folder / name for name in place["files"].split(",")])
        table = _TABLES[place["kind"]](experiment, place["names"].split(","))
        return f"{place['head']}\n{table}\n{place['foot']}"

    return _PLACE.sub(made, text)


def load(files: list[Path]) -> Experiment:
    """Several runs of an experiment as one.

    :raises OSError: a file cannot be read.
    :raises ValueError: it is no JSON, or (ExperimentError) no experiment, or not of the same.
    """
    return merge([from_dict(json.loads(file.read_text(encoding="utf-8"))) for file in files])


def merge(runs: Sequence[Experiment]) -> Experiment:
    """One experiment with the series of all, in order; what they share is the first's.

    :raises ExperimentError: they are of different experiments, or two have a series of one name.
    """
    first, *others = runs
    if not others:
        return first
    names = {each.name for each in runs}
    if len(names) > 1:
        raise ExperimentError(f"not of the same experiment: {', '.join(sorted(names))}")
    subjects = [series.subject for each in runs for series in each.series]
    twice = {subject for subject in subjects if subjects.count(subject) > 1}
    if twice:
        raise ExperimentError(f"more than one series is called {', '.join(sorted(twice))}")
    return first.model_copy(
        update={
            "series": [series for each in runs for series in each.series],
            "started": min(each.started for each in runs),
            "finished": max(each.finished for each in runs),
            "seconds": sum(each.seconds for each in runs),
            "command": "\n".join(dict.fromkeys(each.command for each in runs)),
            "warnings": list(dict.fromkeys(text for each in runs for text in each.warnings)),
        }
    )


def metrics(measured: Iterable[Series]) -> dict[str, str]:
    """Every metric of some point, with its unit."""
    return {
        name: metric.unit
        for point in _all_points(measured)
        for name, metric in point.metrics.items()
    }


def facts(measured: Iterable[Series]) -> dict[str, bool]:
    """Every fact of some point, and whether it is a number."""
    return {
        name: not isinstance(value, str)
        for point in _all_points(measured)
        for name, value in point.facts.items()
    }


def refuse_unknown(names: Iterable[str], known: Iterable[str]) -> None:
    """:raises ExperimentError: a name is none of the known; the message lists both."""
    known = list(known)
    if unknown := [name for name in names if name not in known]:
        raise ExperimentError(f"nothing is called {', '.join(unknown)}: it has {', '.join(known)}")


def _all_points(measured: Iterable[Series]) -> Iterator[Point]:
    return (point for series in measured for point in series.points)
