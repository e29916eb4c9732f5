"""What an experiment's function gets and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.interleave import Side, Step
from bench.plan import Plan
from bench.probes.base import Bench
from bench.results import Results
from studies.experiments.definition import Extent
from studies.experiments.model import Point, Series

Progress = Callable[[str], None]


class SkippedError(Exception):
    """The experiment makes no sense on this session; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a run function gets.

    ``side`` has passed its preconditions; its probes are those of the benchmark. ``plan`` is
    theirs, with the extent's rounds (``runs``) and seconds in it. ``subject`` is what the session's
    scenario is called.
    """

    side: Side
    plan: Plan
    extent: Extent
    subject: str
    say: Progress

    @property
    def bench(self) -> Bench:
        """Session, targets and clock."""
        return self.side.bench

    def watch(self, step: Step) -> None:
        """A line for every sample that has ended (for :func:`bench.interleave.interleave`)."""
        if step.outcome is not None:
            self.say(
                f"[{step.done}/{step.total}] {step.label}, round {step.round}: {step.probe.name} "
                f"… {step.said()}"
            )


@dataclass(frozen=True, slots=True)
class Findings:
    """What a run function gives. ``plan`` is what else it decided, for the record."""

    series: Sequence[Series]
    plan: Mapping[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()


def point(
    label: str,
    results: Results,
    *,
    x: float | None = None,
    facts: Mapping[str, str | int | float] | None = None,
) -> Point:
    """A point from the rounds that were measured there (:func:`bench.interleave.interleave`)."""
    missing = {error.metric: error.reason for error in results.errors}
    return Point(
        label=label, x=x, metrics=results.metrics, facts=dict(facts or {}), missing=missing
    )
