"""An experiment as one figure: its points, or the effects of toggles.

There is a panel per metric, with a line per series or a row per toggle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from bench.compare import MetricComparison, Verdict
from report.experiments.tables import facts, metrics, refuse_unknown
from report.web.figure import (
    GRID,
    MARKERS,
    MUTED,
    NARROW,
    ORANGE,
    ROW,
    SERIES,
    figure,
    size_text,
    svg_file,
)
from studies.experiments.model import Experiment, ExperimentError, Point, Series

_PANEL = (4.4, 2.7)
_COLUMNS = 2
_LEGEND = 120
"""Characters that fit into its width, beside three markers."""
_LOG_FROM = 20.0
"""From this ratio of the largest to the smallest value on, a panel's scale is logarithmic."""


def draw_points(experiment: Experiment, names: Sequence[str] = ()) -> str:
    """The figure as SVG.

    :param names: metrics or facts, a panel each, in this order; by default every metric.
    :raises ExperimentError: there is nothing to draw_points, or one of the names is nowhere.
    """
    measured = [series for series in experiment.series if series.points]
    if not measured:
        raise ExperimentError("it was skipped: there is nothing to draw_points")
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


def _panel(
    axes: Axes, experiment: Experiment, measured: Sequence[Series], name: str, unit: str | None
) -> None:
    values: list[float] = []
    for place, series in enumerate(measured):
        points = [point for point in series.points if _value(point, name) is not None]
        shift = (place - (len(measured) - 1) / 2) * 0.12
        x = [point.x if point.x is not None else at + shift for at, point in enumerate(points)]
        middle = [value for point in points if (value := _value(point, name)) is not None]
        values += middle
        axes.errorbar(
            x,
            middle,
            yerr=[
                [mid - low for mid, (low, _) in _intervals(points, name)],
                [high - mid for mid, (_, high) in _intervals(points, name)],
            ],
            color=SERIES[place % len(SERIES)],
            marker=MARKERS[place % len(MARKERS)],
            ms=4,
            lw=1.2,
            capsize=2,
            ls="-" if experiment.axis.unit else "none",
            label=series.subject,
        )
    axes.set_title(f"{name}, {unit}" if unit else name, fontsize=9, loc="left")
    positive = [value for value in values if value > 0]
    if positive and len(positive) == len(values) and max(values) / min(values) > _LOG_FROM:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    if experiment.axis.unit:
        axes.set_xlabel(experiment.axis.name)
        x_values = sorted({point.x for series in measured for point in series.points if point.x})
        if x_values and x_values[-1] / x_values[0] > _LOG_FROM:
            axes.set_xscale("log")
            axes.set_xticks(x_values, [size_text(x) for x in x_values])
            axes.minorticks_off()
    else:
        labels = [point.label for point in measured[0].points]
        axes.set_xticks(range(len(labels)), labels)


def _value(point: Point, name: str) -> float | None:
    if name in point.metrics:
        return point.metrics[name].median
    value = point.facts.get(name)
    return None if value is None or isinstance(value, str) else float(value)


def _intervals(points: Sequence[Point], name: str) -> list[tuple[float, tuple[float, float]]]:
    """Median and interval of each point; a fact's interval is itself."""
    pairs = []
    for point in points:
        middle = _value(point, name) or 0.0
        pairs.append(
            (middle, point.metrics[name].ci if name in point.metrics else (middle, middle))
        )
    return pairs


SHOWN = (
    "rtt_p50", "connect_p50", "http_1000_p50", "http_1000_p99", "loaded_rtt_p50", "tcp_throughput",
    "tcp_cpu_per_gb", "udp_goodput", "cni_cpu", "connect_max_rate", "http_max_qps",
)  # fmt: skip
"""One of a kind each; the others are in the data."""
_COLOURS: Mapping[Verdict, str] = {
    "better": SERIES[2],
    "worse": ORANGE,
    "no evidence": MUTED,
    "too few runs": GRID,
}
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
        raise ValueError("there is no effect to draw_effects")
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
        effect, colour = metric.effect, _COLOURS[metric.verdict]
        low, high = (max(-_WIDEST, min(_WIDEST, each)) for each in (effect.low, effect.high))
        axes.plot([low, high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot([max(-_WIDEST, min(_WIDEST, effect.value))], [row], "o", color=colour, ms=4)
        reach = max(reach, abs(low), abs(high))
    axes.axvline(0, color=GRID, linewidth=0.8, zorder=0)
    axes.set_xlim(-1.1 * reach, 1.1 * reach)
    axes.set_ylim(-0.7, len(measured) - 0.3)
    axes.set_yticks(range(len(measured)))
    subjects = [series.subject for series in reversed(measured)]
    axes.set_yticklabels(subjects if labelled else [""] * len(subjects))
    arrow = "→" if better == "higher" else "←"
    axes.set_title(f"{name} ({', '.join(sorted(units))}), better {arrow}", fontsize=8, loc="left")
    axes.set_xlabel("change by the toggle in %, with its 95 % interval", fontsize=7)
