"""The dataplane as it is at work, against what the stack has asked for."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import yaml

from bench.session import Service, ServicePath
from cni.dataplane import Dataplane, Mechanism, Setting, configuration
from cni.registry import DATAPLANES
from cni.toggles import Evidence
from components.kubernetes import pods
from components.kubernetes.manifests import SYSTEM_NAMESPACE
from kube.client import Kube
from kube.exec import Container
from kube.objects import CONFIG_MAP, POD, KubernetesError

_AT_ONCE = 8
KUBE_PROXY_CONFIGS = (("kube-proxy", "config.conf"), ("kube-proxy-config", "config"))
"""ConfigMaps of kube-proxy with the key of its configuration: kubeadm's and EKS's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Requested:
    """What the stack has asked for.

    :param cni: its name.
    :param kube_proxy: iptables, nftables or none.
    :param values: what the CNI's installer has been given.
    """

    cni: str
    kube_proxy: str
    values: Mapping[str, object] = field(default_factory=dict)

    @property
    def dataplane(self) -> Dataplane:
        """The CNI."""
        return DATAPLANES[self.cni]


def collect(api: Kube, cni: Dataplane) -> list[Evidence]:
    """The evidence of every ready agent, by node; none where the CNI's agents are not asked.

    :raises KubernetesError: an agent cannot be asked.
    :raises cni.toggles.EvidenceError: its answer makes no sense.
    """
    agents = cni.agents
    if agents is None:
        return []
    containers = {
        pod["spec"]["nodeName"]: pods.container(pod, agents.container)
        for pod in pods.ready(api, "", f"k8s-app={cni.rollout.daemonset}")
    }

    def ask(agent: Container) -> dict[str, str]:
        return {name: pods.output(api, agent, argv) for name, argv in agents.commands.items()}

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        outputs = dict(zip(containers, pool.map(ask, containers.values()), strict=True))
    return [cni.parse_evidence(node, outputs[node]) for node in sorted(outputs)]


def settings(api: Kube, requested: Requested) -> Sequence[Setting]:
    """Every setting that was asked for, with what is at work.

    :raises KubernetesError: the cluster cannot be asked.
    """
    return configuration(
        requested.dataplane,
        requested.values,
        collect(api, requested.dataplane),
        kube_proxy=(requested.kube_proxy, kube_proxy_mode(api)),
    )


def path(api: Kube, requested: Requested, node: str, service: Service) -> ServicePath:
    """What leads connections of a node's pods to a Service, as its dataplane counts.

    :raises KubernetesError: no pod on the node has the counts.
    :raises cni.dataplane.CountError: an output makes no sense.
    """
    plan = requested.dataplane.services(requested.kube_proxy, requested.values)
    counts = {
        each.name: each.count(
            pods.output(api, _container(api, node, each), each.command), service.host, service.port
        )
        for each in plan.possible
    }
    return ServicePath(plan.expected.name, counts)


def _container(api: Kube, node: str, mechanism: Mechanism) -> Container:
    selector = mechanism.pods
    for pod in pods.ready(api, "", selector.label):
        if pod["spec"]["nodeName"] == node:
            return pods.container(pod, selector.container)
    raise KubernetesError(
        f"no ready pod with {selector.label} on {node}, which would tell {mechanism.name}"
    )


def kube_proxy_mode(api: Kube) -> str:
    """kube-proxy's mode, "none" where none runs, "unknown" where its settings are not found.

    :raises KubernetesError: the cluster cannot be asked.
    """
    if not api.items(POD, SYSTEM_NAMESPACE, labels="k8s-app=kube-proxy"):
        return "none"
    for name, key in KUBE_PROXY_CONFIGS:
        settings = api.find(CONFIG_MAP, name, SYSTEM_NAMESPACE) or {}
        text = (settings.get("data") or {}).get(key)
        if text:
            # Nothing said is the default (kube-proxy, KubeProxyConfiguration.mode).
            return str(yaml.safe_load(text).get("mode") or "iptables")
    return "unknown"
