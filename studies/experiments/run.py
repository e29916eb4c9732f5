"""Running one experiment on one session: preconditions, the experiment itself, its record."""

from collections.abc import Callable, Mapping, Sequence

from bench.interleave import prepare
from bench.plan import plan_for
from bench.preparation import Evidence
from bench.session import Clock, Session
from studies.experiments import hops, host, policy
from studies.experiments.ablate import run_beside
from studies.experiments.capabilities import lacking
from studies.experiments.definition import Definition, Extent
from studies.experiments.disrupt import run as disrupt
from studies.experiments.model import (
    Axis,
    Context,
    Experiment,
    Findings,
    Progress,
    Series,
    SkippedError,
    recorded,
)
from studies.experiments.scale import run as scale

RUNS: Mapping[str, Callable[[Context], Findings]] = {
    "host": host.run,
    "scale": scale.run,
    "hops": hops.run,
    "toggles": run_beside,
    "policy": policy.kubernetes,
    "cilium-policy": policy.cilium,
    "disrupt": disrupt.run,
}
"""What runs each experiment of :data:`studies.experiments.definition.EXPERIMENTS`.

It raises ``SkippedError`` where the cluster has nothing to experiment on, and cleans up what it
made, also when interrupted.
"""


def run_experiment(
    definition: Definition,
    session: Session,
    extent: Extent,
    *,
    command: str,
    subject: str | None = None,
    allow: Sequence[str] = (),
    within: float | None = None,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Experiment:
    """Run an experiment; one that the session cannot have is recorded as skipped.

    :param command: what makes it again, for the record.
    :param subject: what its series is called; by default the scenario's title.
    :param allow: preconditions that may fail, beside those of the quick profile.
    :param within: seconds; what would take longer is left out. By default the definition's.
    :raises PreconditionError: what would be measured is not what is meant; nothing was measured.
    :raises SessionError: the cluster cannot be asked, or refuses a change.
    :raises PlanError: ``allow`` names no precondition.
    """
    say = progress or (lambda line: None)
    clock = clock or Clock()
    started, start = clock.now(), clock.monotonic()
    deadline = start + (definition.within if within is None else within)
    plan = plan_for("quick", runs=extent.rounds, seconds=extent.seconds, allow=allow)
    environment, about = session.environment(), session.about()
    name = subject or about.scenario.title or "this cluster"
    evidence = Evidence(started, environment, about)
    reason = lacking(session, definition.needs)
    if reason is None:
        side = prepare(name, session, plan, clock=clock, deadline=deadline, say=say)
        evidence = side.evidence or evidence
        try:
            findings = RUNS[definition.name](Context(side, plan, extent, name, say))
        except SkippedError as error:
            reason = str(error)
    if reason is not None:
        say(f"skipped: {reason}")
        findings = Findings([Series(subject=name, skipped=reason)])
    return recorded(
        Axis(name=definition.axis, unit=definition.unit),
        findings,
        evidence,
        name=definition.name,
        question=definition.question,
        plan=extent.as_dict(),
        command=command,
        finished=clock.now(),
        seconds=clock.monotonic() - start,
    )
