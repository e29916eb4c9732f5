"""What an experiment is: its question, its axis, its needs, how much of it is done; all by name.

Pure data, light to import: a stack's settings are checked with it. What runs each experiment is in
:mod:`studies.experiments.run`, with the statistics that this does without.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.plan import MAX_RUNS, MAX_SECONDS
from cni.registry import TOGGLES
from studies.experiments.capabilities import (
    ComponentCommands,
    ComponentMetrics,
    ExperimentPods,
    LoadGenerator,
    ObjectStore,
    Variants,
)

Points = tuple[int, ...] | tuple[str, ...]


class ExtentError(ValueError):
    """Points, rounds or seconds that the experiment cannot have; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is done: ``rounds`` samples of every metric at every point, of ``seconds`` each.

    ``points`` are places on the axis: whole numbers, or names where the axis has no unit.
    """

    points: Points
    rounds: int
    seconds: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON-able data."""
        return {"points": list(self.points), "rounds": self.rounds, "seconds": self.seconds}


_WORDS = (
    ("points", "points on the axis"),
    ("rounds", "samples at each point"),
    ("seconds", "length of each probe's run"),
)


@dataclass(frozen=True, slots=True)
class Definition:
    """An experiment.

    ``axis`` is what is changed on purpose and ``unit`` that of its numbers (empty for names).
    ``needs`` are capabilities (:mod:`studies.experiments.capabilities`); ``usual`` is its extent
    where nothing else is asked for. Points that are numbers lie between ``lowest`` and
    ``highest``; names are some of the usual ones; ``fixed`` ones cannot be chosen. ``words`` are
    what a command calls points, rounds and seconds, with what each is. No sample is begun
    ``within`` seconds after its begin, where nobody says otherwise.
    """

    name: str
    question: str
    axis: str
    needs: tuple[type, ...]
    usual: Extent
    unit: str = ""
    lowest: int = 0
    highest: int = 0
    fixed: bool = False
    words: tuple[tuple[str, str], ...] = _WORDS
    within: float = math.inf

    def extent(
        self,
        points: Sequence[str | int] = (),
        rounds: int | None = None,
        seconds: int | None = None,
    ) -> Extent:
        """The usual extent with a user's numbers in place of its own.

        :raises ExtentError: an impossible point or number.
        """
        wanted = self.usual
        if points and self.fixed:
            raise ExtentError(f"{self.name}: its points are always {_listed(wanted.points)}")
        if points:
            wanted = replace(wanted, points=self._points(points))
        if rounds is not None:
            wanted = replace(wanted, rounds=_whole("rounds", rounds, MAX_RUNS))
        if seconds is not None:
            wanted = replace(wanted, seconds=_whole("seconds", seconds, MAX_SECONDS))
        return wanted

    def _points(self, points: Sequence[str | int]) -> Points:
        if len(set(map(str, points))) < len(points):
            raise ExtentError(f"{self.name}: a point twice: {_listed(points)}")
        if all(isinstance(point, int) for point in self.usual.points):
            return tuple(self._number(point) for point in points)
        unknown = [point for point in points if point not in self.usual.points]
        if unknown:
            raise ExtentError(
                f"{self.name}: no such point: {_listed(unknown)}; choose of "
                f"{_listed(self.usual.points)}"
            )
        return tuple(map(str, points))

    def _number(self, point: str | int) -> int:
        limits = f"a whole number from {self.lowest:,} to {self.highest:,}"
        try:
            number = int(point)
        except ValueError:
            raise ExtentError(f"{self.name}: a point is {limits}, not {point!r}") from None
        if not self.lowest <= number <= self.highest:
            raise ExtentError(f"{self.name}: a point is {limits}, not {number:,}")
        return number


def _whole(name: str, value: int, highest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= highest:
        raise ExtentError(f"{name} must be a whole number from 1 to {highest:,}, not {value!r}")
    return value


def _listed(points: Sequence[object]) -> str:
    return ", ".join(map(str, points))


DISRUPTIONS = (
    "agent-restart",
    "agent-killed",
    "agent-absent",
    "agent-upgrade",
    "kube-proxy-restart",
    "operator-restart",
    "pod-replaced",
    "pod-killed",
    "dns-replaced",
    "policy",
)
"""What :mod:`studies.experiments.disrupt.events` brings about."""


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


_ALL = (
    Definition(
        name="host",
        question="How much of what the network gives between nodes is left between pods?",
        axis="path",
        needs=(ExperimentPods,),
        usual=Extent(points=("node to node", "pod to pod"), rounds=11, seconds=2),
        fixed=True,
    ),
    Definition(
        name="scale",
        question="What do thousands of Services cost, and where?",
        axis="Services",
        unit="Services",
        needs=(ObjectStore, ComponentCommands, ComponentMetrics),
        usual=Extent(points=(4, 104, 1_000, 5_000, 10_000), rounds=5, seconds=1),
        lowest=4,
        highest=20_000,
    ),
    Definition(
        name="hops",
        question="What does a request through a chain of services take, and how does it grow per "
        "hop?",
        axis="services in the chain",
        unit="hops",
        needs=(ObjectStore, ExperimentPods),
        usual=Extent(points=(1, 2, 3, 4, 5, 6, 7, 8), rounds=8, seconds=2),
        lowest=1,
        highest=8,
    ),
    Definition(
        name="toggles",
        question="What does each tuning toggle do by itself?",
        axis="toggle",
        needs=(Variants,),
        usual=Extent(points=tuple(TOGGLES), rounds=8, seconds=1),
    ),
    _policies("policy", "NetworkPolicy"),
    _policies("cilium-policy", "CiliumNetworkPolicy"),
    Definition(
        name="disrupt",
        question="What do users feel when a component restarts, a pod is replaced, or a policy "
        "comes and goes?",
        axis="event",
        needs=(ObjectStore, ExperimentPods, LoadGenerator),
        usual=Extent(points=DISRUPTIONS, rounds=30, seconds=4),
        words=(
            ("kinds", "kinds of events"),
            ("events", "of each kind"),
            ("seconds", "of load after each event"),
        ),
        within=1_800.0,
    ),
)
EXPERIMENTS: Mapping[str, Definition] = {each.name: each for each in _ALL}
