"""Single readings, and results with other samples in place of theirs."""

from __future__ import annotations

from collections.abc import Callable

from bench.interleave import Step, Watch
from bench.plan import Plan
from bench.probes import build_probes
from bench.probes.base import Bench, Probe, Reading
from bench.results import MetricResult, Results
from bench.sampling import sample
from bench.stats import summarise


class MissingSampleError(Exception):
    """A probe gave no number, so nothing can be said of it."""


def probe_named(name: str, plan: Plan) -> Probe:
    """The probe of a plan by its name (``tcp``, ``udp``, ``http_1000`` …).

    :raises KeyError: the plan has none of that name.
    """
    return {probe.name: probe for probe in build_probes(plan)}[name]


def take(probe: Probe, bench: Bench, plan: Plan) -> Reading:
    """One reading.

    :raises MissingSampleError: none, after as many attempts as the plan allows.
    """
    outcome = sample(probe, bench, attempts=plan.attempts)
    if outcome.reading is None:
        raise MissingSampleError(f"{probe.name}: {outcome.failures[-1]}")
    return outcome.reading


def by_round(say: Callable[[str], None]) -> Watch:
    """A line for every round that begins."""
    told = 0

    def watch(step: Step) -> None:
        nonlocal told
        if step.round > told:
            told = step.round
            say(f"round {step.round} of at most {step.rounds}")

    return watch


def with_samples(results: Results, samples: dict[str, list[float]]) -> Results:
    """The same results with other samples, renumbered as runs 1 …; metrics without any are gone."""
    metrics = {
        name: _with(results.metrics[name], values) for name, values in samples.items() if values
    }
    return results.model_copy(update={"metrics": metrics})


def _with(metric: MetricResult, samples: list[float]) -> MetricResult:
    summary = summarise(samples)
    return metric.model_copy(
        update={
            "samples": samples,
            "median": summary.median,
            "ci": (summary.low, summary.high),
            "ci_level": summary.level,
            "n": summary.n,
            "missing": [],
            "throttled": [],
        }
    )
