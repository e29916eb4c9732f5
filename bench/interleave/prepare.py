"""Before the first sample of a side: its preconditions, warm-up and calibration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.checks import Check, Gate, PreconditionError, check_cluster, check_readiness
from bench.clock import Clock
from bench.interleave.model import Evidence, Side
from bench.plan import Plan
from bench.probes import build_probes, warmup_probes
from bench.probes.base import Bench, BoundReachedError
from bench.probes.cost import components_of
from bench.sampling import sample
from bench.session import Session, SessionError
from bench.targets import Targets, resolve_targets

Progress = Callable[[str], None]


def prepare(
    label: str, session: Session, plan: Plan, *, clock: Clock, deadline: float, say: Progress
) -> Side:
    """A side that is ready to be measured by the plan's probes.

    :param deadline: when (of ``clock.monotonic``) no further command is started, in the
        preparation and in the rounds.
    :raises PreconditionError: what would be measured is not what is meant; nothing was measured.
    """
    started, start = clock.now(), clock.monotonic()
    targets, environment = _look_up(session)
    bench = Bench(session, targets, clock, deadline)
    gate = Gate(plan.allow)
    try:
        say("checking preconditions")
        tools = check_cluster(bench, gate)
        say("warming up, waiting for a quiet machine, calibrating the load generator")
        _warm_up(bench, plan)
        calibration = check_readiness(bench, plan, gate)
    except BoundReachedError:
        late = Check("in time", False, "the preconditions took the whole benchmark's time")
        raise PreconditionError((*gate.checks, late)) from None
    say(_summary(gate))
    checks = gate.results()
    marks = [check.mark for check in checks if not check.passed]
    for mark in marks:
        say(f"MARKED: {mark}")
    evidence = Evidence(
        started=started,
        environment=environment,
        checks=tuple(checks),
        tools=tools,
        calibration=calibration,
        warnings=tuple(marks),
        seconds=clock.monotonic() - start,
    )
    return Side(label, bench, build_probes(plan, _components(session)), evidence=evidence)


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


def _warm_up(bench: Bench, plan: Plan) -> None:
    short = replace(plan, bulk_seconds=plan.warmup_seconds, http_seconds=plan.warmup_seconds)
    for probe in warmup_probes(short):
        sample(probe, bench, attempts=1)


def _summary(gate: Gate) -> str:
    failed = [check.name for check in gate.checks if not check.passed]
    hold = f"{len(gate.checks) - len(failed)} preconditions hold"
    return f"{hold}, {', '.join(failed)} allowed to fail" if failed else hold
