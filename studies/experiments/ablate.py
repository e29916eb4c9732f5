"""One toggle at a time: what each does by itself, a base and a variant measured in turn.

Each trial has a file, so that an interrupted run goes on. Beside a cluster that is up the ablation
is an experiment of its stack (:func:`run_beside`).
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from bench.compare import Comparison, compare, largest_family
from bench.interleave import Side, abba, interleave, prepare
from bench.journal import write_whole
from bench.plan import Plan
from bench.probes import build_probes
from bench.probes.base import Probe
from bench.probes.cost import components_of
from bench.results import Results
from bench.session import Clock, Opener, Session, SessionError
from bench.text import number
from studies.experiments.capabilities import Outside, Progress, Stage, StageError, Trial, Variants
from studies.experiments.definition import EXPERIMENTS
from studies.experiments.model import (
    Axis,
    Context,
    Experiment,
    ExperimentError,
    Findings,
    Series,
    SkippedError,
    as_one_family,
    from_dict,
    point,
)

NAME: Final = "ablate"
_DEFINITION = EXPERIMENTS["toggles"]
QUESTION = _DEFINITION.question
ROUNDS, SECONDS = _DEFINITION.usual.rounds, _DEFINITION.usual.seconds
RATE: Final = 1_000
INSIDE: Final = (
    "rtt", "connect", "http", "dns", "transfer", f"http_{RATE}", "loaded_rtt", "tcp", "udp",
)  # fmt: skip
"""The probes between pods: those of the primary metrics, and what a toggle may be for. Searches and
full speed are left out: they take the longest and are the noisiest, or the machine's limit."""
OUTSIDE: Final = ("fortio_connect", f"http_{RATE}", "connect_max", "http_max")
"""Those from outside the nodes, through a NodePort: what DSR and XDP are for."""
BASES: Final = {
    "d": "D, to which each toggle is added",
    "e": "E, from which each toggle is taken away",
    "outside": "D at an MTU of 3,498, from outside the nodes: DSR and XDP on the lab's veth",
}


AXIS = Axis(name="toggle")
WITHOUT, WITH = "without", "with"
_CLIENT = "fortio-client"
MEMORY = "cni_memory"
"""Measured, without a verdict: it drifts with an agent's age (from 151 to 178 MiB within minutes
where Hubble is on), and each side was started once, one after the other."""


@dataclass(frozen=True, slots=True)
class Work:
    """How a trial is measured."""

    base_name: str
    plan: Plan
    command: str
    clock: Clock
    say: Progress

    def record(self, trial: Trial) -> dict[str, Any]:
        """What must be the same for a finished trial to be taken over."""
        return {
            "base": self.base_name,
            "rounds": self.plan.runs,
            "seconds": self.plan.http_seconds,
            "probes": list(OUTSIDE if trial.outside else INSIDE),
        }


def of_ablation(plan: Plan) -> Plan:
    """The plan with one fixed rate and fortio's connections, which :data:`OUTSIDE` has."""
    return replace(plan, http_rates=(RATE,), tool_latencies=True)


def prepared(work: Work, label: str, session: Session) -> Side:
    """A session with its preconditions checked, ready for any trial.

    :raises PreconditionError: what would be measured is not what is meant.
    """
    return prepare(label, session, work.plan, clock=work.clock, deadline=math.inf, say=work.say)


def run_trial(work: Work, trial: Trial, base: Side, variant: Side) -> Experiment:
    """Measure a base and a variant in turn; the effect is always that of the toggle: what it does
    where it is added, also where the variant lacks it.

    :raises SessionError: one of them cannot be asked.
    """
    plan, say, clock = work.plan, work.say, work.clock
    started, start = clock.now(), clock.monotonic()
    with_, without = (variant, base) if trial.sign == "+" else (base, variant)
    sides = [_side(WITHOUT, without, trial, plan), _side(WITH, with_, trial, plan)]
    results = interleave(
        sides, plan, abba([WITHOUT, WITH], plan.runs),
        watch=lambda step: say(
            f"[{step.done}/{step.total}] {trial.label(work.base_name)}: round {step.round} of "
            f"{step.rounds}, {step.label}: {step.probe.name} … {step.said()}"
        ) if step.outcome else None,
    )  # fmt: skip
    series = Series(
        subject=trial.label(work.base_name),
        points=[point(label, results[label]) for label in (WITHOUT, WITH)],
        comparisons=[compared(results[WITHOUT], results[WITH])],
    )
    session = variant.bench.session
    checks = [
        check.model_copy(update={"name": f"{side.label}: {check.name}"})
        for side in (base, variant)
        for check in (side.evidence.checks if side.evidence else ())
    ]
    return Experiment(
        **session.about().record(),
        name=NAME,
        question=QUESTION,
        axis=AXIS,
        series=[series],
        started=started.isoformat(timespec="seconds"),
        finished=clock.now().isoformat(timespec="seconds"),
        seconds=round(clock.monotonic() - start, 1),
        command=work.command,
        plan=work.record(trial),
        tools=dict(base.evidence.tools) if base.evidence else {},
        environment=session.environment(),
        checks=checks,
        warnings=[
            *_notes(trial, work.base_name),
            *(
                f"{trial.label('')} {label}: {text}".strip()
                for label, result in results.items()
                for text in result.warnings
            ),
        ],
    )


def compared(without: Results, with_: Results) -> Comparison:
    """What the toggle changes, by all that both were asked for but :data:`MEMORY`."""
    known = {**without.metrics, **with_.metrics}
    comparison = compare(
        without, with_, labels=(WITHOUT, WITH), interleaved=True,
        metrics=[name for name in known if name != MEMORY],
    )  # fmt: skip
    if MEMORY not in known:
        return comparison
    once = "it drifts with the agents' age, and each side was started once"
    return comparison.model_copy(update={"not_compared": {**comparison.not_compared, MEMORY: once}})


def _side(label: str, prepared: Side, trial: Trial, plan: Plan) -> Side:
    if not trial.outside:
        return replace(prepared, label=label, probes=_chosen(prepared.probes, INSIDE))
    session = prepared.bench.session
    # The stage says of its sessions that they have one.
    assert isinstance(session, Outside)
    client, service = session.outside()
    targets = prepared.bench.targets
    pods = {**targets.pods, _CLIENT: (client,)}
    bench = replace(prepared.bench, targets=replace(targets, pods=pods, httpbin=service))
    return replace(
        prepared, label=label, bench=bench, probes=_chosen(prepared.probes, OUTSIDE),
        elsewhere=frozenset({_CLIENT}),
    )  # fmt: skip


def _chosen(probes: Sequence[Probe], names: Sequence[str]) -> tuple[Probe, ...]:
    return tuple(probe for probe in probes if probe.name in names)


def _notes(trial: Trial, base: str) -> list[str]:
    label = trial.label(base)
    notes = [f"{label}: {note}" for note in trial.notes]
    if trial.along:
        notes.append(f"{label}: its effect is that of {trial.toggle} and {', '.join(trial.along)}")
    return notes


def family_of(plan: Plan, names: Sequence[str]) -> int:
    """The metrics of these probes, for the number of rounds that a verdict takes."""
    probes = [probe for probe in build_probes(plan) if probe.name in names]
    return largest_family(metric for probe in probes for metric in probe.metrics)


def merged(work: Work, parts: Sequence[Experiment], skipped: Sequence[Trial]) -> Experiment:
    """All trials as one experiment: those measured, then those that cannot be tried, with why.

    The primary metrics of all trials are one family, so a trial's own verdict may be lost here.

    :raises ValueError: nothing was measured.
    """
    if not parts:
        raise ValueError("no toggle was measured")
    first = parts[0]
    reasons = [
        Series(subject=trial.label(work.base_name), skipped=trial.reason) for trial in skipped
    ]
    return first.model_copy(
        update={
            "series": [
                *as_one_family([series for part in parts for series in part.series]),
                *reasons,
            ],
            "started": min(part.started for part in parts),
            "finished": max(part.finished for part in parts),
            "seconds": round(sum(part.seconds for part in parts), 1),
            "command": work.command,
            "plan": {
                **first.plan,
                "probes": list(INSIDE),
                "probes from outside": list(OUTSIDE),
            },
            "checks": [
                check.model_copy(update={"name": f"{part.series[0].subject}: {check.name}"})
                for part in parts
                for check in part.checks
            ],
            "warnings": [text for part in parts for text in part.warnings],
        }
    )


def effects(part: Experiment) -> list[str]:
    """What a finished trial says, in a line for each metric with a verdict."""
    (series,) = part.series
    lines = []
    for comparison in series.comparisons:
        for name in comparison.verdicts("better", "worse"):
            metric = comparison.metrics[name]
            lines.append(
                f"{series.subject}: {name} {metric.verdict}{comparison.reach}: "
                f"{metric.effect_text()}, "
                f"{number(metric.medians[0])} → {number(metric.medians[1])} {metric.unit}"
            )
        rest = len(comparison.metrics) - len(lines)
        lines.append(f"{series.subject}: no evidence for {rest} other metrics")
    return lines


_NO = "no-"


@dataclass(frozen=True, slots=True)
class Described:
    """A base and variants that are up already, each with the descriptor of its session.

    :param variants: by toggle; ``no-`` before it says that the base has it and the variant has not.
    :param open_session: what opens a session by its descriptor.
    """

    name: str
    descriptor: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]
    open_session: Opener

    @property
    def base_name(self) -> str:
        return self.name

    def trials(self) -> Sequence[Trial]:
        return [
            Trial(each.removeprefix(_NO), "-" if each.startswith(_NO) else "+")
            for each in self.variants
        ]

    @contextmanager
    def base(self, say: Progress) -> Iterator[Session]:
        with closing(self.open_session(self.descriptor)) as session:
            yield session

    @contextmanager
    def variant(self, trial: Trial, say: Progress) -> Iterator[Session]:
        key = f"{_NO}{trial.toggle}" if trial.sign == "-" else trial.toggle
        with closing(self.open_session(self.variants[key])) as session:
            yield session


class TrialFileError(Exception):
    """A trial's file that cannot be read."""


class OtherPlanError(Exception):
    """A trial's file that was measured by another plan."""


def trial_file(trial: Trial, folder: Path) -> Path:
    """Where a finished trial is."""
    return folder / f"{trial.toggle}.json"


def measure_trials(
    stage: Stage, work: Work, trials: Sequence[Trial], folder: Path
) -> list[Experiment]:
    """Every trial, in order: from its file, or measured and written there.

    :param folder: it exists.
    :raises TrialFileError: a file of an earlier run cannot be read; nothing was measured.
    :raises OtherPlanError: one was measured by another plan; nothing was measured.
    :raises PreconditionError: what would be measured is not what is meant.
    :raises StageError: a base or a variant does not come up.
    :raises SessionError: one of them cannot be asked.
    """
    done = {each.toggle: _finished(work, each, folder) for each in trials}
    remaining = [each for each in trials if done[each.toggle] is None]
    for each in trials:
        if each not in remaining:
            work.say(f"{each.label(work.base_name)}: measured before, {trial_file(each, folder)}")
    for place, trial in enumerate(remaining, start=1):
        work.say(f"toggle {place} of {len(remaining)}: {trial.label(work.base_name)}")
        done[trial.toggle] = _measured(stage, work, trial, folder)
    return [part for part in done.values() if part is not None]


def _measured(stage: Stage, work: Work, trial: Trial, folder: Path) -> Experiment:
    """A base of its own for each trial, so that both sides are about as old: agents' memory drifts
    with their age."""
    with stage.base(work.say) as first, stage.variant(trial, work.say) as second:
        base = prepared(work, work.base_name, first)
        variant = prepared(work, trial.label(work.base_name), second)
        part = run_trial(work, trial, base, variant)
    write_whole(trial_file(trial, folder), part.to_json(indent=1) + "\n")
    for line in effects(part):
        work.say(line)
    return part


def _finished(work: Work, trial: Trial, folder: Path) -> Experiment | None:
    """A trial that was measured before, by the same plan."""
    file = trial_file(trial, folder)
    if not file.exists():
        return None
    try:
        part = from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, ExperimentError) as error:
        raise TrialFileError(f"{file}: {error}. Fix: remove it") from None
    wanted = work.record(trial)
    differing = [
        f"{key} {part.plan.get(key)}, not {value}"
        for key, value in wanted.items()
        if part.plan.get(key) != value
    ]
    if differing:
        raise OtherPlanError(
            f"{file} was measured with {', '.join(differing)}. Fix: remove it, or another --out"
        )
    return part


def run_beside(context: Context) -> Findings:
    """See :mod:`studies.experiments.definition`.

    :raises SkippedError: the scenario has no toggles.
    :raises SessionError: a variant does not come up.
    """
    session = context.bench.session
    # As a capability it was asked for before.
    assert isinstance(session, Variants)
    try:
        stage = session.toggle_stage()
    except StageError as error:
        raise SkippedError(str(error)) from None
    plan = of_ablation(context.plan)
    work = Work(stage.base_name, plan, "", context.bench.clock, context.say)
    # At one fixed rate, by which the CNI's cost is told then.
    probes = build_probes(plan, components_of(session.cni_usage()))
    base = replace(context.side, probes=probes)
    series: list[Series] = []
    warnings = [
        f"{stage.base_name} was up before its variants: agents' memory drifts with their age"
    ]
    for trial in stage.trials():
        if trial.toggle not in context.extent.points:
            continue
        label = trial.label(stage.base_name)
        if trial.reason is not None:
            context.say(f"{label}: not tried: {trial.reason}")
            series.append(Series(subject=label, skipped=trial.reason))
            continue
        try:
            with stage.variant(trial, context.say) as other:
                part = run_trial(work, trial, base, prepared(work, label, other))
        except StageError as error:
            raise SessionError(str(error)) from error
        for line in effects(part):
            context.say(line)
        series += part.series
        warnings += part.warnings
    return Findings(as_one_family(series), {"probes": list(INSIDE)}, warnings)
