"""A side's results from its evidence and its samples."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from bench.checks.generators import near_limit
from bench.interleave.model import Entry, Evidence, Side
from bench.ledger import Ledger
from bench.plan import Plan
from bench.results import PodPlace, Results, SharedRounds
from bench.sampling import Outcome
from bench.session import SessionError
from bench.targets import Targets, resolve_targets
from bench.workloads import WORKLOADS

GIVEN_UP = "not measured: too many samples in a row had no number"


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
        profile=plan.profile,
        started=_iso(evidence.started),
        finished=_iso(bench.clock.now()),
        seconds=round(spent, 1),
        plan={**plan.as_dict(), "runs": rounds},
        metrics=metrics,
        probes=ledger.probes({p.name: p.invocation(targets) for p in side.probes}),
        tools=dict(evidence.tools),
        environment=dict(evidence.environment),
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
    return Evidence(side.bench.clock.now(), side.bench.session.environment())


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
