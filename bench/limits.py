"""What was at its limit during one run: read from CPU counters before and after it.

A load that the CPUs of a server, of a load generator or of their machine cannot carry measures
these CPUs and not the network; each sample says so. The same readings tell of traffic that the
platform held back, of CPU time that a hypervisor withheld, of other work on the machines, of a
time of day that was set meanwhile, and of what the scenario consists of: an agent that has ended is
not measured at rest.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from bench.metrics import LimitedBy
from bench.session import (
    ComponentUsage,
    Health,
    MachineUsage,
    Session,
    SessionError,
    Worked,
    WorkloadUsage,
)
from bench.workloads import Side, roles

FULL = 0.95
"""Share of its CPUs from which on somebody is at its limit."""
SHORTEST_SECONDS = 0.25
"""A shorter window has too few clock ticks to tell CPU use."""
NOTABLE_USE = 0.05
"""CPUs from which on a pod is named."""
NOTABLE_STEAL = 0.02
LEAST_STOLEN_SECONDS = 0.05
NOTABLE_OTHERS = 0.1
"""Share of a machine's CPUs from which on a sample says that others used it. On two CPUs that is a
fifth of one; an idle lab beside it uses a fiftieth."""
MOST_OTHERS = 0.25
"""More of it spoils a sample: on two CPUs, half of what client or server has."""
MOST_STEP_SECONDS = 0.01
"""A time of day that was set by more spoils a sample: fortio tells latencies by it."""
SIDES: tuple[Side, ...] = ("server", "client")


@dataclass(frozen=True, slots=True)
class Limit:
    """What was at its limit, and the figures that say so."""

    by: LimitedBy
    evidence: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All counters at one moment ``at`` (monotonic seconds).

    ``components`` are the CNI's where a machine does not tell itself what others use, else None.
    ``worked`` is what the commands' own time took, where that is told apart; where it should be and
    is not, ``diluted`` has the reason.
    """

    at: float
    machines: tuple[MachineUsage, ...]
    workloads: tuple[WorkloadUsage, ...]
    allowances: Mapping[str, Mapping[str, int]]
    components: tuple[ComponentUsage, ...] | None = None
    worked: Worked | None = None
    diluted: str = ""


def take(session: Session, at: float) -> Snapshot:
    """Read all counters.

    :raises SessionError: one cannot be read.
    """
    worked, diluted = _worked(session)
    machines = tuple(session.machines())
    told = all(machine.others_seconds is not None for machine in machines)
    return Snapshot(
        at,
        machines,
        tuple(session.workload_usage()),
        {node: dict(counters) for node, counters in session.allowances().items()},
        None if told else _components(session),
        worked,
        diluted,
    )


def _worked(session: Session) -> tuple[Worked | None, str]:
    try:
        return session.worked(), ""
    except SessionError as error:
        return None, str(error)


def _components(session: Session) -> tuple[ComponentUsage, ...] | None:
    """None where they cannot be read: then nobody can say what others use."""
    try:
        return tuple(session.cni_usage())
    except SessionError:
        return None


def health(session: Session) -> tuple[Health, ...]:
    """How everything is that the scenario consists of.

    A cluster that does not tell is at fault itself: its API server may be what has ended.
    """
    try:
        return tuple(session.health())
    except SessionError as error:
        return (Health("the cluster", "", f"cannot be asked how it is: {error}"),)


@dataclass(frozen=True, slots=True)
class Load:
    """One CPU consumer over a window: ``used`` of ``available`` CPUs, of which a hypervisor
    ``withheld`` some. ``others`` is what a machine's CPUs did besides the measurement; None where
    that is not known."""

    name: str
    used: float
    available: float
    withheld: float = 0.0
    others: float | None = None

    @property
    def full(self) -> bool:
        """It is at its limit."""
        return self.used >= FULL * (self.available - self.withheld)


@dataclass(frozen=True, slots=True)
class Observation:
    """What happened between two snapshots, ``span`` seconds apart.

    CPU use is that of ``seconds`` of them: of all or, where that is told apart, of those in which a
    client's command ran; ``diluted`` is why it is not. ``busy`` are the machines' CPU seconds in
    all of the span.

    ``nodes`` are those of each machine, and of each of its ``parts``; ``stolen`` the CPU seconds
    that a hypervisor withheld, ``held_back`` the growth of the platform's counters by node (only
    what grew), ``clock_step`` by how many seconds a time of day was set, as far as that is certain:
    the largest of all machines.
    """

    seconds: float
    machines: tuple[Load, ...]
    nodes: Mapping[str, tuple[str, ...]]
    pods: Mapping[Side, tuple[Load, ...]]
    stolen: float
    held_back: Mapping[str, Mapping[str, int]]
    clock_step: float = 0.0
    parts: tuple[Load, ...] = ()
    span: float = 0.0
    busy: Mapping[str, float] = field(default_factory=dict)
    diluted: str = ""

    def limit(self, servers: Collection[str]) -> Limit:
        """Who was at its limit: a pod with a CPU limit first, then a machine, then a node's part
        of one.

        :param servers: nodes of the server side.
        """
        if not self.machines:
            return Limit("unknown", "the target does not tell its machines' CPU time")
        if self.seconds < SHORTEST_SECONDS:
            return Limit("unknown", f"{self.seconds:.2f} s are too short to tell CPU use")
        evidence = self._evidence()
        for side in SIDES:
            if any(load.full for load in self.pods[side]):
                return Limit(side, evidence)
        full = [load.name for load in self.machines if load.full]
        if full and len(self.machines) == 1:
            return Limit("machine", evidence)
        full += [load.name for load in self.parts if load.full]
        if not full:
            return Limit("none", evidence)
        serving = any(node in servers for name in full for node in self.nodes[name])
        return Limit("server" if serving else "client", evidence)

    def cpu_seconds(self, nodes: Collection[str]) -> float | None:
        """CPU time in all of the span, of the machines that these nodes are on; None where it is
        not told."""
        used = [
            used for name, used in self.busy.items() if any(n in nodes for n in self.nodes[name])
        ]
        return sum(used) if used else None

    @property
    def steal(self) -> float:
        """CPU time withheld, as a share of all CPUs; 0 where it is too little to tell."""
        cpus = sum(load.available for load in self.machines)
        if self.stolen < LEAST_STOLEN_SECONDS or not cpus:
            return 0.0
        return self.stolen / self.seconds / cpus

    @property
    def others(self) -> float:
        """Share of a machine's CPUs that was used by what is not of the measurement: the largest of
        all machines, as far as it is known; 0 where the time was too short to tell."""
        if self.seconds < SHORTEST_SECONDS:
            return 0.0
        known = (load.others / load.available for load in self.machines if load.others is not None)
        return max(known, default=0.0)

    def _evidence(self) -> str:
        parts = [
            f"{load.name} {100 * load.used / load.available:.0f} % busy"
            for load in (*self.machines, *self.parts)
        ]
        parts += [
            f"{load.name} {load.used:.2f}"
            for side in SIDES
            for load in self.pods[side]
            if load.used >= NOTABLE_USE
        ]
        if self.others > NOTABLE_OTHERS:
            parts.append(f"{100 * self.others:.0f} % used by others")
        if self.steal > NOTABLE_STEAL:
            parts.append(f"{100 * self.steal:.0f} % withheld by the hypervisor")
        if self.diluted:
            parts.append(f"with idle time around the commands ({self.diluted})")
        return ", ".join(parts)


def between(before: Snapshot, after: Snapshot, *, alone: bool = True) -> Observation:
    """What happened between two snapshots of one session.

    :param alone: no other session of the benchmark was at work on these machines. Where one was,
        only a machine that tells itself what others use knows that.
    :raises ValueError: they are of the same moment.
    """
    seen = _between(before, after, alone=alone)
    diluted = before.diluted or after.diluted
    then, now = before.worked, after.worked
    if then is None or now is None or now.seconds - then.seconds < SHORTEST_SECONDS:
        return replace(seen, diluted=diluted)
    loaded = _between(_reduced(before, then), _reduced(after, now), alone=alone)
    return replace(
        loaded,
        nodes={**seen.nodes, **loaded.nodes},
        held_back=seen.held_back,
        clock_step=seen.clock_step,
        span=seen.span,
        busy=seen.busy,
    )


def _reduced(taken: Snapshot, to: Worked) -> Snapshot:
    return replace(
        taken,
        at=to.seconds,
        machines=to.machines,
        workloads=to.workloads,
        components=to.components,
    )


def _between(before: Snapshot, after: Snapshot, *, alone: bool) -> Observation:
    seconds = after.at - before.at
    if seconds <= 0:
        raise ValueError(f"snapshots {seconds} s apart")
    pairs = _pairs(before.machines, after.machines)
    parts = _pairs(*([part for each in taken.machines for part in each.parts]
                     for taken in (before, after)))  # fmt: skip

    def load(then: MachineUsage, now: MachineUsage, others: float | None = None) -> Load:
        used = (now.busy_seconds - then.busy_seconds) / seconds
        withheld = (now.steal_seconds - then.steal_seconds) / seconds
        return Load(now.name, used, now.cpus, withheld, others)

    stolen = sum(now.steal_seconds - then.steal_seconds for then, now in pairs)
    return Observation(
        seconds=seconds,
        machines=tuple(
            load(then, now, _others(then, now, before, after, alone=alone)) for then, now in pairs
        ),
        nodes={now.name: now.nodes for _, now in (*pairs, *parts)},
        pods={side: _pods(side, before.workloads, after.workloads, seconds) for side in SIDES},
        stolen=stolen,
        held_back=growth(before.allowances, after.allowances),
        clock_step=max((_step(then, now) for then, now in pairs), key=abs, default=0.0),
        parts=tuple(load(then, now) for then, now in parts),
        span=seconds,
        busy={now.name: now.busy_seconds - then.busy_seconds for then, now in pairs},
    )


def faults(before: Iterable[Health], after: Iterable[Health]) -> Iterator[str]:
    """What was wrong with the scenario's processes at either moment, or was started in between.

    A process that is there only afterwards is no fault, but for what is wrong with it: somebody
    has asked for it.
    """
    earlier = {each.name: each for each in before}
    now = {each.name: each for each in after}
    for name in earlier | now:
        then, later = earlier.get(name), now.get(name)
        if fault := (then and then.fault) or (later and later.fault):
            yield f"{name} {fault}"
        elif then and not later:
            yield f"{name} ended meanwhile"
        elif then and later and then.identity != later.identity:
            yield f"{name} was started anew meanwhile"


def _pairs(
    before: Iterable[MachineUsage], after: Iterable[MachineUsage]
) -> list[tuple[MachineUsage, MachineUsage]]:
    earlier = {machine.name: machine for machine in before}
    return [(earlier[now.name], now) for now in after if now.name in earlier]


def _others(
    then: MachineUsage, now: MachineUsage, before: Snapshot, after: Snapshot, *, alone: bool
) -> float | None:
    """CPUs that were used by what is not of the measurement.

    Where the machine does not tell, what is left of its processes' time without that of the
    workloads' pods and the CNI's components. Time in interrupts, most of it the kernel's work on
    packets, is in neither: nobody can say whose it is.
    """
    seconds = after.at - before.at
    if now.others_seconds is not None and then.others_seconds is not None:
        return max(0.0, now.others_seconds - then.others_seconds) / seconds
    if before.components is None or after.components is None or not alone:
        return None
    interrupts = now.interrupt_seconds - then.interrupt_seconds
    ours = sum(_grown(before.workloads, after.workloads, now.nodes, lambda each: each.pod))
    ours += sum(_grown(before.components, after.components, now.nodes, lambda e: e.component))
    used = now.busy_seconds - then.busy_seconds - interrupts - ours
    return max(0.0, used) / seconds


Usage = TypeVar("Usage", WorkloadUsage, ComponentUsage)


def _grown(
    before: Iterable[Usage],
    after: Iterable[Usage],
    nodes: Collection[str],
    name: Callable[[Usage], str],
) -> Iterator[float]:
    """CPU seconds of each that is on these nodes and was there before."""
    earlier = {(each.node, name(each)): each.cpu_seconds for each in before}
    for each in after:
        if each.node in nodes and (each.node, name(each)) in earlier:
            yield each.cpu_seconds - earlier[each.node, name(each)]


def _step(then: MachineUsage, now: MachineUsage) -> float:
    """By how much the time of day was set, less what the readings leave uncertain."""
    if then.time_of_day is None or now.time_of_day is None:
        return 0.0
    step = now.time_of_day.ahead - then.time_of_day.ahead
    certain = abs(step) - now.time_of_day.error - then.time_of_day.error
    return math.copysign(max(0.0, certain), step)


def _pods(
    side: Side,
    before: Sequence[WorkloadUsage],
    after: Iterable[WorkloadUsage],
    seconds: float,
) -> tuple[Load, ...]:
    earlier = {usage.pod: usage.cpu_seconds for usage in before}
    return tuple(
        Load(
            now.pod,
            (now.cpu_seconds - earlier[now.pod]) / seconds,
            now.cpu_limit if now.cpu_limit is not None else float("inf"),
        )
        for now in after
        if now.role in roles(side) and now.pod in earlier
    )


def growth(
    before: Mapping[str, Mapping[str, int]], after: Mapping[str, Mapping[str, int]]
) -> dict[str, dict[str, int]]:
    """By how much counters grew, by node and name; only those that did."""
    grown_by_node: dict[str, dict[str, int]] = {}
    for node, counters in after.items():
        earlier = before.get(node, {})
        grown = {
            name: value - earlier[name]
            for name, value in counters.items()
            if name in earlier and value > earlier[name]
        }
        if grown:
            grown_by_node[node] = grown
    return grown_by_node
