"""Results of several bring-ups as one: a bring-up is the replicate, and none is left out.

Each bring-up has its own results, in which bring-up and rounds count from 1. Here they follow each
other: bring-ups in the order given, rounds numbered through all of them. What the texts of one
bring-up say of runs is of its own runs; they are told with its number.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.metrics import Note, merged
from bench.results import (
    CheckResult,
    MetricResult,
    MissingMetric,
    MissingSample,
    Place,
    ProbeResult,
    Results,
    SharedRounds,
)
from bench.sampling import summed

_MAY_DIFFER = frozenset({"runs", "allow", "tools"})


class MergeError(ValueError):
    """Results that are not of bring-ups of the same thing; the message names them and the fix."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A bring-up without results: why, and how many rounds it would have had."""

    reason: str
    rounds: int


def merge(parts: Mapping[str, Results | Lost], shared: SharedRounds | None = None) -> Results:
    """One result of several bring-ups, which are numbered in their order.

    A sample that a bring-up lacks is missing with its reason. A precondition that was allowed to
    fail in any bring-up marks the whole. What else can be said only once (the environment, the
    pods, the commands) is that of the last bring-up.

    :param parts: each of one bring-up, by the name that a refusal gives it.
    :param shared: the rounds that they share with others, all of them.
    :raises MergeError: they do not belong together, or none has results.
    """
    whole = {name: part for name, part in parts.items() if isinstance(part, Results)}
    if not whole:
        raise MergeError("none of the bring-ups has results")
    _refuse_others(whole)
    if len(parts) == 1:
        return next(iter(whole.values())).model_copy(update={"rounds": shared})
    return _Merged(tuple(_numbered(parts.values()))).results(shared)


def _refuse_others(parts: Mapping[str, Results]) -> None:
    (first, one), *others = parts.items()
    for name, part in parts.items():
        if len(part.bring_ups) > 1:
            raise MergeError(
                f"{name} is of several bring-ups already. Fix: merge the results of single ones"
            )
    seen = dict.fromkeys(one.bring_ups, first)
    for name, part in others:
        for what, mine, theirs in _facts(one, part):
            if mine != theirs:
                raise MergeError(
                    f"{name} cannot be merged with {first}: {what} is {theirs!r}, not {mine!r}. "
                    "Fix: merge results of the same stack, measured by the same plan"
                )
        for bring_up in part.bring_ups:
            if bring_up in seen:
                raise MergeError(
                    f"{name} is of the same bring-up as {seen[bring_up]}. Fix: bring the stack up "
                    "anew for each result"
                )
            seen[bring_up] = name


def _facts(a: Results, b: Results) -> Iterator[tuple[str, object, object]]:
    """What bring-ups of one comparison have in common, of both."""
    yield "the scenario", a.scenario.name, b.scenario.name
    for key in sorted(a.scenario.settings.keys() | b.scenario.settings.keys()):
        yield f"its setting {key}", a.scenario.settings.get(key), b.scenario.settings.get(key)
    yield "the CNI", a.cni, b.cni
    yield "the set of applied toggles", _applied(a), _applied(b)
    for fact in ("target_kind", "instance_type", "emulated_instance_type"):
        yield fact.replace("_", " "), getattr(a.environment, fact), getattr(b.environment, fact)
    for key in sorted((a.plan.keys() | b.plan.keys()) - _MAY_DIFFER):
        yield f"the plan's {key}", a.plan.get(key), b.plan.get(key)


def _applied(part: Results) -> list[str]:
    return [each.toggle for each in part.decisions if each.applied]


@dataclass(frozen=True, slots=True)
class _Numbered:
    """A bring-up's results at their place: its number, and how many rounds lie before it."""

    part: Results | Lost
    number: int
    before: int

    @property
    def results(self) -> Results | None:
        return self.part if isinstance(self.part, Results) else None

    @property
    def rounds(self) -> int:
        """How many it has."""
        return self.part.rounds if isinstance(self.part, Lost) else int(self.part.plan["runs"])

    @property
    def reason(self) -> str:
        """Why it has no results."""
        return self.part.reason if isinstance(self.part, Lost) else ""

    def numbers(self) -> range:
        """Its rounds as they are numbered through all bring-ups."""
        return range(self.before + 1, self.before + self.rounds + 1)

    def says(self, text: str) -> str:
        return f"bring-up {self.number}: {text}"

    def samples(self, metric: MetricResult) -> dict[Place, float]:
        return {
            Place(self.number, place.round + self.before, place.slice): value
            for place, value in metric.by_place().items()
        }

    def missing(self, name: str) -> Iterator[MissingSample]:
        """The samples of a metric that this bring-up lacks."""
        metric = self.results.metrics.get(name) if self.results else None
        if metric is not None:
            for each in metric.missing:
                moved = {"round": each.round + self.before, "bring_up": self.number}
                yield each.model_copy(update=moved)
            return
        errors = self.results.errors if self.results else []
        told = next((each.reason for each in errors if each.metric == name), "")
        if self.results and not told and not self.results.plan.get("tools", True):
            return  # it was not to be measured
        for number in self.numbers():
            yield MissingSample(
                round=number,
                bring_up=self.number,
                reason=self.reason or told or "it was not measured",
            )

    def notes(self, metric: MetricResult) -> Iterator[tuple[int, Note]]:
        """Every note of a metric, once for each round that it is about."""
        for note in metric.notes:
            about = note.rounds or range(1, self.rounds + 1)
            bare = note.model_copy(update={"rounds": []})
            yield from ((number + self.before, bare) for number in about)

    def moved(self, probe: ProbeResult) -> dict[str, Any]:
        """What a probe's runs have left, by round."""
        by_run = {
            name: [
                each.model_copy(update={"run": each.run + self.before})
                for each in getattr(probe, name)
            ]
            for name in ("limits", "throttled", "steal")
        }
        return {"failures": [self.says(each) for each in probe.failures], **by_run}


def _numbered(parts: Iterable[Results | Lost]) -> Iterator[_Numbered]:
    before = 0
    for number, part in enumerate(parts, 1):
        numbered = _Numbered(part, number, before)
        yield numbered
        before += numbered.rounds


@dataclass(frozen=True, slots=True)
class _Merged:
    parts: tuple[_Numbered, ...]

    def _of(self, name: str) -> dict[str, list[tuple[_Numbered, Any]]]:
        """The entries of all results' field ``name``, by key, with the bring-up of each."""
        found: dict[str, list[tuple[_Numbered, Any]]] = {}
        for part in self.parts:
            for key, value in getattr(part.results, name, {}).items():
                found.setdefault(key, []).append((part, value))
        return found

    def results(self, shared: SharedRounds | None) -> Results:
        whole = [part.results for part in self.parts if part.results is not None]
        last = whole[-1]
        metrics = {name: self._metric(name, found) for name, found in self._of("metrics").items()}
        return last.model_copy(
            update={
                "started": min(each.started for each in whole),
                "finished": max(each.finished for each in whole),
                "seconds": round(sum(each.seconds for each in whole), 1),
                "plan": {**whole[0].plan, "runs": sum(part.rounds for part in self.parts)},
                "metrics": metrics,
                "probes": {name: self._probe(found) for name, found in self._of("probes").items()},
                "bring_ups": [
                    "".join(part.results.bring_ups) if part.results else "" for part in self.parts
                ],
                "checks": list(self._checks()),
                "rounds": shared,
                "warnings": list(self._warnings()),
                "errors": [each for each in self._errors() if each.metric not in metrics],
            }
        )

    def _metric(self, name: str, found: list[tuple[_Numbered, MetricResult]]) -> MetricResult:
        samples: dict[Place, float] = {}
        notes: list[tuple[int, Note]] = []
        for part, metric in found:
            samples |= part.samples(metric)
            notes += part.notes(metric)
        rounds = [number for part, _ in found for number in part.numbers()]
        latest = found[-1][1]
        return latest.model_copy(
            update={
                **summed(samples),
                "missing": [each for part in self.parts for each in part.missing(name)],
                "notes": merged(notes, rounds),
            }
        )

    def _probe(self, found: list[tuple[_Numbered, ProbeResult]]) -> ProbeResult:
        moved = [part.moved(probe) for part, probe in found]
        joined = {name: [each for one in moved for each in one[name]] for name in moved[0]}
        runs = sum(probe.runs for _, probe in found)
        return found[-1][1].model_copy(update={"runs": runs, **joined})

    def _checks(self) -> Iterator[CheckResult]:
        """Each precondition once; of one that did not hold everywhere, where it did not."""
        by_name: dict[str, list[tuple[_Numbered, CheckResult]]] = {}
        for part in self.parts:
            for check in part.results.checks if part.results else []:
                by_name.setdefault(check.name, []).append((part, check))
        for made in by_name.values():
            failed = [(part, check) for part, check in made if not check.passed]
            if failed:
                evidence = "; ".join(part.says(check.evidence) for part, check in failed)
                yield failed[-1][1].model_copy(update={"evidence": evidence})
            else:
                yield made[-1][1]

    def _warnings(self) -> Iterator[str]:
        """What all bring-ups say is told once."""
        by_part = [(part, part.results.warnings) for part in self.parts if part.results is not None]
        common = [text for text in by_part[0][1] if all(text in texts for _, texts in by_part)]
        yield from common
        for part in self.parts:
            if part.results is None:
                yield part.says(f"no results: {part.reason}")
            else:
                yield from (part.says(text) for text in part.results.warnings if text not in common)
        yield from self._changed("kernel", lambda one: one.environment.kernel)
        yield from self._changed("tools' versions", lambda one: one.tools)

    def _changed(self, what: str, fact: Callable[[Results], object]) -> Iterator[str]:
        told = [(part, fact(part.results)) for part in self.parts if part.results is not None]
        first, usual = told[0]
        for part, value in told:
            if value != usual:
                yield part.says(f"the {what}: {value!r}, in bring-up {first.number} {usual!r}")

    def _errors(self) -> Iterator[MissingMetric]:
        told: dict[str, list[str]] = {}
        for part in self.parts:
            for each in part.results.errors if part.results else []:
                told.setdefault(each.metric, []).append(part.says(each.reason))
        for name, reasons in told.items():
            yield MissingMetric(metric=name, reason="; ".join(reasons))
