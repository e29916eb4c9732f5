"""The trials of an ablation one after the other, with a file for each, so that a run goes on."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.checks import PreconditionError
from bench.clock import Clock
from bench.compare import runs_needed
from bench.plan import Plan, PlanError, plan_for
from bench.session import SessionError
from cli.common import (
    NO_RESULTS,
    OK,
    PRECONDITION,
    SESSION,
    USAGE,
    FatalError,
    descriptor,
    interrupted_by_term,
    progress,
)
from cli.experiments import show
from report.experiments.figures import draw_effects
from studies.experiments.ablate.extent import INSIDE, RATE
from studies.experiments.ablate.run import Work, effects, merged, metrics_of, prepared, run_trial
from studies.experiments.ablate.stage import Described, Stage, StageError, Trial, lab_stage
from studies.experiments.model import Experiment, ExperimentError, from_dict

ALL, FIGURE = "ablation.json", "effects.svg"


def run(options: argparse.Namespace) -> int:
    """Run the command; returns the exit code.

    :raises FatalError: see its message.
    """
    try:
        plan = plan_for("quick", runs=options.rounds, seconds=options.seconds, allow=options.allow)
        stage = _stage(options)
        trials = _trials(stage, options.toggles)
    except PlanError as error:
        raise FatalError(USAGE, str(error)) from None
    except (SessionError, StageError) as error:
        raise FatalError(SESSION, str(error)) from None
    work = Work(
        stage.base_name, replace(plan, http_rates=(RATE,)), _again(options), Clock(), progress
    )
    _warn_of_few(work.plan)
    folder = Path(options.out or f"ablation-{options.base}")
    parts = _measured(stage, work, [each for each in trials if each.reason is None], folder)
    skipped = [each for each in trials if each.reason is not None]
    for trial in skipped:
        progress(f"{trial.label(work.base_name)}: not tried: {trial.reason}")
    if not parts:
        raise FatalError(USAGE, "none of these toggles can be tried here")
    whole = merged(work, parts, skipped)
    show(whole, str(folder / ALL))
    (folder / FIGURE).write_text(draw_effects(whole), encoding="utf-8")
    progress(f"the effects: {folder / FIGURE}")
    return OK


def _stage(options: argparse.Namespace) -> Stage:
    if bool(options.session) != bool(options.variant):
        raise FatalError(USAGE, "--session and --variant go together: a base and its variants")
    if not options.session:
        return lab_stage(options.base)
    variants = {}
    for each in options.variant:
        name, found, path = each.partition("=")
        if not found:
            raise FatalError(USAGE, f"--variant wants TOGGLE=FILE, not {each!r}")
        variants[name] = descriptor(path)
    return Described(options.base.upper(), descriptor(options.session), variants)


def _trials(stage: Stage, wanted: Sequence[str] | None) -> list[Trial]:
    known = stage.trials()
    if wanted is None:
        return list(known)
    unknown = sorted(set(wanted) - {each.toggle for each in known})
    if unknown:
        names = ", ".join(dict.fromkeys(each.toggle for each in known))
        raise FatalError(USAGE, f"no toggle {', '.join(unknown)}: choose of {names}")
    return [each for each in known if each.toggle in wanted]


def _warn_of_few(plan: Plan) -> None:
    family = metrics_of(plan, INSIDE)
    needed = runs_needed(family)
    if plan.runs < needed:
        progress(
            f"{plan.runs} rounds allow no verdict on {family} metrics: --rounds {needed} or more do"
        )


def _measured(stage: Stage, work: Work, trials: Sequence[Trial], folder: Path) -> list[Experiment]:
    """Every trial, in order: from its file, or measured and written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FatalError(USAGE, f"cannot write into {folder}: {error}") from None
    done = {each.toggle: _finished(work, each, folder) for each in trials}
    left = [each for each in trials if done[each.toggle] is None]
    for each in trials:
        if each not in left:
            progress(f"{each.label(work.base_name)}: measured before, {_file(each, folder)}")
    if left:
        try:
            with interrupted_by_term():
                for number, trial in enumerate(left, start=1):
                    progress(f"toggle {number} of {len(left)}: {trial.label(work.base_name)}")
                    done[trial.toggle] = _tried(stage, work, trial, folder)
        except PreconditionError as error:
            raise FatalError(PRECONDITION, str(error)) from None
        except (SessionError, StageError) as error:
            raise FatalError(SESSION, str(error)) from None
    return [part for part in done.values() if part is not None]


def _tried(stage: Stage, work: Work, trial: Trial, folder: Path) -> Experiment:
    """A base of its own for each trial, so that both sides are about as old: agents' memory drifts
    with their age."""
    with stage.base(work.say) as first, stage.variant(trial, work.say) as second:
        base = prepared(work, work.base_name, first)
        variant = prepared(work, trial.label(work.base_name), second)
        part = run_trial(work, trial, base, variant)
    _file(trial, folder).write_text(part.to_json(indent=1) + "\n", encoding="utf-8")
    for line in effects(part):
        progress(line)
    return part


def _file(trial: Trial, folder: Path) -> Path:
    return folder / f"{trial.toggle}.json"


def _finished(work: Work, trial: Trial, folder: Path) -> Experiment | None:
    """A trial that was measured before, by the same plan.

    :raises FatalError: its file is of another plan, or unreadable.
    """
    file = _file(trial, folder)
    if not file.exists():
        return None
    try:
        found = from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, ExperimentError) as error:
        raise FatalError(NO_RESULTS, f"{file}: {error}. Fix: remove it") from None
    wanted = work.record(trial)
    differing = [key for key, value in wanted.items() if found.plan.get(key) != value]
    if differing:
        told = ", ".join(f"{key} {found.plan.get(key)}, not {wanted[key]}" for key in differing)
        raise FatalError(
            USAGE, f"{file} was measured with {told}. Fix: remove it, or another --out"
        )
    return found


def _again(options: argparse.Namespace) -> str:
    words = ["python", "-m", "bench", "ablate", "--base", options.base]
    if options.toggles:
        words += ["--toggles", ",".join(options.toggles)]
    words += ["--rounds", str(options.rounds), "--seconds", str(options.seconds)]
    for each in options.variant:
        words += ["--variant", f"{each.partition('=')[0]}=FILE"]
    for name in options.allow:
        words += ["--allow", name]
    return shlex.join(words)
