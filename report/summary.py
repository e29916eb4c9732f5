"""The report's first screen: what to choose, how sure that is, on what it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from report.advise import BETTER, Advice
from report.sidebyside import SideBySide, certainty
from report.sources import Collection, MeasuredScenario

LAB_CAVEAT = (
    "These are the lab's numbers: real CNIs, kernel and load, but client, servers and packet "
    "processing share one machine's CPUs. Compare scenarios with each other; EKS has other "
    "absolute figures."
)

_ADVICE = "The recommendations look at a few metrics each, for which fewer runs suffice."


@dataclass(frozen=True, slots=True)
class Choice:
    """A scenario with the kinds of workload that it is the choice for."""

    scenario: str
    title: str
    advice: tuple[Advice, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """In plain words; ``failed`` are scenarios that should have been here, ``marks`` preconditions
    that did not hold, with the scenarios of which."""

    headline: str
    choices: tuple[Choice, ...]
    sure: str
    where: str
    lab: bool
    failed: dict[str, str]
    marks: dict[str, list[str]]


def summary(collection: Collection, side: SideBySide, advice: Sequence[Advice]) -> Summary:
    """What the first screen says."""
    return Summary(
        headline=_headline(side, advice),
        choices=tuple(_choices(collection, advice)),
        sure=certainty(side, _ADVICE),
        where=where(collection.scenarios),
        lab=any(is_lab(scenario) for scenario in collection.scenarios),
        failed=collection.failed,
        marks=_marks(collection.scenarios),
    )


def _marks(scenarios: Sequence[MeasuredScenario]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for scenario in scenarios:
        for check in scenario.results.marks:
            found.setdefault(check.name, []).append(scenario.name)
    return found


def is_lab(scenario: MeasuredScenario) -> bool:
    """Its numbers are of the embedded lab."""
    return str(scenario.environment.get("target", "")).startswith("lab")


def _headline(side: SideBySide, advice: Sequence[Advice]) -> str:
    baseline = side.baseline.name
    if not side.comparisons:
        return f"{baseline} alone was measured: nothing can be compared with it."
    decided = [each for each in advice if each.decided]
    if not decided:
        return (
            f"No verdict yet: {_least_runs(side)} runs are too few, or too noisy. What follows "
            "rests on features and on what was published."
        )
    lab = "In the lab, " if is_lab(side.baseline) else ""
    alone = [each for each in decided if "feature" not in each.bases]
    beaten = [each for each in alone if each.choice != baseline and each.sure == BETTER]
    if not beaten:
        nothing = "nothing" if lab else "Nothing"
        return (
            f"{lab}{nothing} measured speaks for leaving {baseline}. The other scenarios are for "
            "what they can do, not for their speed."
        )
    better = list(dict.fromkeys(each.choice for each in beaten if each.choice))
    return (
        f"{lab}{', '.join(better)} measurably beat{'s' if len(better) == 1 else ''} {baseline} for "
        f"{len(beaten)} of the {len(alone)} kinds of workload that measurements alone decide."
    )


def _least_runs(side: SideBySide) -> int:
    counts = [
        metric.n for scenario in side.scenarios for metric in scenario.results.metrics.values()
    ]
    return max(counts, default=0)


def _choices(collection: Collection, advice: Sequence[Advice]) -> list[Choice]:
    """In the order of scenarios; what needs none of them, or fits none, comes last."""
    titles = {scenario.name: scenario.title for scenario in collection.scenarios}
    found = [
        Choice(name, title, tuple(each for each in advice if each.choice == name))
        for name, title in titles.items()
    ]
    rest: dict[str, list[Advice]] = {}
    for each in advice:
        if each.choice is None:
            rest.setdefault(each.headline, []).append(each)
    found += [Choice(name, "", tuple(members)) for name, members in rest.items()]
    return [choice for choice in found if choice.advice]


def where(scenarios: Sequence[MeasuredScenario]) -> str:
    """On what, how, and when it was measured, in one sentence."""
    targets = dict.fromkeys(str(each.environment.get("target", "unknown")) for each in scenarios)
    profiles = dict.fromkeys(each.results.profile for each in scenarios)
    runs = sorted({int(each.results.plan.get("runs", 0)) for each in scenarios})
    kernels = dict.fromkeys(str(each.environment.get("kernel", "?")) for each in scenarios)
    cpus = dict.fromkeys(str(each.environment.get("cpus", "?")) for each in scenarios)
    days = sorted({each.results.started[:10] for each in scenarios})
    return (
        f"{'; '.join(targets)}. Profile {', '.join(profiles)}, "
        f"{' to '.join(map(str, dict.fromkeys((runs[0], runs[-1]))))} "
        f"round{'s' if runs[-1] != 1 else ''}, "
        f"{' to '.join(dict.fromkeys((days[0], days[-1])))}; kernel {', '.join(kernels)}, "
        f"{', '.join(cpus)} CPUs."
    )
