"""One toggle at a time beside a cluster that is up: the ablation as an experiment of a stack."""

from __future__ import annotations

from dataclasses import replace

from bench.probes import build_probes
from bench.probes.cost import components_of
from bench.session import SessionError
from studies.experiments.ablate.extent import INSIDE, RATE
from studies.experiments.ablate.run import Work, effects, prepared, run_trial
from studies.experiments.base import Context, Findings, SkippedError
from studies.experiments.capabilities import StageError, Variants
from studies.experiments.model import Series


def run(context: Context) -> Findings:
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
    plan = replace(context.plan, http_rates=(RATE,))
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
    return Findings(series, {"probes": list(INSIDE)}, warnings)
