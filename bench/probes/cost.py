"""What the CNI itself uses: CPU and memory of its agents and kube-proxy, idle and under load.

CPU time is read right before and right after a window, never by a poller, so that the window is
known exactly. The loaded window is one of the HTTP probes: :class:`UnderLoad` wraps it. Per node
the processes are added up, then the mean over nodes is taken; the operator is one per cluster and
not in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.metrics import CNI_CPU, CNI_CPU_IDLE, CNI_MEMORY, Metric
from bench.plan import Plan
from bench.probes.base import Bench, Invocation, Probe, Reading, SampleError
from bench.session import ComponentUsage, SessionError
from bench.targets import Targets
from bench.text import number

CLUSTER_WIDE = frozenset({"cilium-operator"})
_MILLICORES = 1e3
_BYTES_PER_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """Per node: cumulative CPU seconds of each component, and their memory together in bytes."""

    cpu_seconds: Mapping[tuple[str, str], float]
    memory_bytes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Cost:
    """Mean per node over a window: CPU in millicores; memory at its end in MiB."""

    millicores: float
    mebibytes: float


def usage_of(components: Sequence[ComponentUsage]) -> Usage:
    """What counts as a node's cost: all but the cluster-wide components.

    :raises SampleError: nothing is left.
    """
    cpu: dict[tuple[str, str], float] = defaultdict(float)
    memory: dict[str, int] = defaultdict(int)
    for item in components:
        if item.component not in CLUSTER_WIDE:
            cpu[item.node, item.component] += item.cpu_seconds
            memory[item.node] += item.memory_bytes
    if not cpu:
        raise SampleError("no CNI agent or kube-proxy is reported on any node")
    return Usage(dict(cpu), dict(memory))


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
    return Cost(
        millicores=_MILLICORES * sum(spent.values()) / seconds / nodes,
        mebibytes=sum(after.memory_bytes.values()) / _BYTES_PER_MIB / nodes,
    )


def _names(keys: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{component} on {node}" for node, component in keys)


def _read_usage(bench: Bench) -> tuple[Usage, float]:
    """Usage now, and when that is."""
    try:
        usage = usage_of(bench.session.cni_usage())
    except SessionError as error:
        raise SampleError(f"CNI usage cannot be read: {error}") from error
    return usage, bench.clock.monotonic()


@dataclass(frozen=True, slots=True)
class IdleProbe:
    """The CNI's CPU over a window in which the benchmark does nothing."""

    seconds: float
    name: str = "idle"
    metrics: tuple[Metric, ...] = (CNI_CPU_IDLE,)

    def invocation(self, targets: Targets) -> Invocation | None:
        """None: nothing is run."""
        return None

    def measure(self, bench: Bench) -> Reading:
        """See :class:`bench.probes.base.Probe`."""
        bench.remaining()
        before, start = _read_usage(bench)
        bench.clock.sleep(self.seconds)
        after, end = _read_usage(bench)
        return Reading({CNI_CPU_IDLE.name: cost_between(before, after, end - start).millicores})

    def summary(self, reading: Reading) -> str:
        """See :class:`bench.probes.base.Probe`."""
        return f"{number(reading.values[CNI_CPU_IDLE.name])} millicores"


@dataclass(frozen=True, slots=True)
class UnderLoad:
    """Another probe, with the CNI's cost while it runs.

    The inner probe's values stay when the cost cannot be told; the cost is then missing.
    """

    inner: Probe

    @property
    def name(self) -> str:
        """The inner probe's."""
        return self.inner.name

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The inner probe's, and the cost."""
        return (*self.inner.metrics, CNI_CPU, CNI_MEMORY)

    @property
    def seconds(self) -> float:
        """The inner probe's."""
        return self.inner.seconds

    def invocation(self, targets: Targets) -> Invocation | None:
        """The inner probe's."""
        return self.inner.invocation(targets)

    def measure(self, bench: Bench) -> Reading:
        """See :class:`bench.probes.base.Probe`."""
        try:
            before = _read_usage(bench)
        except SampleError as error:
            return _without_cost(self.inner.measure(bench), str(error))
        reading = self.inner.measure(bench)
        try:
            after, end = _read_usage(bench)
            cost = cost_between(before[0], after, end - before[1])
        except SampleError as error:
            return _without_cost(reading, str(error))
        values = {CNI_CPU.name: cost.millicores, CNI_MEMORY.name: cost.mebibytes}
        return replace(reading, values={**reading.values, **values})

    def summary(self, reading: Reading) -> str:
        """The inner probe's, and the CPU."""
        text = self.inner.summary(reading)
        cpu = reading.values.get(CNI_CPU.name)
        return text if cpu is None else f"{text}, CNI {number(cpu)} millicores"


def _without_cost(reading: Reading, reason: str) -> Reading:
    lacking = {CNI_CPU.name: reason, CNI_MEMORY.name: reason}
    return replace(reading, missing={**reading.missing, **lacking})


def idle_probe(plan: Plan) -> IdleProbe:
    """The idle window of a plan."""
    return IdleProbe(plan.idle_seconds)
