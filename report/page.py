"""The report as one HTML page, and as Markdown: both from the same data.

Its first screen is for a reader with a minute: one sentence, one figure, what to choose. Then what
it costs, then why. All else is folded.
"""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from markupsafe import Markup

from bench.compare import MetricComparison
from bench.metrics import ARROWS, ARROWS_TEXT, PRIMARY
from bench.results import MetricResult
from bench.text import number
from report import cost, facts, figures, published
from report.recommend import WORTH, Advice, advise
from report.sentence import Sentence, first_sentence
from report.show import ANSWERS
from report.sidebyside import (
    Cell,
    Row,
    SideBySide,
    as_markdown,
    caveats,
    certainty,
    level_text,
    levels,
    qualified,
    tally,
)
from report.sources import Collection, MeasuredScenario
from report.web import templates
from studies.experiments.model import Experiment, Point, Series

LAB_CAVEAT = (
    "These are the lab's numbers: real CNIs, kernel and load, but client, servers and packet "
    "processing share one machine's CPUs."
)

_ADVICE = "More bring-ups or rounds would allow them."
_PLAIN: Mapping[str, str] = {
    "rtt_p50": "Round trip", "connect_p50": "New connection to a Service",
    "http_p50": "Request over a kept connection", "dns_p50": "DNS query",
    "tcp_throughput": "TCP throughput", "cpu_per_request": "CPU time of a request, all nodes",
}  # fmt: skip
"""What the primary metrics are called on the first screen."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A scenario with the kinds of workload that it is the choice for."""

    scenario: str
    title: str
    advice: tuple[Advice, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """``failed`` are scenarios that should have been here, ``marks`` preconditions that did not
    hold, with the scenarios of which. ``shape`` is the cluster's that all scenarios were made like,
    in sentences; empty where they were made like none."""

    sentence: Sentence
    choices: tuple[Choice, ...]
    sure: str
    where: str
    lab: bool
    failed: dict[str, str]
    marks: dict[str, list[str]]
    shape: tuple[str, ...] = ()


def summary(collection: Collection, side: SideBySide, advice: Sequence[Advice]) -> Summary:
    """What the first screen and the terminal say."""
    return Summary(
        sentence=first_sentence(side),
        choices=tuple(_choices(collection, advice)),
        sure=certainty(side, _ADVICE),
        where=where(collection.scenarios),
        lab=any(scenario.environment.shared_machine for scenario in collection.scenarios),
        failed=collection.failed,
        marks=_marks(collection.scenarios),
        shape=tuple(_shape(collection)),
    )


def _shape(collection: Collection) -> Iterator[str]:
    """What the numbers are of, how that differs from what was asked for, and what of it they
    depend on."""
    twins = list(dict.fromkeys(each.twin for each in collection.matrices))
    if twins == [None] or not twins:
        return
    if len(twins) > 1:
        yield "The scenarios were measured in clusters of different shapes: compare none of them."
        return
    (twin,) = twins
    assert twin is not None
    yield twin.headline
    yield from twin.scaled
    yield (
        "The answer is that of this shape. Whether it is the same with more Services, policies and "
        "changes is told by the same matrix with --times 2; what more Services cost along the way, "
        "by the experiment scale."
    )


def spoken(shown: Summary) -> Iterator[str]:
    """The first screen for a terminal, line by line."""
    yield shown.sentence.text
    yield from shown.shape[:1]
    yield from filter(None, (shown.sentence.absolute, shown.sentence.carries))
    for choice in shown.choices:
        told = (f"{_lower_first(each.workload.title)} ({each.sure})" for each in choice.advice)
        yield f"{choice.scenario}: {', '.join(told)}"


def _marks(scenarios: Sequence[MeasuredScenario]) -> dict[str, list[str]]:
    failed: dict[str, list[str]] = {}
    for scenario in scenarios:
        for check in scenario.results.marks:
            failed.setdefault(check.name, []).append(scenario.name)
    return failed


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
    bring_ups = max(len(each.results.bring_ups) for each in scenarios)
    in_bring_ups = f" in {bring_ups} bring-ups" if bring_ups > 1 else ""
    return (
        f"{'; '.join(targets)}. Profile {', '.join(profiles)}, "
        f"{' to '.join(map(str, dict.fromkeys((runs[0], runs[-1]))))} "
        f"round{'s' if runs[-1] != 1 else ''}{in_bring_ups}, "
        f"{' to '.join(dict.fromkeys((days[0], days[-1])))}; kernel {', '.join(kernels)}, "
        f"{', '.join(cpus)} CPUs."
    )


Progress = Callable[[str], None]
_NOTHING = Markup()


@dataclass(frozen=True, slots=True)
class Panel:
    """One metric of the first figure: the effects on the baseline, whose median is ``usual``."""

    name: str
    title: str
    usual: str
    better: str
    svg: Markup


def panels(side: SideBySide) -> Iterator[Panel]:
    """The first figure: primary metrics of all scenarios that took turns with the baseline."""
    for name in PRIMARY:
        changes = [
            figures.Change(each.labels[1], each.metrics[name])
            for each in side.comparisons
            if each.interleaved and name in each.metrics and each.metrics[name].effect.relative
        ]
        if changes:
            usual = side.baseline.results.metrics[name]
            yield Panel(
                name,
                _PLAIN[name],
                f"{number(usual.median)} {usual.unit} in {side.baseline.name}",
                "more is better" if usual.better == "higher" else "less is better",
                Markup(figures.effects(f"{name}, effect on the baseline", changes, told=True)),
            )


def context(
    collection: Collection,
    side: SideBySide,
    command: str,
    say: Progress,
    *,
    price: cost.NodePrice | None = None,
    why: Markup = _NOTHING,
    why_in_words: str = "",
) -> dict[str, Any]:
    """All that the templates show.

    :param side: the collection's scenarios side by side.
    :param command: what made this report.
    :param price: of a node of the type that was measured, or that the lab takes for its limits.
    :param why: a part of the page that tells where the time goes; none without its data.
    :param why_in_words: the same as Markdown.
    """
    rows = list(side.rows())
    say(f"drawing {len(rows)} metrics")
    drawn = {row.name: _drawn(row) for row in rows}
    say(f"drawing {len(collection.experiments)} experiments")
    advice = advise(side, collection.experiments)
    return {
        "side": side,
        "rows": rows,
        "names": [scenario.name for scenario in side.scenarios],
        "figures": drawn,
        "panels": list(panels(side)),
        "spent": list(cost.spent(side)),
        "price": price,
        "month": cost.month,
        "rate": cost.RATE,
        "why": why,
        "why_in_words": why_in_words,
        "levels": level_text(
            cell.result.ci_level for row in rows for cell in row.cells if cell.result
        ),
        "tallies": list(map(tally, side.comparisons)),
        "caveats": caveats(side),
        "effect_levels": levels(side),
        "sections": sections(collection.experiments),
        "advice": advice,
        "summary": summary(collection, side, advice),
        "lab_caveat": LAB_CAVEAT,
        "worth": WORTH,
        "study": published.study(),
        "quantities": published.quantities(),
        "ours": _ours(rows),
        "documented": published.features(),
        "answers": ANSWERS,
        "checks": facts.checks(side.scenarios),
        "environment": facts.environment(side.scenarios),
        "adaptations": facts.adaptations(side.scenarios),
        "warnings": facts.warnings,
        "commands": facts.commands,
        "qualified": qualified,
        "arrows": ARROWS,
        "arrows_text": ARROWS_TEXT,
        "command": command,
    }


def html(values: Mapping[str, Any]) -> str:
    """The page: one file that needs nothing else."""
    return _render("page.html.j2", values, html=True)


def markdown(values: Mapping[str, Any]) -> str:
    """The same without figures."""
    return _render("report.md.j2", {**values, "table": as_markdown(values["side"])}, html=False)


def _render(template: str, values: Mapping[str, Any], *, html: bool) -> str:
    environment = templates(html=html)
    environment.filters["groupby_in_order"] = _grouped
    environment.filters["pairs"] = _pairs
    environment.filters["money"] = money
    environment.filters["in_cell"] = lambda text: text.replace("|", "\\|").replace("\n", " ")
    return environment.get_template(template).render(**values)


def money(usd: float) -> str:
    """US dollars: ``$0.0034``, ``-$12``."""
    return f"{'-' if usd < 0 else ''}${number(abs(usd), 2)}"


def _drawn(row: Row) -> Markup:
    shown = [
        figures.Dots(cell.scenario, cell.result, style)
        for style, cell in enumerate(row.cells)
        if cell.result
    ]
    return Markup(figures.dots(row.name, shown))


def _ours(rows: Iterable[Row]) -> Callable[[str, str], Cell | None]:
    """Our cell of the study's scenario with that letter, for a metric."""
    cells = {
        (published.letter_of(cell.scenario), row.name): cell for row in rows for cell in row.cells
    }
    return lambda letter, metric: cells.get((letter, metric))


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


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of an experiment, drawn."""

    name: str
    description: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class Section:
    """All runs of one experiment: of several subjects in one file, or in a file each.

    Figures of fitted and compared metrics come first.
    """

    runs: tuple[Experiment, ...]
    figures: tuple[Figure, ...]

    @property
    def first(self) -> Experiment:
        """Whose name, question and axis are shown."""
        return self.runs[0]

    def series(self) -> Iterator[Series]:
        """Of all runs."""
        for run in self.runs:
            yield from run.series

    def statements(self) -> Iterator[tuple[str, str, str]]:
        """What is said in words: subject, metric or point, words."""
        for series in self.series():
            for metric, said in series.statements():
                yield series.subject, metric, said

    @property
    def reach(self) -> str:
        """What is to be said of all verdicts: " of this bring-up", or nothing."""
        every = (each for series in self.series() for each in series.comparisons)
        return next((each.reach for each in every if each.reach), "")

    @property
    def levels(self) -> str:
        """What the intervals of its medians cover."""
        return level_text(metric.ci_level for *_, metric in self.numbers())

    def comparisons(self) -> Iterator[tuple[str, str, str, str, MetricComparison]]:
        """Subject, both labels, metric and comparison, verdicts first."""
        rows = [
            (series.subject, *comparison.labels, name, metric)
            for series in self.series()
            for comparison in series.comparisons
            for name, metric in comparison.metrics.items()
        ]
        yield from sorted(rows, key=lambda each: each[-1].verdict not in ("better", "worse"))

    def numbers(self) -> Iterator[tuple[str, Point, str, MetricResult]]:
        """Subject, point, metric and result of everything that was measured."""
        for series in self.series():
            for point in series.points:
                for name, metric in point.metrics.items():
                    yield series.subject, point, name, metric


_EXPERIMENT_COLUMNS = (
    "experiment", "axis", "subject", "point", "x", "metric", "unit", "better", "n", "median", "low",
    "high", "ci_level", "notes",
)  # fmt: skip
"""Of the CSV: a line per subject, point and metric."""


def experiments_csv(experiments: Sequence[Section]) -> str:
    """All numbers of experiments, with full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_EXPERIMENT_COLUMNS)
    for section in experiments:
        axis = section.first.axis.name
        for subject, point, name, metric in section.numbers():
            writer.writerow(
                (
                    section.first.name, axis, subject, point.label, point.x, name, metric.unit,
                    metric.better, metric.n, metric.median, *metric.ci, metric.ci_level,
                    "; ".join(qualified(metric)),
                )
            )  # fmt: skip
    return text.getvalue()


def sections(experiments: Sequence[Experiment]) -> tuple[Section, ...]:
    """A section per experiment and axis, in the order in which they were read."""
    groups: dict[tuple[str, str], list[Experiment]] = {}
    for each in experiments:
        groups.setdefault((each.name, each.axis.name), []).append(each)
    return tuple(Section(tuple(runs), tuple(_figures(runs))) for runs in groups.values())


def _figures(runs: Sequence[Experiment]) -> Iterator[Figure]:
    series = [each for run in runs for each in run.series]
    first: dict[str, MetricResult] = {}
    for each in series:
        for point in each.points:
            first = {**point.metrics, **first}
    fitted = [fit.metric for each in series for fit in each.fits]
    verdicts = [
        name
        for each in series
        for comparison in each.comparisons
        for name in comparison.verdicts("better", "worse")
    ]
    order = dict.fromkeys([*fitted, *verdicts, *first])
    for name in order:
        if name in first:
            title = f"{runs[0].name}, {name}"
            svg = Markup(_drawn_metric(title, name, runs[0], series))
            yield Figure(name, first[name].description, svg)


def _drawn_metric(title: str, name: str, run: Experiment, series: Sequence[Series]) -> str:
    """As curves on an axis of numbers, as effects where points of names were compared, else as
    what was measured at each."""
    changes = list(_changes(name, series))
    if changes and not run.axis.unit:
        return figures.effects(title, changes)
    measured = [
        (each, [point for point in each.points if name in point.metrics]) for each in series
    ]
    measured = [(each, points) for each, points in measured if points]
    if all(point.x is not None for _, points in measured for point in points):
        return figures.curves(
            title,
            run.axis,
            [
                figures.Curve(
                    each.subject,
                    [(point.x or 0.0, point.metrics[name]) for point in points],
                    next((fit for fit in each.fits if fit.metric == name), None),
                )
                for each, points in measured
            ],
        )
    several = len({each.subject for each, _ in measured}) > 1
    return figures.dots(
        title,
        [
            figures.Dots(
                f"{each.subject}: {point.label}" if several else point.label,
                point.metrics[name],
                style,
            )
            for style, (each, points) in enumerate(measured)
            for point in points
        ],
    )


def _changes(name: str, series: Sequence[Series]) -> Iterator[figures.Change]:
    """Every comparison of a metric with an effect in %."""
    for each in series:
        for comparison in each.comparisons:
            change = comparison.metrics.get(name)
            if change and change.effect.relative:
                alone = len(each.comparisons) == 1
                label = each.subject if alone else f"{each.subject}: {comparison.labels[1]}"
                yield figures.Change(label, change)
