"""What the nodes' own network gives: the probes between the nodes' own namespaces.

Each probe is run from pod to pod and from node to node, on the same two nodes, in turn in every
round, so that the pods' part of every figure can be read as a share of what the nodes have. That is
not the network without a CNI: Cilium's programs sit on the nodes' devices, so the nodes' traffic
passes them, too.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from bench.compare import compare
from bench.interleave import Side, abba, interleave
from bench.probes.base import Bench
from bench.sampling import sample
from bench.session import Pod, Session, Targets, resolve_targets
from bench.workloads import WORKLOADS
from studies.experiments.capabilities import ExperimentPods, PodRequest
from studies.experiments.model import Context, Findings, Series, point

POD, NODE = "pod to pod", "node to node"
"""The points."""
_PREFIX = "host-"
_PROBES = ("rtt", "transfer", "tcp", "udp")
_ROLES = ("iperf3-client", "iperf3-server", "turns-server")


def run(context: Context) -> Findings:
    bench, plan = context.bench, context.plan
    wanted = _requests(bench.targets)
    # As a capability it was asked for before.
    assert isinstance(bench.session, ExperimentPods)
    context.say(f"{len(wanted)} pods in the nodes' own network")
    with bench.session.experiment_pods(wanted) as pods:
        probes = tuple(probe for probe in context.side.probes if probe.name in _PROBES)
        sides = [
            replace(context.side, label=POD, probes=probes),
            Side(NODE, _at_nodes(bench, pods), probes),
        ]
        for side in sides:
            for probe in probes:
                sample(probe, side.bench, attempts=plan.attempts)
        context.say("warmed up")
        order = abba((NODE, POD), plan.runs)
        results = interleave(sides, plan, order, watch=context.watch)
    points = [point(label, results[label]) for label in (NODE, POD)]
    compared = compare(results[NODE], results[POD], labels=(NODE, POD), interleaved=True)
    warnings = [f"{label}: {text}" for label in (NODE, POD) for text in results[label].warnings]
    series = Series(subject=context.subject, points=points, comparisons=[compared])
    return Findings([series], {"probes": [probe.name for probe in probes]}, warnings)


def _requests(targets: Targets) -> list[PodRequest]:
    """A pod in the node's network for each of the probes' own, on the same node."""
    by_role = {workload.role: workload for workload in WORKLOADS}
    return [
        PodRequest(
            name=f"{_PREFIX}{role}",
            role=f"{_PREFIX}{role}",
            node=targets.one(role).node,
            image=by_role[role].image,
            command=by_role[role].command,
            host_network=True,
        )
        for role in _ROLES
    ]


def _at_nodes(bench: Bench, pods: Sequence[Pod]) -> Bench:
    session = cast("Session", _AtNodes(bench.session, pods))
    return replace(bench, session=session, targets=resolve_targets(session))


class _AtNodes:
    """A session in which the nodes stand in for pods of some roles."""

    def __init__(self, inner: Session, pods: Sequence[Pod]) -> None:
        self._inner = inner
        self._pods = {pod.role.removeprefix(_PREFIX): (pod,) for pod in pods}

    def pods(self, role: str) -> Sequence[Pod]:
        return self._pods.get(role) or self._inner.pods(role)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
