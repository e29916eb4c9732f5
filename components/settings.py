"""The project's settings: what a stack file says, typed and checked as a whole.

A stack has the settings of its scenario and of the benchmark, and the sections that its target
reads (:class:`TargetSettings`); no target is known here. :func:`from_pulumi_config` takes the
configuration as the engine passes it to a program (`PULUMI_CONFIG`: every value a string, objects
as JSON) and needs no engine itself.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from itertools import combinations
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from bench.plan import ALLOWABLE, MAX_CONNECTIONS, MAX_RATE, MAX_RUNS, MAX_SECONDS
from bench.text import load_json
from cni.scenario import Scenario
from cni.settings import (
    SETTINGS,
    CombinationError,
    Problem,
    did_you_mean,
    nearest,
    property_path,
    setting_name,
    show,
)
from studies.experiments.definition import EXPERIMENTS, Extent

PROJECT = "cni-benchmark"
# Namespaces that Pulumi and the providers in use read for themselves.
_OTHER_NAMESPACES = ("pulumi", "aws", "eks", "kubernetes")
_POOL_MASK = 24  # The chart's default for each node's part of a cluster pool.
_POD_CIDR = "scenario.podCidr"
_USUAL_RANGES = {_POD_CIDR: "10.244.0.0/16", "eks.serviceCidr": "10.100.0.0/16"}

# pydantic's error types, as what a setting must be. Others keep their own message.
_MUST_BE = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "string_type": "must be text: put it in quotes",
    "tuple_type": "must be a list",
    "dict_type": "must be a map of values",
    "model_type": "must be a map of settings",
    "model_attributes_type": "must be a map of settings",
    "string_too_short": "must not be empty",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must have at least {min_length}",
    "too_long": "must have at most {max_length}",
}


Profile = Literal["quick", "standard", "published"]
RunnerPlace = Literal["machine", "pod"]
"""Where a benchmark runs: on the machine of the command, or in a pod of the cluster."""
Section = TypeVar("Section", bound=BaseModel)
_Loc = tuple[int | str, ...]


class SettingsError(Exception):
    """A stack's settings are refused; its text is one line for each problem."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


def _known_experiment(name: str) -> str:
    if name not in EXPERIMENTS:
        listed = ", ".join(EXPERIMENTS)
        raise ValueError(f"no such experiment{did_you_mean(name, EXPERIMENTS)}; there are {listed}")
    return name


class ExperimentSettings(BaseModel):
    """An experiment by its name, alone or with its extent; None is its usual one."""

    model_config = SETTINGS

    name: Annotated[str, Field(examples=["scale"]), AfterValidator(_known_experiment)]
    points: Annotated[tuple[int | str, ...], Field(strict=False)] = ()
    rounds: int | None = Field(default=None, ge=1, le=MAX_RUNS, examples=[7])
    seconds: int | None = Field(default=None, ge=1, le=MAX_SECONDS, examples=[2])

    @property
    def extent(self) -> Extent:
        """How much of it is done."""
        return EXPERIMENTS[self.name].extent(self.points, self.rounds, self.seconds)

    @model_validator(mode="after")
    def _possible(self) -> ExperimentSettings:
        _ = self.extent  # ExtentError is a ValueError: told as this setting's
        return self


def _named(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _no_experiment_twice(
    wanted: tuple[ExperimentSettings, ...],
) -> tuple[ExperimentSettings, ...]:
    if len({each.name for each in wanted}) < len(wanted):
        raise ValueError("must not have an experiment twice")
    return wanted


def _each_once(rates: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(rates)) < len(rates):
        raise ValueError("must not have a rate twice")
    return rates


def _url(text: str) -> str:
    if not re.match(r"https?://[^/\s]+", text):
        raise ValueError("must be a URL such as https://pypi.org/simple")
    return text


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
    experiments: Annotated[
        tuple[Annotated[ExperimentSettings, BeforeValidator(_named)], ...],
        Field(strict=False, examples=[["scale"]]),
        AfterValidator(_no_experiment_twice),
    ] = ()
    """What else to find out, after the benchmark; from the machine of the command."""
    runner: RunnerPlace = "machine"
    package_index: Annotated[
        str, Field(examples=["https://pypi.org/simple"]), AfterValidator(_url)
    ] = "https://pypi.org/simple"
    """Where a pod that runs the benchmark gets its Python packages."""
    explain: bool = False
    """Where the CPU time of an operation goes is told, too, where the target can tell it of one
    stack. None can yet; each says why (:attr:`TargetSettings.unexplained`)."""


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """What a target reads of a stack file.

    :param name: the value of ``target`` that asks for it.
    :param sections: the models of the top-level settings that it reads, by name. Two targets may
        read the same section.
    :param problems: what is wrong between its sections, or between them and the scenario.
    :param profile: the benchmark's profile where the stack names none.
    :param bring_ups: how often a comparison of stacks brings them up, where nobody says.
    :param on_this_machine: its clusters share the memory of the machine that this runs on.
    :param up_seconds: what bringing a stack up and down takes, roughly, for forecasts.
    :param unexplained: why `benchmark.explain` is skipped, and what there is in its place.
    """

    name: str
    sections: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    problems: Callable[[Settings], Iterable[Problem]] = lambda settings: ()
    profile: Profile = "standard"
    bring_ups: int = 1
    on_this_machine: bool = False
    up_seconds: float = 60.0
    unexplained: str = "this target does not sample its nodes"


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


def as_pulumi_config(tree: Mapping[str, Any]) -> dict[str, str]:
    """Settings as the engine passes them: strings as they are, everything else as JSON."""
    return {
        f"{PROJECT}:{name}": value if isinstance(value, str) else json.dumps(value)
        for name, value in tree.items()
    }


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
        return load_json(text)
    except ValueError:
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


# -- refused settings, one line each: where it stands, what it is, why not, and the fix ------------


@dataclass(frozen=True, slots=True)
class StackFile:
    """The file that a stack's settings stand in, and the commands that change it."""

    project: str
    stack: str

    @property
    def name(self) -> str:
        """The file's name, beside Pulumi.yaml."""
        return f"Pulumi.{self.stack}.yaml"

    def without_scenario(self) -> str:
        """The line for a stack that has no settings yet."""
        return (
            f"{self.name}: {self.project}:scenario: missing: a stack is one scenario. "
            f"Fix: cp Pulumi.scenario-e.yaml {self.name}, then edit it"
        )

    def stray(self, key: str, reason: str) -> str:
        """The line for a top-level key, with its namespace, that should not be there."""
        return f"{self.name}: {key}: {reason}. Fix: pulumi config rm {key} -s {self.stack}"

    def contradiction(self, problem: Problem) -> str:
        """The line for settings that cannot be together."""
        value = None if problem.value is None else show(problem.value)
        fix = self._set(problem.fix_key, problem.fix_value)
        return self._line(problem.key, value, problem.reason, fix)

    def explain(self, model: type[BaseModel], error: ValidationError) -> list[str]:
        """The lines for settings that do not fit the model of them all."""
        lines = []
        for details in error.errors():
            cause = details.get("ctx", {}).get("error")
            if isinstance(cause, CombinationError):
                section = property_path(details["loc"])
                lines += [self.contradiction(_below(section, one)) for one in cause.problems]
            else:
                lines.append(self._misfit(model, details))
        return lines

    def _misfit(self, model: type[BaseModel], details: ErrorDetails) -> str:
        loc, value = details["loc"], details["input"]
        key = property_path(loc)
        if details["type"] == "extra_forbidden":
            reason = (
                f"unknown setting{did_you_mean(str(loc[-1]), _settings_of(_owner(model, loc)))}"
            )
            return self._line(key, show(value), reason, self._set(key, None))
        proposal = _proposal(model, details)
        fix = self._set(key, proposal)
        if details["type"] == "string_type" and proposal is None and isinstance(value, int | float):
            # The command takes what looks like a number or a truth value for one.
            fix = self._set(key, value, " --type string")
        if details["type"] != "missing" and value is not None:
            return self._line(key, show(value), _reason(details), fix)
        if proposal is None:
            fix = f"add it to {self.name}, or to Pulumi.yaml for all stacks"
        return self._line(key, None, "missing", fix)

    def _line(self, key: str, value: str | None, reason: str, fix: str) -> str:
        shown = "" if value is None else f" {value}:"
        return f"{self.name}: {self.project}:{key}:{shown} {reason}. Fix: {fix}"

    def _set(self, key: str, value: object, options: str = "") -> str:
        """The command that sets a key, or removes it where value is None."""
        if isinstance(value, list | tuple):
            return self._set(f"{key}[0]", value[0])
        where = f"--path '{key}'" if re.search(r"[.\[]", key) else key
        if value is None:
            return f"pulumi config rm {where} -s {self.stack}"
        shown = shlex.quote(show(value))
        return f"pulumi config set {where} {shown}{options} -s {self.stack}"


def _below(section: str, problem: Problem) -> Problem:
    return replace(problem, key=f"{section}.{problem.key}", fix_key=f"{section}.{problem.fix_key}")


def _reason(details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    if details["type"] == "literal_error":
        return f"must be {'one of ' if len(_options(details)) > 1 else ''}{context['expected']}"
    if "error" in context:
        return str(context["error"])
    return _MUST_BE.get(details["type"], details["msg"]).format_map(context)


def _options(details: ErrorDetails) -> list[str]:
    return re.findall(r"'([^']*)'", details.get("ctx", {})["expected"])


def _proposal(model: type[BaseModel], details: ErrorDetails) -> object:
    """A value that would do, or None where the setting is best removed."""
    if details["type"] == "literal_error":
        options = _options(details)
        return nearest(str(details["input"]), options) or options[0]
    if details["type"] == "bool_type":
        return str(details["input"]).casefold() in ("true", "yes", "on", "1")
    field = _field_at(model, details["loc"])
    if field is None:
        return None
    if field.examples:
        example = field.examples[0]
        if not isinstance(example, list):
            return example
        if isinstance(details["loc"][-1], int):
            return example[0]
        return example if field.is_required() else None
    if get_origin(field.annotation) is Literal:
        return get_args(field.annotation)[0]
    return None


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that an annotation is, or holds beside None."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _settings_of(model: type[BaseModel] | None) -> dict[str, FieldInfo]:
    if model is None:
        return {}
    return {setting_name(model, name): field for name, field in model.model_fields.items()}


def _owner(model: type[BaseModel], loc: _Loc) -> type[BaseModel] | None:
    """The model that the last named part of a location belongs to."""
    names = [part for part in loc if isinstance(part, str)]
    owner: type[BaseModel] | None = model
    for name in names[:-1]:
        field = _settings_of(owner).get(name)
        owner = _model_in(field.annotation) if field else None
    return owner


def _field_at(model: type[BaseModel], loc: _Loc) -> FieldInfo | None:
    """The field at a location; for an item of a list, the list's."""
    names = [part for part in loc if isinstance(part, str)]
    return _settings_of(_owner(model, loc)).get(names[-1]) if names else None
