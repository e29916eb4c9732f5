"""Objects of a cluster as a stack leaves it: nodes, the CNI's pods, the benchmark's workloads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cni.cilium.versions import DEFAULT
from cni.registry import DATAPLANES
from components.kubernetes import manifests
from components.kubernetes.manifests import NAMESPACE, NODE_PROBE, NODES_NAMESPACE, ROLE_LABEL

Json = dict[str, Any]
SYSTEM = "kube-system"
CILIUM_CRDS = DATAPLANES["cilium"].rollout.crds
HTTPBIN_ADDRESS = "10.100.7.7"
CILIUM_IMAGE = (
    f"quay.io/cilium/cilium:v{DEFAULT}@sha256:758ca0793f5995bb938a2fa219dcce63dc0b3fa7fc4ce5cc85\
1125281fb7361d"
)
AWS_IMAGE = "602401143452.dkr.ecr.ap-northeast-2.amazonaws.com/amazon-k8s-cni:v1.22.4-eksbuild.3"


def node(name: str, *, ready: bool = True, **spec: Any) -> Json:
    """An m6i.xlarge of EKS."""
    message = "kubelet is posting ready status" if ready else "cni plugin not initialized"
    return {
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "node.kubernetes.io/instance-type": "m6i.xlarge",
                "topology.kubernetes.io/region": "ap-northeast-2",
                "topology.kubernetes.io/zone": "ap-northeast-2a",
            },
        },
        "spec": {"providerID": f"aws:///ap-northeast-2a/i-{name}", **spec},
        "status": {
            "addresses": [{"type": "InternalIP", "address": f"10.0.0.{name[-1]}0"}],
            "capacity": {"cpu": "4", "memory": "15929052Ki", "pods": "58"},
            "conditions": [
                {"type": "Ready", "status": "True" if ready else "False", "message": message}
            ],
            "nodeInfo": {
                "architecture": "amd64",
                "containerRuntimeVersion": "containerd://1.7.25",
                "kernelVersion": "6.1.119-129.201.amzn2023.x86_64",
                "kubeletVersion": "v1.31.4-eks-aeac579",
                "osImage": "Amazon Linux 2023.6.20250107",
            },
        },
    }


def pod(
    name: str,
    namespace: str,
    on: str,
    labels: dict[str, str],
    containers: dict[str, str],
    *,
    ip: str = "10.0.0.99",
    ready: bool = True,
    command: Sequence[str] = ("sleep", "infinity"),
) -> Json:
    """A pod, by its containers' names and images; container ids follow from the names.

    :param command: of each container.
    """
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "uid": f"uid-{name}"},
        "spec": {
            "nodeName": on,
            "containers": [
                {"name": key, "image": value, "command": list(command)}
                for key, value in containers.items()
            ],
        },
        "status": {
            "phase": "Running" if ready else "Pending",
            "podIP": ip,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [
                {
                    "name": key,
                    "ready": ready,
                    "started": ready,
                    "restartCount": 0,
                    "state": {"running": {}} if ready else {"waiting": {"reason": "Creating"}},
                    "imageID": value,
                    "containerID": f"containerd://{name}.{key}",
                }
                for key, value in containers.items()
            ],
        },
    }


def daemonset(name: str, image: str, nodes: int, *, ready: int | None = None) -> Json:
    """A DaemonSet of the system, in its latest form on all nodes and ready on ``ready`` of them."""
    return {
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": SYSTEM, "generation": 1},
        "spec": {"template": {"spec": {"containers": [{"name": name, "image": image}]}}},
        "status": {
            "observedGeneration": 1,
            "desiredNumberScheduled": nodes,
            "updatedNumberScheduled": nodes,
            "numberReady": nodes if ready is None else ready,
        },
    }


def deployment(name: str, *, ready: int = 1) -> Json:
    """A Deployment of the system with one replica."""
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": SYSTEM, "generation": 1},
        "spec": {"replicas": 1},
        "status": {
            "observedGeneration": 1,
            "replicas": 1,
            "updatedReplicas": 1,
            "readyReplicas": ready,
        },
    }


def service(name: str, namespace: str, address: str, port: int) -> Json:
    """A ClusterIP Service."""
    return {
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": address, "ports": [{"name": "main", "port": port}]},
    }


def crd(name: str, *, established: bool = True) -> Json:
    """A CustomResourceDefinition."""
    condition = {"type": "Established", "status": "True" if established else "False"}
    return {
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "status": {"conditions": [condition]},
    }


def endpoints(name: str, *addresses: str, namespace: str = SYSTEM, port: int = 53) -> Json:
    """The EndpointSlice of a Service."""
    return {
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-x",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": name},
        },
        "ports": [{"port": port}],
        "endpoints": [
            {"addresses": [address], "conditions": {"ready": True}} for address in addresses
        ],
    }


def api_server() -> Json:
    """The API server's own address, as the Service kubernetes has it."""
    return endpoints("kubernetes", "172.18.0.3", namespace="default", port=6443)


def cilium(nodes: Sequence[str], *, kube_proxy: bool = False) -> list[Json]:
    """Cilium as its chart installs it, with kube-proxy beside it or not."""
    agents = [
        pod(f"cilium-{on}", SYSTEM, on, {"k8s-app": "cilium"}, {"cilium-agent": CILIUM_IMAGE})
        for on in nodes
    ]
    operator = {"cilium-operator": f"quay.io/cilium/operator-aws:v{DEFAULT}"}
    return [
        daemonset("cilium", CILIUM_IMAGE, len(nodes)),
        deployment("cilium-operator"),
        *agents,
        pod("cilium-operator-0", SYSTEM, nodes[0], {"io.cilium/app": "operator"}, operator),
        *(crd(name) for name in CILIUM_CRDS),
        *(proxies(nodes) if kube_proxy else []),
    ]


def vpc_cni(nodes: Sequence[str]) -> list[Json]:
    """The VPC CNI and kube-proxy as EKS's add-ons install them."""
    containers = {"aws-node": AWS_IMAGE, "aws-eks-nodeagent": "network-policy-agent:v1.1.6"}
    labels = {"k8s-app": "aws-node"}
    return [
        daemonset("aws-node", AWS_IMAGE, len(nodes)),
        *(pod(f"aws-node-{on}", SYSTEM, on, labels, containers) for on in nodes),
        *proxies(nodes),
    ]


def proxies(nodes: Sequence[str]) -> list[Json]:
    """kube-proxy in iptables mode, configured as on EKS."""
    image = "kube-proxy:v1.31.3-minimal-eksbuild.2"
    labels = {"k8s-app": "kube-proxy"}
    return [
        daemonset("kube-proxy", image, len(nodes)),
        *(pod(f"kube-proxy-{on}", SYSTEM, on, labels, {"kube-proxy": image}) for on in nodes),
        {
            "kind": "ConfigMap",
            "metadata": {"name": "kube-proxy-config", "namespace": SYSTEM},
            "data": {"config": "kind: KubeProxyConfiguration\nmode: iptables\n"},
        },
    ]


def workloads(nodes: Sequence[str]) -> list[Json]:
    """The benchmark's pods where the scheduler would put them, its Services, the node probes."""
    made: list[Json] = []
    for deployed in (*manifests.clients(), *manifests.servers()):
        spec = deployed["spec"]
        role = deployed["metadata"]["name"]
        client = spec["template"]["metadata"]["labels"]["cni-benchmark/side"] == "client"
        main = spec["template"]["spec"]["containers"]
        containers = {each["name"]: each["image"] for each in main}
        for replica in range(spec["replicas"]):
            on = nodes[0] if client else nodes[1 + replica % (len(nodes) - 1)]
            made.append(
                pod(
                    f"{role}-{replica}",
                    NAMESPACE,
                    on,
                    {ROLE_LABEL: role},
                    containers,
                    ip=f"10.0.1.{len(made) + 10}",
                    command=main[0]["command"],
                )
            )
    probes = [
        pod(f"{NODE_PROBE}-{on}", NODES_NAMESPACE, on, {ROLE_LABEL: NODE_PROBE}, {NODE_PROBE: "x"})
        for on in nodes
    ]
    return [
        *made,
        *probes,
        *(
            service(each["metadata"]["name"], NAMESPACE, HTTPBIN_ADDRESS, 80)
            for each in manifests.services()
        ),
        service("kube-dns", SYSTEM, "10.100.0.10", 53),
        endpoints("kube-dns", "10.0.1.3"),
    ]
