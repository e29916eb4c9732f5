"""Two results against each other: what differs, by how much, and how sure that is."""

from __future__ import annotations

from bench.compare.comparison import (
    Comparison,
    ComparisonError,
    Effect,
    MetricComparison,
    Verdict,
    compare,
    from_dict,
)
from bench.compare.power import ALPHA, DEFAULT_ROUNDS, runs_needed

__all__ = [
    "ALPHA",
    "DEFAULT_ROUNDS",
    "Comparison",
    "ComparisonError",
    "Effect",
    "MetricComparison",
    "Verdict",
    "compare",
    "from_dict",
    "runs_needed",
]
