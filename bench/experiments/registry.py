"""The experiments by name."""

from __future__ import annotations

from collections.abc import Mapping

from bench.experiments.capabilities import ExperimentPods
from bench.experiments.definition import Definition, Extent

_HOST = Definition(
    name="host",
    question="How much of what the network gives between nodes is left between pods?",
    axis="path",
    needs=(ExperimentPods,),
    usual=Extent(points=("node to node", "pod to pod"), rounds=11, seconds=2),
    run="bench.experiments.host:run",
    fixed=True,
)

EXPERIMENTS: Mapping[str, Definition] = {each.name: each for each in (_HOST,)}
