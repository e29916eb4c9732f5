"""The benchmark itself: preconditions, warm-up, rounds, results."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.clock import Clock
from bench.interleave import Step, abba, interleave, prepare
from bench.plan import Plan
from bench.probes import build_probes
from bench.probes.base import Probe
from bench.results import Results
from bench.session import Session

Progress = Callable[[str], None]

_BOUND_BASE_SECONDS = 60.0
_BOUND_PER_RUN_SECONDS = 3.0
_BOUND_FACTOR = 2.0
_LABEL = "this"


class BenchmarkError(Exception):
    """Some metric has no sample at all. ``results`` has all the others, and the evidence."""

    def __init__(self, results: Results) -> None:
        self.results = results
        super().__init__("no number for " + "; ".join(each.text() for each in results.errors))


def run_benchmark(
    session: Session,
    plan: Plan,
    *,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Results:
    """Measure what ``plan`` says on ``session``.

    Rounds are interleaved: run 1 of every probe, then run 2 of every probe, so that a drift of
    the machine hits all metrics alike. ``progress`` gets one line per run.

    :raises PreconditionError: what would be measured is not what is meant; nothing was measured.
    :raises BenchmarkError: a metric has no sample; its ``results`` hold the rest.
    """
    say = progress or (lambda line: None)
    clock = clock or Clock()
    deadline = clock.monotonic() + time_bound(plan, build_probes(plan))
    side = prepare(_LABEL, session, plan, clock=clock, deadline=deadline, say=say)

    def watch(step: Step) -> None:
        if step.outcome is not None:
            place = f"[{step.done}/{step.total}] run {step.round} of {step.rounds}"
            say(f"{place}: {step.probe.name} … {step.said()}")

    order = abba([_LABEL], plan.runs)
    results = interleave([side], plan, order, watch=watch)[_LABEL]
    if results.errors:
        raise BenchmarkError(results)
    return results


def time_bound(plan: Plan, probes: Sequence[Probe]) -> float:
    """Seconds after which no further command is started: twice the plan, the wait for a quiet
    machine, and a minute."""
    per_round = sum(probe.seconds + _BOUND_PER_RUN_SECONDS for probe in probes)
    base = _BOUND_BASE_SECONDS + plan.settle_seconds
    return base + _BOUND_FACTOR * plan.runs * per_round
