"""What an experiment's metrics and facts are called, and a choice of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from studies.experiments.model import ExperimentError, Point, Series


def metrics(measured: Iterable[Series]) -> dict[str, str]:
    """Every metric of some point, with its unit."""
    return {
        name: metric.unit for point in _points(measured) for name, metric in point.metrics.items()
    }


def facts(measured: Iterable[Series]) -> dict[str, bool]:
    """Every fact of some point, and whether it is a number."""
    return {
        name: not isinstance(value, str)
        for point in _points(measured)
        for name, value in point.facts.items()
    }


def refuse_unknown(names: Iterable[str], known: Iterable[str]) -> None:
    """:raises ExperimentError: a name is none of the known; the message lists both."""
    known = list(known)
    if unknown := [name for name in names if name not in known]:
        raise ExperimentError(f"nothing is called {', '.join(unknown)}: it has {', '.join(known)}")


def _points(measured: Iterable[Series]) -> Iterator[Point]:
    return (point for series in measured for point in series.points)
