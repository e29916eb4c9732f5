"""What a number's reader can check: settings, preconditions, environment, commands, by scenario."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.results import CheckResult, ProbeResult
from report.show import ANSWERS
from report.sources import MeasuredScenario

_TOLD_ELSEWHERE = frozenset({"adaptations", "target_kind", "shared_machine"})


@dataclass(frozen=True, slots=True)
class Toggle:
    """One toggle of one scenario; each answer is "yes", "no" or "-" where nobody knows."""

    name: str
    requested: str
    applied: str
    verified: str
    reason: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of the environment by scenario; ``same`` is its one value where all agree."""

    name: str
    values: tuple[str, ...]

    @property
    def same(self) -> str | None:
        """The value that all have."""
        return self.values[0] if len(set(self.values)) == 1 else None


@dataclass(frozen=True, slots=True)
class Command:
    """How one probe was run, as it would be typed; ``where`` is the pods' role."""

    probe: str
    where: str
    line: str
    runs: int
    failures: tuple[str, ...]


def toggles(scenario: MeasuredScenario) -> list[Toggle]:
    """What each toggle was asked to be, was made, and was found to be."""
    return [
        Toggle(
            name=each.title or each.toggle,
            requested=ANSWERS[each.requested],
            applied=ANSWERS[each.applied],
            verified=ANSWERS[each.verified],
            reason=each.reason,
        )
        for each in scenario.decisions
    ]


def checks(scenarios: Sequence[MeasuredScenario]) -> list[tuple[str, list[CheckResult | None]]]:
    """Each precondition by name, with every scenario's (None where it was not looked at)."""
    by_scenario = [{each.name: each for each in scenario.results.checks} for scenario in scenarios]
    names = dict.fromkeys(name for found in by_scenario for name in found)
    return [(name, [found.get(name) for found in by_scenario]) for name in names]


def environment(scenarios: Sequence[MeasuredScenario]) -> list[Fact]:
    """All facts of the environments, nested ones by their path; those that all share first."""
    flat = [_facts(scenario) for scenario in scenarios]
    names = dict.fromkeys(name for facts in flat for name in facts)
    facts = [Fact(name, tuple(each.get(name, "-") for each in flat)) for name in names]
    return sorted(facts, key=lambda fact: fact.same is None)


def _facts(scenario: MeasuredScenario) -> dict[str, str]:
    cni, told = scenario.results.cni, scenario.environment
    facts = dict(_flat(told.model_dump(exclude_unset=True, exclude_none=True)))
    return {"cni": f"{cni.name} {cni.version}", **facts} if cni else facts


def _flat(data: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        name = f"{path}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif name not in _TOLD_ELSEWHERE:
            yield name, _words(value)


def _words(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(map(_words, value)) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(each)}" for key, each in value.items())
    return str(value)


def adaptations(scenarios: Sequence[MeasuredScenario]) -> list[tuple[str, tuple[str, ...]]]:
    """Each adaptation with the scenarios that it is about; none where it is about all."""
    found: dict[str, list[str]] = {}
    for scenario in scenarios:
        for text in scenario.environment.adaptations:
            found.setdefault(text, []).append(scenario.name)
    everyone = [scenario.name for scenario in scenarios]
    return [(text, () if names == everyone else tuple(names)) for text, names in found.items()]


def commands(scenario: MeasuredScenario) -> list[Command]:
    """Every probe's exact command."""
    return [_command(name, probe) for name, probe in scenario.results.probes.items()]


def _command(name: str, probe: ProbeResult) -> Command:
    *first, last = probe.argv or ["(no command: counters are read)"]
    line = shlex.join([*first, last]) if probe.argv else last
    if probe.repeat_last > 1:
        line += f"   # the last argument {probe.repeat_last} times"
    return Command(name, probe.role or "-", line, probe.runs, tuple(probe.failures))


def warnings(scenario: MeasuredScenario) -> list[str]:
    """What the run warned of, and what has no number."""
    lacking = [f"no number: {each.text()}" for each in scenario.results.errors]
    return list(dict.fromkeys([*lacking, *scenario.warnings, *scenario.results.warnings]))
