"""The project's settings: what a stack file says, typed and checked as a whole.

`from_pulumi_config` takes the configuration as the engine passes it to a program (`PULUMI_CONFIG`:
every value a string, objects as JSON) and needs no engine itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network
from itertools import combinations
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from bench.plan import ALLOWABLE, MAX_CONNECTIONS, MAX_RATE, MAX_RUNS, MAX_SECONDS
from cni.combinations import LAB_VPC_CNI_VERSION
from cni.problems import Problem, did_you_mean
from cni.scenario import Scenario
from cni.toggles import SETTINGS
from components.eks.settings import EksSettings, contradictions
from components.experiment_settings import Experiments
from components.settings_errors import SettingsError, StackFile

__all__ = [
    "PROJECT",
    "BenchmarkSettings",
    "EksSettings",
    "KubeconfigSettings",
    "LabSettings",
    "Settings",
    "SettingsError",
    "from_pulumi_config",
]

PROJECT = "cni-benchmark"
# Namespaces that Pulumi and the providers in use read for themselves.
_OTHER_NAMESPACES = ("pulumi", "aws", "eks", "kubernetes")
_POOL_MASK = 24  # The chart's default for each node's part of a cluster pool.
_USUAL_RANGES = {"scenario.podCidr": "10.244.0.0/16", "eks.serviceCidr": "10.100.0.0/16"}

Target = Literal["lab", "eks", "kubeconfig"]
Profile = Literal["quick", "standard", "published"]


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


class LabSettings(BaseModel):
    """The embedded lab. Client and server need a node each."""

    model_config = SETTINGS

    nodes: int = Field(default=3, ge=2, le=9, examples=[3])
    eni: Literal["real", "routed"] = "real"
    """Where pods have addresses of ENIs: the CNI's own ENI mode against a local EC2 API, or a
    routed pod subnet per node, which needs less of the machine."""


class KubeconfigSettings(BaseModel):
    """An existing cluster; None is kubectl's own default."""

    model_config = SETTINGS

    path: str | None = None
    context: str | None = None


class Settings(BaseModel):
    """Everything that a stack's configuration says."""

    model_config = SETTINGS

    target: Target = "lab"
    scenario: Scenario
    benchmark: BenchmarkSettings = BenchmarkSettings()
    eks: EksSettings
    lab: LabSettings = LabSettings()
    kubeconfig: KubeconfigSettings = KubeconfigSettings()

    @property
    def profile(self) -> Profile:
        """The benchmark's profile: quick in the lab and standard elsewhere, unless it is set."""
        return self.benchmark.profile or ("quick" if self.target == "lab" else "standard")


def from_pulumi_config(raw: Mapping[str, str], stack: str) -> Settings:
    """Read and check a stack's configuration, keyed `namespace:name`.

    Raises SettingsError with one line for every problem found: where, what, why and the fix.
    """
    file = StackFile(PROJECT, stack)
    if f"{PROJECT}:scenario" not in raw:
        raise SettingsError([file.without_scenario()])
    lines = [file.stray(key, reason) for key, reason in _stray_keys(raw)]
    tree = {
        name: _decode(raw[f"{PROJECT}:{name}"])
        for name in Settings.model_fields
        if f"{PROJECT}:{name}" in raw
    }
    try:
        settings = Settings.model_validate(tree, by_alias=True, by_name=False)
    except ValidationError as error:
        raise SettingsError(lines + file.explain(Settings, error)) from None
    lines += [file.contradiction(problem) for problem in _cross_checks(settings)]
    if lines:
        raise SettingsError(lines)
    return settings


def _decode(text: str) -> object:
    """An object's JSON, parsed; a plain value as it is."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _stray_keys(raw: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Top-level keys that nobody reads, each with the reason against it."""
    known = [f"{PROJECT}:{name}" for name in Settings.model_fields]
    for key in raw:
        namespace = key.partition(":")[0]
        if namespace == PROJECT and key not in known:
            yield key, f"unknown setting{did_you_mean(key, known)}"
        elif namespace not in (PROJECT, *_OTHER_NAMESPACES):
            yield key, f"unknown namespace{did_you_mean(namespace, (PROJECT, *_OTHER_NAMESPACES))}"


def _cross_checks(settings: Settings) -> Iterator[Problem]:
    """Contradictions between sections."""
    yield from _overlaps(settings)
    yield from _pool_checks(settings)
    if settings.target == "eks":
        yield from contradictions(settings.eks, settings.scenario)
    if settings.target == "lab":
        yield from _lab_version(settings.scenario)


def _lab_version(scenario: Scenario) -> Iterator[Problem]:
    version = scenario.cni_version
    if scenario.cni == "vpc-cni" and version != LAB_VPC_CNI_VERSION:
        key, reason = "scenario.cniVersion", f"the lab has the VPC CNI {LAB_VPC_CNI_VERSION} only"
        yield Problem(key, version, reason, key, LAB_VPC_CNI_VERSION)


def _overlaps(settings: Settings) -> Iterator[Problem]:
    """Address ranges that must be apart: pods of a cluster pool, Services, and the nodes."""
    if settings.target == "kubeconfig":
        return
    eks, pool = settings.eks, settings.scenario.pod_cidr
    nodes = {"eks.vpcCidr": eks.vpc_cidr}
    if settings.target == "lab":
        from lab.network import VPC_CIDR  # other targets do without the lab

        nodes = {"the lab's fabric": str(VPC_CIDR)}
    ranges = {"scenario.podCidr": pool} if pool else {}
    ranges |= {"eks.serviceCidr": eks.service_cidr} | nodes
    for (key, cidr), (other, other_cidr) in combinations(ranges.items(), 2):
        if IPv4Network(cidr).overlaps(IPv4Network(other_cidr)):
            yield Problem(key, cidr, f"overlaps {other} {other_cidr}", key, _USUAL_RANGES[key])


def _pool_checks(settings: Settings) -> Iterator[Problem]:
    scenario = settings.scenario
    if scenario.pod_cidr is None:
        return
    nodes = settings.lab.nodes if settings.target == "lab" else settings.eks.nodes
    if IPv4Network(scenario.pod_cidr).num_addresses < nodes << (32 - _POOL_MASK):
        key, reason = "scenario.podCidr", f"too small: each of {nodes} nodes takes a /{_POOL_MASK}"
        yield Problem(key, scenario.pod_cidr, reason, key, _USUAL_RANGES[key])
    if settings.target == "eks" and scenario.toggles.native_routing:
        reason = "a VPC does not route a cluster pool's addresses; native routing wants ipam: eni"
        yield Problem("scenario.ipam", scenario.ipam, reason, "scenario.ipam", "eni")
