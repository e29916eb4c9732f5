"""Results made from given samples, for tests of what is computed from results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.metrics import Better, Note
from bench.results import MetricResult, Results
from bench.stats import summarise


def metric(
    samples: Sequence[float], *, unit: str = "µs", better: Better = "lower", **more: Any
) -> MetricResult:
    """A metric with its median and interval, as the benchmark makes it."""
    summary = summarise(samples)
    return MetricResult(
        median=summary.median,
        ci=(summary.low, summary.high),
        ci_level=summary.level,
        unit=unit,
        n=summary.n,
        better=better,
        samples=list(samples),
        group="Latency",
        description="a quantity",
        probe="rtt",
        **more,
    )


def texts(notes: Sequence[Note]) -> str:
    """Notes as people read them."""
    return "; ".join(note.text() for note in notes)


def results(metrics: Mapping[str, MetricResult], **changes: Any) -> Results:
    """The results of a benchmark that measured just these."""
    fields: dict[str, Any] = {
        "profile": "quick",
        "started": "2026-01-02T03:04:05+00:00",
        "finished": "2026-01-02T03:05:05+00:00",
        "seconds": 60.0,
        "plan": {"profile": "quick", "runs": 3, "bulk_seconds": 2},
        "metrics": dict(metrics),
        "probes": {},
        "tools": {"iperf3": "3.12"},
        "environment": {"kernel": "6.1.0"},
        "placement": [],
        "checks": [],
        "warnings": [],
    }
    return Results.model_validate({**fields, **changes})
