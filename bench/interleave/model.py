"""What is compared, and what becomes of each of its samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bench.probes.base import Bench, Probe
from bench.results import CalibrationResult, CheckResult
from bench.sampling import Outcome


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found of a side before its first sample, in ``seconds``."""

    started: datetime
    environment: Mapping[str, Any]
    checks: tuple[CheckResult, ...] = ()
    tools: Mapping[str, str] = field(default_factory=dict)
    calibration: CalibrationResult | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Side:
    """One of the things compared: where it is measured, by which probes, and what is imposed
    meanwhile.

    Probes of different sides that have the same name belong together; they may differ in their
    metrics (a CNI's components). :func:`bench.interleave.prepare` makes a side with its
    ``evidence``, without which its preconditions count as not checked. Its pods are those of the
    session's workloads, but for the roles ``elsewhere``.
    """

    label: str
    bench: Bench
    probes: tuple[Probe, ...]
    imposed: Callable[[], AbstractContextManager[object]] = nullcontext
    evidence: Evidence | None = None
    elsewhere: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished sample of a side's probe in a round (1 …), which took ``seconds``."""

    round: int
    label: str
    probe: str
    outcome: Outcome
    seconds: float


@dataclass(frozen=True, slots=True)
class Step:
    """One sample that begins (``outcome`` is None) or has ended.

    ``done`` of ``total`` samples have ended; ``seconds_left`` is what the others are expected to
    take.
    """

    round: int
    rounds: int
    label: str
    probe: Probe
    done: int
    total: int
    seconds_left: float
    outcome: Outcome | None = None

    def said(self) -> str:
        """What came out, in a few words."""
        if self.outcome is None:
            return "…"
        if self.outcome.reading is None:
            return f"missing: {self.outcome.failures[-1]}"
        failed = len(self.outcome.failures)
        again = f" (after {failed} failed)" if failed else ""
        return self.probe.summary(self.outcome.reading) + again


Keep = Callable[[Entry], None]
Watch = Callable[[Step], None]
