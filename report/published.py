"""What others published: the study's numbers, and the CNIs' documentation of network policy.

``published.json`` has the study's figures as they were published, and what each of them really
says. Where a figure is not what its name says, the corrected reading is computed from the study's
own numbers, never from ours. ``features.yaml`` has what each CNI's documentation says of policies,
when it was read, and for which versions. Nothing here is measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import model_validator

from bench.environment import Model

_FOLDER = Path(__file__).parent
_PREFIX = "scenario-"
"""Of the stacks that re-do the study's scenarios: scenario-a is its A."""


class Http(Model):
    """One HTTP load: requests per second reached, latency in ms."""

    qps: float
    p50_ms: float | None = None
    p99_ms: float


class Percentiles(Model):
    """In ms."""

    p50: float
    p99: float


class Agent(Model):
    """The CNI agent: CPU as a range, memory."""

    cpu_millicores: tuple[float, float]
    memory_mib: float


class Figures(Model):
    """One scenario, one run."""

    tcp_gbps: float
    udp_sender_gbps: float
    udp_loss_pct: float
    rtt_under_load_us: float
    http_1000: Http
    http_5000: Http
    http_max: Http
    dns_ms: Percentiles
    agent: Agent | None

    @property
    def udp_goodput(self) -> float:
        """What arrived, in Gbit/s: the sender's rate less the loss."""
        return self.udp_sender_gbps * (1 - self.udp_loss_pct / 100)


class _Row(Model):
    """A :class:`Quantity` as it is stored: ``figure`` and ``corrected`` are the places of its
    figures among a scenario's (``http_1000.p50_ms``), ``factor`` turns them into ``unit``."""

    title: str
    unit: str
    figure: str
    factor: float = 1
    corrected: str | None = None
    ours: str
    reading: str


class Study(Model):
    """The study. ``service_scaling`` is by mechanism and number of services, as published."""

    source: str
    environment: dict[str, object]
    scenarios: dict[str, Figures]
    service_scaling: dict[str, dict[str, dict[str, float | dict[str, float]]]]
    known_flaws: list[str]
    quantities: list[_Row]

    def figures(self, place: str | None, factor: float) -> dict[str, float]:
        """The figures of one place by the study's letters, where it has any; of a range its
        middle."""
        values = {}
        for letter, scenario in self.scenarios.items():
            value: object = scenario if place else None
            for name in (place or "").split("."):
                value = getattr(value, name, None)
            if isinstance(value, tuple):
                value = sum(value) / len(value)
            if isinstance(value, float | int):
                values[letter] = factor * value
        if place and not values:
            raise ValueError(f"published.json: no scenario has {place}")
        return values


@cache
def study() -> Study:
    """The study's numbers."""
    return Study.model_validate_json((_FOLDER / "published.json").read_bytes())


@dataclass(frozen=True, slots=True)
class Quantity:
    """One published quantity: by the study's letters, in ``unit``.

    ``corrected`` has what the figures become when they are read as what they are; empty where they
    stay. ``ours`` is the metric of ours that measures the same.
    """

    title: str
    unit: str
    published: Mapping[str, float]
    corrected: Mapping[str, float]
    reading: str
    ours: str


def quantities() -> tuple[Quantity, ...]:
    """All that the study published of its five scenarios, with the corrected reading of each."""
    of = study().figures
    return tuple(
        Quantity(
            row.title, row.unit, of(row.figure, row.factor), of(row.corrected, row.factor),
            row.reading, row.ours,
        )
        for row in study().quantities
    )  # fmt: skip


def letter_of(stack: str) -> str | None:
    """The study's scenario that a stack re-does, by its name."""
    letter = stack.removeprefix(_PREFIX)
    return letter if letter != stack and letter in study().scenarios else None


class Support(Model):
    """Whether a CNI has a feature, with what limits it, and where its documentation says so."""

    answer: Literal["yes", "partly", "no"]
    how: str
    source: str


class Feature(Model):
    """One kind of policy; ``support`` is by CNI as settings name it."""

    name: str
    meaning: str
    support: dict[str, Support]


class Documented(Model):
    """A CNI, and the version that its documentation was read for."""

    name: str
    version: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Features(Model):
    """The table: every CNI says something of every feature."""

    read_on: str
    cnis: dict[str, Documented]
    features: tuple[Feature, ...]

    @model_validator(mode="after")
    def _complete(self) -> "Features":
        for feature in self.features:
            if feature.support.keys() != self.cnis.keys():
                raise ValueError(f"{feature.name}: not of {', '.join(self.cnis)}")
        return self


@cache
def features() -> Features:
    """The table, read once."""
    text = (_FOLDER / "features.yaml").read_text(encoding="utf-8")
    return Features.model_validate(yaml.safe_load(text))
