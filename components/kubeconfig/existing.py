"""What a cluster that somebody else has made is, and whether it fits a scenario."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from urllib.parse import urlsplit

from cni.registry import DATAPLANES
from cni.scenario import Scenario
from cni.settings import Problem
from components.kubernetes import facts
from components.kubernetes.dataplane import kube_proxy_mode
from components.kubernetes.gate import is_schedulable
from components.kubernetes.manifests import LINUX_NODES, OWNER_ANNOTATION, SYSTEM_NAMESPACE
from kube.client import Kube
from kube.objects import (
    CONFIG_MAP,
    DAEMON_SET,
    ENDPOINT_SLICE,
    NODE,
    Json,
    KubernetesError,
    is_ready,
)

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
_FEWEST_NODES = 2
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

    @property
    def minor(self) -> str:
        """The version as settings name it: 1.35 of v1.35.8-eks-1a2b3c4."""
        return ".".join(self.version.removeprefix("v").split(".")[:2])


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


# -- whether it fits a scenario: pure -------------------------------------------------------------


def installs(scenario: Scenario, cluster: Cluster, stack: str) -> bool:
    """Whether the CNI is this stack's to install, or was installed by it already."""
    present = cluster.cni
    if not scenario.dataplane.installable:
        return False
    return present.kind == "none" or (present.kind == scenario.cni and present.owner == stack)


def obstacles(scenario: Scenario, cluster: Cluster, stack: str) -> list[Problem]:
    """Everything that stands against measuring the scenario on the cluster."""
    rules = [_nodes(cluster), _cni(scenario, cluster, stack), _kube_proxy(scenario, cluster)]
    if installs(scenario, cluster, stack):
        rules.append(_addresses(scenario, cluster))
    return [problem for rule in rules for problem in rule]


def _nodes(cluster: Cluster) -> Iterator[Problem]:
    nodes = len(cluster.schedulable)
    if nodes < _FEWEST_NODES:
        reason = (
            f"of the cluster's nodes {nodes} take ordinary pods; client and server want one each"
        )
        yield Problem("kubeconfig.context", None, reason, "kubeconfig.context", "CONTEXT")


def _cni(scenario: Scenario, cluster: Cluster, stack: str) -> Iterator[Problem]:
    present, wanted = cluster.cni, scenario.dataplane
    if present.kind != scenario.cni:
        if not wanted.installable:
            reason = (
                f"the cluster's CNI is {present.name}, and {wanted.title} is not installed by us"
            )
            yield _other_cluster("scenario.cni", scenario.cni, reason)
        elif present.kind != "none":
            reason = f"the cluster already has a CNI, {present.name}: a second one would fight it"
            yield _other_cluster("scenario.cni", scenario.cni, reason)
        return
    if wanted.installable and present.namespace != SYSTEM_NAMESPACE:
        reason = (
            f"the cluster's {present.name} is in the namespace {present.namespace}, not in "
            f"{SYSTEM_NAMESPACE}"
        )
        yield _other_cluster("scenario.cni", scenario.cni, reason)
    if present.owner != stack and present.version != scenario.cni_version:
        version = present.version or "of an unknown version"
        reason = f"the cluster has {present.name} {version}, and it is not replaced"
        yield _other_cluster("scenario.cniVersion", scenario.cni_version, reason)


def _other_cluster(key: str, value: object, reason: str) -> Problem:
    return Problem(key, value, reason, "kubeconfig.context", "CONTEXT")


def _kube_proxy(scenario: Scenario, cluster: Cluster) -> Iterator[Problem]:
    wanted, mode = scenario.kube_proxy, cluster.kube_proxy
    if mode in (wanted, "unknown"):
        return
    if wanted == "none":
        reason = (
            f"kube-proxy runs in the cluster (mode {mode}): it and Cilium would both "
            "load-balance Services. Remove its DaemonSet and its rules, or measure with it"
        )
        yield _other_cluster("scenario.kubeProxy", wanted, reason)
    elif mode == "none":
        reason = "no kube-proxy runs in the cluster"
        yield _other_cluster("scenario.kubeProxy", wanted, reason)
    else:
        reason = f"kube-proxy's mode in the cluster is {mode}"
        fix = mode if mode in ("iptables", "nftables") else None
        if fix:
            yield Problem("scenario.kubeProxy", wanted, reason, "scenario.kubeProxy", fix)
        else:
            yield _other_cluster("scenario.kubeProxy", wanted, reason)


def _addresses(scenario: Scenario, cluster: Cluster) -> Iterator[Problem]:
    if scenario.ipam == "eni" and not all(facts.is_ec2(node) for node in cluster.nodes):
        reason = "the cluster's nodes are no EC2 instances, so they have no ENIs"
        yield Problem("scenario.ipam", "eni", reason, "scenario.ipam", "cluster-pool")
    if scenario.pod_cidr is None:
        return
    pool = IPv4Network(scenario.pod_cidr, strict=False)
    for node in cluster.nodes:
        for each in node["status"].get("addresses", ()):
            address = each["address"]
            if each["type"] != "InternalIP" or ":" in address:
                continue
            if IPv4Address(address) in pool:
                reason = f"the node {node['metadata']['name']} has the address {address}"
                key = "scenario.podCidr"
                yield Problem(key, scenario.pod_cidr, f"{reason} in it", key, "10.244.0.0/16")
                return


def remarks(cluster: Cluster) -> list[str]:
    """What a reader of the results should know of the nodes."""
    lines = []
    zones = sorted({facts.zone(node) for node in cluster.schedulable} - {""})
    if len(zones) > 1:
        lines.append(
            f"nodes are in {len(zones)} zones ({', '.join(zones)}): samples may cross them"
        )
    types = sorted({facts.instance_type(node) or "unknown" for node in cluster.schedulable})
    if len(types) > 1:
        lines.append(f"nodes are of {len(types)} types ({', '.join(types)})")
    if cluster.kube_proxy == "unknown":
        lines.append("the cluster does not report kube-proxy's mode")
    return lines
