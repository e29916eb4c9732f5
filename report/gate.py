"""The regression gate: whether new results are worse than a baseline's, by their comparison.

A gate that cannot fail is none: where so few runs were made that no metric could have had a
verdict, that is its own outcome, not a pass.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from bench.compare import compare
from bench.results import Results

Outcome = Literal["pass", "fail", "undecided"]


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What the gate says, and why, for people."""

    outcome: Outcome
    lines: tuple[str, ...]


def judge(
    baseline: Results,
    new: Results,
    *,
    labels: tuple[str, str],
    metrics: Collection[str] | None = None,
    missing_fails: bool = False,
) -> GateVerdict:
    """Compare ``new`` with ``baseline``.

    :param metrics: names of those to compare, chosen before any was looked at; by default all.
    :param missing_fails: a metric of the baseline that cannot be compared fails, too.
    :raises ValueError: ``metrics`` has a name that neither has.
    """
    comparison = compare(
        baseline, new,
        labels=labels, metrics=metrics, interleaved=new.interleaved_with(baseline),
    )  # fmt: skip
    worse = comparison.verdicts("worse")
    lost = [name for name in comparison.not_compared if name in baseline.metrics]
    lines = [f"warning: {text}" for text in comparison.warnings]
    lines += [f"worse: {name} {comparison.metrics[name].effect_text()}" for name in worse]
    lines += [f"not compared: {name}: {comparison.not_compared[name]}" for name in lost]
    can_fail = any(metric.verdict != "too few runs" for metric in comparison.metrics.values())
    if worse or (lost and missing_fails):
        outcome: Outcome = "fail"
    elif not can_fail:
        outcome = "undecided"
        lines.append(
            f"too few runs: a verdict on {comparison.family} metrics takes "
            f"{comparison.runs_needed} runs of each side. Fix: more rounds, or fewer metrics: "
            "--metrics"
        )
    else:
        outcome = "pass"
    better = len(comparison.verdicts("better"))
    lines.append(
        f"{outcome}: {labels[1]} against {labels[0]}: {len(worse)} worse, {better} better of "
        f"{len(comparison.metrics)} metrics"
    )
    return GateVerdict(outcome, tuple(lines))
