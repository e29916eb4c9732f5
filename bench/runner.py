"""The benchmark itself: preconditions, warm-up, rounds, results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from bench.checks import Check, Gate, PreconditionError, check_cluster, check_readiness
from bench.checks.generators import near_limit
from bench.clock import Clock
from bench.ledger import Ledger
from bench.plan import Plan
from bench.probes import build_probes, warmup_probes
from bench.probes.base import Bench, BoundReachedError, Probe
from bench.probes.cost import components_of
from bench.results import CheckResult, PodPlace, Results
from bench.sampling import Outcome, sample
from bench.session import Session, SessionError
from bench.targets import Targets, resolve_targets
from bench.workloads import WORKLOADS

Progress = Callable[[str], None]

_BOUND_BASE_SECONDS = 60.0
_BOUND_PER_RUN_SECONDS = 3.0
_BOUND_FACTOR = 2.0


class BenchmarkError(Exception):
    """Some metric has no sample at all. ``results`` has all the others, and the evidence."""

    def __init__(self, results: Results) -> None:
        self.results = results
        super().__init__("no number for " + "; ".join(results.errors))


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
    started, start = clock.now(), clock.monotonic()
    targets, environment = _look_up(session)
    probes = build_probes(plan, _components(session))
    bench = Bench(session, targets, clock, deadline=start + time_bound(plan, probes))
    gate = Gate(plan.allow)
    try:
        say("checking preconditions")
        tools = check_cluster(bench, gate)
        say("warming up, calibrating the load generator, waiting for a quiet machine")
        _warm_up(bench, plan)
        calibration = check_readiness(bench, plan, gate)
    except BoundReachedError:
        late = Check("in time", False, "the preconditions took the whole benchmark's time")
        raise PreconditionError((*gate.checks, late)) from None
    say(_summary(gate))
    ledger = _rounds(bench, plan, probes, say)
    metrics = ledger.metrics()
    full_speed = metrics.get("http_max_qps")
    near = near_limit(calibration, full_speed.median if full_speed else None)
    results = Results(
        profile=plan.profile,
        started=_iso(started),
        finished=_iso(clock.now()),
        seconds=round(clock.monotonic() - start, 1),
        plan=plan.as_dict(),
        metrics=metrics,
        probes=ledger.probes({p.name: p.invocation(targets) for p in probes}),
        tools=tools,
        environment=environment,
        placement=_places(targets),
        checks=[
            CheckResult(name=c.name, passed=c.passed, evidence=c.evidence, allowed=not c.passed)
            for c in gate.checks
        ],
        calibration=calibration,
        warnings=[
            *gate.warnings,
            *ledger.warnings(),
            *([near] if near else []),
            *_moved(session, targets),
        ],
        errors=ledger.errors(),
    )
    if results.errors:
        raise BenchmarkError(results)
    return results


def time_bound(plan: Plan, probes: Sequence[Probe]) -> float:
    """Seconds after which no further command is started: twice the plan, the wait for a quiet
    machine, and a minute."""
    per_round = sum(probe.seconds + _BOUND_PER_RUN_SECONDS for probe in probes)
    base = _BOUND_BASE_SECONDS + plan.settle_seconds
    return base + _BOUND_FACTOR * plan.runs * per_round


def _look_up(session: Session) -> tuple[Targets, dict[str, Any]]:
    try:
        return resolve_targets(session), dict(session.environment())
    except SessionError as error:
        raise PreconditionError((Check("workloads are ready", False, str(error)),)) from error


def _components(session: Session) -> tuple[str, ...]:
    """The CNI's components; none where they cannot be told, which "quiet-agents" reports."""
    try:
        return components_of(session.cni_usage())
    except SessionError:
        return ()


def _summary(gate: Gate) -> str:
    failed = [check.name for check in gate.checks if not check.passed]
    hold = f"{len(gate.checks) - len(failed)} preconditions hold"
    return f"{hold}, {', '.join(failed)} allowed to fail" if failed else hold


def _moved(session: Session, before: Targets) -> list[str]:
    """A warning if the pods are no longer those that were checked at the start."""
    try:
        after = resolve_targets(session)
    except SessionError as error:
        return [f"the workloads did not last until the end: {error}"]
    if after.pods != before.pods:
        return ["the workloads' pods changed during the benchmark: samples may be of both"]
    return []


def _warm_up(bench: Bench, plan: Plan) -> None:
    short = replace(plan, bulk_seconds=plan.warmup_seconds, http_seconds=plan.warmup_seconds)
    for probe in warmup_probes(short):
        sample(probe, bench, attempts=1)


def _rounds(bench: Bench, plan: Plan, probes: Sequence[Probe], say: Progress) -> Ledger:
    ledger = Ledger(probes, plan.runs)
    total = plan.runs * len(probes)
    done = 0
    for run in range(1, plan.runs + 1):
        for probe in probes:
            outcome = sample(probe, bench, attempts=plan.attempts)
            ledger.add(probe, run, outcome)
            done += 1
            said = _said(probe, outcome)
            say(f"[{done}/{total}] run {run} of {plan.runs}: {probe.name} … {said}")
    return ledger


def _said(probe: Probe, outcome: Outcome) -> str:
    if outcome.reading is None:
        return f"missing: {outcome.failures[-1]}"
    again = f" (after {len(outcome.failures)} failed)" if outcome.failures else ""
    return probe.summary(outcome.reading) + again


def _places(targets: Targets) -> list[PodPlace]:
    return [
        PodPlace(role=pod.role, side=workload.side, name=pod.name, node=pod.node, ip=pod.ip)
        for workload in WORKLOADS
        for pod in targets.pods[workload.role]
    ]


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
