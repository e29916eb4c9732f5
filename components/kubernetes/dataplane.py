"""The dataplane as it is at work, against what the stack has asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench import configuration
from bench.parse import service_path
from bench.session import Service, ServicePath, Setting
from components.kubernetes import agents, pods
from components.kubernetes.discovery import kube_proxy_mode
from kube.client import Kube
from kube.errors import KubernetesError
from kube.exec import Container

# Whose pod on a node has a mechanism's program, and may run it: label and container.
_KUBE_PROXY = ("k8s-app=kube-proxy", "kube-proxy")
_AGENT = ("k8s-app=cilium", "cilium-agent")
_TOLD_BY: Mapping[str, tuple[str, str]] = {
    service_path.IPTABLES: _KUBE_PROXY,
    service_path.NFTABLES: _KUBE_PROXY,
    service_path.SOCKET: _AGENT,
    service_path.PER_PACKET: _AGENT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """What the stack has asked for.

    :param kube_proxy: iptables, nftables or none.
    :param values: Cilium's Helm values; None where Cilium is not the CNI.
    """

    kube_proxy: str
    values: Mapping[str, object] | None


def settings(api: Kube, requested: Requested) -> Sequence[Setting]:
    """Every setting that was asked for, with what is at work.

    :raises KubernetesError: the cluster cannot be asked.
    """
    return configuration.compare(
        requested.values,
        agents.collect(api),
        kube_proxy=(requested.kube_proxy, kube_proxy_mode(api)),
    )


def path(api: Kube, requested: Requested, node: str, service: Service) -> ServicePath:
    """What leads connections of a node's pods to a Service, as its dataplane counts.

    :raises KubernetesError: no pod on the node can tell.
    :raises bench.parse.ParseError: what it tells makes no sense.
    """
    kube_proxy, values = requested.kube_proxy, requested.values
    counts = {
        name: service_path.count(
            name, pods.output(api, _teller(api, node, name), service_path.COMMANDS[name]), service
        )
        for name in service_path.mechanisms(kube_proxy, values)
    }
    return ServicePath(service_path.expected(kube_proxy, values), counts)


def _teller(api: Kube, node: str, mechanism: str) -> Container:
    selector, name = _TOLD_BY[mechanism]
    for pod in pods.ready(api, "", selector):
        if pod["spec"]["nodeName"] == node:
            return pods.container(pod, name)
    raise KubernetesError(f"no ready pod with {selector} on {node}, which would tell {mechanism}")
