"""How fast Services are made: many connections of ours against ``kubectl create -f``.

Both create the same objects on the same API server, in turn, and the other one first in every
other round. Between the two everything is removed again and the dataplane left to settle, so that
neither works beside the other's aftermath.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.interleave import Side, interleave
from bench.metrics import Metric
from bench.probes.base import Bench, Invocation, Reading, SampleError
from bench.session import SessionError
from bench.targets import Targets
from bench.text import number, tail
from studies.experiments.base import Context, Findings, point
from studies.experiments.capabilities import Kubectl, Manifest, ObjectStore, Progress
from studies.experiments.model import Series
from studies.experiments.scale.fillers import Fillers
from studies.experiments.scale.settle import settled

_GROUP = "Creating objects"
_SECONDS = "s"
KUBECTL_SECONDS = 1_200.0
_SETTLE_SECONDS = 60.0

CREATE = Metric(
    "create", _SECONDS, "lower", _GROUP,
    "every Service and its EndpointSlice, over many connections at a time",
)  # fmt: skip
CREATE_KUBECTL = Metric(
    "create_kubectl", _SECONDS, "lower", _GROUP, "the same objects by kubectl create -f"
)
SPEED_UP = Metric(
    "speed_up", "times", "higher", _GROUP, "how many times as long kubectl took, in the same round"
)
REMOVE = Metric(
    "remove", _SECONDS, "lower", _GROUP,
    "deleting every Service and its EndpointSlice, over many connections at a time",
)  # fmt: skip


@dataclass(slots=True)
class _Bulk:
    """One round: both ways of creating, each followed by removal."""

    fillers: Fillers
    store: ObjectStore
    kubectl: Kubectl
    size: int
    say: Progress
    name: str = "bulk"
    seconds: float = 1.0
    metrics: tuple[Metric, ...] = (CREATE, CREATE_KUBECTL, SPEED_UP, REMOVE)
    _round: int = 0

    def invocation(self, targets: Targets) -> Invocation | None:
        """None: nothing is run in a pod."""
        return None

    def measure(self, bench: Bench) -> Reading:
        """See :class:`bench.probes.base.Probe`."""
        self._round += 1
        manifests = self.fillers.manifests(range(self.size))
        ways: list[tuple[str, Callable[[], None]]] = [
            (CREATE_KUBECTL.name, lambda: self._by_kubectl(manifests)),
            (CREATE.name, lambda: self.store.create_objects(manifests, self.say)),
        ]
        took: dict[str, float] = {}
        try:
            for name, create in ways if self._round % 2 else reversed(ways):
                self.say(f"{name}: {len(manifests):,} objects")
                took[name] = _timed(bench, create)
                self.say(f"{name}: {took[name]:.1f} s")
                settled(bench, _SETTLE_SECONDS)
                removing = lambda: self.store.delete_objects(manifests, self.say)  # noqa: E731
                took[REMOVE.name] = _timed(bench, removing)
                self.say(f"{REMOVE.name}: {took[REMOVE.name]:.1f} s")
                settled(bench, _SETTLE_SECONDS)
        except SessionError as error:
            raise SampleError(str(error)) from error
        took[SPEED_UP.name] = took[CREATE_KUBECTL.name] / took[CREATE.name]
        return Reading(took)

    def _by_kubectl(self, manifests: list[Manifest]) -> None:
        done = self.kubectl.kubectl(("create",), manifests, timeout=KUBECTL_SECONDS)
        if done.returncode != 0:
            raise SampleError(f"kubectl ended with {done.returncode}: {tail(done.stderr)}")

    def summary(self, reading: Reading) -> str:
        """See :class:`bench.probes.base.Probe`."""
        values = reading.values
        return (
            f"{values[CREATE.name]:.1f} s, kubectl {values[CREATE_KUBECTL.name]:.1f} s: "
            f"{number(values[SPEED_UP.name])} times as fast"
        )


def _timed(bench: Bench, action: Callable[[], None]) -> float:
    start = bench.clock.monotonic()
    action()
    return bench.clock.monotonic() - start


def run(context: Context) -> Findings:
    """Every size, rounds of both ways."""
    bench = context.bench
    store = bench.session
    assert isinstance(store, ObjectStore)
    assert isinstance(store, Kubectl)
    fillers = Fillers(store, bench.targets, bench.clock, context.say)
    points = []
    try:
        fillers.resize(0)
        for size in sorted(int(each) for each in context.extent.points):
            label = f"{size:,}"
            side = Side(label, bench, (_Bulk(fillers, store, store, size, context.say),))
            order = ((label,),) * context.plan.runs
            results = interleave([side], context.plan, order, watch=context.watch)[label]
            points.append(point(label, results, x=float(size), facts={"objects": 2 * size}))
    finally:
        Fillers(store, bench.targets, bench.clock, context.say).resize(0)
    return Findings([Series(subject=context.subject, points=points)])
