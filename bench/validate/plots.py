"""The page's figures, each as one SVG element."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from scipy import stats

from bench.compare import ALPHA, DEFAULT_ROUNDS
from bench.stats import summarise
from bench.text import number
from bench.validate.model import Deviation, FalseAlarms, Ratio, Sensitivity, Shift

_BLUE, _ORANGE, _GREY, _BAND, _INK = "#2166ac", "#d6604d", "#777777", "#e6f0e6", "#222222"
_VARIABLES = {
    _BLUE: "--first", _ORANGE: "--second", _GREY: "--line", _BAND: "--band", _INK: "--ink",
}  # fmt: skip
"""The page's colours by those drawn here, so that figures follow it into the dark."""
_WIDTH = 9.0
_ROW = 0.24
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK
    ),
}


def truth(deviations: Sequence[Deviation]) -> str:
    """Each run's error as a share of its limit, since limits differ; a row per check."""
    with _figure("truth", rows=len(deviations)) as figure:
        axes = figure.subplots()
        axes.axvspan(-100, 100, color=_BAND, lw=0)
        for row, each in enumerate(reversed(deviations)):
            shares = [100 * error / each.limit for error in each.errors()]
            axes.plot(shares, [row] * len(shares), "o", ms=4, alpha=0.5, color=_BLUE)
            median = summarise(shares).median
            axes.plot([median, median], [row - 0.35, row + 0.35], color=_BLUE, lw=2)
        _rows(axes, [f"{each.name} (± {number(each.limit)} %)" for each in reversed(deviations)])
        axes.axvline(0, color=_GREY, lw=0.8)
        axes.set_xlabel("error in % of its limit (points: runs; bar: the median; green: passes)")
        return _svg(figure)


def sensitivity(found: Sensitivity) -> str:
    """Both sides by round, and power by the size of the cut."""
    with _figure("sensitivity", height=3.2) as figure:
        left, right = figure.subplots(1, 2)
        for samples, colour, label in (
            (found.whole, _BLUE, "whole rate"),
            (found.cut, _ORANGE, f"{found.cut_percent:g} % less"),
        ):
            left.plot(range(1, len(samples) + 1), samples, "o-", ms=4, color=colour, label=label)
        left.set_xlabel("round")
        left.set_ylabel("TCP throughput, Gbit/s")
        left.legend()
        sizes = sorted(found.power)
        right.plot(sizes, [100 * found.power[size] for size in sizes], "o-", ms=4, color=_BLUE)
        right.axhline(90, color=_GREY, lw=0.8, ls="--")
        right.axvline(found.cut_percent, color=_GREY, lw=0.8, ls="--")
        right.set_xlabel("cut, %")
        right.set_ylabel(f"found by {DEFAULT_ROUNDS} rounds a side, %")
        right.set_ylim(0, 104)
        return _svg(figure)


def parity(ratios: Sequence[Ratio], limit: float) -> str:
    """Our number against the raw tool's, a row per metric."""
    with _figure("parity", rows=len(ratios)) as figure:
        axes = figure.subplots()
        axes.axvspan(-limit, limit, color=_BAND)
        for row, each in enumerate(reversed(ratios)):
            axes.plot([each.low, each.high], [row, row], color=_BLUE, lw=1.5)
            axes.plot(each.percent, row, "o", ms=5, color=_BLUE)
        _rows(axes, [each.metric for each in reversed(ratios)])
        axes.axvline(0, color=_GREY, lw=0.8)
        axes.set_xlabel("ours against the raw tool's, % (median of pairs, 95 % interval)")
        return _svg(figure)


def p_values(found: FalseAlarms) -> str:
    """The p-values of A/A in order, against what chance would make of them."""
    ordered = np.sort(found.p_values)
    n = len(ordered)
    ranks = np.arange(1, n + 1)
    with _figure("p-values", height=3.6) as figure:
        axes = figure.subplots()
        low, high = stats.beta.interval(0.95, ranks, n + 1 - ranks)
        expected = ranks / (n + 1)
        axes.fill_between(expected, low, high, color=_BAND, lw=0, label="95 % of chance, each")
        axes.plot([0, 1], [0, 1], color=_GREY, lw=0.8)
        axes.plot(expected, ordered, "o", ms=3, color=_BLUE, label="seen")
        axes.axhline(ALPHA, color=_ORANGE, lw=0.8, ls="--", label=f"p = {ALPHA}")
        axes.set_xlabel("p-value expected without a difference")
        axes.set_ylabel("p-value seen")
        axes.legend(loc="upper left")
        return _svg(figure)


def shifts(found: FalseAlarms) -> str:
    """Each metric of A/A: the shift between equal sides over all rounds."""
    known = [shift for shift in found.shifts if shift.relative]
    with _figure("shifts", rows=len(known)) as figure:
        axes = figure.subplots()
        for row, each in enumerate(reversed(known)):
            covers = each.low <= 0 <= each.high
            colour = _BLUE if covers else _ORANGE
            axes.plot([each.low, each.high], [row, row], color=colour, lw=1.5)
            axes.plot(each.value, row, "o", ms=4, color=colour)
        _rows(axes, [each.metric for each in reversed(known)])
        axes.axvline(0, color=_GREY, lw=0.8)
        axes.set_xlabel(
            f"shift between two equal sides, % ({found.rounds} rounds each, 95 % interval of each; "
            "one in twenty may miss 0)"
        )
        return _svg(figure)


def detectable(found: FalseAlarms) -> str:
    """What a comparison of the default rounds could have seen, a bar per metric."""
    known = sorted(_with_smallest(found.shifts), key=lambda pair: pair[1])
    with _figure("detectable", rows=len(known)) as figure:
        axes = figure.subplots()
        rows = list(reversed(known))
        axes.barh(range(len(rows)), [value for _, value in rows], height=0.6, color=_BLUE)
        for row, (_, value) in enumerate(rows):
            axes.text(value, row, f" {number(value)} %", va="center", fontsize=8)
        _rows(axes, [name for name, _ in rows])
        axes.set_xscale("log")
        for formatted in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            formatted(FuncFormatter(lambda value, _: number(value, 2)))
        axes.set_xlabel(f"smallest difference that {DEFAULT_ROUNDS} rounds a side see, %")
        return _svg(figure)


def _with_smallest(found: Sequence[Shift]) -> Iterator[tuple[str, float]]:
    for each in found:
        if each.relative and each.smallest:
            yield each.metric, each.smallest


@contextmanager
def _figure(name: str, *, rows: int = 0, height: float = 0.0) -> Iterator[Figure]:
    # The salt keeps ids apart where several figures are in one page, and the same in every run.
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        size = (_WIDTH, height or 0.9 + _ROW * max(rows, 2))
        yield Figure(figsize=size, layout="constrained")


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.tick_params(axis="y", length=0)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    made = text.getvalue()
    for colour, variable in _VARIABLES.items():
        made = made.replace(colour, f"var({variable}, {colour})")
    return made[made.index("<svg") :]
