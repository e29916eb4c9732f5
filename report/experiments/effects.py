"""The toggles' effects as one figure: a panel per metric, a row per toggle, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes

from bench.compare import MetricComparison, Verdict
from report.web.figure import GRID, MUTED, NARROW, ORANGE, ROW, SERIES, figure, svg_file
from studies.experiments.model import Experiment, Series

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
_COLUMNS = 2
_HEAD = 0.7
_WIDEST = 60.0
"""An effect or interval beyond so many % is cut at the panel's edge."""


def draw(found: Experiment) -> str:
    """The figure as SVG.

    :raises ValueError: nothing was measured.
    """
    measured = [series for series in found.series if series.comparisons]
    names = [name for name in SHOWN if any(_of(series, name) for series in measured)]
    if not names:
        raise ValueError("there is no effect to draw")
    rows = math.ceil(len(names) / _COLUMNS)
    height = rows * (_HEAD + ROW * len(measured))
    with figure("ablation", height=height, width=NARROW * _COLUMNS) as drawn:
        panels = drawn.subplots(rows, _COLUMNS, squeeze=False)
        for place, panel in enumerate(panels.flatten()):
            if place < len(names):
                _panel(panel, measured, names[place], labelled=place % _COLUMNS == 0)
            else:
                panel.set_axis_off()
        return svg_file(drawn)


def _of(series: Series, name: str) -> MetricComparison | None:
    return series.comparisons[0].metrics.get(name)


def _panel(axes: Axes, measured: Sequence[Series], name: str, *, labelled: bool) -> None:
    units = {found.unit for series in measured if (found := _of(series, name))}
    better = next(found.better for series in measured if (found := _of(series, name)))
    reach = 1.0
    for row, series in enumerate(reversed(measured)):
        found = _of(series, name)
        if found is None or not found.effect.relative:
            axes.text(0, row, "no ratio", ha="center", va="center", color=MUTED, fontsize=6)
            continue
        effect, colour = found.effect, _COLOURS[found.verdict]
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
