"""The samples of two results side by side: which metrics, on which scale, in which pairs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from bench.results import MetricResult, Results

_RUN = re.compile(r"run (\d+):")
_PLAN_MAY_DIFFER = frozenset({"profile", "runs"})
_ENVIRONMENT_MUST_AGREE = (
    "target", "kernel", "cpus", "emulated_instance_type", "congestion_control", "node_mtu",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Samples:
    """One metric's samples of both sides, on the scale on which their shift is estimated.

    ``relative``: they are natural logarithms, so that a shift is a ratio and means the same at any
    size. Where a sample is 0 (losses, errors) there is no logarithm, and they are plain values.
    ``pairs`` are the differences b - a of rounds that both sides have.
    """

    a: tuple[float, ...]
    b: tuple[float, ...]
    pairs: tuple[float, ...]
    relative: bool

    @property
    def constant(self) -> bool:
        """No sample differs from any other, so no test could tell the sides apart."""
        return len({*self.a, *self.b}) == 1

    def percent(self, shift: float) -> float:
        """A shift on this scale in % of a, or as it is where it is not relative."""
        return 100 * math.expm1(shift) if self.relative else shift


def samples_of(a: MetricResult, b: MetricResult) -> Samples:
    """Put one metric's samples side by side."""
    runs_a, runs_b = by_run(a), by_run(b)
    relative = all(value > 0 for value in (*a.samples, *b.samples))
    scale = math.log if relative else float
    shared = [run for run in runs_a if run in runs_b]
    return Samples(
        tuple(map(scale, a.samples)),
        tuple(map(scale, b.samples)),
        tuple(scale(runs_b[run]) - scale(runs_a[run]) for run in shared),
        relative,
    )


def by_run(metric: MetricResult) -> dict[int, float]:
    """A metric's samples by the number (1 …) of their run: ``missing`` names the others."""
    lost = {int(found[1]) for reason in metric.missing if (found := _RUN.match(reason))}
    runs = (run for run in range(1, metric.n + len(lost) + 1) if run not in lost)
    return dict(zip(runs, metric.samples, strict=True))


def refusal(a: MetricResult | None, b: MetricResult | None) -> str | None:
    """Why a metric's two sides cannot be compared; None if they can."""
    if a is None or b is None:
        return f"{'a' if a is None else 'b'} has no samples of it"
    if a.unit != b.unit:
        return f"its unit is {a.unit} in a and {b.unit} in b"
    if a.better != b.better:
        return f"{a.better} is better in a, {b.better} in b"
    if a.load_model != b.load_model:
        return f"its load differs: {a.load_model} in a, {b.load_model} in b"
    return None


def differences(a: Results, b: Results) -> Iterator[str]:
    """What differs between two results besides what is compared: a warning for each."""
    for key in sorted((a.plan.keys() | b.plan.keys()) - _PLAN_MAY_DIFFER):
        yield from _differs(f"plan: {key}", a.plan.get(key), b.plan.get(key))
    for key in _ENVIRONMENT_MUST_AGREE:
        yield from _differs(key, a.environment.get(key), b.environment.get(key))
    for tool in sorted(a.tools.keys() | b.tools.keys()):
        yield from _differs(f"version of {tool}", a.tools.get(tool), b.tools.get(tool))
    for label, side in (("a", a), ("b", b)):
        yield from (f"{label}: {check.mark}" for check in side.marks)
    sides_a, sides_b = ({(p.role, p.node) for p in side.placement} for side in (a, b))
    if sides_a != sides_b:
        yield "the pods are placed differently"


def _differs(what: str, a: object, b: object) -> Iterator[str]:
    if a != b:
        yield f"{what} is {a!r} in a, {b!r} in b"
