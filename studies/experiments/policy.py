"""Policy cost: what network policies on the benchmark's pods cost, and how fast they take effect.

At every number of policies the same probes: latency, connection setup, the agents' CPU, and the
time from a policy's write to the first connection that it admits or refuses
(:mod:`studies.experiments.enforced`). A deny case comes first: where a connection that a policy
denies still gets an answer, the CNI has no policy engine and there is nothing to measure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from bench.compare import Comparison, compare
from bench.interleave import Side, abba, interleave
from bench.plan import Plan
from bench.probes import build_probes
from bench.probes.base import Bench, Probe
from bench.probes.cost import components_of
from bench.results import Results
from bench.session import Pod, SessionError
from bench.workloads import FORTIO_IMAGE
from studies.experiments.base import Context, Findings, Progress, SkippedError, point
from studies.experiments.capabilities import ExperimentPods, ObjectStore, PodRequest
from studies.experiments.chain import HTTP_ONLY
from studies.experiments.enforced import EnforcedProbe
from studies.experiments.levels import Levels, clear, let_through
from studies.experiments.model import Series
from studies.experiments.policies import TARGET_PORT, TARGET_ROLE, Kind, allow, deny
from studies.experiments.slopes import linear
from studies.experiments.together import Together

RATE = 1_000
PROBES = ("idle", "rtt", "connect", f"http_{RATE}")
_COMPARED = (
    "rtt_p50", "connect_p50", f"http_{RATE}_p50", f"http_{RATE}_p99", "cni_cpu", "policy_admit",
    "policy_refuse",
)  # fmt: skip
"""Chosen before any was seen: for so few metrics six rounds allow a verdict."""
_DENIED_SECONDS = 20.0
_PAUSE_SECONDS = 0.2


def kubernetes(context: Context) -> Findings:
    """Kubernetes' policies; see :mod:`studies.experiments.definition`."""
    return _run("NetworkPolicy", context)


def cilium(context: Context) -> Findings:
    """Cilium's policies; see :mod:`studies.experiments.definition`."""
    return _run("CiliumNetworkPolicy", context)


def _run(kind: Kind, context: Context) -> Findings:
    bench, plan = context.bench, context.plan
    store = bench.session
    # As a capability it was asked for before.
    assert isinstance(store, ObjectStore)
    _refuse_other_engines(kind, bench)
    counts = sorted(int(each) for each in context.extent.points)
    clear(store, kind, context.say)
    with running_target(bench) as target:
        levels = Levels(bench, store, kind, target, context.say)
        try:
            prove(kind, bench, store, target, context.say)
            sides = [
                Side(
                    f"{count:,} policies",
                    bench,
                    (_probe(kind, bench, store, target, plan),),
                    partial(levels.at, count),
                )
                for count in counts
            ]
            order = abba([side.label for side in sides], plan.runs)
            results = interleave(sides, plan, order, watch=context.watch)
            # What is measured next is to meet a dataplane that has forgotten them.
            levels.to(0)
        finally:
            levels.clear()
    labels = [side.label for side in sides]
    points = [
        point(label, results[label], x=count, facts=levels.facts(count))
        for label, count in zip(labels, counts, strict=True)
    ]
    fits = [linear(points, metric, "policy") for metric in _COMPARED]
    series = Series(
        subject=context.subject,
        points=points,
        fits=[fit for fit in fits if fit],
        comparisons=[_compared(results, labels[0], label) for label in labels[1:]],
    )
    warnings = [f"{label}: {text}" for label in labels for text in results[label].warnings]
    return Findings([series], {"kind": kind, "rate": RATE}, warnings)


def _compared(results: Mapping[str, Results], first: str, other: str) -> Comparison:
    a, b = results[first], results[other]
    # A metric without any number on either side is told as missing.
    there = [name for name in _COMPARED if name in a.metrics or name in b.metrics]
    return compare(a, b, labels=(first, other), interleaved=True, metrics=there)


def _refuse_other_engines(kind: Kind, bench: Bench) -> None:
    if kind == "CiliumNetworkPolicy" and not bench.session.environment().get("agents"):
        raise SkippedError("CiliumNetworkPolicy is Cilium's own, which is not the CNI here")


@contextmanager
def running_target(bench: Bench) -> Iterator[Pod]:
    """The pod that is denied and allowed, on the echo server's node."""
    assert isinstance(bench.session, ExperimentPods)
    wanted = PodRequest(
        name=TARGET_ROLE,
        role=TARGET_ROLE,
        node=bench.targets.one("echo-server").node,
        image=FORTIO_IMAGE,
        command=("fortio", "server", "-http-port", str(TARGET_PORT), *HTTP_ONLY),
    )
    with bench.session.experiment_pods([wanted]) as (pod,):
        yield pod


def prove(kind: Kind, bench: Bench, store: ObjectStore, target: Pod, say: Progress) -> None:
    """Without a policy the target answers; with one that denies it does not. The policy stays.

    :raises SkippedError: it still answers, and nothing here claims to enforce policies.
    :raises SessionError: it still answers although Cilium's agents run; or never did.
    """
    if not _becomes(bench, target, answering=True):
        raise SessionError(f"{target.name} does not answer without any policy")
    store.create_objects([deny(kind)], say)
    if _becomes(bench, target, answering=False):
        say(f"denied by a {kind}: {target.name} does not answer any more")
        return
    still = f"{_DENIED_SECONDS:.0f} s after a {kind} denied it a connection still gets an answer"
    if bench.session.environment().get("agents"):
        raise SessionError(f"{still}, although Cilium's agents run")
    raise SkippedError(f"this CNI has no policy engine: {still}")


def _becomes(bench: Bench, target: Pod, *, answering: bool) -> bool:
    end = bench.clock.monotonic() + _DENIED_SECONDS
    while let_through(bench, target) != answering:
        if bench.clock.monotonic() > end:
            return False
        bench.clock.sleep(_PAUSE_SECONDS)
    return True


def _probe(kind: Kind, bench: Bench, store: ObjectStore, target: Pod, plan: Plan) -> Together:
    components = components_of(bench.session.cni_usage())
    usual = build_probes(replace(plan, http_rates=(RATE,)), components)
    chosen: list[Probe] = [probe for probe in usual if probe.name in PROBES]
    return Together("policies", (*chosen, enforced_probe(kind, store, target)), plan.attempts)


def enforced_probe(kind: Kind, store: ObjectStore, target: Pod) -> EnforcedProbe:
    """The probe that has one policy of a kind admit the clients to the target, and refuse them."""
    return EnforcedProbe(
        target.ip,
        admit=lambda: store.create_objects([allow(kind)], _silent),
        refuse=lambda: store.delete_objects([allow(kind)], _silent),
    )


def _silent(_line: str) -> None:
    """One policy is no long work."""
