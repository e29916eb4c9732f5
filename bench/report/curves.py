"""Experiments as evidence: what an axis of services, hops or policies says about scenarios."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.experiments.model import Experiment, Point, Series
from bench.metrics import MICROSECONDS
from bench.report.contest import Contender
from bench.report.recommend import Curve
from bench.report.traits import Traits
from bench.results import Results

_UNITS: dict[Curve, str] = {"services": "services", "hops": "hops", "policies": "policies"}
"""The axis's unit, or its name where it has none."""


@dataclass(frozen=True, slots=True)
class CurveEnd:
    """The furthest point that at least two subjects share: where they differ most, if they do.

    ``metrics`` are all latencies that every one of them has there.
    """

    at: str
    contenders: tuple[Contender, ...]
    metrics: tuple[str, ...]


def find(experiments: Sequence[Experiment], curve: Curve) -> tuple[Experiment, ...]:
    """The experiments along an axis of that kind: one with several subjects, or one of each."""
    return tuple(
        each
        for each in experiments
        if (each.axis.unit or each.axis.name).lower() == _UNITS[curve]
        and any(map(_numeric, each.series))
    )


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
    latencies = [_latencies(point) for _, point in subjects.values()]
    common = set.intersection(*map(set, latencies))
    return CurveEnd(
        at=f"{max(shared):,g} {experiments[0].axis.unit or experiments[0].axis.name}",
        contenders=tuple(
            Contender(subject, results_at(experiment, point))
            for subject, (experiment, point) in subjects.items()
        ),
        metrics=tuple(name for name in latencies[0] if name in common),
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


def fits(experiments: Sequence[Experiment]) -> Iterator[str]:
    """What each subject's growth is, in a sentence each."""
    for experiment in experiments:
        for series in experiment.series:
            for fit in series.fits:
                yield f"{series.subject}, {fit.metric}: {fit.verdict}"


def stands_for(subject: str, name: str, traits: Traits) -> bool:
    """Whether an experiment's subject is a scenario, by its name or by who serves its Services."""
    said = subject.lower()
    if name.lower() in said:
        return True
    match traits.services:
        case None:
            return False
        case "eBPF":
            return "ebpf" in said
        case kube_proxy:
            return kube_proxy.split()[-1] in said and not traits.cilium


def _numeric(series: Series) -> bool:
    return any(point.x is not None for point in series.points)


def _latencies(point: Point) -> list[str]:
    return [name for name, metric in point.metrics.items() if metric.unit == MICROSECONDS]
