"""CPU time per data moved: a bulk transfer's cost, in everything that it makes a machine do.

The machines of client and server are read as wholes before and after the transfer, so the kernel's
packet handling is in it, which no process's own CPU time shows: that is where an overlay, BPF and
iptables differ. What else runs on these machines is in it too; the precondition "quiet-machine"
bounds that. In the lab all nodes are one machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.limits import between
from bench.metrics import TCP_CPU_PER_GB, Metric
from bench.probes.base import Bench, Invocation, Probe, Reading, SampleError
from bench.probes.tcp import GIGABYTES
from bench.targets import Targets
from bench.text import number


@dataclass(frozen=True, slots=True)
class PerGigabyte:
    """The TCP probe, with the CPU time that its transfer takes.

    The inner probe's values stay when the CPU time cannot be told; it is then missing.
    """

    inner: Probe

    @property
    def name(self) -> str:
        """The inner probe's."""
        return self.inner.name

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The inner probe's, and the CPU time."""
        return (*self.inner.metrics, TCP_CPU_PER_GB)

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
            before = bench.snapshot()
        except SampleError as error:
            return _without(self.inner.measure(bench), str(error))
        reading = self.inner.measure(bench)
        try:
            seen = between(before, bench.snapshot())
        except (SampleError, ValueError) as error:
            return _without(reading, str(error))
        pods = (bench.targets.one(role) for role in ("iperf3-client", "iperf3-server"))
        used = seen.cpu_seconds({pod.node for pod in pods})
        if used is None:
            return _without(reading, "the target does not tell its machines' CPU time")
        per_gb = used / float(reading.facts[GIGABYTES])
        return replace(reading, values={**reading.values, TCP_CPU_PER_GB.name: per_gb})

    def summary(self, reading: Reading) -> str:
        """The inner probe's, and the CPU time."""
        text = self.inner.summary(reading)
        used = reading.values.get(TCP_CPU_PER_GB.name)
        return text if used is None else f"{text}, {number(used)} CPU s/GB"


def _without(reading: Reading, reason: str) -> Reading:
    return replace(reading, missing={**reading.missing, TCP_CPU_PER_GB.name: reason})
