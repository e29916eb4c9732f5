"""The project's settings: what a stack file says, typed and checked as a whole.

A stack has the settings of its scenario and of the benchmark, and the sections that its target
reads (:class:`TargetSettings`); no target is known here. :func:`from_pulumi_config` takes the
configuration as the engine passes it to a program (`PULUMI_CONFIG`: every value a string, objects
as JSON) and needs no engine itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from itertools import combinations
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, Field, ValidationError, create_model

from bench.plan import ALLOWABLE, MAX_CONNECTIONS, MAX_RATE, MAX_RUNS, MAX_SECONDS
from cni.scenario import Scenario
from cni.settings import SETTINGS, Problem, did_you_mean
from components.experiment_settings import Experiments
from components.settings_errors import SettingsError, StackFile

__all__ = [
    "PROJECT",
    "BenchmarkSettings",
    "Settings",
    "SettingsError",
    "TargetSettings",
    "from_pulumi_config",
    "overlapping_ranges",
    "small_pool",
]

PROJECT = "cni-benchmark"
# Namespaces that Pulumi and the providers in use read for themselves.
_OTHER_NAMESPACES = ("pulumi", "aws", "eks", "kubernetes")
_POOL_MASK = 24  # The chart's default for each node's part of a cluster pool.
_POD_CIDR = "scenario.podCidr"
_USUAL_RANGES = {_POD_CIDR: "10.244.0.0/16", "eks.serviceCidr": "10.100.0.0/16"}

Profile = Literal["quick", "standard", "published"]
Section = TypeVar("Section", bound=BaseModel)


def _each_once(rates: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(rates)) < len(rates):
        raise ValueError("must not have a rate twice")
    return rates


def _allowable(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in ALLOWABLE]
    if unknown:
        raise ValueError(f"must be of {', '.join(ALLOWABLE)}; not {', '.join(unknown)}")
    return names


class BenchmarkSettings(BaseModel):
    """What to measure and how often; None leaves it to the profile."""

    model_config = SETTINGS

    profile: Profile | None = None
    runs: int | None = Field(default=None, ge=1, le=MAX_RUNS, examples=[3])
    duration_seconds: int | None = Field(default=None, ge=1, le=MAX_SECONDS, examples=[30])
    """Of one measurement."""
    http_qps: Annotated[
        tuple[Annotated[int, Field(ge=1, le=MAX_RATE)], ...],
        Field(min_length=1, strict=False, examples=[[1000, 5000]]),
        AfterValidator(_each_once),
    ] = (1000, 5000)
    """Fixed rates, in requests per second; the highest possible rate is always measured."""
    connections: int | None = Field(default=None, ge=1, le=MAX_CONNECTIONS, examples=[32])
    """Of the HTTP load generator, at the fixed rates."""
    allow: Annotated[
        tuple[str, ...],
        Field(strict=False, examples=[["quiet-machine"]]),
        AfterValidator(_allowable),
    ] = ()
    """Preconditions that may fail; results are marked then. The others end the measurement."""
    experiments: Experiments = ()
    """What else to find out, after the benchmark."""


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """What a target reads of a stack file.

    :param name: the value of ``target`` that asks for it.
    :param sections: the models of the top-level settings that it reads, by name. Two targets may
        read the same section.
    :param problems: what is wrong between its sections, or between them and the scenario.
    :param profile: the benchmark's profile where the stack names none.
    """

    name: str
    sections: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    problems: Callable[[Settings], Iterable[Problem]] = lambda settings: ()
    profile: Profile = "standard"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that a stack's configuration says.

    :param target: the target's name.
    :param profile: the benchmark's profile: the stack's, or else the target's.
    :param sections: the target's own settings, by name.
    """

    target: str
    scenario: Scenario
    benchmark: BenchmarkSettings
    profile: Profile
    sections: Mapping[str, BaseModel]

    def section(self, model: type[Section]) -> Section:
        """The target's section of this model.

        :raises LookupError: the target does not read it.
        """
        for section in self.sections.values():
            if isinstance(section, model):
                return section
        raise LookupError(f"the target {self.target} reads no {model.__name__}")


def from_pulumi_config(
    raw: Mapping[str, str], stack: str, targets: Sequence[TargetSettings]
) -> Settings:
    """Read and check a stack's configuration.

    :param raw: values by `namespace:name`.
    :param targets: the targets that there are; the first is the usual one.
    :raises SettingsError: with one line for every problem: where, what, why and the fix.
    """
    file = StackFile(PROJECT, stack)
    if f"{PROJECT}:scenario" not in raw:
        raise SettingsError([file.without_scenario()])
    tree = {
        key.removeprefix(f"{PROJECT}:"): _decode(value)
        for key, value in raw.items()
        if key.startswith(f"{PROJECT}:")
    }
    by_name = {each.name: each for each in targets}
    target = by_name.get(str(tree.get("target")), targets[0])
    model = _model(targets, target)
    lines = [file.stray(key, reason) for key, reason in _stray_keys(raw, model)]
    known = {name: value for name, value in tree.items() if name in model.model_fields}
    try:
        read: Any = model.model_validate(known, by_alias=True, by_name=False)
    except ValidationError as error:
        raise SettingsError(lines + file.explain(model, error)) from None
    settings = Settings(
        target=target.name,
        scenario=read.scenario,
        benchmark=read.benchmark,
        profile=read.benchmark.profile or target.profile,
        sections={name: getattr(read, name) for name in target.sections},
    )
    lines += [file.contradiction(problem) for problem in target.problems(settings)]
    if lines:
        raise SettingsError(lines)
    return settings


def _model(targets: Sequence[TargetSettings], chosen: TargetSettings) -> type[BaseModel]:
    """The model of a whole stack file.

    Sections of other targets may be there and are checked alike; only the chosen target's are
    demanded.
    """
    fields: dict[str, Any] = {
        # By the names of the targets, for the refusal's words and its proposal.
        "target": (Literal.__getitem__(tuple(each.name for each in targets)), targets[0].name),
        "scenario": (Scenario, ...),
        "benchmark": (BenchmarkSettings, BenchmarkSettings()),
    }
    for target in targets:
        for name, section in target.sections.items():
            fields[name] = (section, _default(section) if name in chosen.sections else None)
    return create_model("StackSettings", __config__=SETTINGS, **fields)


def _default(section: type[BaseModel]) -> Any:
    """A section that is not there: its defaults, or demanded where a setting has none."""
    if any(each.is_required() for each in section.model_fields.values()):
        return ...
    return section()


def _decode(text: str) -> object:
    """An object's JSON, parsed; a plain value as it is."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _stray_keys(raw: Mapping[str, str], model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Top-level keys that nobody reads, each with the reason against it."""
    known = [f"{PROJECT}:{name}" for name in model.model_fields]
    for key in raw:
        namespace = key.partition(":")[0]
        if namespace == PROJECT and key not in known:
            yield key, f"unknown setting{did_you_mean(key, known)}"
        elif namespace not in (PROJECT, *_OTHER_NAMESPACES):
            yield key, f"unknown namespace{did_you_mean(namespace, (PROJECT, *_OTHER_NAMESPACES))}"


def overlapping_ranges(scenario: Scenario, others: Mapping[str, str]) -> Iterator[Problem]:
    """Address ranges that are not apart, but must be: a cluster pool's and others.

    :param others: IPv4 networks by the setting that names each, or by what else they are.
    """
    ranges = {_POD_CIDR: scenario.pod_cidr} if scenario.pod_cidr else {}
    for (key, cidr), (other, other_cidr) in combinations((ranges | dict(others)).items(), 2):
        if IPv4Network(cidr).overlaps(IPv4Network(other_cidr)):
            yield Problem(key, cidr, f"overlaps {other} {other_cidr}", key, _USUAL_RANGES[key])


def small_pool(scenario: Scenario, nodes: int) -> Iterator[Problem]:
    """A cluster pool that has not a part for every node."""
    if scenario.pod_cidr is None:
        return
    if IPv4Network(scenario.pod_cidr).num_addresses < nodes << (32 - _POOL_MASK):
        reason = f"too small: each of {nodes} nodes takes a /{_POOL_MASK}"
        yield Problem(_POD_CIDR, scenario.pod_cidr, reason, _POD_CIDR, _USUAL_RANGES[_POD_CIDR])
