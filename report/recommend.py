"""Which scenario for which kind of workload: every rule that the report's advice follows.

1. Only scenarios that fulfil a workload's need (``use_cases.yaml``, ``needs``) are candidates, in
   the order in which the user named them: the first is the simplest, each later one a further
   change.
2. The first candidate is kept until a later one beats it: at least one deciding metric is better,
   none is worse, by verdicts and by at least :data:`WORTH` %. The verdicts are those of the table:
   of scenarios that took turns, by the one family that has the primary metrics of all pairs. Only
   primary metrics decide, and which do is fixed in ``use_cases.yaml``, before any is looked at.
   What is exploratory (``beside``) is told beside them and decides nothing.
3. A metric that an HTTP server or a load generator limited decides nothing.
4. With too few runs for a verdict, or where no difference below :data:`NOISY` % could have been
   seen, nothing beats the first candidate, and the advice says so; what was published is quoted,
   and never counted as a verdict, since it is of single runs.
5. Experiments along a workload's own axis (``curve``) are each of one lab at a time, so nothing is
   concluded between them. Each tells whether its own scenario gets slower up to the size asked.
   Where nothing else tells (``only_curve``), the first scenario whose own run does not is kept.

Below: the use cases; then contests, which of several is best by some metrics; then what a
scenario's own curve says of it; then the advice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from bench.compare import Comparison, MetricComparison, Verdict
from bench.environment import Model
from bench.metrics import LimitedBy
from bench.results import MetricResult
from bench.text import number
from report.facts import Traits, traits
from report.sentence import listed
from report.sidebyside import SideBySide
from report.sources import MeasuredScenario
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
    """The experiments along a workload's own axis, by its unit; up to what size, and by what."""

    unit: str
    at: float
    metrics: tuple[str, ...]


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

    ``when`` is how a reader knows that theirs is one, ``why`` the reason for the deciding metrics,
    which are primary ones; those ``beside`` them are exploratory.
    ``only_curve``: without the experiment nothing measured speaks for or against anything.
    ``published`` is the corrected reading of what the study has on it; ``change`` what would change
    the advice. ``any_cni``: why the choice of CNI does not matter to it, as ``source`` has it.
    """

    title: str
    when: str
    deciding: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
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
class Contest:
    """One against the one kept so far, over the deciding metrics.

    A difference counts from :data:`WORTH` % on; where none below :data:`NOISY` % could have been
    seen in any of the metrics, nothing is said. ``unusable`` has the reason by metric for those
    that decide nothing.
    """

    comparison: Comparison
    metrics: Mapping[str, MetricComparison]
    unusable: Mapping[str, str]

    @property
    def outcome(self) -> Outcome:
        """What the verdicts come to."""
        gains, losses = self._worthwhile("better"), self._worthwhile("worse")
        if gains and losses:
            return "mixed"
        if gains or losses:
            return "better" if gains else "worse"
        if any(metric.verdict == "too few runs" for metric in self.metrics.values()):
            return "too few runs"
        return "too noisy" if self.finest > NOISY else "no evidence"

    @property
    def finest(self) -> float:
        """The smallest difference in % that would have been seen, in the metric that shows it best;
        0 where nothing varies."""
        known = [
            metric.smallest or 0.0 for metric in self.metrics.values() if metric.effect.relative
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
                return f"{pair}: no evidence of a difference of {WORTH:g} %{self._seen()}"
            case "too noisy":
                return f"{pair}: too noisy to tell{self._seen()}"

    def _worthwhile(self, verdict: Verdict) -> dict[str, MetricComparison]:
        """An effect that is not in % (some sample is 0) cannot be told to be worth it."""
        return {
            name: metric
            for name, metric in self.metrics.items()
            if metric.verdict == verdict
            and metric.effect.relative
            and abs(metric.effect.value) >= WORTH
        }

    def _runs(self) -> str:
        compared = self.comparison
        have = min(min(each.n) for each in self.metrics.values() if each.verdict == "too few runs")
        return (
            f"{have} of the {compared.runs_needed} {compared.runs} that {compared.primary} tests "
            "take"
        )

    def _seen(self) -> str:
        """What would have been seen, metric by metric."""
        limits = [
            f"{name} from {number(metric.smallest, 2)} %"
            for name, metric in self.metrics.items()
            if metric.smallest is not None and metric.effect.relative
        ]
        return f" (would have been seen: {', '.join(limits)})" if limits else ""


def _effects(metrics: dict[str, MetricComparison]) -> str:
    return ", ".join(f"{name} {metric.effect_text()}" for name, metric in metrics.items())


def best(
    side: SideBySide, contenders: Sequence[MeasuredScenario], metrics: Sequence[str]
) -> tuple[str, tuple[Contest, ...]]:
    """The name of the best, and the contests that made it so.

    :param contenders: one or more, the simplest first.
    :param metrics: the deciding ones; those that a contender lacks, or that something other than
        the network limited, decide nothing.
    """
    kept, *others = contenders
    contests = []
    for other in others:
        held = _contest(side.pairs[kept.name, other.name], kept, other, metrics)
        if held is None:
            continue
        contests.append(held)
        if held.outcome == "better":
            kept = other
    return kept.name, tuple(contests)


def _contest(
    comparison: Comparison,
    kept: MeasuredScenario,
    other: MeasuredScenario,
    metrics: Sequence[str],
) -> Contest | None:
    """None where no metric can decide, or the two did not take turns."""
    unusable = {**_unusable(kept, other, metrics), **comparison.not_compared}
    usable = {
        name: comparison.metrics[name]
        for name in metrics
        if name in comparison.metrics and name not in unusable
    }
    if not usable or not comparison.interleaved:
        return None
    return Contest(
        comparison, usable, {name: why for name, why in unusable.items() if name in metrics}
    )


def _unusable(
    kept: MeasuredScenario, other: MeasuredScenario, metrics: Sequence[str]
) -> dict[str, str]:
    return {
        name: f"{side.name}: {reason}"
        for name in metrics
        for side in (other, kept)
        if (reason := _why_not(side.results.metrics.get(name)))
    }


def _why_not(metric: MetricResult | None) -> str | None:
    """Why a metric decides nothing.

    A machine's CPUs that all share are part of what is compared: the CPU that the packets' way
    takes. A server's or a generator's own limit is not.
    """
    if metric is None:
        return "not measured"
    sides: tuple[LimitedBy, ...] = ("server", "client")
    for by in sides:
        if note := metric.limited_by(by):
            return note.meaning
    return None


@dataclass(frozen=True, slots=True)
class Own:
    """What a scenario's own run along an axis says: whether it gets slower up to the size asked."""

    slower: bool
    said: str


def own_curves(
    curve: Curve,
    experiments: Sequence[Experiment],
    scenarios: Sequence[MeasuredScenario],
    known: Mapping[str, Traits],
) -> dict[str, Own]:
    """By scenario, in their order; those without such a run are not in it."""
    found: dict[str, Own] = {}
    for experiment in experiments:
        if (experiment.axis.unit or experiment.axis.name).lower() != curve.unit:
            continue
        for series in experiment.series:
            name = scenario_of(series.subject, scenarios, known)
            own = _own(curve, series, experiment.axis.unit)
            if name is not None and own is not None:
                found.setdefault(name, own)
    return {each.name: found[each.name] for each in scenarios if each.name in found}


def _own(curve: Curve, series: Series, unit: str) -> Own | None:
    points = sorted((point.x, point) for point in series.points if point.x is not None)
    large = [each for each in points if each[0] >= curve.at]
    if not large or points[0] == large[0]:
        return None
    (_, first), (x, there) = points[0], large[0]
    metrics = [name for name in curve.metrics if name in first.metrics and name in there.metrics]
    if not metrics:
        return None
    growing = {fit.metric for fit in series.fits if fit.form != "constant" and fit.slope_ci[0] > 0}
    slower = [name for name in metrics if name in growing and _change(first, there, name) >= WORTH]
    said = [
        f"{name} {_change(first, there, name):+.0f} % ({number(first.metrics[name].median)} to "
        f"{number(there.metrics[name].median)} {there.metrics[name].unit}"
        f"{'' if name in slower else ', no growth shown'})"
        for name in metrics
    ]
    sentence = f"from {first.label} to {x:,g} {unit}, in a lab of its own: {', '.join(said)}"
    return Own(bool(slower), sentence)


def _change(first: Point, there: Point, name: str) -> float:
    """In %, of a metric's medians."""
    start = first.metrics[name].median
    return 100 * (there.metrics[name].median / start - 1) if start else 0.0


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
_APART = "not measured in turns: no verdict"
_UNTOLD = "what it costs or gains was not measured here"
_EXPLORATORY = "no primary metric tells of it, so nothing measured decides"


@dataclass(frozen=True, slots=True)
class Advice:
    """What to choose for a workload.

    ``choice`` is a scenario's name; None where any will do, or none fits. ``sure`` is how sure
    that is, in a few words; ``because`` are the reasons with their figures, ``beside`` what is
    exploratory; ``eks`` is what of it carries over to EKS. ``decided`` says whether verdicts, and
    not just features, made the choice. Without ``bases`` nothing speaks for it but that it is the
    first.
    """

    workload: UseCase
    choice: str | None
    bases: tuple[Basis, ...]
    sure: str
    because: tuple[str, ...]
    decided: bool = False
    beside: tuple[str, ...] = ()
    eks: str = "The same: it rests on no measurement."

    @property
    def headline(self) -> str:
        """The choice in a word or two."""
        return self.choice or ("any" if self.workload.any_cni else "none of these")


def advise(side: SideBySide, experiments: Sequence[Experiment] = ()) -> tuple[Advice, ...]:
    """The advice for every kind of workload."""
    known = {scenario.name: traits(scenario) for scenario in side.scenarios}
    return tuple(_advice(workload, side, experiments, known) for workload in USE_CASES)


def _advice(
    workload: UseCase,
    side: SideBySide,
    experiments: Sequence[Experiment],
    known: dict[str, Traits],
) -> Advice:
    if workload.any_cni:
        return Advice(workload, None, ("feature",), "by its design", (workload.any_cni,))
    curves = (
        own_curves(workload.curve, experiments, side.scenarios, known) if workload.curve else {}
    )
    own = [f"{name}, {each.said}" for name, each in curves.items()]
    if workload.only_curve and curves:
        return _by_own_curves(workload, side, curves, own)
    candidates, unknown = _candidates(workload.needs, side.scenarios, known)
    if not candidates:
        wanted = f"needs {workload.needs.says}" if workload.needs else "no scenario"
        because = (f"{wanted}; no scenario here is known to be so", *unknown)
        return Advice(workload, None, ("feature",), "no candidate", because)
    return _by_metrics(workload, side, candidates, [*unknown, *own], known)


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
    side: SideBySide,
    candidates: list[MeasuredScenario],
    known_of: list[str],
    known: Mapping[str, Traits],
) -> Advice:
    """:param known_of: what else is to be told of the candidates."""
    first = candidates[0]
    feature: tuple[Basis, ...] = ("feature",) if workload.needs else ()
    because = [f"needs {workload.needs.says}"] if workload.needs else []
    published: tuple[Basis, ...] = ("published",) if workload.published else ()
    beside = tuple(_beside(workload, side, candidates))
    if len(candidates) == 1 and not workload.needs:
        return Advice(workload, first.name, (), "nothing to compare with", ())
    if not workload.deciding or workload.only_curve:
        because += [*known_of, _UNTOLD if workload.only_curve else _EXPLORATORY]
        sure = "by its design" if feature else "the simplest: nothing measured decides"
        return Advice(
            workload, first.name, (*feature, *published), sure, tuple(because), beside=beside
        )
    choice, contests = best(side, candidates, workload.deciding)
    because += [*known_of, *(contest.sentence() for contest in contests), *_set_aside(contests)]
    sure = _how_sure(len(candidates), choice == first.name, contests)
    if any(not side.pairs[first.name, each.name].interleaved for each in candidates[1:]):
        sure = _APART
    decided = any(contest.outcome not in UNDECIDED for contest in contests)
    bases: tuple[Basis, ...] = (*feature, "measured") if decided else (*feature, *published)
    eks = _carried_over(workload, side, contests, known) if decided else "Nothing yet."
    return Advice(workload, choice, bases, sure, tuple(because), decided, beside, eks)


def _by_own_curves(
    workload: UseCase, side: SideBySide, curves: Mapping[str, Own], said: Sequence[str]
) -> Advice:
    """The first whose own run does not get slower, of those that have one."""
    steady = [name for name, each in curves.items() if not each.slower]
    without = [each.name for each in side.scenarios if each.name not in curves]
    because = [*said, *([f"no run of {', '.join(without)}"] if without else [])]
    sure = "its own run gets no slower; scenarios were not compared" if steady else "each slows"
    return Advice(
        workload, steady[0] if steady else None, ("measured",), sure, tuple(because),
        decided=True, eks="That it grows, or does not; not the times.",
    )  # fmt: skip


_CONNECT: Final = "connect_p50"


def _carried_over(
    workload: UseCase, side: SideBySide, contests: Sequence[Contest], known: Mapping[str, Traits]
) -> str:
    """What of a lab's verdicts holds on EKS: directions and CPU time."""
    if not side.baseline.environment.shared_machine:
        return "Measured on a cluster of its own machines."
    text = "Which is faster; not by how much."
    if "cpu_per_request" in workload.deciding:
        text = "Which is faster, not by how much; and the CPU time it takes."
    if "tcp_throughput" in workload.deciding:
        text += " No throughput: there the instance's bandwidth is the limit."
    flows = sorted(
        {
            name
            for each in contests
            if each.metrics.get(_CONNECT) and each.metrics[_CONNECT].verdict in ("better", "worse")
            for name in each.comparison.labels
            if known[name].flows != known[_other(each.comparison.labels, name)].flows
            if known[name].flows
        }
    )
    if flows:
        text += (
            f" Hubble is on in {listed(flows)}: it takes CPU time at every new connection, and "
            "here the CPUs are full. With CPUs to spare less of it is felt."
        )
    return text


def _other(labels: tuple[str, str], name: str) -> str:
    return labels[1] if name == labels[0] else labels[0]


def _beside(
    workload: UseCase, side: SideBySide, candidates: Sequence[MeasuredScenario]
) -> Iterator[str]:
    """Exploratory metrics of each candidate against the first."""
    first, *others = candidates
    for name in workload.beside:
        effects = [
            f"{other.name} {metric.effect_text()}"
            for other in others
            if (metric := side.pairs[first.name, other.name].metrics.get(name))
        ]
        if effects:
            yield f"{name} against {first.name}: {'; '.join(effects)}"


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
