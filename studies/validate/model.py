"""The validation's report: every check with what was expected and measured, and how sure that is.

The report holds what its page shows, so that a page can be made from it again.
"""

from typing import Any, Final, Literal

from pydantic import Field, ValidationError

from bench.environment import Model
from bench.results import CheckResult
from bench.text import problem

SCHEMA: Final = "cni-benchmark/validation/v2"

Part = Literal["A/A", "Sensitivity", "Turns", "Parity", "Known truth", "benchstat"]
PARTS: tuple[Part, ...] = ("A/A", "Sensitivity", "Turns", "Parity", "Known truth", "benchstat")


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


class Delay(Model):
    """One delay, by turns and by the raw tool, in µs ``per`` operation.

    ``usual`` is what an operation takes without it, ``added`` what it adds, both (ours, theirs).
    ``percent`` is by how much ours differs from theirs, of theirs, with a 95 % interval.
    """

    metric: str
    tool: str
    per: str
    usual: tuple[float, float]
    added: tuple[float, float]
    percent: float
    low: float
    high: float
    level: float
    pairs: int


class Equality(Model):
    """One metric of two equal clusters, over all bring-ups: all but ``p`` in % of the metric.

    ``within`` and ``between`` bring-ups are standard deviations, of pairs.
    """

    pair: str
    metric: str
    value: float
    low: float
    high: float
    p: float
    within: float | None
    between: float


class Sensitivity(Model):
    """A delay of known size, ``percent`` of ``metric``; all figures in %, lists by bring-up.

    ``effects`` are what was measured of it, ``expected`` what it has to be by arithmetic.
    ``spread`` is the standard deviation of bring-ups, taken from equal clusters, and
    ``bound`` what it is below with 95 %. ``power`` has for each size in % the chance (0 to 1) that
    a comparison of ``compared`` bring-ups finds it: at the spread, and at the bound.
    """

    metric: str
    percent: float
    effects: list[float]
    expected: list[float]
    spread: float
    bound: float
    level: float
    compared: int
    power: dict[float, tuple[float, float]]


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
    ``bring_ups`` is how many have given all that A/A and sensitivity are judged by. ``p_values``
    are those of comparisons of equal clusters, uncorrected.
    """

    schema_: Literal["cni-benchmark/validation/v2"] = Field(default=SCHEMA, alias="schema")
    started: str
    seconds: float
    environment: dict[str, Any]
    tools: dict[str, str]
    preconditions: list[CheckResult]
    checks: list[Check]
    bring_ups: int
    deviations: list[Deviation]
    delays: list[Delay]
    p_values: list[float]
    equalities: list[Equality]
    sensitivities: list[Sensitivity]
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
