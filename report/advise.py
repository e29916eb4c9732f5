"""The rules of :mod:`report.recommend` applied to what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from report import curves
from report.contest import UNDECIDED, Contender, Contest, best
from report.recommend import NOISY, USE_CASES, WORTH, Basis, Curve, Need, UseCase
from report.sources import Collection, MeasuredScenario
from report.traits import Traits, traits

BETTER = "measurably better"
"""How sure a choice is that verdicts put in the place of a simpler one."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What to choose for a workload.

    ``choice`` is a scenario's name; None where any will do, or none fits. ``sure`` is how sure
    that is, in a few words; ``because`` are the reasons with their figures; ``decided`` says
    whether verdicts, and not just features, made the choice. Without ``bases`` nothing speaks for
    it but that it is the first.
    """

    workload: UseCase
    choice: str | None
    bases: tuple[Basis, ...]
    sure: str
    because: tuple[str, ...]
    decided: bool = False

    @property
    def headline(self) -> str:
        """The choice in a word or two."""
        return self.choice or ("any" if self.workload.any_cni else "none of these")


def advise(collection: Collection) -> tuple[Advice, ...]:
    """The advice for every kind of workload.

    :param collection: at least one scenario.
    """
    known = {scenario.name: traits(scenario) for scenario in collection.scenarios}
    return tuple(_advice(workload, collection, known) for workload in USE_CASES)


def _advice(workload: UseCase, collection: Collection, known: dict[str, Traits]) -> Advice:
    if workload.any_cni:
        return Advice(workload, None, ("feature",), "by its design", (workload.any_cni,))
    measured = _by_curve(workload, workload.curve, collection, known) if workload.curve else None
    if measured:
        return measured
    candidates, unknown = _candidates(workload.needs, collection.scenarios, known)
    if not candidates:
        wanted = f"needs {workload.needs.says}" if workload.needs else "no scenario"
        because = (f"{wanted}; no scenario here is known to be so", *unknown)
        return Advice(workload, None, ("feature",), "no candidate", because)
    return _by_metrics(workload, collection, candidates, unknown)


def _candidates(
    need: Need | None, scenarios: Sequence[MeasuredScenario], known: dict[str, Traits]
) -> tuple[list[MeasuredScenario], list[str]]:
    """Those that fulfil a need, and a sentence for each of which nobody knows."""
    if need is None:
        return list(scenarios), []
    met = {scenario.name: need.met(known[scenario.name]) for scenario in scenarios}
    unknown = [f"{name}: its results do not tell" for name, each in met.items() if each is None]
    return [scenario for scenario in scenarios if met[scenario.name]], unknown


def _by_metrics(
    workload: UseCase,
    collection: Collection,
    candidates: list[MeasuredScenario],
    unknown: list[str],
) -> Advice:
    first = candidates[0]
    feature: tuple[Basis, ...] = ("feature",) if workload.needs else ()
    because = [f"needs {workload.needs.says}"] if workload.needs else []
    published: tuple[Basis, ...] = ("published",) if workload.published else ()
    if len(candidates) == 1 and not workload.needs:
        return Advice(workload, first.name, (), "nothing to compare with", ())
    if workload.only_curve:
        because += [*unknown, "what it costs or gains was not measured here"]
        return Advice(workload, first.name, (*feature, *published), "by its design", tuple(because))
    choice, contests = best(
        [Contender(scenario.name, scenario.results) for scenario in candidates],
        workload.deciding,
        worth=WORTH,
        noisy=NOISY,
    )
    because += [*unknown, *(contest.sentence() for contest in contests), *_set_aside(contests)]
    sure = _how_sure(len(candidates), choice == first.name, contests)
    decided = any(contest.outcome not in UNDECIDED for contest in contests)
    bases: tuple[Basis, ...] = (*feature, "measured") if decided else (*feature, *published)
    return Advice(workload, choice, bases, sure, tuple(because), decided)


def _by_curve(
    workload: UseCase, curve: Curve, collection: Collection, known: dict[str, Traits]
) -> Advice | None:
    """By the experiment along the workload's own axis; None where there is none that decides."""
    found = curves.find(collection.experiments, curve.unit, curve.deciding)
    end = curves.end_of(found)
    if end is None:
        return None
    winner, contests = best(end.contenders, curve.deciding, worth=WORTH, noisy=NOISY)
    if not contests:
        return None
    # What the experiment measures takes the place of what was expected of the design.
    need = None if workload.only_curve else workload.needs
    candidates, _ = _candidates(need, collection.scenarios, known)
    choice = curves.scenario_of(winner, candidates, known)
    if choice is None:
        return None
    first = end.contenders[0].name
    decided = any(contest.outcome not in UNDECIDED for contest in contests)
    because = (
        *([f"needs {need.says}"] if need else []),
        f"experiment {found[0].name}, at {end.at}, by {', '.join(curve.deciding)}: "
        + (f"nothing beats {winner}" if winner == first else f"{winner} is best"),
        *(contest.sentence() for contest in contests),
        *curves.fits(found, curve.deciding),
    )
    bases: tuple[Basis, ...] = ("measured",) if decided else ()
    sure = _how_sure(len(end.contenders), winner == first, contests)
    return Advice(workload, choice, ("feature", *bases) if need else bases, sure, because, decided)


def _how_sure(candidates: int, kept: bool, contests: Sequence[Contest]) -> str:
    if candidates == 1:
        return "the only candidate"
    if not contests:
        return "not measured"
    outcomes = {contest.outcome for contest in contests}
    if outcomes == {"too few runs"}:
        return "too few runs for a verdict"
    if outcomes <= UNDECIDED:
        return "too noisy to tell"
    if not kept:
        return BETTER
    if outcomes & UNDECIDED:
        return "nothing measurably better; some too noisy or too few runs to tell"
    if "mixed" in outcomes:
        return "better in one thing, worse in another: yours to weigh"
    return "nothing measurably better"


def _set_aside(contests: Sequence[Contest]) -> list[str]:
    """What decided nothing, once per metric."""
    reasons = {name: why for contest in contests for name, why in contest.unusable.items()}
    return [f"{name} decides nothing ({why})" for name, why in reasons.items()]
