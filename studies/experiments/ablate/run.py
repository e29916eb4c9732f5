"""The rounds of one trial, and what they say."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.clock import Clock
from bench.compare import Comparison, compare
from bench.interleave import Side, abba, interleave, prepare
from bench.plan import Plan
from bench.probes import build_probes
from bench.probes.base import Probe
from bench.results import Results
from bench.session import Session
from bench.text import number
from studies.experiments.ablate.extent import INSIDE, NAME, OUTSIDE, QUESTION
from studies.experiments.base import point
from studies.experiments.capabilities import Outside, Progress, Trial
from studies.experiments.model import Axis, Experiment, Series

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
    environment = dict(variant.bench.session.environment())
    checks = [
        check.model_copy(update={"name": f"{side.label}: {check.name}"})
        for side in (base, variant)
        for check in (side.evidence.checks if side.evidence else ())
    ]
    return Experiment(
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
        environment=environment,
        checks=checks,
        warnings=[*_notes(trial, work.base_name), *_warnings(trial, results)],
    )


def compared(without: Results, with_: Results) -> Comparison:
    """What the toggle changes, by all that both were asked for but :data:`MEMORY`."""
    known = {**without.metrics, **with_.metrics}
    found = compare(
        without, with_, labels=(WITHOUT, WITH), interleaved=True,
        metrics=[name for name in known if name != MEMORY],
    )  # fmt: skip
    if MEMORY not in known:
        return found
    once = "it drifts with the agents' age, and each side was started once"
    return found.model_copy(update={"not_compared": {**found.not_compared, MEMORY: once}})


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
    said = [f"{label}: {note}" for note in trial.notes]
    if trial.along:
        said.append(f"{label}: its effect is that of {trial.toggle} and {', '.join(trial.along)}")
    return said


def _warnings(trial: Trial, results: dict[str, Any]) -> list[str]:
    return [
        f"{trial.label('')} {label}: {text}".strip()
        for label, found in results.items()
        for text in found.warnings
    ]


def metrics_of(plan: Plan, names: Sequence[str]) -> int:
    """How many metrics the probes have, for the number of rounds that a verdict takes."""
    return sum(len(probe.metrics) for probe in build_probes(plan) if probe.name in names)


def merged(work: Work, parts: Sequence[Experiment], skipped: Sequence[Trial]) -> Experiment:
    """All trials as one experiment: those measured, then those that cannot be tried, with why.

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
            "series": [*(series for part in parts for series in part.series), *reasons],
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
            found = comparison.metrics[name]
            lines.append(
                f"{series.subject}: {name} {found.verdict}: {found.effect_text()}, "
                f"{number(found.medians[0])} → {number(found.medians[1])} {found.unit}"
            )
        rest = len(comparison.metrics) - len(lines)
        lines.append(f"{series.subject}: no evidence for {rest} other metrics")
    return lines
