"""An experiment as one figure: a panel per metric, a line per series."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.experiments.model import Experiment, ExperimentError, Point, Series

_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
"""Okabe and Ito's, which colour-blind people can tell apart."""
_MARKERS = ("o", "s", "^", "D", "v", "P")
_PANEL = (4.4, 2.7)
_COLUMNS = 2
_LOG_FROM = 20.0
"""From this ratio of the largest to the smallest value on, a panel's scale is logarithmic."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "experiment",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def draw(found: Experiment, names: Sequence[str] = ()) -> str:
    """The figure as SVG.

    :param names: metrics or facts, a panel each, in this order; by default every metric.
    :raises ExperimentError: there is nothing to draw, or one of the names is nowhere.
    """
    measured = [series for series in found.series if series.points]
    if not measured:
        raise ExperimentError("it was skipped: there is nothing to draw")
    known = _known(measured)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ExperimentError(f"nothing is called {', '.join(unknown)}: it has {', '.join(known)}")
    wanted = list(names) or [name for name, unit in known.items() if unit is not None]
    rows = math.ceil(len(wanted) / _COLUMNS)
    with mpl.rc_context(_STYLE):
        figure = Figure(
            figsize=(_PANEL[0] * _COLUMNS, _PANEL[1] * rows + 0.4), layout="constrained"
        )
        panels = figure.subplots(rows, _COLUMNS, squeeze=False).flatten()
        for panel, name in zip(panels, wanted, strict=False):
            _panel(panel, found, measured, name, known[name])
        for panel in panels[len(wanted) :]:
            panel.set_axis_off()
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(3, len(labels)))
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


def _known(measured: Sequence[Series]) -> dict[str, str | None]:
    """Everything with a number, with its unit; None for facts, which have none."""
    points = [point for series in measured for point in series.points]
    metrics = {name: metric.unit for point in points for name, metric in point.metrics.items()}
    facts = {
        name: None
        for point in points
        for name, value in point.facts.items()
        if not isinstance(value, str)
    }
    return {**metrics, **facts}


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
            color=_COLOURS[place % len(_COLOURS)],
            marker=_MARKERS[place % len(_MARKERS)],
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
            axes.set_xticks(x_values, [f"{x:,.0f}" for x in x_values])
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
