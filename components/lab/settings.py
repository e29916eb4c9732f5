"""The settings of a stack in the lab, which imitates the EKS cluster of the section ``eks``."""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, Field

from cni.kubernetes import DEFAULT, VERSIONS
from cni.settings import SETTINGS as MODEL
from cni.settings import Problem
from components.eks.settings import EksSettings
from components.settings import Settings, TargetSettings, overlapping_ranges, small_pool


class LabSettings(BaseModel):
    """The embedded lab. Client and server need a node each."""

    model_config = MODEL

    nodes: int = Field(default=3, ge=2, le=9, examples=[3])
    eni: Literal["real", "routed"] = "real"
    """Where pods have addresses of ENIs: the CNI's own ENI mode against a local EC2 API, or a
    routed pod subnet per node, which needs less of the machine."""

    congestion_control: Literal["cubic", "bbr", "reno"] = "cubic"
    """TCP's, in nodes and pods; Amazon Linux's is cubic."""
    placement: Literal["nodes", "free"] = "nodes"
    """Whether each node has CPUs of its own, or all may use any."""


def _problems(settings: Settings) -> Iterator[Problem]:
    # Only a stack in the lab needs any of it.
    from lab.network import VPC_CIDR

    scenario, eks = settings.scenario, settings.section(EksSettings)
    ranges = {"eks.serviceCidr": eks.service_cidr, "the lab's fabric": str(VPC_CIDR)}
    yield from overlapping_ranges(scenario, ranges)
    yield from small_pool(scenario, settings.section(LabSettings).nodes)
    if eks.version not in VERSIONS:
        key, reason = "eks.version", f"the lab has Kubernetes {', '.join(VERSIONS)} only"
        yield Problem(key, eks.version, reason, key, DEFAULT)
    if settings.benchmark.runner == "pod":
        key, reason = "benchmark.runner", "the lab is on this machine, and so is what measures it"
        yield Problem(key, "pod", reason, key, "machine")
    version, dataplane = scenario.cni_version, scenario.dataplane
    if version not in dataplane.versions:
        key, known = "scenario.cniVersion", ", ".join(dataplane.versions)
        reason = f"the lab has {dataplane.title} {known} only"
        yield Problem(key, version, reason, key, dataplane.default)


SETTINGS = TargetSettings(
    name="lab",
    sections={"eks": EksSettings, "lab": LabSettings},
    problems=_problems,
    profile="quick",
    bring_ups=5,
    on_this_machine=True,
    up_seconds=30.0,
    unexplained="what is explained are differences of stacks that take turns: python -m bench "
    "explain --stack STACK --against OTHER, or make matrix",
)
