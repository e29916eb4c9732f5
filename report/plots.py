"""The report's figures: every sample is shown, with the median and its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from bench.compare import MetricComparison, Verdict
from bench.results import MetricResult
from bench.text import number
from report.web.figure import (
    INK,
    MARKERS,
    MUTED,
    NARROW,
    SERIES,
    figure,
    label_rows,
    size_text,
    svg,
)
from studies.experiments.model import Axis, Fit

_ROW = 0.36
_LOG_FROM = 30.0
"""Ratio of largest to smallest place on an axis from which on it is logarithmic."""


_TICKS = FuncFormatter(lambda value, _: f"{value:,g}")


@dataclass(frozen=True, slots=True)
class Dots:
    """One metric of several subjects, a row each; ``style`` is the number of a row's colour and
    marker, so that a subject looks the same in all figures."""

    label: str
    metric: MetricResult
    style: int = 0


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric of one subject along an axis of numbers: ``points`` are (x, metric)."""

    subject: str
    points: Sequence[tuple[float, MetricResult]]
    fit: Fit | None = None


def dots(name: str, rows: Sequence[Dots]) -> str:
    """Samples (faint), median and interval of each row.

    :param name: the figure's own among the page's, and the beginning of its description.
    :param rows: one or more, all in the same unit; the first is drawn on top.
    """
    unit = rows[0].metric.unit
    with figure(name, height=0.55 + _ROW * max(2, len(rows)), width=NARROW) as drawn:
        axes = drawn.subplots()
        for place, row in enumerate(reversed(rows)):
            colour, marker = _look(row.style)
            metric = row.metric
            axes.plot(
                metric.samples, [place - 0.2] * metric.n, marker, ms=3.5, mew=0, alpha=0.45,
                color=colour,
            )  # fmt: skip
            if metric.ci_level > 0:
                axes.plot(metric.ci, [place + 0.1] * 2, color=colour, lw=2.2)
            axes.plot(metric.median, place + 0.1, marker, ms=6.5, color=colour)
        label_rows(axes, [row.label for row in reversed(rows)])
        axes.grid(axis="x", lw=0.5)
        axes.set_axisbelow(True)
        axes.set_xlabel(unit)
        axes.xaxis.set_major_formatter(_TICKS)
        if not any(value for row in rows for value in row.metric.samples):
            axes.set_xlim(-0.02, 1)
        return svg(drawn, f"{name}: {_spoken([(row.label, row.metric) for row in rows])}")


@dataclass(frozen=True, slots=True)
class Change:
    """One comparison of one metric, a row."""

    label: str
    comparison: MetricComparison


def effects(name: str, rows: Sequence[Change]) -> str:
    """By how much each row differs, in %, with its interval; filled where there is a verdict.

    :param rows: one or more, all relative.
    """
    with figure(name, height=0.7 + 0.26 * max(3, len(rows)), width=NARROW) as drawn:
        axes = drawn.subplots()
        axes.axvline(0, color=MUTED, lw=0.8)
        for place, row in enumerate(reversed(rows)):
            colour, marker = _VERDICTS[row.comparison.verdict]
            effect = row.comparison.effect
            if effect.level > 0:
                axes.plot([effect.low, effect.high], [place] * 2, color=colour, lw=1.8)
            axes.plot(effect.value, place, marker, ms=6, color=colour)
        label_rows(axes, [row.label for row in reversed(rows)])
        axes.grid(axis="x", lw=0.5)
        axes.set_axisbelow(True)
        axes.set_xlabel("% (▲ better, ▼ worse, ● no verdict)")
        spoken = [
            f"{row.label} {row.comparison.effect_text()}, {row.comparison.verdict}" for row in rows
        ]
        return svg(drawn, f"{name}: {'; '.join(spoken)}")


_VERDICTS: Mapping[Verdict, tuple[str, str]] = {
    "better": (SERIES[2], "^"),
    "worse": (SERIES[4], "v"),
    "no evidence": (MUTED, "o"),
    "too few runs": (MUTED, "o"),
}


def curves(name: str, axis: Axis, lines: Sequence[Curve]) -> str:
    """Medians with intervals and samples along an axis of numbers, and the fits (dashed)."""
    metric = next(metric for curve in lines for _, metric in curve.points)
    places = [x for curve in lines for x, _ in curve.points]
    with figure(name, height=2.9, width=NARROW) as drawn:
        axes = drawn.subplots()
        for style, curve in enumerate(lines):
            _curve(axes, curve, style)
        if min(places) > 0 and max(places) / min(places) >= _LOG_FROM:
            axes.set_xscale("log")
        ticks = sorted(set(places))
        axes.set_xticks(ticks, [size_text(x) for x in ticks])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(_TICKS)
        lowest = min(value for curve in lines for _, each in curve.points for value in each.samples)
        axes.set_ylim(bottom=None if lowest < 0 else 0)
        axes.grid(lw=0.5)
        axes.set_axisbelow(True)
        axes.set_xlabel(_named(axis))
        axes.set_ylabel(metric.unit)
        if len(lines) > 1 or lines[0].fit:
            drawn.legend(loc="outside upper left", ncols=min(2, len(lines)), labelcolor=INK)
        spoken = [
            (f"{curve.subject} at {x:,g}", each) for curve in lines for x, each in curve.points
        ]
        return svg(drawn, f"{name}: {_spoken(spoken)}")


def _curve(axes: Axes, curve: Curve, style: int) -> None:
    colour, marker = _look(style)
    xs = [x for x, _ in curve.points]
    for x, metric in curve.points:
        axes.plot([x] * metric.n, metric.samples, marker, ms=3, mew=0, alpha=0.35, color=colour)
        if metric.ci_level > 0:
            axes.plot([x, x], metric.ci, color=colour, lw=2.2)
    medians = [metric.median for _, metric in curve.points]
    axes.plot(xs, medians, marker, ls="-", lw=1, ms=6, color=colour, label=curve.subject)
    if curve.fit:
        fit = curve.fit
        fine = [min(xs) + (max(xs) - min(xs)) * step / 60 for step in range(61)]
        grown = [fit.constant + fit.slope * x**fit.power for x in fine]
        axes.plot(fine, grown, ls="--", lw=1, color=MUTED, label=f"fit of {curve.subject}")


def _look(style: int) -> tuple[str, str]:
    return SERIES[style % len(SERIES)], MARKERS[style % len(MARKERS)]


def _named(axis: Axis) -> str:
    return f"{axis.name} ({axis.unit})" if axis.unit and axis.unit != axis.name else axis.name


def _spoken(values: Sequence[tuple[str, MetricResult]]) -> str:
    """The figure's numbers in words, for those who do not see it."""
    unit = values[0][1].unit
    each = [
        f"{label} {number(metric.median)} (interval {metric.interval_text()})"
        for label, metric in values
    ]
    return f"{'; '.join(each)}; in {unit}"
