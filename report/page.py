"""The report as one HTML page, and as Markdown: both from the same data.

Its first screen (:class:`Summary`) says what to choose, how sure that is, on what it was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from markupsafe import Markup

from bench.metrics import ARROWS
from bench.text import number
from report import facts, plots, published
from report.advise import BETTER, Advice, advise
from report.experiments.page import sections
from report.export import as_markdown
from report.features import features
from report.recommend import WORTH
from report.show_comparison import tally
from report.sidebyside import Cell, Row, SideBySide, caveats, certainty, qualified
from report.sources import Collection, MeasuredScenario
from report.web import environment

LAB_CAVEAT = (
    "These are the lab's numbers: real CNIs, kernel and load, but client, servers and packet "
    "processing share one machine's CPUs. Compare scenarios with each other; EKS has other "
    "absolute figures."
)

_ADVICE = "The recommendations look at a few metrics each, for which fewer runs suffice."


@dataclass(frozen=True, slots=True)
class Choice:
    """A scenario with the kinds of workload that it is the choice for."""

    scenario: str
    title: str
    advice: tuple[Advice, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """In plain words; ``failed`` are scenarios that should have been here, ``marks`` preconditions
    that did not hold, with the scenarios of which."""

    headline: str
    choices: tuple[Choice, ...]
    sure: str
    where: str
    lab: bool
    failed: dict[str, str]
    marks: dict[str, list[str]]


def summary(collection: Collection, side: SideBySide, advice: Sequence[Advice]) -> Summary:
    """What the first screen says."""
    return Summary(
        headline=_headline(side, advice),
        choices=tuple(_choices(collection, advice)),
        sure=certainty(side, _ADVICE),
        where=where(collection.scenarios),
        lab=any(is_lab(scenario) for scenario in collection.scenarios),
        failed=collection.failed,
        marks=_marks(collection.scenarios),
    )


def _marks(scenarios: Sequence[MeasuredScenario]) -> dict[str, list[str]]:
    failed: dict[str, list[str]] = {}
    for scenario in scenarios:
        for check in scenario.results.marks:
            failed.setdefault(check.name, []).append(scenario.name)
    return failed


def is_lab(scenario: MeasuredScenario) -> bool:
    """Its numbers are of the embedded lab."""
    return scenario.environment.shared_machine


def _headline(side: SideBySide, advice: Sequence[Advice]) -> str:
    baseline = side.baseline.name
    if not side.comparisons:
        return f"{baseline} alone was measured: nothing can be compared with it."
    decided = [each for each in advice if each.decided]
    if not decided:
        return (
            f"No verdict yet: {_least_runs(side)} runs are too few, or too noisy. What follows "
            "rests on features and on what was published."
        )
    lab = "In the lab, " if is_lab(side.baseline) else ""
    alone = [each for each in decided if "feature" not in each.bases]
    beaten = [each for each in alone if each.choice != baseline and each.sure == BETTER]
    if not beaten:
        nothing = "nothing" if lab else "Nothing"
        return (
            f"{lab}{nothing} measured speaks for leaving {baseline}. The other scenarios are for "
            "what they can do, not for their speed."
        )
    better = list(dict.fromkeys(each.choice for each in beaten if each.choice))
    return (
        f"{lab}{', '.join(better)} measurably beat{'s' if len(better) == 1 else ''} {baseline} for "
        f"{len(beaten)} of the {len(alone)} kinds of workload that measurements alone decide."
    )


def _least_runs(side: SideBySide) -> int:
    counts = [
        metric.n for scenario in side.scenarios for metric in scenario.results.metrics.values()
    ]
    return max(counts, default=0)


def _choices(collection: Collection, advice: Sequence[Advice]) -> list[Choice]:
    """In the order of scenarios; what needs none of them, or fits none, comes last."""
    titles = {scenario.name: scenario.title for scenario in collection.scenarios}
    choices = [
        Choice(name, title, tuple(each for each in advice if each.choice == name))
        for name, title in titles.items()
    ]
    rest: dict[str, list[Advice]] = {}
    for each in advice:
        if each.choice is None:
            rest.setdefault(each.headline, []).append(each)
    choices += [Choice(name, "", tuple(members)) for name, members in rest.items()]
    return [choice for choice in choices if choice.advice]


def where(scenarios: Sequence[MeasuredScenario]) -> str:
    """On what, how, and when it was measured, in one sentence."""
    targets = dict.fromkeys(each.environment.target or "unknown" for each in scenarios)
    profiles = dict.fromkeys(each.results.profile for each in scenarios)
    runs = sorted({int(each.results.plan.get("runs", 0)) for each in scenarios})
    kernels = dict.fromkeys(str(each.environment.kernel or "?") for each in scenarios)
    cpus = dict.fromkeys(str(each.environment.cpus or "?") for each in scenarios)
    days = sorted({each.results.started[:10] for each in scenarios})
    return (
        f"{'; '.join(targets)}. Profile {', '.join(profiles)}, "
        f"{' to '.join(map(str, dict.fromkeys((runs[0], runs[-1]))))} "
        f"round{'s' if runs[-1] != 1 else ''}, "
        f"{' to '.join(dict.fromkeys((days[0], days[-1])))}; kernel {', '.join(kernels)}, "
        f"{', '.join(cpus)} CPUs."
    )


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
    experiments = sections(collection.experiments)
    advice = advise(collection)
    return {
        "side": side,
        "rows": rows,
        "names": [scenario.name for scenario in side.scenarios],
        "figures": figures,
        "levels": _levels(rows),
        "tallies": list(map(tally, side.comparisons)),
        "caveats": caveats(side),
        "sections": experiments,
        "advice": advice,
        "summary": summary(collection, side, advice),
        "lab_caveat": LAB_CAVEAT,
        "worth": WORTH,
        "study": published.study(),
        "quantities": published.quantities(),
        "ours": _ours(rows),
        "documented": features(),
        "toggles": facts.toggles,
        "checks": facts.checks(side.scenarios),
        "environment": facts.environment(side.scenarios),
        "adaptations": facts.adaptations(side.scenarios),
        "warnings": facts.warnings,
        "commands": facts.commands,
        "qualified": qualified,
        "arrows": ARROWS,
        "command": command,
        "contents": _contents(bool(experiments)),
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
    shown = [
        plots.Dots(cell.scenario, cell.result, style)
        for style, cell in enumerate(row.cells)
        if cell.result
    ]
    return Markup(plots.dots(row.name, shown))


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
    return [(str(key), list(group)) for key, group in groupby(rows, key=attrgetter(field))]


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
