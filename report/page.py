"""The report as one HTML page, and as Markdown: both from the same data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bench.metrics import ARROWS
from bench.text import number
from report import facts, features, plots, published
from report.advise import advise
from report.experiments.page import sections
from report.export import as_markdown
from report.recommend import WORTH
from report.show_comparison import tally
from report.sidebyside import Cell, Row, SideBySide, caveats, qualified
from report.sources import Collection
from report.summary import LAB_CAVEAT, summary
from report.web.page import environment

_FOLDER = Path(__file__).parent

Progress = Callable[[str], None]


def context(
    collection: Collection, side: SideBySide, command: str, say: Progress
) -> dict[str, Any]:
    """All that the templates show.

    :param side: the collection's scenarios side by side.
    :param command: what made this report.
    """
    rows = list(side.rows())
    say(f"drawing {len(rows)} metrics")
    figures = {row.name: _drawn(row) for row in rows}
    say(f"drawing {len(collection.experiments)} experiments")
    found = sections(collection.experiments)
    advice = advise(collection)
    return {
        "side": side,
        "rows": rows,
        "names": [scenario.name for scenario in side.scenarios],
        "figures": figures,
        "levels": _levels(rows),
        "tallies": list(map(tally, side.comparisons)),
        "caveats": caveats(side),
        "sections": found,
        "advice": advice,
        "summary": summary(collection, side, advice),
        "lab_caveat": LAB_CAVEAT,
        "worth": WORTH,
        "study": published.study(),
        "quantities": published.quantities(),
        "ours": _ours(rows),
        "features": features.FEATURES,
        "cnis": features.CNIS,
        "read_on": features.READ_ON,
        "toggles": facts.toggles,
        "checks": facts.checks(side.scenarios),
        "environment": facts.environment(side.scenarios),
        "adaptations": facts.adaptations(side.scenarios),
        "warnings": facts.warnings,
        "commands": facts.commands,
        "qualified": qualified,
        "arrows": ARROWS,
        "command": command,
        "contents": _contents(bool(found)),
    }


def html(values: Mapping[str, Any]) -> str:
    """The page: one file that needs nothing else."""
    return _render("page.html.j2", values, html=True)


def markdown(values: Mapping[str, Any]) -> str:
    """The same without figures."""
    return _render("report.md.j2", {**values, "table": as_markdown(values["side"])}, html=False)


def _render(template: str, values: Mapping[str, Any], *, html: bool) -> str:
    templates = environment(_FOLDER, html=html)
    templates.filters["groupby_in_order"] = _grouped
    templates.filters["pairs"] = _pairs
    templates.filters["lower_first"] = _lower_first
    templates.filters["in_cell"] = lambda text: text.replace("|", "\\|").replace("\n", " ")
    return templates.get_template(template).render(**values)


def _drawn(row: Row) -> Markup:
    found = [
        plots.Dots(cell.scenario, cell.result, style)
        for style, cell in enumerate(row.cells)
        if cell.result
    ]
    return Markup(plots.dots(row.name, found))


def _ours(rows: Iterable[Row]) -> Callable[[str, str], Cell | None]:
    """Our cell of the study's scenario with that letter, for a metric."""
    cells = {
        (published.letter_of(cell.scenario), row.name): cell for row in rows for cell in row.cells
    }
    return lambda letter, metric: cells.get((letter, metric))


def _levels(rows: Iterable[Row]) -> str:
    """ " (75 %)" where all intervals have that coverage."""
    levels = {cell.result.ci_level for row in rows for cell in row.cells if cell.result}
    if levels == {0.0}:
        return " (of a single run: none)"
    return f" ({100 * levels.pop():.0f} %)" if len(levels) == 1 else ""


def _grouped(rows: Iterable[Row], field: str) -> list[tuple[str, list[Row]]]:
    """Rows by a field, in their own order."""
    return [(str(key), list(found)) for key, found in groupby(rows, key=attrgetter(field))]


def _pairs(data: Mapping[str, Any]) -> str:
    """A mapping in a line: ``nat_rules 99, close connect_us 164``."""
    return ", ".join(
        f"{key} {_pairs(value)}"
        if isinstance(value, Mapping)
        else f"{key} {number(value) if isinstance(value, (int, float)) else value}"
        for key, value in data.items()
    )


def _lower_first(text: str) -> str:
    """A title within a sentence; acronyms stay."""
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def _contents(experiments: bool) -> list[tuple[str, str]]:
    return [
        ("workloads", "Workloads"),
        ("scenarios", "Scenarios"),
        ("metrics", "Every metric"),
        *([("experiments", "Experiments")] if experiments else []),
        ("published", "Published numbers"),
        ("policies", "Policy features"),
        ("toggles", "Toggles"),
        ("preconditions", "Preconditions"),
        ("environment", "Environment"),
        ("commands", "Commands"),
    ]
