"""What the CNI itself uses: CPU and memory of its agents and kube-proxy, idle and under load.

CPU time is read right before and right after a window, so that the window is known exactly; of a
loaded window, where the target tells that apart, only the time in which the load's command ran. The
loaded window is one of the HTTP probes: :class:`UnderLoad` wraps it. Per node
the processes are added up, then the mean over nodes is taken; the operator is one per cluster: it
has its own figure and is not in that mean.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from bench.limits import SHORTEST_SECONDS
from bench.metrics import CNI_CPU, CNI_CPU_IDLE, CNI_MEMORY, Metric, component_metric
from bench.plan import Plan
from bench.probes.base import Bench, Invocation, Reading, SampleError, WrappedProbe
from bench.session import ComponentUsage, SessionError, Targets, Worked
from bench.text import number
from cni.registry import DATAPLANES

CLUSTER_WIDE = frozenset(
    component.name
    for dataplane in DATAPLANES.values()
    for component in dataplane.components
    if component.cluster_wide
)
_MILLICORES = 1e3
_BYTES_PER_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """Cumulative CPU seconds of each component by node; memory of each node's in bytes."""

    cpu_seconds: Mapping[tuple[str, str], float]
    memory_bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Cost:
    """Over a window: CPU in millicores, memory at its end in MiB, both mean per node.

    ``components`` is each one's CPU, mean of the nodes that have it.
    """

    millicores: float
    mebibytes: float
    components: Mapping[str, float]


def usage_of(components: Sequence[ComponentUsage]) -> Usage:
    """The use of all components; a node's memory is that of its own, not of cluster-wide ones.

    :raises SampleError: no node has a component of its own.
    """
    cpu: dict[tuple[str, str], float] = defaultdict(float)
    memory: dict[str, int] = defaultdict(int)
    for item in components:
        cpu[item.node, item.component] += item.cpu_seconds
        if item.component not in CLUSTER_WIDE:
            memory[item.node] += item.memory_bytes
    if not memory:
        raise SampleError("no CNI agent or kube-proxy is reported on any node")
    return Usage(dict(cpu), dict(memory))


def components_of(usage: Sequence[ComponentUsage]) -> tuple[str, ...]:
    """The components' names, in alphabetical order."""
    return tuple(sorted({item.component for item in usage}))


def cost_between(before: Usage, after: Usage, seconds: float) -> Cost:
    """The cost of a window of ``seconds``.

    :raises SampleError: a component came, went or was restarted in it.
    """
    if before.cpu_seconds.keys() != after.cpu_seconds.keys():
        changed = sorted(before.cpu_seconds.keys() ^ after.cpu_seconds.keys())
        raise SampleError(f"CNI processes came or went meanwhile: {_names(changed)}")
    spent = {key: after.cpu_seconds[key] - value for key, value in before.cpu_seconds.items()}
    restarted = sorted(key for key, value in spent.items() if value < 0)
    if restarted:
        raise SampleError(f"CNI processes were restarted meanwhile: {_names(restarted)}")
    if seconds <= 0:
        raise SampleError(f"a window of {seconds} s")
    nodes = len(after.memory_bytes)
    by_component: dict[str, list[float]] = defaultdict(list)
    for (_, component), used in spent.items():
        by_component[component].append(_MILLICORES * used / seconds)
    own = sum(sum(used) for name, used in by_component.items() if name not in CLUSTER_WIDE)
    return Cost(
        millicores=own / nodes,
        mebibytes=sum(after.memory_bytes.values()) / _BYTES_PER_MIB / nodes,
        components={name: mean(used) for name, used in by_component.items()},
    )


def _names(keys: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{component} on {node}" for node, component in keys)


def read_usage(bench: Bench) -> tuple[Usage, float]:
    """Usage now, and when that is (monotonic seconds).

    :raises SampleError: it cannot be read.
    """
    try:
        usage = usage_of(bench.session.cni_usage())
    except SessionError as error:
        raise SampleError(f"CNI usage cannot be read: {error}") from error
    return usage, bench.clock.monotonic()


_Read = tuple[tuple[Usage, float], Worked | None]


def _read_worked(bench: Bench) -> Worked | None:
    try:
        return bench.session.worked()
    except SessionError:
        return None  # the whole window has to do


def _cost_of_load(before: _Read, after: _Read) -> Cost:
    """The cost of the commands' own time, where that is told; memory is that of the end.

    :raises SampleError: see :func:`cost_between`.
    """
    (first, start), then = before
    (last, end), now = after
    if then and now and now.seconds - then.seconds >= SHORTEST_SECONDS:
        first, last = (
            replace(usage_of(worked.components), memory_bytes=last.memory_bytes)
            for worked in (then, now)
        )
        start, end = then.seconds, now.seconds
    return cost_between(first, last, end - start)


def idle_cost(bench: Bench, seconds: float) -> Cost:
    """The cost of a window in which the benchmark does nothing.

    :raises SampleError: see :func:`read_usage` and :func:`cost_between`.
    """
    before, start = read_usage(bench)
    bench.clock.sleep(seconds)
    after, end = read_usage(bench)
    return cost_between(before, after, end - start)


@dataclass(frozen=True, slots=True)
class IdleProbe:
    """The CNI's CPU without load. Rounds start only once the agents have settled
    (:mod:`bench.readiness`)."""

    seconds: float
    name: str = "idle"
    metrics: tuple[Metric, ...] = (CNI_CPU_IDLE,)

    def invocation(self, targets: Targets) -> Invocation | None:
        """None: nothing is run."""
        return None

    def measure(self, bench: Bench) -> Reading:
        bench.remaining()
        return Reading({CNI_CPU_IDLE.name: idle_cost(bench, self.seconds).millicores})

    def summary(self, reading: Reading) -> str:
        return f"{number(reading.values[CNI_CPU_IDLE.name])} millicores"


@dataclass(frozen=True, slots=True)
class UnderLoad(WrappedProbe):
    """Another probe, with the CNI's cost while it runs, in all and of each component.

    The inner probe's values stay when the cost cannot be told; the cost is then missing.
    """

    components: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The inner probe's, and the cost."""
        return (*self.inner.metrics, *self._own)

    @property
    def _own(self) -> tuple[Metric, ...]:
        return (CNI_CPU, CNI_MEMORY, *map(component_metric, self.components))

    def measure(self, bench: Bench) -> Reading:
        try:
            before = read_usage(bench), _read_worked(bench)
        except SampleError as error:
            return self._without_cost(self.inner.measure(bench), str(error))
        reading = self.inner.measure(bench)
        try:
            worked = _read_worked(bench)
            cost = _cost_of_load(before, (read_usage(bench), worked))
        except SampleError as error:
            return self._without_cost(reading, str(error))
        each = {
            component_metric(name).name: used
            for name, used in cost.components.items()
            if name in self.components
        }
        values = {CNI_CPU.name: cost.millicores, CNI_MEMORY.name: cost.mebibytes, **each}
        return replace(reading, values={**reading.values, **values})

    def _without_cost(self, reading: Reading, reason: str) -> Reading:
        lacking = {metric.name: reason for metric in self._own}
        return replace(reading, missing={**reading.missing, **lacking})

    def summary(self, reading: Reading) -> str:
        """The inner probe's, and the CPU."""
        text = self.inner.summary(reading)
        cpu = reading.values.get(CNI_CPU.name)
        return text if cpu is None else f"{text}, CNI {number(cpu)} millicores"


def idle_probe(plan: Plan) -> IdleProbe:
    """The idle window of a plan."""
    return IdleProbe(plan.idle_seconds)
