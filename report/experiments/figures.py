"""An experiment as one figure: a panel per metric, a line per series."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes

from report.experiments.names import facts, metrics, refuse_unknown
from report.web.figure import MARKERS, SERIES, figure, size_text, svg_file
from studies.experiments.model import Experiment, ExperimentError, Point, Series

_PANEL = (4.4, 2.7)
_COLUMNS = 2
_LEGEND = 120
"""Characters that fit into its width, beside three markers."""
_LOG_FROM = 20.0
"""From this ratio of the largest to the smallest value on, a panel's scale is logarithmic."""


def draw(found: Experiment, names: Sequence[str] = ()) -> str:
    """The figure as SVG.

    :param names: metrics or facts, a panel each, in this order; by default every metric.
    :raises ExperimentError: there is nothing to draw, or one of the names is nowhere.
    """
    measured = [series for series in found.series if series.points]
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
            _panel(panel, found, measured, name, units.get(name))
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
    axes: Axes, found: Experiment, measured: Sequence[Series], name: str, unit: str | None
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
            ls="-" if found.axis.unit else "none",
            label=series.subject,
        )
    axes.set_title(f"{name}, {unit}" if unit else name, fontsize=9, loc="left")
    positive = [value for value in values if value > 0]
    if positive and len(positive) == len(values) and max(values) / min(values) > _LOG_FROM:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    if found.axis.unit:
        axes.set_xlabel(found.axis.name)
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
    found = []
    for point in points:
        middle = _value(point, name) or 0.0
        found.append(
            (middle, point.metrics[name].ci if name in point.metrics else (middle, middle))
        )
    return found
