"""How the benchmark reaches a cluster: by its Kubernetes API alone; needs no Pulumi."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Any

from bench.environment import About, Environment, NodeFacts
from bench.session import (
    CommandResult,
    ComponentUsage,
    Health,
    MachineUsage,
    Pod,
    Service,
    ServicePath,
    SessionError,
    TurnClient,
    Worked,
    WorkloadUsage,
)
from bench.text import ParseError, tail
from bench.workloads import DNS_SERVICE, WORKLOADS, roles
from cni.dataplane import KUBE_PROXY_PODS, CountError, Setting
from cni.toggles import EvidenceError
from components.kubernetes import dataplane, facts, manifests, pods
from components.kubernetes.access import connect as log_in
from components.kubernetes.dataplane import Requested, kube_proxy_mode
from components.kubernetes.facts import ContainerUsage
from components.kubernetes.generator import Generator
from components.kubernetes.manifests import (
    LINUX_NODES,
    MAIN,
    NAMESPACE,
    ROLE_LABEL,
    SYSTEM_NAMESPACE,
)
from components.kubernetes.pods import Leftover, Leftovers
from components.kubernetes.watch import Watch, Watched
from components.objects import KeepsObjects
from components.programs import TURNS
from kube import exec as pod_exec
from kube.client import Kube
from kube.exec import Container, Finished
from kube.objects import NODE, POD, SERVICE, ApiError, Json, KubernetesError, TornError, is_ready
from kube.wait import Waiter
from studies.experiments.capabilities import PodRequest

# Its image has a shell and iproute2.
_ASKED_ROLE = "dns-client"
_TURNS_SERVERS = [each.role for each in WORKLOADS if each.command[0] == TURNS]

# On the node itself, where it listens also if it does nowhere else; netshoot has curl.
_PROXY_METRICS = ("curl", "--fail", "--silent", "--show-error", "http://127.0.0.1:10249/metrics")

_START_SECONDS = 120.0
_LOOK_SECONDS = 0.5
# Where nodes cannot take notes, in an image of one's own say, it is not tried before each sample.
_MOST_BEGINNINGS = 2


@contextmanager
def as_session_error() -> Iterator[None]:
    """What the cluster tells, in the session's words."""
    try:
        yield
    except (KubernetesError, EvidenceError, ParseError, CountError) as error:
        raise SessionError(str(error)) from error


class KubernetesSession(KeepsObjects):
    """A cluster as :class:`bench.session.Session`, with the capabilities that experiments ask for
    (:mod:`studies.experiments.capabilities`).

    :param requested: the dataplane that the stack has asked for.
    :param about: what the cluster does not know (:class:`bench.environment.About`), as JSON.
    """

    def __init__(self, api: Kube, requested: Requested, about: Mapping[str, Any]) -> None:
        self._api = api
        self._elsewhere: dict[str, str] = {}
        """The namespaces of an experiment's pods, by name."""
        self._requested = requested
        self._about = About.model_validate({"values": dict(requested.values or {}), **about})
        self._leftovers = Leftovers(api)
        self._generator = Generator(api)
        self._watch: Watch | None = None
        self._unwatched: list[str] = []
        """Why no notes could be taken, each time in turn."""

    def close(self) -> None:
        """End what may still run of this session's commands, where that is still possible."""
        if self._watch:
            self._watch.close()
        # The measurement is over: no sample is lost by what a pod does from now on.
        with suppress(KubernetesError):
            self._leftovers.end_all()

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        with as_session_error():
            done = self._run(pod, argv, timeout)
        return CommandResult(tuple(argv), done.returncode, done.stdout, done.stderr, done.seconds)

    def _run(self, pod: Pod, argv: Sequence[str], timeout: float, stdin: bytes = b"") -> Finished:
        self._leftovers.end_all()
        namespace = self._namespace(pod.name)
        main = Container(namespace, pod.name, MAIN)
        try:
            return pod_exec.run(self._api, main, argv, timeout=timeout, stdin=stdin)
        except TornError as torn:
            self._end(Leftover(namespace, pod.name, tuple(argv)), torn)
            raise

    def _namespace(self, pod: str) -> str:
        return self._elsewhere.get(pod, NAMESPACE)

    def _end(self, leftover: Leftover, torn: TornError) -> None:
        """End a torn command now, or before the next one is started."""
        self._leftovers.add(leftover)
        try:
            self._leftovers.end_all()
        except KubernetesError as error:
            raise KubernetesError(f"{torn}; {error}") from None

    def turn_client(self, pod: Pod) -> TurnClient:
        with as_session_error():
            servers = [each.name for role in _TURNS_SERVERS for each in self.pods(role)]
            for name in (pod.name, *servers):
                self._generator.bring(self._namespace(name), name)
        return TurnClient(f"{self._api.host} {pod.name}")

    def take_turns(self, pod: Pod, plan: str, *, timeout: float) -> bytes:
        # The program reads one value of JSON, and so knows where it ends.
        with as_session_error():
            done = self._run(pod, [self._generator.path, "run"], timeout, plan.encode())
        if done.returncode:
            raise SessionError(f"{pod.name}: {tail(done.stderr)}")
        return done.output

    def pods(self, role: str) -> Sequence[Pod]:
        with as_session_error():
            return [
                Pod(pod["metadata"]["name"], role, pod["spec"]["nodeName"], pod["status"]["podIP"])
                for pod in pods.ready(self._api, NAMESPACE, f"{ROLE_LABEL}={role}")
            ]

    def service(self, name: str) -> Service:
        namespace = SYSTEM_NAMESPACE if name == DNS_SERVICE else NAMESPACE
        with as_session_error():
            service = self._api.find(SERVICE, name, namespace)
        if service is None:
            raise SessionError(f"there is no Service {name} in the namespace {namespace}")
        spec = service["spec"]
        return Service(name, spec["clusterIP"], spec["ports"][0]["port"])

    def cni_usage(self) -> Sequence[ComponentUsage]:
        with as_session_error():
            containers = list(_running(self._cni_pods()))
            return [
                ComponentUsage(each.node, each.name, usage.cpu_seconds, usage.memory_bytes)
                for each, usage in zip(containers, _usage(self._api, containers), strict=True)
            ]

    def workload_usage(self) -> Sequence[WorkloadUsage]:
        with as_session_error():
            containers = self._workloads()
            return [
                WorkloadUsage(each.pod, each.role, each.node, usage.cpu_seconds)
                for each, usage in zip(containers, _usage(self._api, containers), strict=True)
            ]

    def _workloads(self) -> list[Watched]:
        """The containers in which the workloads' commands run."""
        ready = pods.ready(self._api, NAMESPACE, ROLE_LABEL)
        return [each for each in _running(ready) if each.name == MAIN]

    def worked(self) -> Worked:
        with as_session_error():
            return self._noting().worked()

    def _noting(self) -> Watch:
        """The nodes' notes, which are begun again where they have ended."""
        if self._watch is None:
            cpus = {name: facts.cpus(node) for name, node in self._nodes.items()}
            self._watch = Watch(self._api, cpus, roles("client"))
        if self._watch.is_open:
            return self._watch
        if len(self._unwatched) >= _MOST_BEGINNINGS:
            raise KubernetesError(self._unwatched[-1])
        try:
            cni = [replace(each, role="") for each in _running(self._cni_pods())]
            self._watch.open(pods.node_probes(self._api, self._nodes), [*self._workloads(), *cni])
        except KubernetesError as error:
            self._unwatched.append(str(error))
            raise
        self._unwatched.clear()
        return self._watch

    def machines(self) -> Sequence[MachineUsage]:
        with as_session_error():
            items = self._api.items(NODE, labels=LINUX_NODES)
            cpus = {node["metadata"]["name"]: facts.cpus(node) for node in items}
            outputs = pods.on_nodes(self._api, lambda node: facts.CPU_COMMAND, sorted(cpus))
            times = {node: facts.parse_cpu(node, text) for node, text in outputs.items()}
        return [
            MachineUsage(
                name=node,
                nodes=(node,),
                cpus=cpus[node],
                busy_seconds=time.busy_seconds,
                steal_seconds=time.steal_seconds,
                interrupt_seconds=time.interrupt_seconds,
                time_of_day=time.time_of_day,
            )
            for node, time in times.items()
        ]

    def health(self) -> Sequence[Health]:
        components = self._requested.dataplane.components
        wide = [each.label for each in components if each.cluster_wide]
        local = [each.label for each in components if not each.cluster_wide]
        wanted = [(NAMESPACE, ROLE_LABEL), (SYSTEM_NAMESPACE, pods.DNS_LABEL)]
        wanted += [("", label) for label in (*wide, *local, KUBE_PROXY_PODS.label)]
        with as_session_error():
            found = pods.listed(self._api, wanted)
        # A large cluster has nodes that come and go; the measurement meets only some of them.
        used = {pod["spec"].get("nodeName") for pod in found[0]}
        there = list(chain.from_iterable(found[: 2 + len(wide)]))
        agents = chain.from_iterable(found[2 + len(wide) :])
        there += [pod for pod in agents if pod["spec"].get("nodeName") in used]
        return [_health(pod) for pod in there]

    def configuration(self) -> Sequence[Setting]:
        with as_session_error():
            return dataplane.settings(self._api, self._requested)

    def service_path(self, client: Pod, service: Service) -> ServicePath:
        with as_session_error():
            return dataplane.path(self._api, self._requested, client.node, service)

    def allowances(self) -> Mapping[str, Mapping[str, int]]:
        with as_session_error():
            limited = [each.name for each in self._node_facts if each.driver == "ena"]
            outputs = pods.on_nodes(self._api, lambda node: facts.ALLOWANCES_COMMAND, limited)
        return {node: facts.parse_allowances(text) for node, text in outputs.items()}

    def environment(self) -> Environment:
        with as_session_error():
            return self._environment

    def about(self) -> About:
        return self._about

    # -- ExperimentPods -----------------------------------------------------------------------

    @contextmanager
    def experiment_pods(self, wanted: Sequence[PodRequest]) -> Iterator[Sequence[Pod]]:
        made = [manifests.experiment_pod(each) for each in wanted]
        places = {pod["metadata"]["name"]: pod["metadata"]["namespace"] for pod in made}
        try:
            with as_session_error():
                for pod in made:
                    self._api.create(pod)
                running = [self._awaited(each, places[each.name]) for each in wanted]
                for each in wanted:
                    if each.command[0] == TURNS:
                        self._generator.bring(places[each.name], each.name)
            self._elsewhere.update(places)
            yield running
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
        cni = self._requested.dataplane
        with as_session_error():
            where = self._containers(component)
            if component == KUBE_PROXY_PODS.container:
                return pods.on_nodes(self._api, lambda node: _PROXY_METRICS, sorted(where))
            part = cni.component(component)
            if part is None or not part.counters:
                return {}
            return {
                node: cni.read_counters(pods.output(self._api, each, part.counters))
                for node, each in where.items()
            }

    def _containers(self, component: str) -> dict[str, Container]:
        """The component's container on every node that has it; none where it is not known."""
        part = self._requested.dataplane.component(component)
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

    # -- environment ----------------------------------------------------------------------------

    @cached_property
    def _environment(self) -> Environment:
        api, nodes, cni = self._api, self._node_facts, self._requested.dataplane
        workloads = pods.ready(api, NAMESPACE, ROLE_LABEL)
        server = api.version()
        known = self._about.environment
        return known.with_facts(
            target=known.target or f"Kubernetes API at {api.host}",
            instance_type=facts.one_or_all_told(each.instance_type for each in nodes),
            region=facts.one_or_all_told(map(facts.region, self._nodes.values())),
            zone=facts.one_or_all_told(each.zone for each in nodes),
            kernel=facts.one_or_all(each.kernel for each in nodes),
            cpus=facts.one_or_all(each.cpus for each in nodes),
            node_mtu=facts.one_or_all(each.mtu for each in nodes),
            **self._pod_facts(workloads),
            dns_nodes=sorted(
                pod["spec"]["nodeName"] for pod in pods.ready(api, SYSTEM_NAMESPACE, pods.DNS_LABEL)
            ),
            nodes=[each.name for each in nodes],
            node_facts=[each.model_dump() for each in nodes],
            kube_proxy=kube_proxy_mode(api),
            agents=cni.summary(dataplane.collect(api, cni)),
            versions=facts.versions(server, self._cni_pods()),
            images=facts.images(workloads, ROLE_LABEL),
        )

    @cached_property
    def _nodes(self) -> dict[str, Json]:
        return {
            node["metadata"]["name"]: node for node in self._api.items(NODE, labels=LINUX_NODES)
        }

    @cached_property
    def _node_facts(self) -> list[NodeFacts]:
        nodes = self._nodes
        outputs = pods.on_nodes(self._api, lambda node: facts.NETWORK_COMMAND, sorted(nodes))
        return [
            facts.node_facts(nodes[name], facts.parse_network(name, text))
            for name, text in outputs.items()
        ]

    def _cni_pods(self) -> list[Json]:
        """The pods of the CNI's components and of kube-proxy."""
        components = self._requested.dataplane.components
        labels = (*(each.label for each in components), KUBE_PROXY_PODS.label)
        return [pod for label in labels for pod in self._api.items(POD, labels=label)]

    def _pod_facts(self, workloads: Sequence[Json]) -> dict[str, Any]:
        for pod in workloads:
            if pod["metadata"]["labels"][ROLE_LABEL] == _ASKED_ROLE:
                where = pods.container(pod, MAIN)
                return facts.pod_facts(pods.output(self._api, where, facts.POD_COMMAND))
        raise KubernetesError(f"there is no ready pod of the role {_ASKED_ROLE}")


def _health(pod: Json) -> Health:
    metadata = pod["metadata"]
    statuses = pod["status"].get("containerStatuses", ())
    restarts = sum(each["restartCount"] for each in statuses)
    fault = "" if is_ready(pod) else "is not ready"
    return Health(metadata["name"], f"{metadata['uid']} {restarts}", fault)


def _running(of: Iterable[Json]) -> Iterable[Watched]:
    for pod in of:
        metadata = pod["metadata"]
        role = metadata["labels"].get(ROLE_LABEL, "")
        for name, container_id in pods.running(pod):
            yield Watched(pod["spec"]["nodeName"], metadata["name"], role, name, container_id)


def _usage(api: Kube, containers: Sequence[Watched]) -> list[ContainerUsage]:
    """The usage of each container, in order, read on all nodes at once."""
    ids: dict[str, list[str]] = {}
    for each in containers:
        ids.setdefault(each.node, []).append(each.id)
    outputs = pods.on_nodes(api, lambda node: facts.usage_command(ids[node]), sorted(ids))
    read = {node: facts.parse_usage(text) for node, text in outputs.items()}
    for each in containers:
        if each.id not in read[each.node]:
            raise KubernetesError(
                f"the cgroup of {each.name} in {each.pod} on {each.node} is not found"
            )
    return [read[each.node][each.id] for each in containers]


def connect(
    access: Mapping[str, Any],
    cni: str,
    kube_proxy: str,
    values: Mapping[str, object] | None = None,
    about: Mapping[str, Any] | None = None,
) -> KubernetesSession:
    """The session of a cluster (a factory for :func:`bench.session.open_session`).

    :param access: see :mod:`components.kubernetes.access`.
    :param cni: the name of the stack's CNI.
    :param kube_proxy: the mode that the stack has asked for, or none.
    :param values: what the CNI's installer has been given; None for nothing that is known.
    :raises SessionError: there is no logging in to the cluster.
    """
    with as_session_error():
        requested = Requested(cni=cni, kube_proxy=kube_proxy, values=values or {})
        return KubernetesSession(log_in(access), requested, about or {})
