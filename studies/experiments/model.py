"""What an experiment found: points along an axis, each with metrics like any benchmark's.

One form serves all of them: services, hops and policies are axes with numbers, toggles and
"host or pod" are axes with names. What is drawn and compared needs no knowledge of the experiment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench import results_v1
from bench.compare import Comparison
from bench.environment import Environment, StackRecord
from bench.results import CheckResult, MetricResult

SCHEMA: Final = "cni-benchmark/experiment/v2"


class ExperimentError(ValueError):
    """Data that is no experiment of this schema; the message says what is wrong with it."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Axis(_Model):
    """What is changed from point to point. ``unit`` is empty where the axis has names only."""

    name: str
    unit: str = ""


class Point(_Model):
    """One place on the axis.

    ``x`` is None on an axis of names; ``facts`` are what was counted there (rules, map entries).
    A metric that could not be measured has its reason in ``missing``.
    """

    label: str
    x: float | None = None
    metrics: dict[str, MetricResult]
    facts: dict[str, str | int | float] = {}
    missing: dict[str, str] = {}


class Fit(_Model):
    """Growth of one metric along the axis: ``metric = constant + slope * x ** power``.

    ``slope_ci`` is the slope's interval at ``level`` (0 to 1), in the metric's unit per ``x``.
    ``verdict`` is what the interval allows to say.
    """

    metric: str
    form: Literal["constant", "linear", "power"]
    constant: float
    slope: float
    slope_ci: tuple[float, float]
    power: float = 1.0
    level: float
    verdict: str


class Series(_Model):
    """One subject (a scenario, a kube-proxy mode) along the axis.

    ``skipped`` is the reason why it has no points. ``comparisons`` are of points by label, each
    against the first of its two.
    """

    subject: str
    points: list[Point] = []
    fits: list[Fit] = []
    comparisons: list[Comparison] = []
    skipped: str | None = None


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
        """As JSON-able data."""
        return {
            **self.model_dump(mode="json", by_alias=True),
            "environment": self.environment.model_dump(mode="json", exclude_none=True),
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """As JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)


def from_dict(data: Mapping[str, Any]) -> Experiment:
    """Read an experiment from JSON data, of version 1 too.

    :raises ExperimentError: another schema, or data that does not fit it.
    """
    if data.get("schema") == results_v1.EXPERIMENT:
        data = results_v1.experiment(data)
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ExperimentError(
            f"no experiment of schema {SCHEMA}: {where}: {first['msg']}"
        ) from None
