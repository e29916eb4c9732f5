"""Policy cost: what network policies on the benchmark's pods cost, and how fast they take effect.

At every number of policies the same probes run: latency, connection setup, the agents' CPU, and
the time from a policy's write to the first connection that it admits or refuses
(:class:`EnforcedProbe`). A deny case comes first: where a connection that a policy denies still
gets an answer, the CNI has no policy engine and there is nothing to measure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from bench.checks import read_clock
from bench.compare import Comparison, compare, one_family
from bench.interleave import Side, abba, interleave
from bench.metrics import MICROSECONDS, Metric, Note
from bench.plan import Plan
from bench.probes import build_probes
from bench.probes.base import Bench, Invocation, Probe, Reading, SampleError
from bench.probes.cost import components_of
from bench.probes.fortio import Request, request_log
from bench.results import Results
from bench.sampling import sample
from bench.session import CommandResult, Pod, SessionError, Targets
from bench.text import ParseError, latency
from bench.workloads import FORTIO_IMAGE
from cni.dataplane import Dataplane
from cni.registry import DATAPLANES
from studies.experiments.capabilities import ExperimentPods, ObjectStore, PodRequest
from studies.experiments.growth import linear
from studies.experiments.hops import HTTP_ONLY
from studies.experiments.model import Context, Findings, Progress, Series, SkippedError, point
from studies.experiments.policies import (
    TARGET_PORT,
    TARGET_ROLE,
    Kind,
    Levels,
    allow,
    clear,
    deny,
    let_through,
)

HTTP_RATE = 1_000
PROBES = ("idle", "rtt", "connect", "http", f"http_{HTTP_RATE}")
_COMPARED = (
    "rtt_p50", "connect_p50", "http_p50", "cpu_per_request", f"http_{HTTP_RATE}_p99", "cni_cpu",
    "policy_admit", "policy_refuse",
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
            clear(store, kind, context.say)
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
        comparisons=one_family([_compared(results, labels[0], label) for label in labels[1:]]),
    )
    warnings = [f"{label}: {text}" for label in labels for text in results[label].warnings]
    return Findings([series], {"kind": kind, "rate": HTTP_RATE}, warnings)


def _compared(results: Mapping[str, Results], first: str, other: str) -> Comparison:
    a, b = results[first], results[other]
    # A metric without any number on either side is told as missing.
    there = [name for name in _COMPARED if name in a.metrics or name in b.metrics]
    return compare(a, b, labels=(first, other), interleaved=True, metrics=there)


def _dataplane(bench: Bench) -> Dataplane | None:
    record = bench.session.about().cni
    return DATAPLANES.get(record.name) if record else None


def _refuse_other_engines(kind: Kind, bench: Bench) -> None:
    cni = _dataplane(bench)
    engines = [each for each in DATAPLANES.values() if kind in each.policies.kinds]
    if len(engines) == 1 and cni not in engines:
        raise SkippedError(f"{kind} is {engines[0].title}'s own, which is not the CNI here")


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
    cni = _dataplane(bench)
    if cni is not None and cni.policies.enforced:
        raise SessionError(f"{still}, although {cni.title}'s agents run")
    raise SkippedError(f"this CNI has no policy engine: {still}")


def _becomes(bench: Bench, target: Pod, *, answering: bool) -> bool:
    end = bench.clock.monotonic() + _DENIED_SECONDS
    while let_through(bench, target) != answering:
        if bench.clock.monotonic() > end:
            return False
        bench.clock.sleep(_PAUSE_SECONDS)
    return True


def _probe(kind: Kind, bench: Bench, store: ObjectStore, target: Pod, plan: Plan) -> "Together":
    components = components_of(bench.session.cni_usage())
    usual = build_probes(replace(plan, http_rates=(HTTP_RATE,)), components)
    chosen: list[Probe] = [probe for probe in usual if probe.name in PROBES]
    return Together("policies", (*chosen, enforced_probe(kind, store, target)), plan.attempts)


def enforced_probe(kind: Kind, store: ObjectStore, target: Pod) -> "EnforcedProbe":
    """The probe that has one policy of a kind admit the clients to the target, and refuse them."""
    return EnforcedProbe(
        target.ip,
        admit=lambda: store.create_objects([allow(kind)], _silent),
        refuse=lambda: store.delete_objects([allow(kind)], _silent),
    )


def _silent(_line: str) -> None:
    """One policy is no long work."""


GROUP = "Policy enforcement"
ADMIT = Metric(
    "policy_admit", MICROSECONDS, "lower", GROUP,
    "from the creation of a policy, asked of the API server, to the answer to the first connection "
    "that it allows",
)  # fmt: skip
REFUSE = Metric(
    "policy_refuse", MICROSECONDS, "lower", GROUP,
    "from the deletion of that policy, asked of the API server, to the first connection that is "
    "denied again",
)  # fmt: skip

PATIENCE_MS = 20
"""So long without an answer is a denial."""
ENFORCED_RATE, ENFORCED_CONNECTIONS = 100, 4
"""Connections/s, by so many in turn that a denied one does not keep the next from being tried:
their distance of 10 ms is the resolution of both times."""
_BESIDE = "iperf3-client"
"""On the load generator's node, with a shell."""
_LEAD_SECONDS = 1.0
_US_PER_SECOND = 1e6


@dataclass(frozen=True, slots=True)
class EnforcedProbe:
    """A :class:`bench.probes.base.Probe`: ``admit`` creates the policy and ``refuse`` deletes it.

    :param address: of the target.
    :param window: seconds that either change is waited for.
    """

    address: str
    admit: Callable[[], None]
    refuse: Callable[[], None]
    window: float = 2.0
    name: str = "enforced"
    metrics: tuple[Metric, ...] = (ADMIT, REFUSE)

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return _LEAD_SECONDS + 2 * self.window

    def invocation(self, targets: Targets) -> Invocation:
        return Invocation(
            "fortio-client",
            (
                "fortio", "load", "-quiet", "-json", "-", "-access-log-file", "/dev/stdout",
                "-keepalive=false", "-allow-initial-errors", "-nocatchup",
                "-timeout", f"{PATIENCE_MS}ms",
                "-c", str(ENFORCED_CONNECTIONS), "-uniform", "-qps", str(ENFORCED_RATE),
                "-t", f"{self.seconds:g}s", f"http://{self.address}:{TARGET_PORT}/",
            ),
        )  # fmt: skip

    def measure(self, bench: Bench) -> Reading:
        clock, invocation = bench.clock, self.invocation(bench.targets)
        client = read_clock(bench, _BESIDE)
        with ThreadPoolExecutor(1) as pool:
            load = pool.submit(bench.run, invocation, self.seconds)
            clock.sleep(_LEAD_SECONDS)
            created = _change(bench, self.admit)
            clock.sleep(max(0.0, self.window - (_now(bench) - created) / _US_PER_SECOND))
            deleted = _change(bench, self.refuse)
            result = load.result()
        ahead = client.certain * _US_PER_SECOND
        reading = read_enforced(
            result, created + ahead, deleted + ahead, self.window * _US_PER_SECOND
        )
        return replace(reading, notes=client.doubts(reading.values))

    def summary(self, reading: Reading) -> str:
        shown = {metric.name: reading.values.get(metric.name) for metric in self.metrics}
        return ", ".join(
            f"{name.removeprefix('policy_')} {'-' if value is None else latency(value)}"
            for name, value in shown.items()
        )


def read_enforced(result: CommandResult, created: float, deleted: float, window: float) -> Reading:
    """The reading of a run in which the policy came and went at these times, all in µs.

    :raises SampleError: what should be denied was answered before the policy was there, or the run
        does not tell.
    """
    try:
        requests = sorted(request_log(result.stdout), key=lambda each: each.sent)
    except ParseError as error:
        raise SampleError(str(error)) from error
    if not only_outcome(requests, 0.0, created, good=False):
        raise SampleError("before its policy was there the target was not denied, or not asked")
    times = {
        ADMIT.name: first_admitted(requests, created, deleted),
        REFUSE.name: first_refused(requests, deleted, deleted + window),
    }
    values = {name: value for name, value in times.items() if value is not None}
    late = f"nothing of it was seen within {window / _US_PER_SECOND:g} s"
    if not values:
        raise SampleError(late)
    return Reading(values=values, missing=dict.fromkeys(times.keys() - values.keys(), late))


def _change(bench: Bench, change: Callable[[], None]) -> float:
    """Make a change; when that was begun."""
    begun = _now(bench)
    try:
        change()
    except SessionError as error:
        raise SampleError(str(error)) from error
    return begun


def _now(bench: Bench) -> float:
    return bench.clock.now().timestamp() * _US_PER_SECOND


LASTING = 3
"""So many requests in a row must come out alike: a single one may fail for want of CPU."""


def first_admitted(requests: Sequence[Request], change: float, end: float) -> float | None:
    """How long after ``change`` the first request was answered, that others after it were as well.

    :param requests: in the order of their sending; times in µs of the clock of ``change``.
    :param end: of what is looked at.
    :returns: µs; None where none was.
    """
    later = [each for each in requests if change <= each.sent < end]
    for first in _runs(later, good=True):
        return first.sent + first.latency - change
    return None


def first_refused(requests: Sequence[Request], change: float, end: float) -> float | None:
    """How long after ``change`` the first request left that failed, as others after it did.

    A request counts by when it was sent: how long its failing takes is the client's patience.
    """
    later = [each for each in requests if change <= each.sent < end]
    for first in _runs(later, good=False):
        return first.sent - change
    return None


def only_outcome(requests: Sequence[Request], begin: float, end: float, *, good: bool) -> bool:
    """Whether all requests that were sent and over in a span came out so; there must be some."""
    within = [each for each in requests if begin <= each.sent and each.sent + each.latency < end]
    return bool(within) and all(each.good == good for each in within)


def _runs(requests: Sequence[Request], *, good: bool) -> list[Request]:
    """The first request of each row of at least :data:`LASTING` that came out so."""
    firsts: list[Request] = []
    row: list[Request] = []
    for each in requests:
        row = [*row, each] if each.good == good else []
        if len(row) == LASTING:
            firsts.append(row[0])
    return firsts


@dataclass(frozen=True, slots=True)
class Together:
    """Probes that are run one after the other, each tried ``attempts`` times; one without a number
    costs only its own metrics.

    What was measured in slices is told without them: the levels are not measured in turns, so the
    slices of a round share what its minute was like, and the round is what repeats. Taken one by
    one, they made 10 to 27 % of equal levels differ at a level of 5 % (rounds that spread half as
    much to twice as much as slices).
    """

    name: str
    probes: tuple[Probe, ...]
    attempts: int

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All of theirs."""
        return tuple(metric for probe in self.probes for metric in probe.metrics)

    @property
    def seconds(self) -> float:
        """Of all of them."""
        return sum(probe.seconds for probe in self.probes)

    def invocation(self, targets: Targets) -> Invocation | None:
        """None: there are several."""
        return None

    def measure(self, bench: Bench) -> Reading:
        values: dict[str, float] = {}
        missing: dict[str, str] = {}
        notes: dict[str, tuple[Note, ...]] = {}
        facts: dict[str, str | int | float] = {}
        warnings: list[str] = []
        failures: list[str] = []
        for probe in self.probes:
            outcome = sample(probe, bench, attempts=self.attempts)
            reading = outcome.reading
            if reading is None:
                missing |= {metric.name: outcome.failures[-1] for metric in probe.metrics}
                continue
            values |= reading.values
            missing |= reading.missing
            notes |= reading.notes
            facts |= {f"{probe.name}: {key}": value for key, value in reading.facts.items()}
            warnings += [f"{probe.name}: {text}" for text in reading.warnings]
            failures += [f"{probe.name}: {text}" for text in outcome.failures]
        if not values:
            raise SampleError("; ".join(dict.fromkeys(missing.values())))
        return Reading(
            values=values,
            missing=missing,
            warnings=tuple(warnings),
            notes=notes,
            facts=facts,
            failures=tuple(failures),
        )

    def summary(self, reading: Reading) -> str:
        """Those of the inner ones that have a number."""
        return "; ".join(
            probe.summary(reading)
            for probe in self.probes
            if all(metric.name in reading.values for metric in probe.metrics)
        )
