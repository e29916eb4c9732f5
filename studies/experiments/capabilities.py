"""What an experiment may ask of a session beyond :class:`bench.session.Session`.

A target implements those that it can; a session has a capability where it has its methods. An
experiment whose session lacks one is skipped, with :func:`lacking`'s words.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from bench.session import CommandResult, Pod, Service, Session

Manifest = Mapping[str, Any]
"""A Kubernetes object as JSON-able data, with ``apiVersion``, ``kind`` and ``metadata.name``; its
namespace is the session's, that of the workloads."""
Progress = Callable[[str], None]


@runtime_checkable
class ObjectStore(Protocol):
    """Kubernetes objects of the experiment's own, many at once.

    All calls return when the API server has answered for the last object, not when a dataplane has
    taken it up.
    """

    def create_objects(self, wanted: Sequence[Manifest], say: Progress, /) -> None:
        """Create objects in this order, many at a time; one that is there already is left.

        :raises SessionError: the API server refuses one (the first refusal's words).
        """
        ...

    def delete_objects(self, unwanted: Sequence[Manifest], say: Progress, /) -> None:
        """Delete objects, many at a time; one that is gone already is fine.

        :raises SessionError: the API server refuses one.
        """
        ...

    def merge_object(self, manifest: Manifest) -> None:
        """Change the object of this kind and name by a JSON merge patch (RFC 7386).

        :raises SessionError: the API server refuses it.
        """
        ...

    def list_objects(self, api_version: str, kind: str, selector: str = "") -> list[Manifest]:
        """The objects of a kind in all namespaces, by a label selector.

        :raises SessionError: the API server refuses it.
        """
        ...


@runtime_checkable
class ComponentCommands(Protocol):
    """Commands where a node's CNI component runs: in the node's own network namespace, with its
    rights and its view of ``/sys/fs/bpf``."""

    def run_beside(
        self, component: str, node: str, argv: Sequence[str], *, timeout: float
    ) -> CommandResult:
        """As :meth:`bench.session.Session.run`, beside a component (as in ``ComponentUsage``).

        :raises SessionError: it cannot be run at all, or it did not end in time.
        """
        ...


@runtime_checkable
class ComponentMetrics(Protocol):
    """What the CNI's components count themselves."""

    def component_metrics(self, component: str) -> Mapping[str, str]:
        """The metrics of a component (as in ``ComponentUsage``) on every node that has it, now.

        :returns: text in Prometheus's exposition format, by node; empty where there is no such
            component.
        :raises SessionError: one does not answer.
        """
        ...


@runtime_checkable
class ComponentRestart(Protocol):
    """Ends a CNI component on a node and starts it anew."""

    def restart_component(self, component: str, node: str) -> None:
        """Return once it says that it is ready again.

        :raises SessionError: it is not there, or does not come back.
        """
        ...


@runtime_checkable
class ComponentOutage(Protocol):
    """Ends a CNI component and starts it later; what is in the kernel stays meanwhile."""

    def end_component(self, component: str, node: str, *, kill: bool) -> None:
        """Return once it is gone: a component of a node, or one that runs once for the cluster,
        wherever that is.

        :param kill: by SIGKILL, not as a kubelet asks it to end.
        :raises SessionError: it is not there, or does not end.
        """
        ...

    def start_component(self, component: str, node: str, version: str | None = None) -> None:
        """Start what was ended, and return once it says that it is ready.

        :param version: one that :meth:`other_version` has told, in place of its own.
        :raises SessionError: it does not come back.
        """
        ...

    def other_version(self, component: str) -> str | None:
        """A version that can take the place of a component's own on one node: the newest of those
        that are older. None where there is none."""
        ...


@runtime_checkable
class LoadGenerator(Protocol):
    """Has the load generator (``turns load``) in its pods."""

    def run_load(self, pod: Pod, plan: str, *, timeout: float) -> CommandResult:
        """Run it to its end, as :meth:`bench.session.Session.run` does.

        :param plan: its argument.
        :raises SessionError: it cannot be run at all, or it did not end in time (and was killed).
        """
        ...


@runtime_checkable
class DnsReplacement(Protocol):
    """Replaces a pod of the cluster's DNS."""

    def dns_replaced(self, grace: float) -> AbstractContextManager[None]:
        """Have another pod take the place of one, as a Deployment does; all is as it was at the
        block's end.

        :param grace: seconds for which the old one answers after the Service has turned away.
        :raises SessionError: the new one is not ready in time.
        """
        ...


@dataclass(frozen=True, slots=True)
class PodRequest:
    """A pod for the time of an experiment, pinned to a node.

    ``role`` becomes its label ``app.kubernetes.io/name``, so that policies can select it. With
    ``host_network`` it runs in the node's own network namespace and has its address. ``image`` and
    ``command`` are as those of :class:`bench.workloads.Workload`.
    """

    name: str
    role: str
    node: str
    image: str
    command: tuple[str, ...]
    host_network: bool = False


@runtime_checkable
class ExperimentPods(Protocol):
    """Pods for the time of an experiment."""

    def experiment_pods(
        self, wanted: Sequence[PodRequest]
    ) -> AbstractContextManager[Sequence[Pod]]:
        """Run pods for the length of the block, in the order asked for; ready, not listening yet.

        :meth:`bench.session.Session.run` takes them like any others.
        :raises SessionError: one does not come up; none is left then.
        """
        ...


@dataclass(frozen=True, slots=True)
class Trial:
    """One toggle tried by itself.

    ``sign`` says whether the variant has the toggle (``+``) or the base does (``-``). ``along`` are
    toggles that change with it. ``reason`` is why it cannot be tried, None where it can. ``notes``
    are what else a reader should know. ``outside``: measured from outside the nodes, through a
    NodePort.
    """

    toggle: str
    sign: Literal["+", "-"]
    along: tuple[str, ...] = ()
    reason: str | None = None
    notes: tuple[str, ...] = ()
    outside: bool = False

    def label(self, base: str) -> str:
        """What it is called: ``D + hostRouting (with bpfMasquerade)``."""
        along = f" (with {', '.join(self.along)})" if self.along else ""
        return f"{base} {self.sign} {self.toggle}{along}"


class StageError(Exception):
    """A base or a variant could not be brought up, or is not what it should be."""


class Stage(Protocol):
    """A base and its variants. Both run at the same time; trials come one after the other."""

    @property
    def base_name(self) -> str:
        """What the base is called: D."""
        ...

    def trials(self) -> Sequence[Trial]:
        """All toggles, in order."""
        ...

    def base(self, say: Progress) -> AbstractContextManager[Session]:
        """The base, for the length of the block.

        :raises StageError: it does not come up.
        """
        ...

    def variant(self, trial: Trial, say: Progress) -> AbstractContextManager[Session]:
        """The variant of a trial without a ``reason``, for the length of the block.

        :raises StageError: it does not come up, or its toggle is not verified.
        """
        ...


@runtime_checkable
class Outside(Protocol):
    """A session that has a client outside the cluster, on the nodes' own network."""

    def outside(self) -> tuple[Pod, Service]:
        """The client, and httpbin as it reaches it: a node without a pod of it, and the NodePort.

        :raises SessionError: either cannot be had.
        """
        ...


class Samples(Protocol):
    """Looks at what CPUs run, many in a millisecond, since it was made."""

    def stop(self) -> None:
        """Look no more."""
        ...

    def data(self) -> bytes:
        """All of them, as perf has recorded them: by the wall clock, with cgroups."""
        ...

    def symbols(self) -> str:
        """The kernel's functions with their addresses (/proc/kallsyms)."""
        ...


@runtime_checkable
class Sampler(Protocol):
    """Sees which functions the CPUs of the nodes are in."""

    def sampling(self) -> AbstractContextManager[Samples]:
        """Look at them from now on; what was seen is there for the length of the block.

        :raises SessionError: that is not possible here.
        """
        ...

    def node_cgroups(self) -> Mapping[str, str]:
        """The nodes by their cgroups, as samples tell them."""
        ...


class AtDevice(NamedTuple):
    """A BPF program at a device: ``incoming`` for what comes in there; its ``number`` is the
    kernel's."""

    device: str
    incoming: bool
    number: int


class Passings(Protocol):
    """Passings of tracepoints, since it was made."""

    def text(self) -> str:
        """All of them, as perf script tells them, with the kernel's call chains."""
        ...


@runtime_checkable
class Tracer(Protocol):
    """Sees where in the kernel packets pass, and asks the nodes what they have counted."""

    def tracing(self, points: Mapping[str, str]) -> AbstractContextManager[Passings]:
        """Watch these tracepoints from now on, each with a filter ("" for all that passes); what
        was seen is there for the length of the block.

        :raises SessionError: that is not possible here.
        """
        ...

    def counting_runs(self) -> AbstractContextManager[None]:
        """Runs of BPF programs are counted for the length of the block.

        :raises SessionError: that is not possible here.
        """
        ...

    def programs_at_devices(self, node: str) -> Sequence[AtDevice]:
        """Those of a node.

        :raises SessionError: they cannot be told.
        """
        ...

    def on_node(self, node: str, argv: Sequence[str]) -> str:
        """The standard output of a command in a node's own namespaces.

        :raises SessionError: it fails.
        """
        ...


@runtime_checkable
class Variants(Protocol):
    """Variants of the session's scenario, brought up beside it."""

    def toggle_stage(self) -> Stage:
        """A stage whose base is the session's own cluster (its ``base`` is not asked for).

        :raises StageError: there are no variants of it.
        """
        ...


_CANNOT: Mapping[type, str] = {
    LoadGenerator: "run a load that does not wait for answers",
    ObjectStore: "create Kubernetes objects",
    ComponentCommands: "run commands beside the CNI's components",
    ComponentMetrics: "read the metrics of the CNI's components",
    ComponentOutage: "end the CNI's components",
    ComponentRestart: "restart the CNI's components",
    DnsReplacement: "replace a pod of the cluster's DNS",
    ExperimentPods: "run pods of an experiment",
    Sampler: "see which functions its CPUs are in",
    Tracer: "see where in the kernel packets pass",
    Variants: "bring up variants of its scenario beside it",
}


def lacking(session: Session, needs: Sequence[type]) -> str | None:
    """Why a session cannot do what is needed; None when it can."""
    missing = [_CANNOT.get(need, need.__name__) for need in needs if not isinstance(session, need)]
    return f"this target cannot {', nor '.join(missing)}" if missing else None
