"""The trials of an ablation one after the other, with a file for each, so that a run goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.session import Opener, Session
from studies.experiments.ablate.run import Work, effects, prepared, run_trial
from studies.experiments.capabilities import Progress, Stage, Trial
from studies.experiments.model import Experiment, ExperimentError, from_dict

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
    for number, trial in enumerate(remaining, start=1):
        work.say(f"toggle {number} of {len(remaining)}: {trial.label(work.base_name)}")
        done[trial.toggle] = _measured(stage, work, trial, folder)
    return [part for part in done.values() if part is not None]


def _measured(stage: Stage, work: Work, trial: Trial, folder: Path) -> Experiment:
    """A base of its own for each trial, so that both sides are about as old: agents' memory drifts
    with their age."""
    with stage.base(work.say) as first, stage.variant(trial, work.say) as second:
        base = prepared(work, work.base_name, first)
        variant = prepared(work, trial.label(work.base_name), second)
        part = run_trial(work, trial, base, variant)
    trial_file(trial, folder).write_text(part.to_json(indent=1) + "\n", encoding="utf-8")
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
