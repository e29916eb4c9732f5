"""What experiments may ask of a cluster (:mod:`studies.experiments.capabilities`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property

from bench.parse import ParseError
from bench.parse.prometheus import from_cilium
from bench.session import CommandResult, Pod, SessionError
from cni.evidence import EvidenceError
from components.kubernetes import exec as pod_exec
from components.kubernetes import manifests, pods
from components.kubernetes.api import Api
from components.kubernetes.errors import ApiError, KubernetesError
from components.kubernetes.exec import Container
from components.kubernetes.names import NAMESPACE
from components.kubernetes.rollout import is_ready
from components.kubernetes.wait import Waiter
from components.objects import KeepsObjects, Objects
from components.wire import Wire
from studies.experiments.capabilities import PodRequest

_KUBE_PROXY, _AGENT = "kube-proxy", "cilium-agent"
_SELECTORS: Mapping[str, str] = {_KUBE_PROXY: "k8s-app=kube-proxy", _AGENT: "k8s-app=cilium"}
# On the node itself, where it listens also if it does nowhere else; netshoot has curl.
_PROXY_METRICS = ("curl", "--fail", "--silent", "--show-error", "http://127.0.0.1:10249/metrics")
_AGENT_METRICS = ("cilium-dbg", "metrics", "list", "-o", "json")

_START_SECONDS = 120.0
_LOOK_SECONDS = 0.5


@contextmanager
def as_session_error() -> Iterator[None]:
    """What the cluster tells, in the session's words."""
    try:
        yield
    except (KubernetesError, EvidenceError, ParseError) as error:
        raise SessionError(str(error)) from error


class KubernetesCapabilities(KeepsObjects):
    """The capabilities of a cluster's session."""

    def __init__(self, api: Api) -> None:
        self._api = api
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
                    self._api.request("POST", _pods(pod["metadata"]["namespace"]), (), pod)
                found = [self._awaited(each, places[each.name]) for each in wanted]
            self._elsewhere.update(places)
            yield found
        finally:
            with as_session_error():
                self._remove(places)

    def _awaited(self, wanted: PodRequest, namespace: str) -> Pod:
        path = f"{_pods(namespace)}/{wanted.name}"

        def missing() -> str | None:
            return None if is_ready(self._api.get(path)) else "not ready"

        what = f"the pod {wanted.name} on {wanted.node}"
        Waiter(lambda line: None, _LOOK_SECONDS).until(what, missing, timeout=_START_SECONDS)
        ip = self._api.get(path)["status"]["podIP"]
        return Pod(wanted.name, wanted.role, wanted.node, ip)

    def _remove(self, places: Mapping[str, str]) -> None:
        for name, namespace in places.items():
            self._elsewhere.pop(name, None)
            with suppress(ApiError):  # one that was never made, or is gone by itself
                self._api.request("DELETE", f"{_pods(namespace)}/{name}")

        def left() -> str | None:
            there = [n for n, where in places.items() if self._api.find(f"{_pods(where)}/{n}")]
            return f"{', '.join(there)} still there" if there else None

        Waiter(lambda line: None, _LOOK_SECONDS).until(
            "the experiment's pods to end", left, timeout=_START_SECONDS
        )

    # -- ObjectStore --------------------------------------------------------------------------

    @cached_property
    def _objects(self) -> Objects:
        api = self._api
        wire = Wire(api.host, api.tls, lambda: api.authorization)
        return Objects(api.send, wire.open, NAMESPACE)

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
            if component == _AGENT:
                return {
                    node: from_cilium(pods.output(self._api, each, _AGENT_METRICS))
                    for node, each in where.items()
                }
            return pods.on_nodes(self._api, lambda node: _PROXY_METRICS, sorted(where))

    def _containers(self, component: str) -> dict[str, Container]:
        """The component's container on every node that has it; none where it is not known."""
        selector = _SELECTORS.get(component)
        if selector is None:
            return {}
        return {
            str(pod["spec"]["nodeName"]): pods.container(pod, component)
            for pod in pods.ready(self._api, "", selector)
        }


def _pods(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/pods"
