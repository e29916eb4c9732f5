"""What an experiment's function gets and gives, and its record: points along an axis, with metrics.

One form serves all of them: services, hops and policies are axes with numbers, toggles and
"host or pod" are axes with names. What is drawn and compared needs no knowledge of the experiment.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from bench.compare import Comparison, one_family
from bench.environment import Environment, Model, StackRecord
from bench.interleave import Side, Step
from bench.plan import Plan
from bench.preparation import Evidence
from bench.probes.base import Bench
from bench.results import CheckResult, MetricResult, Results
from bench.text import problem
from studies.experiments.definition import Extent

SCHEMA: Final = "cni-benchmark/experiment/v2"


class ExperimentError(ValueError):
    """Data that is no experiment of this schema; the message says what is wrong with it."""


class Axis(Model):
    """What is changed from point to point. ``unit`` is empty where the axis has names only."""

    name: str
    unit: str = ""


class Point(Model):
    """One place on the axis.

    ``x`` is None on an axis of names; ``facts`` are what was counted there (rules, map entries).
    A metric that could not be measured has its reason in ``missing``.
    """

    label: str
    x: float | None = None
    metrics: dict[str, MetricResult]
    facts: dict[str, str | int | float] = Field(default_factory=dict)
    missing: dict[str, str] = Field(default_factory=dict)


class Fit(Model):
    """Growth of one metric along the axis: ``metric = constant + slope * x ** power``.

    ``slope_ci`` is the slope's interval at ``level`` (0 to 1), in the metric's unit per ``x``.
    ``off`` is by which share (0 …) of its value the visit that fits worst lies off the curve; None
    where that was not looked at. ``verdict`` is what interval and fit allow to say.
    """

    metric: str
    form: Literal["constant", "linear", "power"]
    constant: float
    slope: float
    slope_ci: tuple[float, float]
    power: float = 1.0
    level: float
    off: float | None = None
    verdict: str

    def at(self, x: float) -> float:
        """The curve's value, in the metric's unit."""
        return float(self.constant + self.slope * x**self.power)


class RateWithin(Model):
    """The highest rate, in requests/s, at which ``metric`` stays within ``bound``.

    ``bound`` is in the metric's unit, ``ci`` the rate's interval at ``level`` (0 to 1).
    ``reach``: ``interpolated`` between the points on either side; ``at least``, where the metric is
    within it at every point that has a number; ``below``, where it is at none.
    """

    metric: str
    bound: float
    rate: float
    ci: tuple[float, float]
    level: float
    reach: Literal["interpolated", "at least", "below"]
    verdict: str


class Series(Model):
    """One subject (a scenario, a kube-proxy mode) along the axis.

    ``skipped`` is the reason why it has no points. ``comparisons`` are of points by label, each
    against the first of its two. ``said`` is what came out, in words, by the point's label.
    """

    subject: str
    points: list[Point] = Field(default_factory=list)
    fits: list[Fit] = Field(default_factory=list)
    within: RateWithin | None = None
    comparisons: list[Comparison] = Field(default_factory=list)
    said: dict[str, str] = Field(default_factory=dict)
    skipped: str | None = None

    def statements(self) -> Iterator[tuple[str, str]]:
        """Metrics, with what fits and bounds say; points, with what is said of them."""
        for each in (*self.fits, self.within):
            if each is not None:
                yield each.metric, each.verdict
        yield from self.said.items()


def as_one_family(series: Sequence[Series]) -> list[Series]:
    """The same, with the primary metrics of all their comparisons as one family."""
    whole = iter(one_family([each for one in series for each in one.comparisons]))
    return [
        one.model_copy(update={"comparisons": list(islice(whole, len(one.comparisons)))})
        for one in series
    ]


class Experiment(StackRecord):
    """One run of an experiment, with what was measured: the stack's record and environment.

    Times are ISO 8601 in UTC, ``seconds`` is wall-clock time.

    ``question`` is what it answers, in a sentence; ``command`` makes it again.
    """

    schema_: Literal["cni-benchmark/experiment/v2"] = Field(default=SCHEMA, alias="schema")
    name: str
    question: str
    axis: Axis
    series: list[Series]
    started: str
    finished: str
    seconds: float
    command: str
    plan: dict[str, Any]
    tools: dict[str, str]
    environment: Environment
    checks: list[CheckResult] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able data; fields that have their default are left out."""
        data = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return {"schema": SCHEMA, **data}

    def to_json(self, *, indent: int | None = None) -> str:
        """As JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)


def from_dict(data: Mapping[str, Any]) -> Experiment:
    """Read an experiment from JSON data.

    :raises ExperimentError: another schema, or data that does not fit it.
    """
    schema = data.get("schema")
    if schema != SCHEMA:
        raise ExperimentError(f"schema is {schema!r}, not {SCHEMA!r}. Fix: measure again")
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        raise ExperimentError(f"no experiment of schema {SCHEMA}: {problem(error)}") from None


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


def recorded(
    axis: Axis,
    findings: Findings,
    evidence: Evidence,
    *,
    name: str,
    question: str,
    plan: Mapping[str, Any],
    command: str,
    finished: datetime,
    seconds: float,
) -> Experiment:
    """The record of an experiment that began with ``evidence``."""
    return Experiment(
        **evidence.about.record(),
        name=name,
        question=question,
        axis=axis,
        series=list(findings.series),
        started=_iso(evidence.started),
        finished=_iso(finished),
        seconds=round(seconds, 1),
        command=command,
        plan={**plan, **findings.plan},
        tools=dict(evidence.tools),
        environment=evidence.environment,
        checks=list(evidence.checks),
        warnings=[*evidence.warnings, *findings.warnings],
    )


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
