"""Which CPUs the processes of a lab's nodes run on.

Left to itself, the kernel puts a server's thread on the client's CPU or on another one and leaves
it there for a connection's life, which changes a round trip by a tenth. Nodes of a cluster share no
CPUs. So the lab's have shares of the machine's: what belongs to a node (agents, pods, commands in
them) runs there, and a veth's packets are received where they were sent. The control plane may run
anywhere.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lab.wait import until


def machine_cpus() -> tuple[int, ...]:
    """The CPUs that this machine's, or container's, first process may use."""
    return tuple(sorted(os.sched_getaffinity(1)))


def shares(cpus: Sequence[int], nodes: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Each node's CPUs, in order: equal shares, the remainder is nobody's.

    With fewer CPUs than nodes the first node, the clients', has the first to itself and the others
    share the rest. With one CPU there is nothing to share out.
    """
    if len(cpus) < 2:
        return {}
    if len(cpus) < len(nodes):
        first, *others = nodes
        return {first: (cpus[0],), **dict.fromkeys(others, tuple(cpus[1:]))}
    each = len(cpus) // len(nodes)
    return {node: tuple(cpus[i * each :][:each]) for i, node in enumerate(nodes)}


def pin(cgroup: Path, cpus: Sequence[int]) -> None:
    """Put all threads of a cgroup and those below it on CPUs; what they start inherits it.

    :raises WaitTimeoutError: new threads keep coming from threads that were there before.
    """
    wanted = set(cpus)

    def astray() -> str | None:
        left = [thread for thread in _threads(cgroup) if _cpus_of(thread) not in (None, wanted)]
        for thread in left:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread, wanted)
        return f"{len(left)} threads were not" if left else None

    until(f"all threads of {cgroup.name} to be on their CPUs", astray, timeout=10, interval=0.01)


def cpus_used(cgroup: Path) -> dict[tuple[int, ...], int]:
    """How many threads of a cgroup and those below it may run on which CPUs."""
    counts: dict[tuple[int, ...], int] = {}
    for thread in _threads(cgroup):
        cpus = _cpus_of(thread)
        if cpus is not None:
            key = tuple(sorted(cpus))
            counts[key] = counts.get(key, 0) + 1
    return counts


def _threads(cgroup: Path) -> Iterator[int]:
    for procs in cgroup.rglob("cgroup.procs"):
        for pid in procs.read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):
                yield from (int(task.name) for task in Path(f"/proc/{pid}/task").iterdir())


def _cpus_of(thread: int) -> set[int] | None:
    """None where the thread has ended."""
    try:
        return os.sched_getaffinity(thread)
    except ProcessLookupError:
        return None


def as_list(cpus: Sequence[int]) -> str:
    """As taskset(1) takes it and reads well: ``0,1``."""
    return ",".join(map(str, cpus))


def told(cpus: Mapping[str, Sequence[int]], *, asked: bool) -> str:
    """The rule as it is at work, as an adaptation."""
    if cpus:
        listed = "; ".join(f"{node}: {as_list(each)}" for node, each in cpus.items())
        return (
            "The machine's CPUs are shared out among the nodes, for their agents, pods and "
            f"commands ({listed}); the control plane runs on any."
        )
    why = "the machine has only one" if asked else "lab.placement is free"
    return f"Processes of all nodes run on any CPU: {why}."
