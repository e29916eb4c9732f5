"""The seam between the measurement and the cluster that it measures.

A target (the lab, EKS, any kubeconfig) implements :class:`Session`; tests implement it with
recorded outputs. Nothing else in :mod:`bench` touches a cluster, or asks for the time but by
:class:`Clock`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from bench.environment import About, Environment
from bench.workloads import DNS_SERVICE, HTTPBIN_SERVICE, WORKLOADS, Side, roles
from cni.dataplane import Setting


class SessionError(Exception):
    """The cluster could not be asked: no such pod, a command that cannot start, a time-out."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What one command in a pod did.

    ``returncode`` is the program's own; ``seconds`` is wall-clock time seen from the caller.
    """

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Pod:
    """A workload's pod. ``role`` is that of :mod:`bench.workloads`, ``ip`` routable in-cluster."""

    name: str
    role: str
    node: str
    ip: str


@dataclass(frozen=True, slots=True)
class Service:
    """A Service as clients use it: ``host`` is its ClusterIP address, ``port`` its own port."""

    name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ComponentUsage:
    """What one process of the CNI on one node has used so far.

    ``component`` is such as "cilium-agent", "aws-node", "kube-proxy", "cilium-operator".
    ``cpu_seconds`` is cumulative user + system time. Windows of one or two seconds are measured
    with it, so clock ticks of 10 ms (``/proc/<pid>/stat``) are coarse: a cgroup's
    ``cpu.stat`` or the sum of ``/proc/<pid>/task/*/schedstat`` resolves microseconds.
    ``memory_bytes`` is resident memory.
    """

    node: str
    component: str
    cpu_seconds: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class WorkloadUsage:
    """CPU time that one pod of the workloads has used so far, in seconds.

    Of all its processes, user and system, with those that :meth:`Session.run` started in it and
    that have ended. ``cpu_limit`` is its limit in CPUs, None where it may use all of its node.
    """

    pod: str
    role: str
    node: str
    cpu_seconds: float
    cpu_limit: float | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """One process that the scenario consists of (an agent, the API server, a pod), as it is now.

    ``identity`` is another one after every start of it. ``fault`` is why it does not do its work,
    such as "has ended"; empty where it seems to do it.
    """

    name: str
    identity: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """By how many seconds a machine's time of day is ahead of its clock that only grows, known to
    ± ``error``. Only a change means something: it is a step. Slewing (NTP) moves both alike."""

    ahead: float
    error: float


@dataclass(frozen=True, slots=True)
class MachineUsage:
    """What the CPUs of one machine have done so far, in seconds over all of them (proc_stat(5)).

    A machine is what shares CPUs: a node of a real cluster, or all nodes of the lab. ``busy`` is
    user, nice, system, irq and softirq time, ``interrupt`` the last two of it; ``steal`` is what a
    hypervisor withheld. ``others`` is the time of processes that are not of the measurement, None
    where the target cannot tell them apart. ``parts`` are CPUs that some of its nodes have to
    themselves, each as a machine.
    """

    name: str
    nodes: tuple[str, ...]
    cpus: int
    busy_seconds: float
    steal_seconds: float
    interrupt_seconds: float = 0.0
    others_seconds: float | None = None
    time_of_day: TimeOfDay | None = None
    parts: tuple["MachineUsage", ...] = ()


@dataclass(frozen=True, slots=True)
class Worked:
    """What was used while a client's command ran: added up over all such times so far, which make
    ``seconds``, by the machines' own notes and clocks. Components' memory is not in it."""

    seconds: float
    machines: tuple[MachineUsage, ...]
    workloads: tuple[WorkloadUsage, ...]
    components: tuple[ComponentUsage, ...]


@dataclass(frozen=True, slots=True)
class ServicePath:
    """By what connections to one Service are led to its pods, seen from one client's node.

    ``expected`` is the mechanism that the stack's settings ask for, ``translated`` the number of
    connections that each mechanism has translated so far, or keeps state of: both in the words of
    :mod:`cni.dataplane`. Only growth between two readings means something.
    """

    expected: str
    translated: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TurnClient:
    """Where a client of the generator of turns runs (:mod:`bench.turns`).

    Sessions with the same ``machine`` can take turns in one run. ``enter`` are the words by which
    that run starts a process in the client's pod; none where the run itself is in it. ``cpu`` is
    the one to run on, -1 for any. ``usage`` are cgroup files (``cpu.stat``) that add up to the CPU
    time of all nodes; none where the machines' own counters tell it.
    """

    machine: str
    enter: tuple[str, ...] = ()
    cpu: int = -1
    usage: tuple[str, ...] = ()


class Session(Protocol):
    """What a target offers to the measurement.

    :meth:`run` may be called from two threads at once, for two pods; the rest from one.
    """

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        """Run ``argv`` in ``pod`` and wait for at most ``timeout`` seconds.

        A program that ends with a non-zero code is a result, not an error. Standard output must
        be a pipe or a socket relayed by the target, not a file: fortio opens ``/dev/stdout``
        a second time for its request log.

        :raises SessionError: it cannot be run at all, or it did not end in time (and was killed).
        """
        ...

    def turn_client(self, pod: Pod) -> TurnClient:
        """How ``pod`` takes part in turns.

        :raises SessionError: it cannot.
        """
        ...

    def take_turns(self, pod: Pod, plan: str, *, timeout: float) -> bytes:
        """Run ``turns run`` on the machine of ``pod``'s :class:`TurnClient`, and wait for at most
        ``timeout`` seconds.

        :param plan: what it reads from its standard input.
        :returns: its standard output.
        :raises SessionError: it cannot be run, fails, or did not end in time (and was killed).
        """
        ...

    def pods(self, role: str) -> Sequence[Pod]:
        """The ready pods of a role, as the API server reports them now."""
        ...

    def service(self, name: str) -> Service:
        """A Service of the workloads, or the cluster's DNS Service (``workloads.DNS_SERVICE``).

        :raises SessionError: there is none of that name.
        """
        ...

    def cni_usage(self) -> Sequence[ComponentUsage]:
        """CPU time and memory of the CNI's processes (agents, kube-proxy, operator), now."""
        ...

    def workload_usage(self) -> Sequence[WorkloadUsage]:
        """CPU time of every pod of the workloads, now; empty where the target cannot tell."""
        ...

    def machines(self) -> Sequence[MachineUsage]:
        """CPU time of every machine that has a node, now."""
        ...

    def worked(self) -> Worked | None:
        """What the commands' own time took; None where readings around a command, which take next
        to no time, tell it as well.

        :raises SessionError: it should be told and cannot.
        """
        ...

    def health(self) -> Sequence[Health]:
        """Everything that the scenario consists of, now.

        Asked for before and after every sample, so it takes a moment only. What is started or ended
        by the session itself is no fault.
        """
        ...

    def configuration(self) -> Sequence[Setting]:
        """The dataplane's settings, asked for and at work."""
        ...

    def service_path(self, client: Pod, service: Service) -> ServicePath:
        """What leads connections of ``client`` to ``service``, as its node's dataplane counts."""
        ...

    def allowances(self) -> Mapping[str, Mapping[str, int]]:
        """Traffic that the platform held back so far: counters by node, then by name.

        Cumulative since the device came up, such as the ENA driver's ``bw_in_allowance_exceeded``;
        empty where the platform has no such limit, and a node's where they cannot be read. Read
        before and after every sample.
        """
        ...

    def close(self) -> None:
        """Give back what the session holds; nothing is asked of it afterwards."""
        ...

    def environment(self) -> Environment:
        """The cluster and its machines, with the facts that only the target knows."""
        ...

    def about(self) -> About:
        """What the stack told the session: scenario, CNI, decisions, values, bring-up."""
        ...


Opener = Callable[[Mapping[str, Any]], Session]
"""Reaches the cluster that a descriptor names; raises :class:`SessionError` where it cannot.

Which targets there are is not known here: who is above hands an opener down."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The benchmark's pods by role, its Services and the name that DNS is asked for."""

    pods: Mapping[str, tuple[Pod, ...]]
    httpbin: Service
    dns: Service
    dns_name: str

    def one(self, role: str) -> Pod:
        """The first pod of a role (clients and single servers have no other)."""
        return self.pods[role][0]

    def nodes(self, side: Side) -> frozenset[str]:
        """The nodes that have a pod of a side."""
        return frozenset(pod.node for role in roles(side) for pod in self.pods[role])


def resolve_targets(session: Session) -> Targets:
    """Ask the session for all of them.

    :raises SessionError: a role has fewer pods than replicas, or a Service does not exist.
    """
    pods: dict[str, tuple[Pod, ...]] = {}
    for workload in WORKLOADS:
        ready = tuple(session.pods(workload.role))
        if len(ready) < workload.replicas:
            raise SessionError(
                f"role {workload.role} has {len(ready)} ready pods, {workload.replicas} wanted"
            )
        pods[workload.role] = ready
    domain = session.environment().cluster_domain
    return Targets(
        pods=pods,
        httpbin=session.service(HTTPBIN_SERVICE),
        dns=session.service(DNS_SERVICE),
        # A Service name that every cluster has; the final dot keeps search lists out of it.
        dns_name=f"kubernetes.default.svc.{domain}.",
    )


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds that only grow, a wait in seconds, and the time of day in UTC."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
