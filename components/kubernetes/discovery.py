"""What a cluster that somebody else has made is: nodes, CNI, kube-proxy, and its API's address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

import yaml

from cni.registry import DATAPLANES
from components.kubernetes.names import LINUX_NODES, OWNER_ANNOTATION, SYSTEM_NAMESPACE
from components.kubernetes.rollout import is_schedulable
from kube.client import Kube
from kube.errors import KubernetesError
from kube.objects import CONFIG_MAP, DAEMON_SET, ENDPOINT_SLICE, NODE, POD, Json, is_ready

# DaemonSets by which other CNIs are known.
_OTHERS = {
    "anetd": "GKE Dataplane V2",
    "antrea-agent": "Antrea",
    "azure-cns": "Azure CNI",
    "calico-node": "Calico",
    "canal": "Canal",
    "kindnet": "kindnet",
    "kube-flannel": "Flannel",
    "kube-flannel-ds": "Flannel",
    "kube-router": "kube-router",
    "ovnkube-node": "OVN-Kubernetes",
    "weave-net": "Weave Net",
}
# ConfigMaps of kube-proxy with the key of its configuration: kubeadm's and EKS's.
_KUBE_PROXY_CONFIGS = (("kube-proxy", "config.conf"), ("kube-proxy-config", "config"))
_LOOPBACK = ("127.", "localhost", "::1", "0.0.0.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cni:
    """The CNI of a cluster.

    :param kind: the name that settings have for it, "none", or "other" for one that is not theirs.
    :param version: without a leading v; empty where its image does not tell.
    :param owner: the stack that has installed it, if one has.
    :param config: the agents' settings, where they have a ConfigMap.
    """

    kind: str
    name: str
    namespace: str = ""
    version: str = ""
    owner: str = ""
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster, as its API server tells it.

    :param nodes: all of them; ``schedulable`` are those that take ordinary pods.
    :param kube_proxy: its mode, or "none".
    :param api_host: an address of the API server that nodes can use.
    """

    host: str
    version: str
    nodes: Sequence[Json]
    schedulable: Sequence[Json]
    cni: Cni
    kube_proxy: str
    api_host: str
    api_port: int


def inspect(api: Kube) -> Cluster:
    """Look at a cluster; nothing in it is changed.

    :raises KubernetesError: it cannot be asked.
    """
    nodes = api.items(NODE, labels=LINUX_NODES)
    daemonsets = api.items(DAEMON_SET)
    host, port = _endpoint(api)
    return Cluster(
        host=api.host,
        version=api.version(),
        nodes=nodes,
        schedulable=[node for node in nodes if is_schedulable(node)],
        cni=_with_config(api, detect_cni(daemonsets, nodes)),
        kube_proxy=kube_proxy_mode(api),
        api_host=host,
        api_port=port,
    )


def detect_cni(daemonsets: Iterable[Json], nodes: Iterable[Json]) -> Cni:
    """The CNI by its agents; where none is known, ready nodes show that there is one."""
    by_name = {item["metadata"]["name"]: item for item in daemonsets}
    # One that has rivals is the CNI where both are there.
    for each in sorted(DATAPLANES.values(), key=lambda one: not one.rollout.rivals):
        if each.rollout.daemonset in by_name:
            return _known(each.name, each.title, by_name[each.rollout.daemonset])
    for name, title in _OTHERS.items():
        if name in by_name:
            return _known("other", title, by_name[name])
    if any(is_ready(node) for node in nodes):
        return Cni(kind="other", name="one that is not known here (its nodes are ready)")
    return Cni(kind="none", name="none")


def _known(kind: str, name: str, daemonset: Json) -> Cni:
    metadata, pod = daemonset["metadata"], daemonset["spec"]["template"]["spec"]
    image = str(pod["containers"][0]["image"]).partition("@")[0]
    return Cni(
        kind=kind,
        name=name,
        namespace=metadata["namespace"],
        # EKS's builds add their own: v1.19.2-eksbuild.1
        version=image.rpartition("/")[2].partition(":")[2].removeprefix("v").partition("-")[0],
        owner=(metadata.get("annotations") or {}).get(OWNER_ANNOTATION, ""),
    )


def _with_config(api: Kube, cni: Cni) -> Cni:
    name = DATAPLANES[cni.kind].rollout.config_map if cni.kind in DATAPLANES else None
    if name is None:
        return cni
    config = api.find(CONFIG_MAP, name, cni.namespace) or {}
    return replace(cni, config=config.get("data") or {})


def kube_proxy_mode(api: Kube) -> str:
    """kube-proxy's mode, "none" where none runs, "unknown" where its settings are not found.

    :raises KubernetesError: the cluster cannot be asked.
    """
    if not api.items(POD, SYSTEM_NAMESPACE, labels="k8s-app=kube-proxy"):
        return "none"
    for name, key in _KUBE_PROXY_CONFIGS:
        settings = api.find(CONFIG_MAP, name, SYSTEM_NAMESPACE) or {}
        text = (settings.get("data") or {}).get(key)
        if text:
            # Nothing said is the default (kube-proxy, KubeProxyConfiguration.mode).
            return str(yaml.safe_load(text).get("mode") or "iptables")
    return "unknown"


def _endpoint(api: Kube) -> tuple[str, int]:
    """The API server for nodes: the kubeconfig's address is often this machine's own."""
    parts = urlsplit(api.host)
    host = parts.hostname or ""
    if not host.startswith(_LOOPBACK):
        return host, parts.port or 443
    labels = "kubernetes.io/service-name=kubernetes"
    for each in api.items(ENDPOINT_SLICE, "default", labels=labels):
        for endpoint in each.get("endpoints") or ():
            return str(endpoint["addresses"][0]), int(each["ports"][0]["port"])
    raise KubernetesError(
        f"{api.host} is this machine's own address, and the Service kubernetes has no endpoint: "
        "nodes could not reach the API server"
    )
