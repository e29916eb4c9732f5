"""The experiments by name, as data that a stack's settings are checked with.

What runs each is in :mod:`studies.experiments.run`, with the statistics that this does without.
"""

from __future__ import annotations

from collections.abc import Mapping

from cni.registry import TOGGLES
from studies.experiments.ablate import QUESTION, ROUNDS, SECONDS
from studies.experiments.capabilities import (
    ComponentCommands,
    ComponentMetrics,
    ExperimentPods,
    ObjectStore,
    Variants,
)
from studies.experiments.definition import Definition, Extent

_HOST = Definition(
    name="host",
    question="How much of what the network gives between nodes is left between pods?",
    axis="path",
    needs=(ExperimentPods,),
    usual=Extent(points=("node to node", "pod to pod"), rounds=11, seconds=2),
    fixed=True,
)

_SCALE = Definition(
    name="scale",
    question="What do thousands of Services cost, and where?",
    axis="Services",
    unit="Services",
    needs=(ObjectStore, ComponentCommands, ComponentMetrics),
    usual=Extent(points=(4, 104, 1_000, 5_000, 10_000), rounds=5, seconds=1),
    lowest=4,
    highest=20_000,
)

_HOPS = Definition(
    name="hops",
    question="What does a request through a chain of services take, and how does it grow per hop?",
    axis="services in the chain",
    unit="hops",
    needs=(ObjectStore, ExperimentPods),
    usual=Extent(points=(1, 2, 3, 4, 5, 6, 7, 8), rounds=8, seconds=2),
    lowest=1,
    highest=8,
)


def _policies(name: str, kind: str) -> Definition:
    return Definition(
        name=name,
        question=f"What do objects of kind {kind} cost, and how fast do they take effect?",
        axis=kind,
        unit="policies",
        needs=(ObjectStore, ExperimentPods),
        usual=Extent(points=(0, 10, 100, 1_000), rounds=6, seconds=1),
        lowest=0,
        highest=3_000,
    )


_TOGGLES = Definition(
    name="toggles",
    question=QUESTION,
    axis="toggle",
    needs=(Variants,),
    usual=Extent(points=tuple(TOGGLES), rounds=ROUNDS, seconds=SECONDS),
)
_POLICY = _policies("policy", "NetworkPolicy")
_CILIUM_POLICY = _policies("cilium-policy", "CiliumNetworkPolicy")

EXPERIMENTS: Mapping[str, Definition] = {
    each.name: each for each in (_HOST, _SCALE, _HOPS, _TOGGLES, _POLICY, _CILIUM_POLICY)
}
