"""The figures: of the report's page, where samples are shown with the median and its interval, and
of an experiment as a file, with a panel per metric.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from bench.compare import MetricComparison, Verdict
from bench.metrics import PRIMARY, Better
from bench.results import MetricResult, grouped
from bench.text import number
from report.experiments import facts, metrics, refuse_unknown
from report.web import (
    GRID,
    INK,
    MARKERS,
    MUTED,
    NARROW,
    ROW,
    SERIES,
    figure,
    label_rows,
    size_text,
    svg,
    svg_file,
)
from studies.experiments.growth import MISFIT
from studies.experiments.model import Axis, Experiment, ExperimentError, Fit, Point, Series

_ROW = 0.36
_LOG_FROM = 30.0
"""Ratio of largest to smallest place on an axis from which on it is logarithmic."""
_PANEL = (4.4, 2.7)
_COLUMNS = 2
_LEGEND = 120
"""Characters that fit into the width of two panels, beside three markers."""
_PANEL_LOG_FROM = 20.0
"""From this ratio of the largest to the smallest value on, a panel's scale is logarithmic."""

_TOWARDS: Mapping[Better, str] = {
    "higher": ", better →", "lower": ", better ←", "neither": "",
}  # fmt: skip
"""Which way is better, in a panel's title."""

_TICKS = FuncFormatter(lambda value, _: f"{value:,g}")


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
# Not matplotlib's, which are formulas: no text of ours is read as one.
_POWERS = FuncFormatter(lambda value, _: "10" + f"{math.log10(value):.0f}".translate(_SUPERSCRIPT))


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


def samples(metric: MetricResult) -> list[float]:
    """What a figure shows of a metric beside its median and interval: every sample, but of slices,
    which are hundreds and no replicates, the median of each bring-up; of a single bring-up, of each
    round."""
    if not metric.slices:
        return metric.samples
    one = len(set(metric.bring_ups)) <= 1
    groups = grouped(metric.by_place(), lambda place: place.round if one else place.bring_up)
    return [statistics.median(each) for each in groups.values()]


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
            shown = samples(metric)
            axes.plot(
                shown, [place - 0.2] * len(shown), marker, ms=3.5, mew=0, alpha=0.45, color=colour
            )
            if metric.ci_level > 0:
                axes.plot(metric.ci, [place + 0.1] * 2, color=colour, lw=2.2)
            axes.plot(metric.median, place + 0.1, marker, ms=6.5, color=colour)
        label_rows(axes, [row.label for row in reversed(rows)])
        axes.grid(axis="x", lw=0.5)
        axes.set_axisbelow(True)
        axes.set_xlabel(unit)
        axes.xaxis.set_major_formatter(_TICKS)
        if not any(value for row in rows for value in samples(row.metric)):
            axes.set_xlim(-0.02, 1)
        return svg(drawn, f"{name}: {_spoken([(row.label, row.metric) for row in rows])}")


@dataclass(frozen=True, slots=True)
class Change:
    """One comparison of one metric, a row."""

    label: str
    comparison: MetricComparison

    def told(self) -> str:
        """The effect in short: ``+17 %, +20 µs``."""
        effect = self.comparison.effect
        absolute = effect.absolute
        text = f"{_signed(effect.value)} %"
        return f"{text}, {_signed(absolute.value)} {absolute.unit}" if absolute else text


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else ''}{number(value, 2)}".replace("-", "−")


def effects(name: str, rows: Sequence[Change], *, told: bool = False) -> str:
    """By how much each row differs, in %, with its interval; coloured where there is a verdict.

    :param rows: one or more, all relative.
    :param told: write each effect beside its row, in % and in the metric's unit.
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
            if told:
                axes.annotate(
                    row.told(), (1.02, place), xycoords=("axes fraction", "data"), va="center",
                    annotation_clip=False,
                )  # fmt: skip
        label_rows(axes, [row.label for row in reversed(rows)])
        axes.grid(axis="x", lw=0.5)
        axes.set_axisbelow(True)
        axes.set_xlabel("%" if told else "% (▲ better, ▼ worse, ● no verdict)")
        spoken = [
            f"{row.label} {row.comparison.effect_text()}, {row.comparison.verdict}" for row in rows
        ]
        return svg(drawn, f"{name}: {'; '.join(spoken)}")


_VERDICTS: Mapping[Verdict, tuple[str, str]] = {
    "better": (SERIES[2], "^"),
    "worse": (SERIES[4], "v"),
    "no evidence": (MUTED, "o"),
    "too few runs": (MUTED, "o"),
    "no direction": (MUTED, "o"),
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
        lowest = min(
            value for curve in lines for _, each in curve.points for value in samples(each)
        )
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
        shown = samples(metric)
        axes.plot([x] * len(shown), shown, marker, ms=3, mew=0, alpha=0.35, color=colour)
        if metric.ci_level > 0:
            axes.plot([x, x], metric.ci, color=colour, lw=2.2)
    medians = [metric.median for _, metric in curve.points]
    axes.plot(xs, medians, marker, ls="-", lw=1, ms=6, color=colour, label=curve.subject)
    if curve.fit and (curve.fit.off or 0.0) <= MISFIT:
        fit = curve.fit
        fine = [min(xs) + (max(xs) - min(xs)) * step / 60 for step in range(61)]
        grown = [fit.at(x) for x in fine]
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


def draw_points(experiment: Experiment, names: Sequence[str] = ()) -> str:
    """The figure as SVG.

    :param names: metrics or facts, a panel each, in this order; by default every metric.
    :raises ExperimentError: there is nothing to draw, or one of the names is nowhere.
    """
    measured = [series for series in experiment.series if series.points]
    if not measured:
        raise ExperimentError("it was skipped: there is nothing to draw")
    units = metrics(measured)
    refuse_unknown(
        names, [*units, *(name for name, is_number in facts(measured).items() if is_number)]
    )
    wanted = list(names) or list(units)
    rows = math.ceil(len(wanted) / _COLUMNS)
    width, height = _PANEL[0] * _COLUMNS, _PANEL[1] * rows + 0.4
    with figure("experiment", width=width, height=height) as drawn:
        panels = drawn.subplots(rows, _COLUMNS, squeeze=False).flatten()
        for panel, name in zip(panels, wanted, strict=False):
            _panel(panel, experiment, measured, name, units.get(name))
        for panel in panels[len(wanted) :]:
            panel.set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        drawn.legend(handles, labels, loc="outside upper center", ncols=_side_by_side(labels))
        return svg_file(drawn)


def _side_by_side(labels: Sequence[str]) -> int:
    """How many of a legend's labels fit beside each other."""
    longest = max(map(len, labels))
    return max(1, min(len(labels), 3, _LEGEND // (longest + 1)))


_LEVEL_LABELS = 4
"""More names than that do not fit beside each other."""


def _panel(
    axes: Axes, experiment: Experiment, measured: Sequence[Series], name: str, unit: str | None
) -> None:
    values: list[float] = []
    # Not every series has every point.
    labels = list(dict.fromkeys(point.label for series in measured for point in series.points))
    for place, series in enumerate(measured):
        points = [(point, value) for point in series.points if (value := _value(point, name))]
        shift = (place - (len(measured) - 1) / 2) * 0.12
        values += [middle for _, (middle, _, _) in points]
        colour, marker = _look(place)
        axes.errorbar(
            [
                labels.index(point.label) + shift if point.x is None else point.x
                for point, _ in points
            ],
            [middle for _, (middle, _, _) in points],
            yerr=[
                [middle - low for _, (middle, low, _) in points],
                [high - middle for _, (middle, _, high) in points],
            ],
            color=colour,
            marker=marker,
            ms=4,
            lw=1.2,
            capsize=2,
            ls="-" if experiment.axis.unit else "none",
            label=series.subject,
        )
    axes.set_title(f"{name}, {unit}" if unit else name, fontsize=9, loc="left")
    positive = [value for value in values if value > 0]
    if positive and len(positive) == len(values) and max(values) / min(values) > _PANEL_LOG_FROM:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(_POWERS)
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)
    if experiment.axis.unit:
        axes.set_xlabel(experiment.axis.name)
        x_values = sorted({point.x for series in measured for point in series.points if point.x})
        if x_values and x_values[-1] / x_values[0] > _PANEL_LOG_FROM:
            axes.set_xscale("log")
            axes.set_xticks(x_values, [size_text(x) for x in x_values])
            axes.minorticks_off()
    else:
        axes.set_xticks(range(len(labels)), labels)
        if len(labels) > _LEVEL_LABELS:
            axes.tick_params(axis="x", rotation=30)


def _value(point: Point, name: str) -> tuple[float, float, float] | None:
    """Median and both ends of its interval; a fact's interval is itself."""
    if name in point.metrics:
        return (point.metrics[name].median, *point.metrics[name].ci)
    value = point.facts.get(name)
    return None if value is None or isinstance(value, str) else (float(value),) * 3


SHOWN = (
    *PRIMARY, "http_1000_p50", "http_1000_p99", "loaded_rtt_p50", "tcp_cpu_per_gb", "udp_goodput",
    "cni_cpu", "connect_max_rate", "http_max_qps",
)  # fmt: skip
"""The primary ones, then one of a kind each; the others are in the data."""
_HEAD = 0.7
_WIDEST = 60.0
"""An effect or interval beyond so many % is cut at the panel's edge."""


def draw_effects(experiment: Experiment) -> str:
    """The figure as SVG.

    :raises ValueError: nothing was measured.
    """
    measured = [series for series in experiment.series if series.comparisons]
    names = [name for name in SHOWN if any(_of(series, name) for series in measured)]
    if not names:
        raise ValueError("there is no effect to draw")
    rows = math.ceil(len(names) / _COLUMNS)
    height = rows * (_HEAD + ROW * len(measured))
    with figure("ablation", height=height, width=NARROW * _COLUMNS) as drawn:
        panels = drawn.subplots(rows, _COLUMNS, squeeze=False)
        for place, panel in enumerate(panels.flatten()):
            if place < len(names):
                _effect_panel(panel, measured, names[place], labelled=place % _COLUMNS == 0)
            else:
                panel.set_axis_off()
        return svg_file(drawn)


def _of(series: Series, name: str) -> MetricComparison | None:
    return series.comparisons[0].metrics.get(name)


def _effect_panel(axes: Axes, measured: Sequence[Series], name: str, *, labelled: bool) -> None:
    units = {each.unit for series in measured if (each := _of(series, name))}
    better = next(each.better for series in measured if (each := _of(series, name)))
    reach = 1.0
    for row, series in enumerate(reversed(measured)):
        metric = _of(series, name)
        if metric is None or not metric.effect.relative:
            axes.text(0, row, "no ratio", ha="center", va="center", color=MUTED, fontsize=6)
            continue
        effect = metric.effect
        colour = GRID if metric.verdict == "too few runs" else _VERDICTS[metric.verdict][0]
        low, high = (max(-_WIDEST, min(_WIDEST, each)) for each in (effect.low, effect.high))
        axes.plot([low, high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot([max(-_WIDEST, min(_WIDEST, effect.value))], [row], "o", color=colour, ms=4)
        reach = max(reach, abs(low), abs(high))
    axes.axvline(0, color=GRID, linewidth=0.8, zorder=0)
    axes.set_xlim(-1.1 * reach, 1.1 * reach)
    axes.set_ylim(-0.7, len(measured) - 0.3)
    subjects = [series.subject if labelled else "" for series in reversed(measured)]
    axes.set_yticks(range(len(subjects)), subjects)
    title = f"{name} ({', '.join(sorted(units))}){_TOWARDS[better]}"
    axes.set_title(title, fontsize=8, loc="left")
    axes.set_xlabel("change by the toggle in %, with its interval", fontsize=7)
