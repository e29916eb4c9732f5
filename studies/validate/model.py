"""The validation's report: every check with what was expected and measured, and how sure that is.

The report holds what its page shows, so that a page can be made from it again.
"""

from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from bench.environment import Model
from bench.results import CheckResult
from bench.text import problem

SCHEMA: Final = "cni-benchmark/validation/v1"

Part = Literal["Known truth", "Sensitivity", "Parity", "A/A", "benchstat"]
PARTS: tuple[Part, ...] = ("Known truth", "Sensitivity", "Parity", "A/A", "benchstat")


class Check(Model):
    """One assertion about the measurement. ``interval`` is of ``measured``, at 95 % or as said."""

    part: Part
    name: str
    expectation: str
    measured: str
    interval: str
    passed: bool
    remarks: list[str] = Field(default_factory=list)


class Deviation(Model):
    """A measured quantity against its truth: both in ``unit``, ``limit`` in % of the truth."""

    name: str
    unit: str
    truth: float
    samples: list[float]
    limit: float

    def errors(self) -> list[float]:
        """Each sample's relative error in %."""
        return [100 * (value / self.truth - 1) for value in self.samples]


class Ratio(Model):
    """Our number against the raw tool's for one metric: the median ratio of pairs, less 1, in %."""

    metric: str
    percent: float
    low: float
    high: float
    level: float
    pairs: int


class Shift(Model):
    """One metric of A/A: the shift between equal sides, with its interval.

    In % of the metric where ``relative``, else in its own ``unit`` (see
    :class:`bench.compare.Effect`); ``smallest`` alike: what a comparison of the default rounds
    could have seen, None where it could have seen nothing.
    """

    metric: str
    unit: str
    relative: bool
    value: float
    low: float
    high: float
    p: float
    smallest: float | None


class FalseAlarms(Model):
    """A/A as data: p-values of the comparisons as scheduled, and each metric's shift over all."""

    rounds: int
    p_values: list[float]
    shifts: list[Shift]


class Sensitivity(Model):
    """A cut of known size: both sides' samples in Gbit/s, and power by size of the cut in %."""

    whole: list[float]
    cut: list[float]
    cut_percent: float
    level: float
    power: dict[float, float]


class Agreement(Model):
    """benchstat's numbers beside ours, by metric: medians (a, b) and uncorrected p."""

    metric: str
    ours: tuple[float, float]
    theirs: tuple[float, float]
    our_p: float
    their_p: float


class Report(Model):
    """One validation. ``seconds`` is wall-clock time; ``environment`` is the session's.

    ``preconditions`` are the benchmark's own, those that were allowed to fail among them.
    """

    schema_: Literal["cni-benchmark/validation/v1"] = Field(default=SCHEMA, alias="schema")
    started: str
    seconds: float
    environment: dict[str, Any]
    tools: dict[str, str]
    preconditions: list[CheckResult]
    checks: list[Check]
    deviations: list[Deviation]
    sensitivity: Sensitivity | None
    ratios: list[Ratio]
    false_alarms: FalseAlarms | None
    agreements: list[Agreement]

    @property
    def failed(self) -> list[Check]:
        """The checks that do not hold."""
        return [check for check in self.checks if not check.passed]

    def to_json(self) -> str:
        """As JSON text."""
        return self.model_dump_json(by_alias=True, indent=1)


class ReportError(ValueError):
    """Data that is no report of this schema."""


def from_json(text: str) -> Report:
    """Read a report.

    :raises ReportError: another schema, or data that does not fit it.
    """
    try:
        return Report.model_validate_json(text)
    except ValidationError as error:
        raise ReportError(f"no validation of schema {SCHEMA}: {problem(error)}") from None
