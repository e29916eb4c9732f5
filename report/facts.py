"""What results say of a scenario: its traits, preconditions, environment, warnings, commands.

Traits are what rules need of it; the rest is what a number's reader can check.
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from bench.results import CheckResult
from cni.registry import DATAPLANES
from report.sources import MeasuredScenario

_SHOWN_ELSEWHERE = frozenset({"adaptations", "target_kind", "shared_machine"})


Services = Literal["kube-proxy iptables", "kube-proxy nftables", "kube-proxy ipvs", "eBPF"]

_SERVICES: Mapping[str | None, Services] = {
    "none": "eBPF",
    "iptables": "kube-proxy iptables",
    "nftables": "kube-proxy nftables",
    "ipvs": "kube-proxy ipvs",
}
"""Who load-balances Services, by the mode of kube-proxy."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What the CNI can do and what its agents report; None wherever the results do not tell.

    ``services`` is who load-balances Services. ``overlay``: pods have addresses of their own
    between tunnels, and take none of the VPC's. ``flows``: they are observed, with identities and
    verdicts. ``layer_7``: the CNI has policies by HTTP, DNS name and host. ``serves_pods``: it
    leads pods to Services by itself, also beside kube-proxy.
    """

    services: Services | None
    overlay: bool | None
    flows: bool | None
    layer_7: bool | None
    serves_pods: bool | None


def traits(scenario: MeasuredScenario) -> Traits:
    """A scenario's traits."""
    environment, record = scenario.environment, scenario.results.cni
    services = _SERVICES.get(environment.kube_proxy)
    cni = DATAPLANES.get(record.name) if record else None
    if cni is None:
        none = False if record else None
        return Traits(services, None, None, layer_7=none, serves_pods=none)
    reported = cni.reported(environment.agents)
    return Traits(
        services,
        reported.overlay,
        reported.flows,
        layer_7=cni.policies.layer_7,
        serves_pods=cni.serves_pods,
    )


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


def checks(scenarios: Sequence[MeasuredScenario]) -> list[tuple[str, list[CheckResult | None]]]:
    """Each precondition by name, with every scenario's (None where it was not looked at)."""
    by_scenario = [{each.name: each for each in scenario.results.checks} for scenario in scenarios]
    names = dict.fromkeys(name for checks in by_scenario for name in checks)
    return [(name, [checks.get(name) for checks in by_scenario]) for name in names]


def environment(scenarios: Sequence[MeasuredScenario]) -> list[Fact]:
    """All facts of the environments, nested ones by their path; those that all share first."""
    flat = [_facts(scenario) for scenario in scenarios]
    names = dict.fromkeys(name for facts in flat for name in facts)
    facts = [Fact(name, tuple(each.get(name, "-") for each in flat)) for name in names]
    return sorted(facts, key=lambda fact: fact.same is None)


def _facts(scenario: MeasuredScenario) -> dict[str, str]:
    cni = scenario.results.cni
    facts = dict(_flat(scenario.environment.model_dump(exclude_unset=True, exclude_none=True)))
    return {"cni": f"{cni.name} {cni.version}", **facts} if cni else facts


def _flat(data: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for key, value in data.items():
        name = f"{path}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif name not in _SHOWN_ELSEWHERE:
            yield name, _words(value)


def _words(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(map(_words, value)) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(each)}" for key, each in value.items())
    return str(value)


def adaptations(scenarios: Sequence[MeasuredScenario]) -> list[tuple[str, tuple[str, ...]]]:
    """Each adaptation with the scenarios that it is about; none where it is about all."""
    subjects: dict[str, list[str]] = {}
    for scenario in scenarios:
        for text in scenario.environment.adaptations:
            subjects.setdefault(text, []).append(scenario.name)
    everyone = [scenario.name for scenario in scenarios]
    return [(text, () if names == everyone else tuple(names)) for text, names in subjects.items()]


def commands(scenario: MeasuredScenario) -> Iterator[Command]:
    """Every probe's exact command."""
    for name, probe in scenario.results.probes.items():
        line = shlex.join(probe.argv) if probe.argv else "(no command: counters are read)"
        if probe.repeat_last > 1:
            line += f"   # the last argument {probe.repeat_last} times"
        yield Command(name, probe.role or "-", line, probe.runs, tuple(probe.failures))


def warnings(scenario: MeasuredScenario) -> list[str]:
    """What the run warned of, and what has no number."""
    lacking = [f"no number: {each.text()}" for each in scenario.results.errors]
    return list(dict.fromkeys([*lacking, *scenario.warnings, *scenario.results.warnings]))
