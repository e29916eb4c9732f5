"""The readiness gate: what must be so before pods can be networked, waited for step by step.

The functions named ``…_missing`` are pure, over what the API server says of objects. They answer
None where these are as they should be, else in a few words what is missing.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError

from bench.workloads import DNS_SERVICE
from cni.dataplane import Dataplane
from cni.registry import DATAPLANES
from components.kubernetes.manifests import LINUX_NODES, SYSTEM_NAMESPACE
from components.kubernetes.pods import DNS_LABEL
from kube.client import Kube
from kube.exec import Container
from kube.objects import (
    CUSTOM_RESOURCE,
    DAEMON_SET,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    EVENT,
    NODE,
    POD,
    SERVICE_ACCOUNT,
    ApiError,
    Json,
    KubernetesError,
    condition,
    is_ready,
    is_true,
)
from kube.wait import Waiter

_OF_DNS = f"kubernetes.io/service-name={DNS_SERVICE}"

# Seconds. Images are pulled meanwhile, and the operator starts only with the first node.
_JOIN_SECONDS = 600
_ASK_SECONDS = 30
_OPERATOR_SECONDS = 600
_CRD_SECONDS = 120
_AGENTS_SECONDS = 600
_READY_SECONDS = 300

ROLE_ANNOTATION = "eks.amazonaws.com/role-arn"
"""Of a service account: the role whose credentials EKS gives to its pods, as they are made."""
_ROLE_VARIABLE = "AWS_ROLE_ARN"

# How much of a pod's last words is shown.
_EVENTS = 5
_LOG_LINES = 8
_WIDTH = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpec:
    """What to wait for.

    :param cni: whose agents must run, and no agents of its rivals.
    :param kube_proxy: whether kube-proxy must run on every node, or must not be there at all.
    :param nodes: how many nodes must have joined.
    :param dns: whether the cluster's DNS must have come up too, where it is not put there later.
    :param anew: the command that makes nodes that do not come up anew.
    """

    cni: str
    kube_proxy: bool
    nodes: int
    dns: bool = False
    anew: str = ""

    def to_json(self) -> str:
        """As a resource's input."""
        return json.dumps(asdict(self), sort_keys=True)


_SPEC = TypeAdapter(GateSpec)


def read_spec(text: str) -> GateSpec:
    """Read a spec from a resource's input.

    :raises KubernetesError: it is none.
    """
    try:
        spec = _SPEC.validate_json(text)
    except ValidationError as error:
        raise KubernetesError(f"no readiness gate: {error.errors()[0]['msg']}: {text}") from None
    if spec.cni not in DATAPLANES:
        raise KubernetesError(f"no readiness gate: no CNI {spec.cni}: {text}")
    return spec


def wait(api: Kube, spec: GateSpec, waiter: Waiter, broken: Callable[[], str] = lambda: "") -> None:
    """Wait until the cluster's network is as ``spec`` says.

    :param broken: why nodes will not come up, where somebody knows; asked twice a minute.
    :raises KubernetesError: what was waited for in vain, with its pods' last words.
    """
    asked = waiter.monotonic()

    def not_joined() -> str | None:
        nonlocal asked
        lacking = _joined(len(api.items(NODE, labels=LINUX_NODES)), spec.nodes)
        if lacking and waiter.monotonic() - asked >= _ASK_SECONDS:
            asked = waiter.monotonic()
            if why := broken():
                raise KubernetesError(f"{lacking}: {why}. Fix: {spec.anew}")
        return lacking

    waiter.until("nodes to join", not_joined, timeout=_JOIN_SECONDS)
    _cni(api, DATAPLANES[spec.cni], spec.nodes, waiter)
    if spec.kube_proxy:
        _daemonset(api, waiter, "kube-proxy", spec.nodes)
    else:
        _absent(api, waiter, "kube-proxy")
    waiter.until(
        "every node to be ready",
        lambda: nodes_missing(api.items(NODE, labels=LINUX_NODES), spec.nodes),
        timeout=_READY_SECONDS,
    )
    if spec.dns:
        waiter.until(
            "the cluster's DNS to have endpoints",
            lambda: endpoints_missing(api.items(ENDPOINT_SLICE, SYSTEM_NAMESPACE, labels=_OF_DNS)),
            timeout=_READY_SECONDS,
            evidence=_evidence(api, DNS_LABEL),
        )


def _joined(nodes: int, expected: int) -> str | None:
    return None if nodes >= expected else f"{nodes} of {expected} have joined"


def _cni(api: Kube, cni: Dataplane, nodes: int, waiter: Waiter) -> None:
    objects = cni.rollout
    for rival in objects.rivals:
        _absent(api, waiter, rival)
    if objects.operator:
        name, label = objects.operator

        def no_pod() -> str | None:
            return None if api.items(POD, SYSTEM_NAMESPACE, labels=label) else "none yet"

        waiter.until(
            f"{name} to have its pods",
            no_pod,
            timeout=_OPERATOR_SECONDS,
            evidence=_evidence(api, label),
        )
        # A pod that EKS has missed runs with the node's role for good, and is refused everything.
        if missed := _without_role(api, label):
            for pod in missed:
                api.delete(POD, pod, SYSTEM_NAMESPACE)
            waiter.until(
                f"{name} to have its role",
                lambda: no_pod() or ", ".join(_without_role(api, label)) or None,
                timeout=_CRD_SECONDS,
            )
        waiter.until(
            f"{name} to run",
            lambda: deployment_missing(api.find(DEPLOYMENT, name, SYSTEM_NAMESPACE)),
            timeout=_OPERATOR_SECONDS,
            evidence=_evidence(api, label),
        )
        waiter.until(
            f"{cni.title}'s CRDs to be established",
            lambda: crds_missing(api.items(CUSTOM_RESOURCE), objects.crds),
            timeout=_CRD_SECONDS,
            evidence=_evidence(api, label),
        )
    _daemonset(api, waiter, objects.daemonset, nodes)


def _without_role(api: Kube, label: str) -> list[str]:
    """Pods without the credentials of their service account's role, where it has one."""
    found = []
    for pod in api.items(POD, SYSTEM_NAMESPACE, labels=label):
        account = api.find(
            SERVICE_ACCOUNT, pod["spec"].get("serviceAccountName", "default"), SYSTEM_NAMESPACE
        )
        if account is not None and lacks_role(pod, account):
            found.append(str(pod["metadata"]["name"]))
    return found


def _daemonset(api: Kube, waiter: Waiter, name: str, nodes: int) -> None:
    waiter.until(
        f"{name} to run on every node",
        lambda: daemonset_missing(api.find(DAEMON_SET, name, SYSTEM_NAMESPACE), nodes),
        timeout=_AGENTS_SECONDS,
        evidence=_evidence(api, f"k8s-app={name}"),
    )


def _absent(api: Kube, waiter: Waiter, name: str) -> None:
    def present() -> str | None:
        if api.find(DAEMON_SET, name, SYSTEM_NAMESPACE) is not None:
            return "its DaemonSet is there"
        pods = api.items(POD, SYSTEM_NAMESPACE, labels=f"k8s-app={name}")
        return f"{len(pods)} of its pods are there" if pods else None

    waiter.until(f"{name} to be absent", present, timeout=_READY_SECONDS)


def _evidence(api: Kube, selector: str) -> Callable[[], str]:
    return lambda: why_not_ready(api, SYSTEM_NAMESPACE, selector)


# -- what is missing, and why ----------------------------------------------------------------------


def _agent_taints() -> set[str | None]:
    """Those that are set on new nodes, and taken away once the CNI's agent runs there."""
    return {each.rollout.taint for each in DATAPLANES.values()}


def lacks_role(pod: Json, account: Json) -> bool:
    """Whether a pod has not got what EKS adds for the role of its service account.

    (amazon-eks-pod-identity-webhook: the variables AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE.)
    """
    wanted = account["metadata"].get("annotations", {}).get(ROLE_ANNOTATION)
    told = [
        variable.get("value")
        for container in pod["spec"]["containers"]
        for variable in container.get("env", ())
        if variable["name"] == _ROLE_VARIABLE
    ]
    return wanted is not None and wanted not in told


def crds_missing(crds: Iterable[Json], wanted: Collection[str]) -> str | None:
    """CustomResourceDefinitions that are not there or not established."""
    established = {crd["metadata"]["name"] for crd in crds if is_true(crd, "Established")}
    lacking = sorted(set(wanted) - established)
    if not lacking:
        return None
    return f"{len(lacking)} of {len(wanted)} not established, {lacking[0]} for one"


def daemonset_missing(daemonset: Json | None, nodes: int) -> str | None:
    """A DaemonSet that does not run, in its present form, on as many nodes as expected."""
    if daemonset is None:
        return "there is no such DaemonSet"
    status = daemonset.get("status", {})
    if status.get("observedGeneration", 0) < daemonset["metadata"].get("generation", 0):
        return "its controller has not seen the latest change yet"
    wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    updated = status.get("updatedNumberScheduled", 0)
    if wanted < nodes:
        return f"wanted on {wanted} of {nodes} nodes"
    if updated < wanted:
        return f"the latest version is on {updated} of {wanted} nodes"
    if ready < wanted:
        return f"ready on {ready} of {wanted} nodes"
    return None


def deployment_missing(deployment: Json | None) -> str | None:
    """A Deployment whose replicas do not all run in its present form."""
    if deployment is None:
        return "there is no such Deployment"
    status, wanted = deployment.get("status", {}), deployment["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return "its controller has not seen the latest change yet"
    if status.get("updatedReplicas", 0) < wanted:
        return f"the latest version has {status.get('updatedReplicas', 0)} of {wanted} replicas"
    if status.get("replicas", 0) > wanted:
        return f"{status['replicas'] - wanted} replicas of an earlier version still run"
    if status.get("readyReplicas", 0) < wanted:
        return f"{status.get('readyReplicas', 0)} of {wanted} replicas are ready"
    return None


def nodes_missing(nodes: Sequence[Json], expected: int) -> str | None:
    """Nodes that have not joined, are not ready, or still wait for their agent."""
    if len(nodes) < expected:
        return f"{len(nodes)} of {expected} nodes have joined"
    for node in nodes:
        name = node["metadata"]["name"]
        if not is_ready(node):
            ready = condition(node, "Ready")
            reason = ready.get("message") or ready.get("reason")
            return f"{name} is not ready: {reason or 'its kubelet has not reported anything'}"
        for taint in node["spec"].get("taints", ()):
            if taint["key"] in _agent_taints():
                return f"{name} has the taint {taint['key']}"
    return None


def endpoints_missing(slices: Iterable[Json]) -> str | None:
    """A Service without a ready endpoint in its EndpointSlices."""
    endpoints = [each for part in slices for each in part.get("endpoints") or ()]
    if any(each.get("conditions", {}).get("ready") for each in endpoints):
        return None
    return f"none of its {len(endpoints)} endpoints is ready"


def is_schedulable(node: Json) -> bool:
    """Whether ordinary pods may be put on a node."""
    spec = node.get("spec", {})
    kept_off = {taint["effect"] for taint in spec.get("taints", ()) if not _passing(taint["key"])}
    return not spec.get("unschedulable") and not kept_off & {"NoSchedule", "NoExecute"}


def _passing(taint: str) -> bool:
    """Taints that go once the node's network is there."""
    return (
        taint in _agent_taints()
        or taint == "node.kubernetes.io/not-ready"
        or taint.endswith("/network-unavailable")
    )


def why_not_ready(api: Kube, namespace: str, selector: str) -> str:
    """States, last events and last log lines of the first pod that is not ready.

    :raises KubernetesError: the API server cannot be asked.
    """
    pods = api.items(POD, namespace, labels=selector)
    if not pods:
        return f"There is no pod with {selector} in {namespace}."
    pod = next((each for each in pods if not is_ready(each)), None)
    if pod is None:
        return ""
    name = pod["metadata"]["name"]
    where = pod["spec"].get("nodeName", "no node yet")
    lines = [f"Pod {name} on {where} is {pod['status'].get('phase')}:"]
    lines += _states(pod)
    lines += _events(api, namespace, name)
    for container in _failing(pod):
        lines += _log(api, Container(namespace, name, container))
    return "\n".join(line[:_WIDTH] for line in lines)


def _statuses(pod: Json) -> list[Json]:
    status = pod["status"]
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def _states(pod: Json) -> Iterator[str]:
    for status in _statuses(pod):
        state = status.get("state", {})
        waiting, ended = state.get("waiting"), state.get("terminated")
        if waiting:
            yield f"  {status['name']}: {waiting.get('reason')}: {waiting.get('message', '')}"
        elif ended and ended.get("exitCode"):
            yield f"  {status['name']}: ended with {ended['exitCode']}: {ended.get('reason')}"


def _failing(pod: Json) -> list[str]:
    """The first container that has begun and is not ready."""
    begun = [
        status["name"]
        for status in _statuses(pod)
        if not status.get("ready") and (status.get("started") or status.get("restartCount"))
    ]
    return begun[:1]


def _events(api: Kube, namespace: str, pod: str) -> Iterable[str]:
    events = api.items(EVENT, namespace, fields=f"involvedObject.name={pod}")
    events.sort(key=_when)
    return [f"  event {event['reason']}: {event['message']}" for event in events[-_EVENTS:]]


def _when(event: Json) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")


def _log(api: Kube, container: Container) -> list[str]:
    path = f"{api.path(POD, container.namespace, container.pod)}/log"
    try:
        text = api.read(path, [("container", container.name), ("tailLines", str(_LOG_LINES))])
    except ApiError:  # a container that has never begun has none
        return []
    return [f"  log of {container.name}:", *(f"    {line}" for line in text.splitlines())]
