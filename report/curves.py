"""Experiments as evidence: what an axis of services, hops or policies says about scenarios."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.results import Results
from report.contest import Contender
from report.sources import MeasuredScenario
from report.traits import Traits
from studies.experiments.model import Experiment, Point, Series


@dataclass(frozen=True, slots=True)
class CurveEnd:
    """The furthest point that at least two subjects share: where they differ most, if they do."""

    at: str
    contenders: tuple[Contender, ...]


def find(
    experiments: Sequence[Experiment], unit: str, deciding: Collection[str]
) -> tuple[Experiment, ...]:
    """The experiments along an axis of that unit: one with several subjects, or one of each.

    Of several axes (kinds of policies, say) the one with most subjects.

    :param deciding: metrics, of which an experiment has to have one: more than one goes along an
        axis of Services.
    """
    axes: dict[str, list[Experiment]] = {}
    for each in experiments:
        if (each.axis.unit or each.axis.name).lower() != unit:
            continue
        if any(_numeric(series) and _has(series, deciding) for series in each.series):
            axes.setdefault(each.axis.name, []).append(each)
    most: list[Experiment] = max(axes.values(), key=_subjects, default=[])
    return tuple(most)


def _subjects(experiments: Iterable[Experiment]) -> int:
    return len({series.subject for each in experiments for series in each.series if series.points})


def end_of(experiments: Sequence[Experiment]) -> CurveEnd | None:
    """Where subjects are compared; None where no two share a point."""
    places: dict[float, dict[str, tuple[Experiment, Point]]] = {}
    for experiment in experiments:
        for series in experiment.series:
            for point in series.points:
                if point.x is not None:
                    places.setdefault(point.x, {})[series.subject] = (experiment, point)
    shared = [x for x, subjects in places.items() if len(subjects) > 1]
    if not shared:
        return None
    subjects = places[max(shared)]
    return CurveEnd(
        at=f"{max(shared):,g} {experiments[0].axis.unit or experiments[0].axis.name}",
        contenders=tuple(
            Contender(subject, results_at(experiment, point))
            for subject, (experiment, point) in subjects.items()
        ),
    )


def results_at(experiment: Experiment, point: Point) -> Results:
    """A point's metrics as results, so that they can be compared as any others."""
    return Results(
        profile=str(experiment.plan.get("profile", experiment.name)),
        started=experiment.started,
        finished=experiment.finished,
        seconds=experiment.seconds,
        plan=experiment.plan,
        metrics=point.metrics,
        probes={},
        tools=experiment.tools,
        environment=experiment.environment,
        placement=[],
        checks=experiment.checks,
        warnings=[],
    )


def fits(experiments: Sequence[Experiment], deciding: Collection[str]) -> Iterator[str]:
    """How the deciding metrics of each subject grow, in a sentence each."""
    for experiment in experiments:
        for series in experiment.series:
            for fit in series.fits:
                if fit.metric in deciding:
                    yield f"{series.subject}, {fit.metric}: {fit.verdict}"


def scenario_of(
    subject: str, scenarios: Sequence[MeasuredScenario], known: Mapping[str, Traits]
) -> str | None:
    """The name of the scenario that an experiment's subject is.

    By its name or title, with who served its Services behind it where that was changed for the
    experiment; else the first whose Services are served by what the subject names.

    :param known: the scenarios' traits by name.
    """
    title, _, rest = subject.partition(" (")
    meant = [each.name for each in scenarios if each.name in subject or title == each.title]
    if meant and not rest:
        return meant[0]
    served = (each.name for each in scenarios if _served_so(subject, known[each.name]))
    return next((name for name in served if not meant or name in meant), None)


def _served_so(subject: str, traits: Traits) -> bool:
    if traits.services is None or traits.services.lower() not in subject.lower():
        return False
    # kube-proxy beside Cilium serves no pod: Cilium does, packet by packet.
    return traits.services == "eBPF" or not traits.cilium


def _has(series: Series, names: Collection[str]) -> bool:
    return any(name in point.metrics for point in series.points for name in names)


def _numeric(series: Series) -> bool:
    return any(point.x is not None for point in series.points)
