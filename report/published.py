"""The published study's numbers, and what each of them really says.

``published.json`` has its figures as they were published. Where a figure is not what its name says,
the corrected reading is computed from the study's own numbers, never from ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from bench.metrics import GBIT_PER_SECOND, MEBIBYTES, MICROSECONDS, MILLICORES, PER_SECOND, PERCENT

_FILE = Path(__file__).with_name("published.json")
_PREFIX = "scenario-"
"""Of the stacks that re-do the study's scenarios: scenario-a is its A."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Http(_Model):
    """One HTTP load: requests per second reached, latency in ms."""

    qps: float
    p50_ms: float | None = None
    p99_ms: float


class Percentiles(_Model):
    """In ms."""

    p50: float
    p99: float


class Agent(_Model):
    """The CNI agent: CPU as a range, memory."""

    cpu_millicores: tuple[float, float]
    memory_mib: float


class Figures(_Model):
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


class Study(_Model):
    """The study. ``service_scaling`` is by mechanism and number of services, as published."""

    source: str
    environment: dict[str, object]
    scenarios: dict[str, Figures]
    service_scaling: dict[str, dict[str, dict[str, float | dict[str, float]]]]
    known_flaws: list[str]


@cache
def study() -> Study:
    """The study's numbers."""
    return Study.model_validate_json(_FILE.read_bytes())


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
    return (
        _quantity(
            "TCP throughput", GBIT_PER_SECOND, lambda f: f.tcp_gbps, "tcp_throughput",
            "Within 0.6 % of each other: no difference can be read from single runs, on an "
            "instance whose rate is burst credit.",
        ),
        _quantity(
            "UDP “throughput”", GBIT_PER_SECOND, lambda f: f.udp_sender_gbps, "udp_goodput",
            "It is the sender's rate. What arrived is rate × (1 − loss): 7.84 to 7.96 Gbit/s in "
            "all five, so the published difference is none.",
            corrected=lambda f: f.udp_goodput,
        ),
        _quantity(
            "UDP loss", PERCENT, lambda f: f.udp_loss_pct, "udp_loss",
            "At different sending rates (8 and 10 Gbit/s), so not to be compared; credited to a "
            "Bandwidth Manager that B and C do not have on.",
        ),
        _quantity(
            "“RTT”, p50 and p99 alike", MICROSECONDS, lambda f: f.rtt_under_load_us,
            "bulk_mean_rtt",
            "The mean of one bulk transfer's own round trips: time in its queues, not the latency "
            "that a request meets. Ours of the same kind stands beside it; see rtt_p50 and "
            "loaded_rtt_p50 for latency.",
        ),
        _quantity(
            "HTTP at 1,000/s, p50", MICROSECONDS, lambda f: _us(f.http_1000.p50_ms),
            "http_1000_p50",
            "4.21 to 4.45 ms, single runs: nothing can be told apart.",
        ),
        _quantity(
            "HTTP at 1,000/s, p99", MICROSECONDS, lambda f: _us(f.http_1000.p99_ms),
            "http_1000_p99",
            "The headline “E is 20 % better than A” uses D's number; E's own is 9.4 % below A's. "
            "Single runs either way.",
        ),
        _quantity(
            "HTTP at 5,000/s, p99", MICROSECONDS, lambda f: _us(f.http_5000.p99_ms),
            "http_5000_p99",
            "None of the five reached 5,000 requests/s (3,986 to 4,071): the HTTP server was the "
            "limit, and these are its queues.",
        ),
        _quantity(
            "HTTP at full speed", PER_SECOND, lambda f: f.http_max.qps, "http_max_qps",
            "4,019 to 4,182 everywhere: the HTTP server's speed, not the network's.",
        ),
        _quantity(
            "DNS, p50", MICROSECONDS, lambda f: _us(f.dns_ms.p50), "dns_p50",
            "Read in whole milliseconds: a difference below 1 ms cannot be seen.",
        ),
        _quantity(
            "Agent's memory", MEBIBYTES, lambda f: f.agent.memory_mib if f.agent else None,
            "cni_memory",
            "One reading per scenario, of Cilium's agent alone; the study has none of A.",
        ),
        _quantity(
            "Agent's CPU", MILLICORES, _middle_of_cpu,
            "cni_cpu",
            "The middle of a published range (4 to 6); time in the kernel is not in it.",
        ),
    )  # fmt: skip


def letter_of(stack: str) -> str | None:
    """The study's scenario that a stack re-does, by its name."""
    letter = stack.removeprefix(_PREFIX)
    return letter if letter != stack and letter in study().scenarios else None


def _quantity(
    title: str,
    unit: str,
    value: Callable[[Figures], float | None],
    ours: str,
    reading: str,
    corrected: Callable[[Figures], float | None] | None = None,
) -> Quantity:
    return Quantity(
        title, unit, _of_each(value), _of_each(corrected) if corrected else {}, reading, ours
    )


def _of_each(value: Callable[[Figures], float | None]) -> dict[str, float]:
    values = {letter: value(figures) for letter, figures in study().scenarios.items()}
    return {letter: each for letter, each in values.items() if each is not None}


def _middle_of_cpu(figures: Figures) -> float | None:
    return sum(figures.agent.cpu_millicores) / 2 if figures.agent else None


def _us(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else 1_000 * milliseconds
