"""What nodes do while a client's command runs, by notes that they take themselves.

A counter that is read through the API server before and after a command counts idle time, too: the
time of the streams for reading and of the command's own. Over a second or two, that makes of CPUs
without any time left ones that are half idle. So a process in each node's probe takes notes several
times a second, with the node's own time, and the notes tell when a command ran: while the container
of a client has more processes than at rest. Between the first and the last of these notes counters
are added up, and nothing of other times. What this leaves out is the command's first and last tenth
of a second.

Clocks of nodes are taken as equal. Those of EC2 are to about a millisecond; a clock that is off by
a tenth of a second moves the window by that on its node.
"""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

from bench.session import ComponentUsage, MachineUsage, Worked, WorkloadUsage
from components.kubernetes import facts
from components.kubernetes.manifests import HOST_CGROUPS
from kube.client import Kube
from kube.exec import Container, Conversation
from kube.objects import KubernetesError

INTERVAL_SECONDS = 0.1
_LONGEST_SECONDS = 900.0
"""Without a question for so long, a node takes no further notes."""
_SECONDS = 30.0
_AT_ONCE = 16


def watch_command(containers: Sequence[str], root: str = HOST_CGROUPS) -> tuple[str, ...]:
    """The command that takes notes of a node and of containers, by their ids."""
    most = round(_LONGEST_SECONDS / INTERVAL_SECONDS)
    options = (root, f"{INTERVAL_SECONDS:g}", str(most))
    return facts.script("watch", *options, *containers, shell="bash")


@dataclass(frozen=True, slots=True)
class Watched:
    """A container whose CPU time is noted: of a workload, whose role it has, or of the CNI."""

    node: str
    pod: str
    role: str
    name: str
    id: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Notes:
    """A node's notes: times, the counters at each (in CPU seconds: the CPUs' at work, in interrupts
    and withheld, then each container's), and how many processes each container had."""

    times: tuple[float, ...]
    counters: tuple[tuple[float, ...], ...]
    processes: tuple[tuple[int, ...], ...]

    def at(self, moment: float) -> tuple[float, ...]:
        """The counters at a moment between the first and the last note."""
        after = min(max(bisect_right(self.times, moment), 1), len(self.times) - 1)
        start, end = self.times[after - 1 : after + 1]
        share = (moment - start) / (end - start)
        pairs = zip(self.counters[after - 1], self.counters[after], strict=True)
        return tuple(a + share * (b - a) for a, b in pairs)

    def busy(self, container: int) -> Iterator[tuple[float, float]]:
        """When a container had more processes than at rest, from one note to another."""
        counts = [each[container] for each in self.processes]
        rest, began = min(counts), None
        for i, count in enumerate([*counts, rest]):
            if count > rest and began is None:
                began = i
            elif count <= rest and began is not None:
                if began < i - 1:
                    yield self.times[began], self.times[i - 1]
                began = None


def parse_notes(node: str, text: str, containers: int) -> Notes:
    """Read an answer of :func:`watch_command`'s.

    :raises KubernetesError: it is none, or time goes backwards in it.
    """
    times, counters, processes = [], [], []
    try:
        for line in text.splitlines():
            if not line:
                continue
            cpus, *groups = line.split("|")
            moment, *words = cpus.split()
            used = [tuple(map(facts.count, each.split())) for each in groups]
            if len(used) != containers:
                raise ValueError(line)
            times.append(facts.clock(moment))
            counters.append((*facts.cpu_seconds(words), *(each[0] / 1e6 for each in used)))
            processes.append(tuple(each[1] for each in used))
        if len(times) < 2 or any(b <= a for a, b in pairwise(times)):
            raise ValueError(text)
    except (ValueError, IndexError) as error:
        said = str(error)[-200:]
        raise KubernetesError(f"{node}: its notes cannot be read: {said}") from None
    return Notes(tuple(times), tuple(counters), tuple(processes))


def windows(
    notes: Mapping[str, Notes], clients: Mapping[str, Sequence[int]]
) -> list[tuple[float, float]]:
    """When a client's command ran and every node took notes; in order, none within another.

    :param clients: the places of clients' containers among those of their node.
    """
    first = max(each.times[0] for each in notes.values())
    last = min(each.times[-1] for each in notes.values())
    found = sorted(
        (max(start, first), min(end, last))
        for node, places in clients.items()
        for place in places
        for start, end in notes[node].busy(place)
    )
    merged: list[tuple[float, float]] = []
    for start, end in found:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif start < end:
            merged.append((start, end))
    return merged


class Watch:
    """The notes of all nodes, and what the times of commands add up to; of one thread.

    :param cpus: of each node.
    :param clients: the roles whose commands are loads.
    """

    def __init__(self, api: Kube, cpus: Mapping[str, int], clients: Sequence[str]) -> None:
        self._api = api
        self._cpus = cpus
        self._clients = clients
        self._watched: dict[str, list[Watched]] = {}
        self._asked: dict[str, Conversation] = {}
        self._seconds = 0.0
        self._machines = dict.fromkeys(cpus, (0.0, 0.0, 0.0))
        self._containers: dict[Watched, float] = {}

    @property
    def is_open(self) -> bool:
        """Notes are being taken."""
        return bool(self._asked)

    def open(self, probes: Mapping[str, Container], containers: Sequence[Watched]) -> None:
        """Have notes taken from now on.

        :raises KubernetesError: a node takes none.
        """
        self._watched = {
            node: [each for each in containers if each.node == node] for node in self._cpus
        }
        self._containers |= {each: self._containers.get(each, 0.0) for each in containers}

        def begin(node: str) -> Conversation:
            command = watch_command([each.id for each in self._watched[node]])
            return Conversation(self._api, probes[node], command, timeout=_SECONDS)

        try:
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                beginning = {node: pool.submit(begin, node) for node in self._cpus}
            # The ones that began are remembered first, so that they end.
            for node in sorted(beginning, key=lambda each: beginning[each].exception() is not None):
                self._asked[node] = beginning[node].result()
            self._ask()
        except KubernetesError:
            self.close()
            raise

    def _ask(self) -> dict[str, Notes]:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            told = pool.map(lambda each: each.ask(timeout=_SECONDS), self._asked.values())
            return {
                node: parse_notes(node, text, len(self._watched[node]))
                for node, text in zip(self._asked, told, strict=True)
            }

    def worked(self) -> Worked:
        """What the times of commands add up to.

        :raises KubernetesError: it is not known since the last question; no notes are taken then.
        """
        try:
            self._add(self._ask())
        except KubernetesError:
            self.close()
            raise
        return self._sums()

    def _add(self, notes: Mapping[str, Notes]) -> None:
        clients = {
            node: [i for i, each in enumerate(watched) if each.role in self._clients]
            for node, watched in self._watched.items()
        }
        for start, end in windows(notes, clients):
            self._seconds += end - start
            for node, each in notes.items():
                grown = [b - a for a, b in zip(each.at(start), each.at(end), strict=True)]
                busy, interrupts, steal = self._machines[node]
                sums = (busy + grown[0], interrupts + grown[1], steal + grown[2])
                self._machines[node] = sums
                for container, used in zip(self._watched[node], grown[3:], strict=True):
                    self._containers[container] += used

    def _sums(self) -> Worked:
        used = self._containers.items()
        return Worked(
            self._seconds,
            tuple(
                MachineUsage(node, (node,), self._cpus[node], busy, steal, interrupts)
                for node, (busy, interrupts, steal) in self._machines.items()
            ),
            tuple(WorkloadUsage(c.pod, c.role, c.node, time) for c, time in used if c.role),
            tuple(ComponentUsage(c.node, c.name, time, 0) for c, time in used if not c.role),
        )

    def close(self) -> None:
        """Have no further notes taken."""
        for each in self._asked.values():
            each.close()
        self._asked = {}
