"""The validation's page: one HTML file with everything in it, and its figures."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import FuncFormatter
from scipy import stats

from bench.compare import ALPHA, DEFAULT_ROUNDS
from bench.stats import summarise
from bench.text import number
from report.web import BAND, BLUE, MUTED, ORANGE, figure, label_rows, svg, templates
from studies.validate.model import PARTS, Deviation, FalseAlarms, Ratio, Report, Sensitivity
from studies.validate.parity import LIMIT_PERCENT


def render(report: Report) -> str:
    """The page of a report, as HTML text."""
    checks = sorted(report.checks, key=lambda check: PARTS.index(check.part))
    parts = {part: list(group) for part, group in groupby(checks, key=lambda check: check.part)}
    page = templates().get_template("validation.html.j2")
    return page.render(report=report, parts=parts, figures=_figures(report))


def _figures(report: Report) -> dict[str, list[Markup]]:
    """The figures by part; a part that was not reached has none."""
    made: dict[str, list[str]] = {}
    if report.deviations:
        made["Known truth"] = [truth(report.deviations)]
    if report.sensitivity:
        made["Sensitivity"] = [sensitivity(report.sensitivity)]
    if report.ratios:
        made["Parity"] = [parity(report.ratios, LIMIT_PERCENT)]
    if report.false_alarms:
        alarms = report.false_alarms
        made["A/A"] = [p_values(alarms), shifts(alarms), detectable(alarms)]
    return {part: [Markup(figure) for figure in figures] for part, figures in made.items()}


def truth(deviations: Sequence[Deviation]) -> str:
    """Each run's error as a share of its limit, since limits differ; a row per check."""
    with figure("truth", rows=len(deviations)) as drawn:
        axes = drawn.subplots()
        axes.axvspan(-100, 100, color=BAND, lw=0)
        for row, each in enumerate(reversed(deviations)):
            shares = [100 * error / each.limit for error in each.errors()]
            axes.plot(shares, [row] * len(shares), "o", ms=4, alpha=0.5, color=BLUE)
            median = summarise(shares).median
            axes.plot([median, median], [row - 0.35, row + 0.35], color=BLUE, lw=2)
        label_rows(
            axes, [f"{each.name} (± {number(each.limit)} %)" for each in reversed(deviations)]
        )
        axes.axvline(0, color=MUTED, lw=0.8)
        axes.set_xlabel("error in % of its limit (points: runs; bar: the median; green: passes)")
        return svg(drawn)


def sensitivity(measured: Sensitivity) -> str:
    """Both sides by round, and power by the size of the cut."""
    with figure("sensitivity", height=3.2) as drawn:
        left, right = drawn.subplots(1, 2)
        for samples, colour, label in (
            (measured.whole, BLUE, "whole rate"),
            (measured.cut, ORANGE, f"{measured.cut_percent:g} % less"),
        ):
            left.plot(range(1, len(samples) + 1), samples, "o-", ms=4, color=colour, label=label)
        left.set_xlabel("round")
        left.set_ylabel("TCP throughput, Gbit/s")
        left.legend()
        sizes = sorted(measured.power)
        right.plot(sizes, [100 * measured.power[size] for size in sizes], "o-", ms=4, color=BLUE)
        right.axhline(90, color=MUTED, lw=0.8, ls="--")
        right.axvline(measured.cut_percent, color=MUTED, lw=0.8, ls="--")
        right.set_xlabel("cut, %")
        right.set_ylabel(f"found by {DEFAULT_ROUNDS} rounds a side, %")
        right.set_ylim(0, 104)
        return svg(drawn)


def parity(ratios: Sequence[Ratio], limit: float) -> str:
    """Our number against the raw tool's, a row per metric."""
    with figure("parity", rows=len(ratios)) as drawn:
        axes = drawn.subplots()
        axes.axvspan(-limit, limit, color=BAND)
        for row, each in enumerate(reversed(ratios)):
            axes.plot([each.low, each.high], [row, row], color=BLUE, lw=1.5)
            axes.plot(each.percent, row, "o", ms=5, color=BLUE)
        label_rows(axes, [each.metric for each in reversed(ratios)])
        axes.axvline(0, color=MUTED, lw=0.8)
        axes.set_xlabel("ours against the raw tool's, % (median of pairs, 95 % interval)")
        return svg(drawn)


def p_values(alarms: FalseAlarms) -> str:
    """The p-values of A/A in order, against what chance would make of them."""
    ordered = np.sort(alarms.p_values)
    n = len(ordered)
    ranks = np.arange(1, n + 1)
    with figure("p-values", height=3.6) as drawn:
        axes = drawn.subplots()
        low, high = stats.beta.interval(0.95, ranks, n + 1 - ranks)
        expected = ranks / (n + 1)
        axes.fill_between(expected, low, high, color=BAND, lw=0, label="95 % of chance, each")
        axes.plot([0, 1], [0, 1], color=MUTED, lw=0.8)
        axes.plot(expected, ordered, "o", ms=3, color=BLUE, label="seen")
        axes.axhline(ALPHA, color=ORANGE, lw=0.8, ls="--", label=f"p = {ALPHA}")
        axes.set_xlabel("p-value expected without a difference")
        axes.set_ylabel("p-value seen")
        axes.legend(loc="upper left")
        return svg(drawn)


def shifts(alarms: FalseAlarms) -> str:
    """Each metric of A/A: the shift between equal sides over all rounds."""
    known = [shift for shift in alarms.shifts if shift.relative]
    with figure("shifts", rows=len(known)) as drawn:
        axes = drawn.subplots()
        for row, each in enumerate(reversed(known)):
            covers = each.low <= 0 <= each.high
            colour = BLUE if covers else ORANGE
            axes.plot([each.low, each.high], [row, row], color=colour, lw=1.5)
            axes.plot(each.value, row, "o", ms=4, color=colour)
        label_rows(axes, [each.metric for each in reversed(known)])
        axes.axvline(0, color=MUTED, lw=0.8)
        axes.set_xlabel(
            f"shift between two equal sides, % ({alarms.rounds} rounds each, 95 % interval "
            "of each; one in twenty may miss 0)"
        )
        return svg(drawn)


def detectable(alarms: FalseAlarms) -> str:
    """What a comparison of the default rounds could have seen, a bar per metric."""
    known = [(s.metric, s.smallest) for s in alarms.shifts if s.relative and s.smallest]
    rows = sorted(known, key=lambda pair: pair[1])[::-1]
    with figure("detectable", rows=len(rows)) as drawn:
        axes = drawn.subplots()
        axes.barh(range(len(rows)), [value for _, value in rows], height=0.6, color=BLUE)
        for row, (_, value) in enumerate(rows):
            axes.text(value, row, f" {number(value)} %", va="center", fontsize=8)
        label_rows(axes, [name for name, _ in rows])
        axes.set_xscale("log")
        for formatted in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            formatted(FuncFormatter(lambda value, _: number(value, 2)))
        axes.set_xlabel(f"smallest difference that {DEFAULT_ROUNDS} rounds a side see, %")
        return svg(drawn)
