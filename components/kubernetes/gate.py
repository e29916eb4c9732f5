"""The readiness gate: what must be so before pods can be networked, waited for step by step."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

from pydantic import TypeAdapter, ValidationError

from bench.workloads import DNS_SERVICE
from cni.dataplane import Dataplane
from cni.registry import DATAPLANES
from components.kubernetes import rollout
from components.kubernetes.manifests import LINUX_NODES, SYSTEM_NAMESPACE
from kube.client import Kube
from kube.errors import KubernetesError
from kube.objects import CUSTOM_RESOURCE, DAEMON_SET, DEPLOYMENT, ENDPOINT_SLICE, NODE, POD
from kube.wait import Waiter

_OF_DNS = f"kubernetes.io/service-name={DNS_SERVICE}"

# Seconds. Images are pulled meanwhile, and the operator starts only with the first node.
_JOIN_SECONDS = 600
_OPERATOR_SECONDS = 600
_CRD_SECONDS = 120
_AGENTS_SECONDS = 600
_READY_SECONDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpec:
    """What to wait for.

    :param cni: whose agents must run, and no agents of its rivals.
    :param kube_proxy: whether kube-proxy must run on every node, or must not be there at all.
    :param nodes: how many nodes must have joined.
    :param dns: whether the cluster's DNS must have come up too, where it is not put there later.
    """

    cni: str
    kube_proxy: bool
    nodes: int
    dns: bool = False

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


def wait(api: Kube, spec: GateSpec, waiter: Waiter) -> None:
    """Wait until the cluster's network is as ``spec`` says.

    :raises KubernetesError: what was waited for in vain, with its pods' last words.
    """
    waiter.until(
        "nodes to join",
        lambda: _joined(len(api.items(NODE, labels=LINUX_NODES)), spec.nodes),
        timeout=_JOIN_SECONDS,
    )
    _cni(api, DATAPLANES[spec.cni], spec.nodes, waiter)
    if spec.kube_proxy:
        _daemonset(api, waiter, "kube-proxy", spec.nodes)
    else:
        _absent(api, waiter, "kube-proxy")
    waiter.until(
        "every node to be ready",
        lambda: rollout.nodes_missing(api.items(NODE, labels=LINUX_NODES), spec.nodes),
        timeout=_READY_SECONDS,
    )
    if spec.dns:
        waiter.until(
            "the cluster's DNS to have endpoints",
            lambda: rollout.endpoints_missing(
                api.items(ENDPOINT_SLICE, SYSTEM_NAMESPACE, labels=_OF_DNS)
            ),
            timeout=_READY_SECONDS,
            evidence=_evidence(api, "k8s-app=kube-dns"),
        )


def _joined(nodes: int, expected: int) -> str | None:
    return None if nodes >= expected else f"{nodes} of {expected} have joined"


def _cni(api: Kube, cni: Dataplane, nodes: int, waiter: Waiter) -> None:
    objects = cni.rollout
    for rival in objects.rivals:
        _absent(api, waiter, rival)
    if objects.operator:
        name, label = objects.operator
        waiter.until(
            f"{name} to run",
            lambda: rollout.deployment_missing(api.find(DEPLOYMENT, name, SYSTEM_NAMESPACE)),
            timeout=_OPERATOR_SECONDS,
            evidence=_evidence(api, label),
        )
        waiter.until(
            f"{cni.title}'s CRDs to be established",
            lambda: rollout.crds_missing(api.items(CUSTOM_RESOURCE), objects.crds),
            timeout=_CRD_SECONDS,
            evidence=_evidence(api, label),
        )
    _daemonset(api, waiter, objects.daemonset, nodes)


def _daemonset(api: Kube, waiter: Waiter, name: str, nodes: int) -> None:
    waiter.until(
        f"{name} to run on every node",
        lambda: rollout.daemonset_missing(api.find(DAEMON_SET, name, SYSTEM_NAMESPACE), nodes),
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
    return lambda: rollout.why_not_ready(api, SYSTEM_NAMESPACE, selector)
