"""What a comparison of two results says: JSON-able, with a verdict for every metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.metrics import Better
from bench.text import number

SCHEMA: Final = "cni-benchmark/comparison/v1"

Verdict = Literal["better", "worse", "no evidence", "too few runs"]
"""Of b against a, by the metric's direction. ``too few runs``: no samples whatever, however far
apart, would have reached the level; ``no evidence``: they could have, and did not."""

Test = Literal["mann-whitney", "signed-rank"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Effect(_Model):
    """How much b lies above a: Hodges–Lehmann's shift, with the interval of the same rank test.

    ``relative`` says that it is in % of a (a shift of logarithms); otherwise it is in the metric's
    unit, because some sample is 0. ``level`` is the interval's real coverage, 0 to 1, for this one
    metric: the interval is not widened for the others.
    """

    value: float
    low: float
    high: float
    level: float
    relative: bool


class MetricComparison(_Model):
    """One metric of b against a.

    ``p`` is the test's two-sided p-value, ``corrected`` the one after Holm's correction, by which
    the verdict is given. ``ratio`` is median b / median a, None where a's is 0.
    ``smallest`` is the shift that would have been seen with 90 % power at this spread and number
    of runs (see :mod:`bench.compare.power`; relative as ``effect`` is), None where there is none.
    ``notes`` are those of either side's samples.
    """

    unit: str
    better: Better
    group: str
    n: tuple[int, int]
    medians: tuple[float, float]
    ratio: float | None = None
    effect: Effect
    test: Test
    p: float
    corrected: float
    verdict: Verdict
    smallest: float | None = None
    notes: list[str] = []

    def effect_text(self) -> str:
        """The effect in a few words: ``-4.2 % (-5.1 to -3.0)``."""
        unit = "percentage points" if self.unit == "%" else self.unit
        unit = "%" if self.effect.relative else unit
        text = f"{_signed(self.effect.value)} {unit}"
        if self.effect.level <= 0:
            return text
        return f"{text} ({_signed(self.effect.low)} to {_signed(self.effect.high)})"


class Comparison(_Model):
    """Result b against result a.

    ``family`` is the number of metrics that the correction is over: all that were tested, less
    those whose samples are all equal and which therefore cannot differ. ``runs_needed`` is how many
    runs a side make a verdict possible for such a family. ``not_compared`` has the reason by
    metric; ``warnings`` say what else differs between the two than what they are called.
    """

    schema_: Literal["cni-benchmark/comparison/v1"] = Field(default=SCHEMA, alias="schema")
    labels: tuple[str, str]
    alpha: float
    correction: Literal["holm"] = "holm"
    interleaved: bool
    family: int
    runs_needed: int
    metrics: dict[str, MetricComparison]
    not_compared: dict[str, str] = {}
    warnings: list[str] = []

    def verdicts(self, *wanted: Verdict) -> list[str]:
        """Names of the metrics with one of these verdicts."""
        return [name for name, metric in self.metrics.items() if metric.verdict in wanted]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able data."""
        return self.model_dump(mode="json", by_alias=True)


class ComparisonError(ValueError):
    """Data that is no comparison of this schema."""


def from_dict(data: Mapping[str, Any]) -> Comparison:
    """Read a comparison from JSON data.

    :raises ComparisonError: another schema, or data that does not fit it.
    """
    try:
        return Comparison.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ComparisonError(
            f"no comparison of schema {SCHEMA}: {where}: {first['msg']}"
        ) from None


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)
