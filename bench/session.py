"""The seam between the measurement and the cluster that it measures.

A target (the lab, EKS, any kubeconfig) implements :class:`Session`; tests implement it with
recorded outputs. Nothing else in :mod:`bench` touches a cluster.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast


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


class Session(Protocol):
    """What a target offers to the measurement."""

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        """Run ``argv`` in ``pod`` and wait for at most ``timeout`` seconds.

        A program that ends with a non-zero code is a result, not an error. Standard output must
        be a pipe or a socket relayed by the target, not a file: fortio opens ``/dev/stdout``
        a second time for its request log.

        :raises SessionError: it cannot be run at all, or it did not end in time (and was killed).
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

    def close(self) -> None:
        """Give back what the session holds; nothing is asked of it afterwards."""
        ...

    def environment(self) -> Mapping[str, Any]:
        """JSON-able facts: target label, kernel, nodes, versions, adaptations.

        Two keys are read here: ``cluster_domain`` (default "cluster.local") and, for display,
        ``adaptations`` (a list of sentences).
        """
        ...


def open_session(descriptor: Mapping[str, Any]) -> Session:
    """Make the session that a frozen descriptor names.

    :param descriptor: ``{"factory": "package.module:callable", "args": {...}}``; the callable is
        imported now and called with ``args`` as keywords, so that no target is imported before.
    :raises SessionError: the descriptor is malformed, or its factory cannot be imported.
    """
    factory = descriptor.get("factory")
    args = descriptor.get("args", {})
    if not isinstance(factory, str) or factory.count(":") != 1 or not isinstance(args, Mapping):
        raise SessionError(
            'a session descriptor is {"factory": "package.module:callable", "args": {...}}, '
            f"got factory={factory!r}, args={args!r}"
        )
    module_name, _, attribute = factory.partition(":")
    try:
        target = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SessionError(f"session factory {factory!r} cannot be imported: {error}") from error
    if not callable(target):
        raise SessionError(f"session factory {factory!r} is not callable")
    return cast("Callable[..., Session]", target)(**args)
