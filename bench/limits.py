"""What was at its limit during one run: read from CPU counters before and after it.

A load that the CPUs of a server, of a load generator or of their machine cannot carry measures
these CPUs and not the network; each sample says so. The same readings tell of traffic that the
platform held back, and of CPU time that a hypervisor withheld.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.metrics import LimitedBy
from bench.session import MachineUsage, Session, WorkloadUsage
from bench.workloads import Side, roles

FULL = 0.95
"""Share of its CPUs from which on somebody is at its limit."""
SHORTEST_SECONDS = 0.25
"""A shorter window has too few clock ticks to tell CPU use."""
NOTABLE_USE = 0.05
"""CPUs from which on a pod is named."""
NOTABLE_STEAL = 0.02
LEAST_STOLEN_SECONDS = 0.05
SIDES: tuple[Side, ...] = ("server", "client")


@dataclass(frozen=True, slots=True)
class Limit:
    """What was at its limit, and the figures that say so."""

    by: LimitedBy
    evidence: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All counters at one moment ``at`` (monotonic seconds)."""

    at: float
    machines: tuple[MachineUsage, ...]
    workloads: tuple[WorkloadUsage, ...]
    allowances: Mapping[str, Mapping[str, int]]


def take(session: Session, at: float) -> Snapshot:
    """Read all counters.

    :raises SessionError: one cannot be read.
    """
    return Snapshot(
        at,
        tuple(session.machines()),
        tuple(session.workload_usage()),
        {node: dict(counters) for node, counters in session.allowances().items()},
    )


@dataclass(frozen=True, slots=True)
class Load:
    """One CPU consumer over a window: ``used`` of ``available`` CPUs, of which a hypervisor
    ``withheld`` some."""

    name: str
    used: float
    available: float
    withheld: float = 0.0

    @property
    def full(self) -> bool:
        """It is at its limit."""
        return self.used >= FULL * (self.available - self.withheld)


@dataclass(frozen=True, slots=True)
class Observation:
    """What happened between two snapshots, ``seconds`` apart.

    ``nodes`` are those of each machine, ``stolen`` the CPU seconds that a hypervisor withheld,
    ``held_back`` the growth of the platform's counters by node (only what grew).
    """

    seconds: float
    machines: tuple[Load, ...]
    nodes: Mapping[str, tuple[str, ...]]
    pods: Mapping[Side, tuple[Load, ...]]
    stolen: float
    held_back: Mapping[str, Mapping[str, int]]

    def limit(self, servers: Collection[str]) -> Limit:
        """Who was at its limit: a pod with a CPU limit first, then a machine.

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
        if not full:
            return Limit("none", evidence)
        if len(self.machines) == 1:
            return Limit("machine", evidence)
        serving = any(node in servers for name in full for node in self.nodes[name])
        return Limit("server" if serving else "client", evidence)

    def cpu_seconds(self, nodes: Collection[str]) -> float | None:
        """CPU time of the machines that these nodes are on; None where it is not told."""
        used = [
            load.used for load in self.machines if any(n in nodes for n in self.nodes[load.name])
        ]
        return sum(used) * self.seconds if used else None

    @property
    def steal(self) -> float:
        """CPU time withheld, as a share of all CPUs; 0 where it is too little to tell."""
        cpus = sum(load.available for load in self.machines)
        if self.stolen < LEAST_STOLEN_SECONDS or not cpus:
            return 0.0
        return self.stolen / self.seconds / cpus

    def _evidence(self) -> str:
        parts = [
            f"{load.name} {100 * load.used / load.available:.0f} % busy" for load in self.machines
        ]
        parts += [
            f"{load.name} {load.used:.2f}"
            for side in SIDES
            for load in self.pods[side]
            if load.used >= NOTABLE_USE
        ]
        if self.steal > NOTABLE_STEAL:
            parts.append(f"{100 * self.steal:.0f} % withheld by the hypervisor")
        return ", ".join(parts)


def between(before: Snapshot, after: Snapshot) -> Observation:
    """What happened between two snapshots of one session.

    :raises ValueError: they are of the same moment.
    """
    seconds = after.at - before.at
    if seconds <= 0:
        raise ValueError(f"snapshots {seconds} s apart")
    earlier = {machine.name: machine for machine in before.machines}
    pairs = [(earlier[now.name], now) for now in after.machines if now.name in earlier]
    stolen = sum(now.steal_seconds - then.steal_seconds for then, now in pairs)
    return Observation(
        seconds=seconds,
        machines=tuple(
            Load(
                now.name,
                (now.busy_seconds - then.busy_seconds) / seconds,
                now.cpus,
                (now.steal_seconds - then.steal_seconds) / seconds,
            )
            for then, now in pairs
        ),
        nodes={now.name: now.nodes for _, now in pairs},
        pods={side: _pods(side, before.workloads, after.workloads, seconds) for side in SIDES},
        stolen=stolen,
        held_back=growth(before.allowances, after.allowances),
    )


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
