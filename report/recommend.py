"""Which scenario for which kind of workload: every rule that the report's advice follows.

1. Only scenarios that fulfil a workload's need (``use_cases.yaml``, ``needs``) are candidates, in
   the order in which the user named them: the first is the simplest, each later one a further
   change.
2. The first candidate is kept until a later one beats it: at least one deciding metric is better,
   none is worse, by the verdicts of :mod:`bench.compare` over the deciding metrics alone (so that
   few runs suffice) and by at least :data:`WORTH` %. Those metrics are fixed there, before any is
   looked at.
3. A metric that an HTTP server or a load generator limited decides nothing (but the CNI's own cost,
   which is not of the network).
4. With too few runs for a verdict, or where no difference below :data:`NOISY` % could have been
   seen, nothing beats the first candidate, and the advice says so; what was published is quoted,
   and never counted as a verdict, since it is of single runs.
5. Where an experiment measures the workload's own axis (``curve``), its deciding metrics at the
   furthest point that two subjects share decide in place of the others, by the same rules.

Below: the use cases; then contests, which of several is best by some metrics; then experiments as
evidence, what an axis of services, hops or policies says about scenarios; then the advice.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from bench.compare import Comparison, MetricComparison, Verdict, compare
from bench.environment import Model
from bench.metrics import CNI_COST, LimitedBy
from bench.results import MetricResult, Results
from bench.text import number
from report.facts import Traits, traits
from report.sources import Collection, MeasuredScenario
from studies.experiments.model import Experiment, Point, Series

WORTH: Final = 5.0
"""Percent from which on a difference is worth a change of the network."""
NOISY: Final = 25.0
"""Percent: where no smaller difference could have been seen in any deciding metric, that none was
seen says nothing."""

Basis = Literal["measured", "published", "feature"]
"""What an advice rests on: verdicts of these results, the published study, documented features."""

_MET: Final[Mapping[str, Callable[[Traits], bool | None]]] = {
    "layer 7": lambda traits: traits.layer_7,
    "hubble": lambda traits: traits.layer_7 and traits.flows,
    "overlay": lambda traits: traits.overlay,
    "not iptables": lambda traits: (
        None if traits.services is None else traits.services != "kube-proxy iptables"
    ),
}
"""By a need's name, whether a scenario meets it; None where its results do not tell."""


class Curve(Model):
    """The experiment along a workload's own axis, by the axis's unit, and what decides there."""

    unit: str
    deciding: tuple[str, ...]


class Need(Model):
    """What a scenario must be for a workload: a stated setting, not a measurement."""

    name: str
    says: str
    source: str

    def met(self, traits: Traits) -> bool | None:
        """Whether a scenario is so; None where its results do not tell."""
        return _MET[self.name](traits)


class UseCase(Model):
    """A kind of workload.

    ``when`` is how a reader knows that theirs is one, ``why`` the reason for the deciding metrics.
    ``only_curve``: without the experiment nothing measured speaks for or against anything.
    ``published`` is the corrected reading of what the study has on it; ``change`` what would change
    the advice. ``any_cni``: why the choice of CNI does not matter to it, as ``source`` has it.
    """

    title: str
    when: str
    deciding: tuple[str, ...] = ()
    why: str = ""
    change: str
    needs: Need | None = None
    curve: Curve | None = None
    only_curve: bool = False
    published: str = ""
    any_cni: str = ""
    source: str = ""


def _read(file: Path) -> tuple[UseCase, ...]:
    data: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    needs = {name: Need(name=name, **need) for name, need in data["needs"].items()}
    return tuple(
        UseCase(**{**each, "needs": needs[each["needs"]] if "needs" in each else None})
        for each in data["use_cases"]
    )


USE_CASES: Final = _read(Path(__file__).with_name("use_cases.yaml"))


Outcome = Literal["better", "worse", "mixed", "no evidence", "too noisy", "too few runs"]
"""Of the later one against the one kept so far. ``too noisy``: there is no evidence, and there
could have been none of any difference that matters, in whatever metric."""
UNDECIDED: frozenset[Outcome] = frozenset({"too noisy", "too few runs"})


@dataclass(frozen=True, slots=True)
class Contender:
    """What takes part: a scenario, or a subject of an experiment at one point."""

    name: str
    results: Results


@dataclass(frozen=True, slots=True)
class Contest:
    """One against the one kept so far, over the deciding metrics.

    A difference counts from ``worth`` % on; where none below ``noisy`` % could have been seen in
    any of the metrics, nothing is said. ``unusable`` has the reason by metric for those that decide
    nothing.
    """

    kept: str
    other: str
    worth: float
    noisy: float
    comparison: Comparison
    unusable: dict[str, str]

    @property
    def outcome(self) -> Outcome:
        """What the verdicts come to."""
        gains, losses = self._worthwhile("better"), self._worthwhile("worse")
        if gains and losses:
            return "mixed"
        if gains or losses:
            return "better" if gains else "worse"
        if self.comparison.verdicts("too few runs"):
            return "too few runs"
        return "too noisy" if self.finest > self.noisy else "no evidence"

    @property
    def finest(self) -> float:
        """The smallest difference in % that would have been seen, in the metric that shows it best;
        0 where nothing varies."""
        known = [
            metric.smallest or 0.0
            for metric in self.comparison.metrics.values()
            if metric.effect.relative
        ]
        return min(known, default=0.0)

    def sentence(self) -> str:
        """The outcome with its figures."""
        gains, losses = self._worthwhile("better"), self._worthwhile("worse")
        pair = self.comparison.title
        match self.outcome:
            case "better" | "worse" as outcome:
                return f"{pair}: {outcome} in {_effects(gains or losses)}"
            case "mixed":
                return f"{pair}: better in {_effects(gains)}, worse in {_effects(losses)}"
            case "too few runs":
                return f"{pair}: too few runs for a verdict ({self._runs()})"
            case "no evidence":
                return f"{pair}: no evidence of a difference of {self.worth:g} %{self._seen()}"
            case "too noisy":
                return f"{pair}: too noisy to tell{self._seen()}"

    def _worthwhile(self, verdict: Verdict) -> dict[str, MetricComparison]:
        return {
            name: metric
            for name, metric in self.comparison.metrics.items()
            if metric.verdict == verdict
            and (not metric.effect.relative or abs(metric.effect.value) >= self.worth)
        }

    def _runs(self) -> str:
        compared = self.comparison
        have = min(min(compared.metrics[name].n) for name in compared.verdicts("too few runs"))
        count = len(compared.metrics)
        return (
            f"{have} of the {compared.runs_needed} {compared.runs} that "
            f"{count} metric{'s' if count > 1 else ''} take"
        )

    def _seen(self) -> str:
        """What would have been seen, metric by metric."""
        limits = [
            f"{name} from {number(metric.smallest, 2)} %"
            for name, metric in self.comparison.metrics.items()
            if metric.smallest is not None and metric.effect.relative
        ]
        return f" (would have been seen: {', '.join(limits)})" if limits else ""


def _effects(metrics: dict[str, MetricComparison]) -> str:
    return ", ".join(f"{name} {metric.effect_text()}" for name, metric in metrics.items())


def best(
    contenders: Sequence[Contender], metrics: Sequence[str], *, worth: float, noisy: float
) -> tuple[str, tuple[Contest, ...]]:
    """The name of the best, and the contests that made it so.

    :param contenders: one or more, the simplest first.
    :param metrics: the deciding ones; those that a contender lacks, or that something other than
        the network limited, decide nothing.
    """
    kept, *others = contenders
    contests = []
    for other in others:
        held = _contest(kept, other, metrics, worth, noisy)
        if held is None:
            continue
        contests.append(held)
        if held.outcome == "better":
            kept = other
    return kept.name, tuple(contests)


def _contest(
    kept: Contender, other: Contender, metrics: Sequence[str], worth: float, noisy: float
) -> Contest | None:
    """None where no metric can decide."""
    unusable = dict(_unusable(kept, other, metrics))
    usable = [name for name in metrics if name not in unusable]
    if not usable:
        return None
    comparison = compare(
        kept.results,
        other.results,
        labels=(kept.name, other.name),
        interleaved=kept.results.interleaved_with(other.results),
        metrics=usable,
    )
    if not comparison.metrics:
        return None
    unusable |= comparison.not_compared
    return Contest(kept.name, other.name, worth, noisy, comparison, unusable)


def _unusable(
    kept: Contender, other: Contender, metrics: Sequence[str]
) -> Iterator[tuple[str, str]]:
    for name in metrics:
        for side in (kept, other):
            if reason := _why_not(side.results.metrics.get(name)):
                yield name, f"{side.name}: {reason}"
                break


def _why_not(metric: MetricResult | None) -> str | None:
    """Why a metric decides nothing.

    A machine's CPUs that all share are part of what is compared: the CPU that the packets' way
    takes. A server's or a generator's own limit is not, but for what the CNI uses meanwhile.
    """
    if metric is None:
        return "not measured"
    if metric.group == CNI_COST:
        return None
    sides: tuple[LimitedBy, ...] = ("server", "client")
    for by in sides:
        if note := metric.limited_by(by):
            return note.meaning
    return None


@dataclass(frozen=True, slots=True)
class CurveEnd:
    """The furthest point that at least two subjects share: where they differ most, if they do."""

    at: str
    contenders: tuple[Contender, ...]


def find_experiments(
    experiments: Sequence[Experiment], unit: str, deciding: Sequence[str]
) -> tuple[Experiment, ...]:
    """The experiments along an axis of that unit: one with several subjects, or one of each.

    Of several axes (kinds of policies, say) the one with most subjects.

    :param deciding: metrics, of which an experiment has to have one: more than one goes along an
        axis of Services.
    """
    axes: dict[str, list[Experiment]] = {}
    for each in experiments:
        if (each.axis.unit or each.axis.name).lower() != unit:
            continue
        if any(_decides(series, deciding) for series in each.series):
            axes.setdefault(each.axis.name, []).append(each)
    most: list[Experiment] = max(axes.values(), key=_subjects, default=[])
    return tuple(most)


def _decides(series: Series, deciding: Sequence[str]) -> bool:
    return any(point.x is not None for point in series.points) and any(
        name in point.metrics for point in series.points for name in deciding
    )


def _subjects(experiments: Iterable[Experiment]) -> int:
    return len({series.subject for each in experiments for series in each.series if series.points})


def end_of(experiments: Sequence[Experiment]) -> CurveEnd | None:
    """Where subjects are compared; None where no two share a point."""
    places: dict[float, dict[str, tuple[Experiment, Point]]] = {}
    for experiment in experiments:
        for series in experiment.series:
            for point in series.points:
                if point.x is not None:
                    places.setdefault(point.x, {})[series.subject] = (experiment, point)
    shared = [x for x, subjects in places.items() if len(subjects) > 1]
    if not shared:
        return None
    subjects = places[max(shared)]
    return CurveEnd(
        at=f"{max(shared):,g} {experiments[0].axis.unit or experiments[0].axis.name}",
        contenders=tuple(
            Contender(subject, results_at(experiment, point))
            for subject, (experiment, point) in subjects.items()
        ),
    )


def results_at(experiment: Experiment, point: Point) -> Results:
    """A point's metrics as results, so that they can be compared as any others."""
    return Results(
        **experiment.record(),
        profile=str(experiment.plan.get("profile", experiment.name)),
        started=experiment.started,
        finished=experiment.finished,
        seconds=experiment.seconds,
        plan=experiment.plan,
        metrics=point.metrics,
        probes={},
        tools=experiment.tools,
        environment=experiment.environment,
        placement=[],
        checks=experiment.checks,
        warnings=[],
    )


def fit_sentences(experiments: Sequence[Experiment], deciding: Sequence[str]) -> Iterator[str]:
    """How the deciding metrics of each subject grow, in a sentence each."""
    for experiment in experiments:
        for series in experiment.series:
            for fit in series.fits:
                if fit.metric in deciding:
                    yield f"{series.subject}, {fit.metric}: {fit.verdict}"


def scenario_of(
    subject: str, scenarios: Sequence[MeasuredScenario], known: Mapping[str, Traits]
) -> str | None:
    """The name of the scenario that an experiment's subject is.

    By its name or title, with who served its Services behind it where that was changed for the
    experiment; else the first whose Services are served by what the subject names.

    :param known: the scenarios' traits by name.
    """
    title, _, rest = subject.partition(" (")
    meant = [each.name for each in scenarios if each.name in subject or title == each.title]
    if meant and not rest:
        return meant[0]
    served = (each.name for each in scenarios if _served_so(subject, known[each.name]))
    return next((name for name in served if not meant or name in meant), None)


def _served_so(subject: str, traits: Traits) -> bool:
    if traits.services is None or traits.services.lower() not in subject.lower():
        return False
    # kube-proxy beside Cilium serves no pod: Cilium does, packet by packet.
    return traits.services == "eBPF" or not traits.serves_pods


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
    experiments = find_experiments(collection.experiments, curve.unit, curve.deciding)
    end = end_of(experiments)
    if end is None:
        return None
    winner, contests = best(end.contenders, curve.deciding, worth=WORTH, noisy=NOISY)
    if not contests:
        return None
    # What the experiment measures takes the place of what was expected of the design.
    need = None if workload.only_curve else workload.needs
    candidates, _ = _candidates(need, collection.scenarios, known)
    choice = scenario_of(winner, candidates, known)
    if choice is None:
        return None
    first = end.contenders[0].name
    decided = any(contest.outcome not in UNDECIDED for contest in contests)
    because = (
        *([f"needs {need.says}"] if need else []),
        f"experiment {experiments[0].name}, at {end.at}, by {', '.join(curve.deciding)}: "
        + (f"nothing beats {winner}" if winner == first else f"{winner} is best"),
        *(contest.sentence() for contest in contests),
        *fit_sentences(experiments, curve.deciding),
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
