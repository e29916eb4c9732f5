"""The versioned result of one benchmark: what is exported, stored and compared.

JSON by pydantic, both ways; an unknown schema is refused, an unknown field too. Commands, tool
facts and failures are stored once per probe, not per sample, to stay small as a stack output.
Results of version 1 are refused: they do not say what was measured.
"""

import json
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.environment import Environment, Model, StackRecord
from bench.metrics import Better, LimitedBy, Note, limit_kind
from bench.text import load_json, number, problem
from bench.workloads import SIDES

SCHEMA: Final = "cni-benchmark/results/v2"


class _Model(BaseModel):
    model_config = ConfigDict(**Model.model_config, allow_inf_nan=False)


class ResultsError(ValueError):
    """Data that is no result of this schema; the message says what is wrong with it."""


class Place(NamedTuple):
    """Where a sample belongs: bring-up, round and slice, all from 1; no slices are slice 0."""

    bring_up: int
    round: int
    slice: int = 0


_Key = TypeVar("_Key", bound=Hashable)


def grouped(values: Mapping[Place, float], key: Callable[[Place], _Key]) -> dict[_Key, list[float]]:
    """Samples by what their places have in common, in the order of places."""
    groups: dict[_Key, list[float]] = {}
    for place, value in sorted(values.items()):
        groups.setdefault(key(place), []).append(value)
    return groups


class MissingSample(_Model):
    """A sample that could not be taken, and why."""

    round: int
    reason: str
    bring_up: int = 1

    def text(self) -> str:
        """In one line."""
        return f"run {self.round}: {self.reason}"


class MissingMetric(_Model):
    """A metric without any sample, with what was tried."""

    metric: str
    reason: str

    def text(self) -> str:
        """In one line."""
        return f"{self.metric}: {self.reason}"


class MetricResult(_Model):
    """One metric: its median and interval in ``unit``, and the samples behind them in run order.

    ``n`` is how many rounds have samples; a round with slices has one for each. The median is that
    of the bring-ups' medians, a bring-up's that of its rounds', and the interval is over bring-ups,
    or over rounds where there is one bring-up.
    ``ci_level`` is the interval's real coverage (0 to 1, see :mod:`bench.stats`), 0 for a single
    sample. ``notes`` say what limits the value's meaning (a rate that was not reached, say).
    ``rounds`` and ``bring_ups`` say where each sample belongs, with rounds numbered through all
    bring-ups; they are left out where it is round 1, 2, … of the first bring-up. ``slices`` are
    left out where rounds have none. Read all of them by :meth:`by_place`. ``at_equal`` and
    ``decided_by``: see :class:`bench.metrics.Metric`.
    """

    median: float
    ci: tuple[float, float]
    ci_level: float
    unit: str
    n: int
    better: Better
    samples: list[float]
    rounds: list[int] = []
    bring_ups: list[int] = []
    slices: list[int] = []
    missing: list[MissingSample] = []
    notes: list[Note] = []
    group: str
    description: str
    load_model: str | None = None
    at_equal: str | None = None
    decided_by: str | None = None
    probe: str

    @model_validator(mode="after")
    def _one_place_each(self) -> "MetricResult":
        for name in ("rounds", "bring_ups", "slices"):
            if len(getattr(self, name)) not in (0, len(self.samples)):
                raise ValueError(f"{name} must be as many as samples, or none")
        if not self.samples or len(set(self.places)) < len(self.samples):
            raise ValueError("it must have a sample, and no two for the same place")
        return self

    @property
    def places(self) -> list[Place]:
        """Where each of the samples belongs."""
        count = len(self.samples)
        return [
            Place(bring_up, round_, slice_)
            for bring_up, round_, slice_ in zip(
                self.bring_ups or [1] * count,
                self.rounds or range(1, count + 1),
                self.slices or [0] * count,
                strict=True,
            )
        ]

    def by_place(self) -> dict[Place, float]:
        """The samples by where they belong."""
        return dict(zip(self.places, self.samples, strict=True))

    def interval_text(self) -> str:
        """The interval as people read it, without its unit and level; "none" of one sample."""
        return f"{number(self.ci[0])} to {number(self.ci[1])}" if self.ci_level > 0 else "none"

    def limited_by(self, by: LimitedBy) -> Note | None:
        """The note that this was at its limit, in all rounds or some."""
        return next((note for note in self.notes if note.kind == limit_kind(by)), None)

    @property
    def throttled(self) -> int:
        """How many samples were taken while the platform held traffic back."""
        return sum(
            not note.rounds or place.round in note.rounds
            for note in self.notes
            if note.kind == "throttled"
            for place in self.places
        )

    def note_texts(self) -> list[str]:
        """The notes as people read them."""
        texts = [note.text() for note in self.notes if note.kind != "throttled"]
        if self.throttled:
            texts.append(
                f"{self.throttled} of {self.n} samples were taken while the platform held traffic "
                "back"
            )
        return texts


class LimitResult(_Model):
    """What was at its limit in one run besides the network: a CPU of the machine, of the server's
    or the client's side, or nothing that can be told."""

    run: int
    by: LimitedBy
    evidence: str


class ThrottleResult(_Model):
    """How much the platform's allowance counters grew during one run, by node and counter."""

    run: int
    counters: dict[str, dict[str, int]]


class StealResult(_Model):
    """The share of all CPUs' time (0 to 1) that a hypervisor withheld during one run."""

    run: int
    share: float


class DisturbedResult(_Model):
    """The share of a machine's CPUs (0 to 1) that others used during one run."""

    run: int
    share: float


class ProbeResult(_Model):
    """One probe: the exact command (its last argument given ``repeat_last`` times) and its runs.

    ``failures`` are the reasons of attempts without a number, also those tried again with success.
    ``facts`` are of the last good run. ``limits`` has every good run, ``throttled`` only those in
    which traffic was held back, ``steal`` those in which a hypervisor withheld notable CPU time,
    ``disturbed`` those in which others used a notable share.
    """

    role: str | None = None
    argv: list[str] = []
    repeat_last: int = 1
    runs: int
    failures: list[str] = []
    facts: dict[str, str | int | float] = {}
    limits: list[LimitResult] = []
    throttled: list[ThrottleResult] = []
    steal: list[StealResult] = []
    disturbed: list[DisturbedResult] = []


class CheckResult(_Model):
    """A precondition: what was asserted (``name``), whether it holds, and what shows it.

    ``allowed``: it does not hold, and the user or the profile let it pass.
    """

    name: str
    passed: bool
    evidence: str
    allowed: bool = False

    @property
    def mark(self) -> str:
        """What a failed one says of the results."""
        return f"precondition {self.name!r} does not hold and was allowed: {self.evidence}"


class CalibrationResult(_Model):
    """How fast a load generator is against a server that does next to nothing, on its own node.

    ``rate`` is what it reached in requests/s, ``wanted`` the highest fixed rate asked of it.
    """

    generator: str
    command: list[str]
    rate: float
    wanted: float


class PodPlace(_Model):
    """Where a workload's pod ran."""

    role: str
    side: Literal["client", "server"]
    name: str
    node: str
    ip: str


class SharedRounds(_Model):
    """The rounds that these results share with others: run i of all was made in round i.

    ``id`` is the same for all of them, ``labels`` are what they are called there, in no order;
    ``seed`` is that of the order within the rounds.
    """

    id: str
    labels: list[str]
    seed: int | None = None


class Results(StackRecord):
    """Everything of one benchmark, with what was measured: the stack's record and environment.

    Times are ISO 8601 in UTC, ``seconds`` is the time that was spent on it: with rounds that are
    shared, less than what lies between ``started`` and ``finished``. ``bring_ups`` names the
    cluster's lives that samples are of; the first one is bring-up 1.
    """

    schema_: Literal["cni-benchmark/results/v2"] = Field(default=SCHEMA, alias="schema")
    profile: str
    started: str
    finished: str
    seconds: float
    plan: dict[str, Any]
    metrics: dict[str, MetricResult]
    probes: dict[str, ProbeResult]
    tools: dict[str, str]
    environment: Environment
    bring_ups: list[str] = Field(default_factory=list)
    placement: list[PodPlace]
    checks: list[CheckResult]
    calibration: CalibrationResult | None = None
    rounds: SharedRounds | None = None
    warnings: list[str]
    errors: list[MissingMetric] = Field(default_factory=list)
    """Metrics without any sample; not empty means that the benchmark failed."""

    def interleaved_with(self, other: "Results") -> bool:
        """Run i of both was made in the same round, so that they can be compared by pairs."""
        return (
            self.rounds is not None
            and other.rounds is not None
            and (self.rounds.id == other.rounds.id)
        )

    @property
    def dns_place(self) -> str | None:
        """How many pods of the cluster's DNS share a node with whom; None where nobody knows."""
        nodes = self.environment.dns_nodes
        if not nodes:
            return None
        sides = {(place.side, place.node) for place in self.placement}
        shared = (f"{sum((side, node) in sides for node in nodes)} with {side}s" for side in SIDES)
        return f"{len(nodes)}, {', '.join(shared)}"

    @property
    def marks(self) -> list[CheckResult]:
        """The preconditions that did not hold: with any, these are no clean numbers."""
        return [check for check in self.checks if not check.passed]

    def only(self, metrics: Collection[str]) -> "Results":
        """The same with no other metrics than these."""
        kept = {name: metric for name, metric in self.metrics.items() if name in metrics}
        return self.model_copy(update={"metrics": kept})

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able data; fields that have their default are left out of the inner models."""
        data = self.model_dump(mode="json", by_alias=True)
        for kind in ("metrics", "probes"):
            data[kind] = {
                name: item.model_dump(mode="json", exclude_defaults=True)
                for name, item in getattr(self, kind).items()
            }
        data["environment"] = self.environment.model_dump(mode="json", exclude_none=True)
        return data

    def to_json(self, *, indent: int | None = None) -> str:
        """As JSON text."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)


def from_dict(data: Mapping[str, Any]) -> Results:
    """Read results from JSON data.

    :raises ResultsError: another schema, or data that does not fit it.
    """
    schema = data.get("schema")
    if schema != SCHEMA:
        raise ResultsError(
            f"not results of this version: schema is {schema!r}, not {SCHEMA!r}. Fix: measure again"
        )
    try:
        results = Results.model_validate(data)
    except ValidationError as error:
        raise ResultsError(f"damaged results: {problem(error)}") from None
    try:
        json.dumps(data, allow_nan=False)  # also in what has no type of its own, such as the plan
    except ValueError as error:
        raise ResultsError(f"damaged results: {error}") from None
    return results


def from_json(text: str) -> Results:
    """Read results from JSON text.

    :raises ResultsError: no JSON object, another schema, or data that does not fit it.
    """
    try:
        data = load_json(text)
    except ValueError as error:
        raise ResultsError(f"not results: no JSON ({error})") from None
    if not isinstance(data, dict):
        raise ResultsError("not results: the JSON is no object")
    return from_dict(data)
