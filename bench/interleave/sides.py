"""One of the things that are measured: before its first sample, and as results at the end.

Before: preconditions, warm-up and calibration (:func:`prepare`). At the end: the results from this
evidence and the samples (:func:`assemble`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime

from bench.checks import Check, Gate, PreconditionError, check_cluster, check_readiness
from bench.checks.generators import near_limit
from bench.clock import Clock
from bench.environment import About, Environment
from bench.ledger import Ledger
from bench.plan import Plan
from bench.probes import build_probes, warmup_probes
from bench.probes.base import Bench, BoundReachedError, Probe
from bench.probes.cost import components_of
from bench.results import CalibrationResult, CheckResult, PodPlace, Results, SharedRounds
from bench.sampling import Outcome, sample
from bench.session import Session, SessionError
from bench.targets import Targets, resolve_targets
from bench.workloads import WORKLOADS

Progress = Callable[[str], None]

GIVEN_UP = "not measured: too many samples in a row had no number"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found of a side before its first sample, in ``seconds``."""

    started: datetime
    environment: Environment
    about: About = field(default_factory=About)
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
    about = session.about()
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
        about=about,
        checks=tuple(checks),
        tools=tools,
        calibration=calibration,
        warnings=tuple(marks),
        seconds=clock.monotonic() - start,
    )
    return Side(label, bench, build_probes(plan, _components(session)), evidence=evidence)


def _look_up(session: Session) -> tuple[Targets, Environment]:
    try:
        return resolve_targets(session), session.environment()
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


def assemble(
    side: Side, entries: Collection[Entry], rounds: int, plan: Plan, shared: SharedRounds | None
) -> Results:
    """Results of ``rounds`` rounds; samples that are not among ``entries`` are missing."""
    bench = side.bench
    evidence = side.evidence or _none(side)
    targets = bench.targets
    ledger = Ledger(side.probes, rounds)
    made = {(entry.round, entry.probe): entry.outcome for entry in entries}
    for round_ in range(1, rounds + 1):
        for probe in side.probes:
            outcome = made.get((round_, probe.name), Outcome(None, (GIVEN_UP,)))
            ledger.add(probe, round_, outcome)
    metrics = ledger.metrics()
    full_speed = metrics.get("http_max_qps")
    near = near_limit(evidence.calibration, full_speed.median if full_speed else None)
    spent = evidence.seconds + sum(entry.seconds for entry in entries)
    return Results(
        **evidence.about.record(),
        profile=plan.profile,
        started=_iso(evidence.started),
        finished=_iso(bench.clock.now()),
        seconds=round(spent, 1),
        plan={**plan.as_dict(), "runs": rounds},
        metrics=metrics,
        probes=ledger.probes({p.name: p.invocation(targets) for p in side.probes}),
        tools=dict(evidence.tools),
        environment=evidence.environment,
        bring_ups=[evidence.about.bring_up] if evidence.about.bring_up else [],
        placement=_places(targets),
        checks=list(evidence.checks),
        calibration=evidence.calibration,
        rounds=shared,
        warnings=[
            *evidence.warnings,
            *ledger.warnings(),
            *([near] if near else []),
            *_moved(side),
        ],
        errors=ledger.errors(),
    )


def _none(side: Side) -> Evidence:
    """Of a side that nobody has prepared."""
    session = side.bench.session
    return Evidence(side.bench.clock.now(), session.environment(), session.about())


def _moved(side: Side) -> list[str]:
    """A warning if the pods are no longer those that were checked at the start."""
    try:
        after = resolve_targets(side.bench.session)
    except SessionError as error:
        return [f"the workloads did not last until the end: {error}"]
    before = side.bench.targets.pods
    if any(after.pods.get(role) != before[role] for role in before.keys() - side.elsewhere):
        return ["the workloads' pods changed during the benchmark: samples may be of both"]
    return []


def _places(targets: Targets) -> list[PodPlace]:
    return [
        PodPlace(role=pod.role, side=workload.side, name=pod.name, node=pod.node, ip=pod.ip)
        for workload in WORKLOADS
        for pod in targets.pods[workload.role]
    ]


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
