"""Single readings, and interleaved rounds of several sides as results that can be compared.

Within a round the sides follow each other directly, and every other round in the opposite order
(ABBA), so that neither a drift nor the place within the round favours a side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from bench.ledger import Ledger
from bench.plan import Plan
from bench.probes import build_probes
from bench.probes.base import Bench, Probe, Reading
from bench.results import MetricResult, Results
from bench.sampling import Outcome, sample
from bench.stats import summarise

Progress = Callable[[str], None]


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


@dataclass(frozen=True, slots=True)
class Side:
    """One of the things compared: where it is measured, and what is imposed meanwhile."""

    label: str
    bench: Bench
    imposed: Callable[[], AbstractContextManager[object]] = nullcontext


def interleave(
    sides: Sequence[Side],
    probes: Sequence[Probe],
    plan: Plan,
    say: Progress,
    *,
    least: int = 0,
    end: float = math.inf,
) -> dict[str, Results]:
    """Measure ``plan.runs`` rounds of every side; results by label.

    Samples are tried again as in a benchmark. A metric without any sample is not in the results.

    :param end: when the last round is over (of the clock's ``monotonic``), if there have been
        ``least`` rounds by then.
    """
    clock = sides[0].bench.clock
    made: list[tuple[str, Probe, Outcome]] = []
    longest = 0.0
    for run in range(1, plan.runs + 1):
        start = clock.monotonic()
        if run > least and start + longest > end:
            break
        for side in sides if run % 2 else reversed(sides):
            with side.imposed():
                made += [
                    (side.label, probe, sample(probe, side.bench, attempts=plan.attempts))
                    for probe in probes
                ]
        longest = max(longest, clock.monotonic() - start)
        say(f"round {run}, {clock.monotonic() - start:.0f} s")
    return {side.label: _results(side, made, probes, plan) for side in sides}


def _results(
    side: Side, made: Sequence[tuple[str, Probe, Outcome]], probes: Sequence[Probe], plan: Plan
) -> Results:
    mine = [(probe, outcome) for label, probe, outcome in made if label == side.label]
    runs = len(mine) // len(probes)
    ledger = Ledger(probes, runs)
    for place, (probe, outcome) in enumerate(mine):
        ledger.add(probe, place // len(probes) + 1, outcome)
    now = side.bench.clock.now().isoformat(timespec="seconds")
    return Results(
        profile=plan.profile,
        started=now,
        finished=now,
        seconds=0,
        plan={**plan.as_dict(), "runs": runs},
        metrics=ledger.metrics(),
        probes={},
        tools={},
        environment=dict(side.bench.session.environment()),
        placement=[],
        checks=[],
        warnings=ledger.warnings(),
        errors=ledger.errors(),
    )


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
