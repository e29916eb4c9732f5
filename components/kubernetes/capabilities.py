"""What experiments may ask of a cluster (:mod:`studies.experiments.capabilities`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from bench.session import CommandResult, Pod, SessionError
from bench.text import ParseError
from cni.dataplane import KUBE_PROXY_PODS, CountError, Dataplane
from cni.toggles import EvidenceError
from components.kubernetes import manifests, pods
from components.kubernetes.manifests import NAMESPACE
from components.objects import KeepsObjects
from kube import exec as pod_exec
from kube.client import Kube
from kube.errors import ApiError, KubernetesError
from kube.exec import Container
from kube.objects import POD, is_ready
from kube.wait import Waiter
from studies.experiments.capabilities import PodRequest

# On the node itself, where it listens also if it does nowhere else; netshoot has curl.
_PROXY_METRICS = ("curl", "--fail", "--silent", "--show-error", "http://127.0.0.1:10249/metrics")

_START_SECONDS = 120.0
_LOOK_SECONDS = 0.5


@contextmanager
def as_session_error() -> Iterator[None]:
    """What the cluster tells, in the session's words."""
    try:
        yield
    except (KubernetesError, EvidenceError, ParseError, CountError) as error:
        raise SessionError(str(error)) from error


class KubernetesCapabilities(KeepsObjects):
    """The capabilities of a cluster's session."""

    def __init__(self, api: Kube, cni: Dataplane) -> None:
        self._api = api
        self._cni = cni
        self._elsewhere: dict[str, str] = {}
        """The namespaces of an experiment's pods, by name."""

    # -- ExperimentPods -----------------------------------------------------------------------

    @contextmanager
    def experiment_pods(self, wanted: Sequence[PodRequest]) -> Iterator[Sequence[Pod]]:
        made = [manifests.experiment_pod(each) for each in wanted]
        places = {pod["metadata"]["name"]: pod["metadata"]["namespace"] for pod in made}
        try:
            with as_session_error():
                for pod in made:
                    self._api.create(pod)
                pods = [self._awaited(each, places[each.name]) for each in wanted]
            self._elsewhere.update(places)
            yield pods
        finally:
            with as_session_error():
                self._remove(places)

    def _awaited(self, wanted: PodRequest, namespace: str) -> Pod:
        def missing() -> str | None:
            pod = self._api.get(POD, wanted.name, namespace)
            return None if is_ready(pod) else "not ready"

        what = f"the pod {wanted.name} on {wanted.node}"
        Waiter(lambda line: None, _LOOK_SECONDS).until(what, missing, timeout=_START_SECONDS)
        ip = self._api.get(POD, wanted.name, namespace)["status"]["podIP"]
        return Pod(wanted.name, wanted.role, wanted.node, ip)

    def _remove(self, places: Mapping[str, str]) -> None:
        for name, namespace in places.items():
            self._elsewhere.pop(name, None)
            with suppress(ApiError):  # one that was never made, or is gone by itself
                self._api.delete(POD, name, namespace)

        def left() -> str | None:
            there = [name for name, space in places.items() if self._api.find(POD, name, space)]
            return f"{', '.join(there)} still there" if there else None

        Waiter(lambda line: None, _LOOK_SECONDS).until(
            "the experiment's pods to end", left, timeout=_START_SECONDS
        )

    # -- ObjectStore --------------------------------------------------------------------------

    @property
    def _objects_in(self) -> tuple[Kube, str]:
        return self._api, NAMESPACE

    # -- ComponentCommands, ComponentMetrics --------------------------------------------------

    def run_beside(
        self, component: str, node: str, argv: Sequence[str], *, timeout: float
    ) -> CommandResult:
        with as_session_error():
            where = self._containers(component).get(node)
            if where is None:
                raise SessionError(f"there is no ready {component} on {node}")
            done = pod_exec.run(self._api, where, argv, timeout=timeout)
        return CommandResult(tuple(argv), done.returncode, done.stdout, done.stderr, done.seconds)

    def component_metrics(self, component: str) -> Mapping[str, str]:
        with as_session_error():
            where = self._containers(component)
            if component == KUBE_PROXY_PODS.container:
                return pods.on_nodes(self._api, lambda node: _PROXY_METRICS, sorted(where))
            part = self._cni.component(component)
            if part is None or not part.counters:
                return {}
            return {
                node: self._cni.read_counters(pods.output(self._api, each, part.counters))
                for node, each in where.items()
            }

    def _containers(self, component: str) -> dict[str, Container]:
        """The component's container on every node that has it; none where it is not known."""
        part = self._cni.component(component)
        if component == KUBE_PROXY_PODS.container:
            selector = KUBE_PROXY_PODS.label
        elif part is not None and not part.cluster_wide:
            selector = part.label
        else:
            return {}
        return {
            str(pod["spec"]["nodeName"]): pods.container(pod, component)
            for pod in pods.ready(self._api, "", selector)
        }
