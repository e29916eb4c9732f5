"""What experiments may ask of the lab (:mod:`studies.experiments.capabilities`)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from bench.parse import ParseError
from bench.session import CommandResult, Pod, SessionError
from cni.dataplane import CountError
from cni.registry import DATAPLANES
from cni.toggles import EvidenceError
from components.lab import cpu
from components.objects import KeepsObjects
from kube.client import Kube
from kube.errors import KubernetesError
from lab.cluster import Lab
from lab.controlplane import KUBE_PROXY
from lab.errors import LabError, ToolchainError
from lab.network import Node
from lab.sandbox import KILLED
from lab.workloads import NAMESPACE, PodSpec
from studies.experiments.capabilities import PodRequest


@contextmanager
def as_session_error() -> Iterator[None]:
    """What the lab tells, in the session's words."""
    try:
        yield
    except (
        LabError,
        KubernetesError,
        ToolchainError,
        OSError,
        ParseError,
        CountError,
        EvidenceError,
    ) as error:
        raise SessionError(str(error)) from error


class LabCapabilities(KeepsObjects):
    """The capabilities of a lab's session."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._on_nodes: dict[str, str] = {}
        """The nodes of pods that run in their node's network, by the pods' names."""

    # -- ObjectStore --------------------------------------------------------------------------

    @property
    def _objects_in(self) -> tuple[Kube, str]:
        return self._lab.api, NAMESPACE

    # -- ComponentCommands, ComponentMetrics --------------------------------------------------

    def run_beside(
        self, component: str, node: str, argv: Sequence[str], *, timeout: float
    ) -> CommandResult:
        with as_session_error():
            words = self._lab.node_words(node, argv, timeout)
        return command(f"{component} on {node}", words, argv, timeout)[0]

    def component_metrics(self, component: str) -> Mapping[str, str]:
        lab, cni = self._lab, DATAPLANES[self._lab.spec.cni]
        with as_session_error():
            if component == KUBE_PROXY:
                return lab.kube_proxy_metrics()
            part = cni.component(component)
            if part is None or not part.counters:
                return {}
            return {
                node.name: cni.read_counters(lab.node_command(node, part.counters))
                for node in lab.nodes
            }

    # -- ComponentRestart ---------------------------------------------------------------------

    def restart_component(self, component: str, node: str) -> None:
        with as_session_error():
            self._lab.restart(component, node)

    # -- ExperimentPods -----------------------------------------------------------------------

    @contextmanager
    def experiment_pods(self, wanted: Sequence[PodRequest]) -> Iterator[Sequence[Pod]]:
        with ExitStack() as running:
            with as_session_error():
                pods = [running.enter_context(self._pod(each)) for each in wanted]
            yield pods

    @contextmanager
    def _pod(self, wanted: PodRequest) -> Iterator[Pod]:
        lab = self._lab
        on = next((node for node in lab.nodes if node.name == wanted.node), None)
        if on is None:
            raise LabError(f"the lab has no node {wanted.node}")
        if wanted.host_network:
            yield from self._on_node(wanted, on)
            return
        spec = PodSpec(wanted.name, wanted.role, on.name, wanted.command)
        try:
            yield Pod(wanted.name, wanted.role, on.name, lab.pods.create(spec, on))
        finally:
            lab.pods.remove(spec, on)

    def _on_node(self, wanted: PodRequest, on: Node) -> Iterator[Pod]:
        sandbox = self._lab.sandbox
        program = self._lab.toolchain.command(wanted.command[0])
        sandbox.spawn(wanted.name, [program, *wanted.command[1:]], on.host)
        self._on_nodes[wanted.name] = on.name
        try:
            yield Pod(wanted.name, wanted.role, on.name, on.address.ip)
        finally:
            del self._on_nodes[wanted.name]
            sandbox.end(wanted.name)


def command(
    where: str, words: Sequence[str], argv: Sequence[str], timeout: float
) -> tuple[CommandResult, float]:
    """Run the words that enter a place, and the CPU seconds that it took.

    :raises SessionError: it was killed.
    """
    start = time.monotonic()
    done = cpu.run(words)
    seconds = time.monotonic() - start
    if done.returncode == KILLED:
        raise SessionError(
            f"{where}: `{' '.join(argv)}` was killed, after {timeout:.0f} s at the latest"
        )
    result = CommandResult(tuple(argv), done.returncode, done.stdout, done.stderr, seconds)
    return result, done.cpu_seconds
