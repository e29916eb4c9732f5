"""Experiments for the page: runs of one experiment together, with their figures and tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from bench.compare import MetricComparison
from bench.results import MetricResult
from report import plots
from report.sidebyside import qualified
from studies.experiments.model import Experiment, Fit, Point, Series

_FIRST = 6
"""Figures that are shown at once; the others are folded away."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of an experiment, drawn."""

    name: str
    description: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class Section:
    """All runs of one experiment: of several subjects in one file, or in a file each."""

    runs: tuple[Experiment, ...]
    figures: tuple[Figure, ...]

    @property
    def first(self) -> Experiment:
        """Of which name, question and axis are told."""
        return self.runs[0]

    @property
    def shown(self) -> tuple[Figure, ...]:
        """Figures of fitted and compared metrics come first."""
        return self.figures[:_FIRST]

    @property
    def folded(self) -> tuple[Figure, ...]:
        """All other figures."""
        return self.figures[_FIRST:]

    def series(self) -> Iterator[Series]:
        """Of all runs."""
        for run in self.runs:
            yield from run.series

    def fits(self) -> Iterator[tuple[str, Fit]]:
        """Every fit with its subject."""
        for series in self.series():
            for fit in series.fits:
                yield series.subject, fit

    def comparisons(self) -> Iterator[tuple[str, str, str, str, MetricComparison]]:
        """Subject, both labels, metric and comparison, verdicts first."""
        rows = [
            (series.subject, *comparison.labels, name, metric)
            for series in self.series()
            for comparison in series.comparisons
            for name, metric in comparison.metrics.items()
        ]
        yield from sorted(rows, key=lambda each: each[-1].verdict not in ("better", "worse"))

    def numbers(self) -> Iterator[tuple[str, Point, str, MetricResult]]:
        """Subject, point, metric and result of everything that was measured."""
        for series in self.series():
            for point in series.points:
                for name, metric in point.metrics.items():
                    yield series.subject, point, name, metric


COLUMNS = (
    "experiment", "axis", "subject", "point", "x", "metric", "unit", "better", "n", "median", "low",
    "high", "ci_level", "notes",
)  # fmt: skip
"""Of the CSV: a line per subject, point and metric."""


def as_csv(experiments: Sequence[Section]) -> str:
    """All numbers of experiments, with full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for section in experiments:
        axis = section.first.axis.name
        for subject, point, name, metric in section.numbers():
            writer.writerow(
                (
                    section.first.name, axis, subject, point.label, point.x, name, metric.unit,
                    metric.better, metric.n, metric.median, *metric.ci, metric.ci_level,
                    "; ".join(qualified(metric)),
                )
            )  # fmt: skip
    return text.getvalue()


def sections(experiments: Sequence[Experiment]) -> tuple[Section, ...]:
    """A section per experiment and axis, in the order in which they were read."""
    groups: dict[tuple[str, str], list[Experiment]] = {}
    for each in experiments:
        groups.setdefault((each.name, each.axis.name), []).append(each)
    return tuple(Section(tuple(runs), tuple(_figures(runs))) for runs in groups.values())


def _figures(runs: Sequence[Experiment]) -> Iterator[Figure]:
    series = [each for run in runs for each in run.series]
    first: dict[str, MetricResult] = {}
    for each in series:
        for point in each.points:
            first = {**point.metrics, **first}
    fitted = [fit.metric for each in series for fit in each.fits]
    verdicts = [
        name
        for each in series
        for comparison in each.comparisons
        for name in comparison.verdicts("better", "worse")
    ]
    order = dict.fromkeys([*fitted, *verdicts, *first])
    for name in order:
        if name in first:
            title = f"{runs[0].name}, {name}"
            svg = Markup(_drawn(title, name, runs[0], series))
            yield Figure(name, first[name].description, svg)


def _drawn(title: str, name: str, run: Experiment, series: Sequence[Series]) -> str:
    """As curves on an axis of numbers, as effects where points of names were compared, else as
    what was measured at each."""
    changes = list(_changes(name, series))
    if changes and not run.axis.unit:
        return plots.effects(title, changes)
    measured = [
        (each, [point for point in each.points if name in point.metrics]) for each in series
    ]
    measured = [(each, points) for each, points in measured if points]
    if all(point.x is not None for _, points in measured for point in points):
        return plots.curves(
            title,
            run.axis,
            [
                plots.Curve(
                    each.subject,
                    [(point.x or 0.0, point.metrics[name]) for point in points],
                    next((fit for fit in each.fits if fit.metric == name), None),
                )
                for each, points in measured
            ],
        )
    several = len({each.subject for each, _ in measured}) > 1
    return plots.dots(
        title,
        [
            plots.Dots(
                f"{each.subject}: {point.label}" if several else point.label,
                point.metrics[name],
                style,
            )
            for style, (each, points) in enumerate(measured)
            for point in points
        ],
    )


def _changes(name: str, series: Sequence[Series]) -> Iterator[plots.Change]:
    """Every comparison of a metric that is told in %."""
    for each in series:
        for comparison in each.comparisons:
            change = comparison.metrics.get(name)
            if change and change.effect.relative:
                alone = len(each.comparisons) == 1
                label = each.subject if alone else f"{each.subject}: {comparison.labels[1]}"
                yield plots.Change(label, change)
