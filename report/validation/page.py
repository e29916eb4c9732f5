"""The validation's page: one HTML file with everything in it."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from markupsafe import Markup

from report.validation import plots
from report.web.page import environment
from studies.validate.model import PARTS, Report
from studies.validate.parity import LIMIT_PERCENT

_TEMPLATE = "page.html.j2"


def render(report: Report) -> str:
    """The page of a report, as HTML text."""
    checks = sorted(report.checks, key=lambda check: PARTS.index(check.part))
    parts = {part: list(found) for part, found in groupby(checks, key=lambda check: check.part)}
    return (
        environment(Path(__file__).parent)
        .get_template(_TEMPLATE)
        .render(report=report, parts=parts, figures=_figures(report))
    )


def _figures(report: Report) -> dict[str, list[Markup]]:
    """The figures by part; a part that was not reached has none."""
    made: dict[str, list[str]] = {}
    if report.deviations:
        made["Known truth"] = [plots.truth(report.deviations)]
    if report.sensitivity:
        made["Sensitivity"] = [plots.sensitivity(report.sensitivity)]
    if report.ratios:
        made["Parity"] = [plots.parity(report.ratios, LIMIT_PERCENT)]
    if report.false_alarms:
        found = report.false_alarms
        made["A/A"] = [plots.p_values(found), plots.shifts(found), plots.detectable(found)]
    return {part: [Markup(figure) for figure in figures] for part, figures in made.items()}
