"""The validation's page: one HTML file with everything in it, and its figures."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from markupsafe import Markup
from scipy import stats

from bench.compare import ALPHA
from bench.metrics import PRIMARY
from bench.stats import summarise
from bench.text import number
from report.web import BAND, BLUE, MUTED, ORANGE, figure, label_rows, svg, templates
from studies.validate.model import PARTS, Delay, Deviation, Equality, Report, Sensitivity
from studies.validate.parity import LIMIT_PERCENT
from studies.validate.verdicts import MOST_SHIFT_PERCENT, WANTED_POWER


def render(report: Report) -> str:
    """The page of a report, as HTML text."""
    checks = sorted(report.checks, key=lambda check: PARTS.index(check.part))
    parts = {part: list(group) for part, group in groupby(checks, key=lambda check: check.part)}
    page = templates().get_template("validation.html.j2")
    return page.render(report=report, parts=parts, figures=_figures(report))


def _figures(report: Report) -> dict[str, list[Markup]]:
    """The figures by part; a part that was not reached has none."""
    made: dict[str, list[str]] = {}
    if report.equalities:
        made["A/A"] = [equalities(report.equalities), p_values(report.p_values)]
    if report.sensitivities:
        made["Sensitivity"] = [sensitivity(each) for each in report.sensitivities]
    if report.delays:
        made["Parity"] = [parity(report.delays, LIMIT_PERCENT)]
    if report.deviations:
        made["Known truth"] = [truth(report.deviations)]
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
    """What each bring-up saw of the delay, and power by its size."""
    with figure(f"sensitivity-{measured.metric}", height=3.2) as drawn:
        left, right = drawn.subplots(1, 2)
        numbers = range(1, len(measured.effects) + 1)
        left.plot(numbers, measured.effects, "o", ms=5, color=BLUE, label="by turns")
        left.plot(numbers, measured.expected, "_", ms=14, color=ORANGE, label="imposed")
        left.axhline(0, color=MUTED, lw=0.8)
        left.set_xticks(list(numbers))
        left.set_xlabel("bring-up")
        left.set_ylabel(f"effect on {measured.metric}, %")
        left.legend()
        sizes = sorted(measured.power)
        for place, colour, label in (
            (0, BLUE, "at the spread"),
            (1, ORANGE, "at its upper bound"),
        ):
            shares = [100 * measured.power[size][place] for size in sizes]
            right.plot(sizes, shares, "o-", ms=4, color=colour, label=label)
        right.axhline(100 * WANTED_POWER, color=MUTED, lw=0.8, ls="--")
        right.axvline(measured.percent, color=MUTED, lw=0.8, ls="--")
        right.set_xlabel("difference, %")
        right.set_ylabel(f"found with {measured.compared} bring-ups, %")
        right.set_ylim(0, 104)
        right.legend(loc="lower right")
        return svg(drawn)


def parity(delays: Sequence[Delay], limit: float) -> str:
    """What turns see of a delay against what the raw tool sees, a row per metric."""
    with figure("parity", rows=len(delays)) as drawn:
        axes = drawn.subplots()
        axes.axvspan(-limit, limit, color=BAND)
        for row, each in enumerate(reversed(delays)):
            axes.plot([each.low, each.high], [row, row], color=BLUE, lw=1.5)
            axes.plot(each.percent, row, "o", ms=5, color=BLUE)
        label_rows(axes, [each.metric for each in reversed(delays)])
        axes.axvline(0, color=MUTED, lw=0.8)
        axes.set_xlabel("the delay by turns against the raw tool's, % (95 % interval)")
        return svg(drawn)


def p_values(found: Sequence[float]) -> str:
    """The p-values of A/A in order, against what chance would make of them."""
    ordered = np.sort(found)
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


def equalities(found: Sequence[Equality]) -> str:
    """The shift between each two equal clusters, metric by metric."""
    with figure("equal", rows=len(found)) as drawn:
        axes = drawn.subplots()
        axes.axvspan(-MOST_SHIFT_PERCENT, MOST_SHIFT_PERCENT, color=BAND)
        rows = sorted(found, key=lambda each: PRIMARY.index(each.metric), reverse=True)
        for row, each in enumerate(rows):
            colour = BLUE if each.low <= 0 <= each.high else ORANGE
            axes.plot([each.low, each.high], [row, row], color=colour, lw=1.5)
            axes.plot(each.value, row, "o", ms=4, color=colour)
        label_rows(axes, [f"{each.metric}, {each.pair}" for each in rows])
        axes.axvline(0, color=MUTED, lw=0.8)
        axes.set_xlabel("shift between equal clusters, % (95 % interval of each)")
        return svg(drawn)
