"""What runs in a lab's cluster: pods, Services that answer, and CoreDNS.

A pod is a network namespace, wired by the node's real CNI plugin, with a process in it. Services
and their EndpointSlices are written through the API as a controller would. CoreDNS is a pod with
EKS's Corefile less what needs the outside.

Objects are dictionaries in the API's own field names (Kubernetes API reference, v1.31), as
scheduler, kubelet and controllers would have written them.
"""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, product, repeat
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from kube.objects import ENDPOINT_SLICE, NODE, POD, Json
from lab.errors import LabError
from lab.network import Node, NodeAddress, add_namespace
from lab.sandbox import Sandbox, environment
from lab.toolchain.build import Toolchain
from lab.wait import until

if TYPE_CHECKING:
    from kube.client import Kube


NAMESPACE = "default"
COREDNS = "coredns"
#: Whether a pod of it has its Services and answers, asked in its own network namespace.
DNS_READY = "http://127.0.0.1:8181/ready"
CLUSTER_DOMAIN = "cluster.local"
DNS_NAMESPACE = "kube-system"

#: EKS's default Corefile, but for `forward` (there is no outside) and for the kubeconfig.
_COREFILE = """
.:53 {{
    errors
    health
    ready
    kubernetes {domain} in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig} lab
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }}
    prometheus :9153
    cache 30
    loop
    reload
    loadbalance
}}
"""

#: Where Debian's containernetworking-plugins puts portmap and its like.
SYSTEM_PLUGINS = Path("/usr/lib/cni")

#: The words that run a command in a pod for at most so many seconds (``Lab.pod_command``).
PodCommand = Callable[[str, str, Sequence[str], float], list[str]]

_ANSWER_SECONDS = 30
_FIRST_TRIES_SECONDS = (0.2, 0.2, 0.3, 0.3, 0.4, 0.5)
_TRY_SECONDS = 1.0


#: Well-known labels (Kubernetes "Well-Known Labels, Annotations and Taints").
SERVICE_NAME = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class PodSpec:
    """A pod to run: a command, in a network namespace, on a node.

    :param argv: the command; its first word is a program of the toolchain or of the host.
    """

    name: str
    app: str
    node: str
    argv: tuple[str, ...]
    namespace: str = NAMESPACE


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service, and the port of the pods that it leads to."""

    name: str
    port: int
    target_port: int
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A Service and the pods behind it (by their ``app`` label).

    :param cluster_ip: a fixed address, or None for one of the API server's choice.
    """

    name: str
    app: str
    ports: tuple[ServicePort, ...]
    namespace: str = NAMESPACE
    cluster_ip: str | None = None


@dataclass(frozen=True, slots=True)
class Plugins:
    """How pods of one lab get their network: a CNI configuration list and its plugins.

    :param conflist: the CNI configuration list (CNI specification 1.0.0).
    :param folders: where the plugins' binaries are.
    :param env: environment of the plugin, by node.
    :param prefix: words before its command line, by node.
    """

    conflist: Mapping[str, object]
    folders: Sequence[Path]
    env: Mapping[str, dict[str, str]] = field(default_factory=dict)
    prefix: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def network(self) -> str:
        return str(self.conflist["name"])


class Pods:
    """Makes and removes pods of one lab.

    :param congestion_control: TCP's, of their sockets.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        toolchain: Toolchain,
        api: Kube,
        plugins: Plugins,
        congestion_control: str,
    ) -> None:
        self._sandbox = sandbox
        self._toolchain = toolchain
        self._api = api
        self._plugins = plugins
        self._congestion_control = congestion_control
        # A kubelet adds a node's pods side by side, but cilium-cni names its first interface after
        # the start of the container's id, which cnitool gives all pods alike.
        self._one_at_a_time: defaultdict[str, Lock] = defaultdict(Lock)
        self._cnitool = str(toolchain.program("cnitool"))
        self._netconf = sandbox.paths.config / "net.d"
        self._netconf.mkdir(exist_ok=True)
        (self._netconf / "10-lab.conflist").write_text(json.dumps(plugins.conflist, indent=2))

    def create(self, spec: PodSpec, node: Node) -> str:
        """Create the Pod object, wire it, start its command.

        :returns: its IPv4 address.
        :raises LabError: the plugin fails or gives no address.
        """
        self._api.ensure(pod_object(spec))
        ip = self.connect(spec.name, spec.namespace, node)
        program = self._toolchain.command(spec.argv[0])
        self._sandbox.spawn(spec.name, [program, *spec.argv[1:]], node.pod(spec.name))
        status = pod_status(ip, node.address.ip)
        self._api.merge(POD, spec.name, status, spec.namespace, subresource="status")
        return ip

    def connect(self, name: str, namespace: str, node: Node) -> str:
        """Make the network namespace of a pod on a node and have the CNI plugin wire it.

        :returns: its IPv4 address.
        :raises LabError: the plugin fails or gives no address.
        """
        add_namespace(self._sandbox, name, self._congestion_control)
        with self._one_at_a_time[node.name]:
            answer = self._cni("add", name, namespace, node)
        ips = json.loads(answer).get("ips", [])
        if not ips:
            raise LabError(f"the CNI plugin gave {name} no address: {answer}")
        return str(ips[0]["address"]).partition("/")[0]

    def remove(self, spec: PodSpec, node: Node) -> None:
        """End a pod's processes, give its address back, delete the Pod object.

        :raises LabError: the plugin or the API server refuses.
        """
        pid = self._sandbox.pid_of(spec.name)
        if pid is not None:
            self._sandbox.run(["kill", "-KILL", str(pid)])
        self._sandbox.forget(spec.name)
        self.disconnect(spec.name, spec.namespace, node)
        self._api.delete(POD, spec.name, spec.namespace, [("gracePeriodSeconds", "0")])

    def disconnect(self, name: str, namespace: str, node: Node) -> None:
        """Give a pod's address back and remove its network namespace.

        :raises LabError: the plugin refuses.
        """
        self._cni("del", name, namespace, node)
        self._sandbox.script(f"ip netns del {name}")

    def _cni(self, command: str, name: str, namespace: str, node: Node) -> str:
        """What the node's CNI plugin answers to a command for a pod."""
        done = self._sandbox.run(
            [
                *self._plugins.prefix.get(node.name, ()),
                *(self._cnitool, command, self._plugins.network, f"/run/netns/{name}"),
            ],
            node.plugins,
            env={
                **self._plugins.env.get(node.name, {}),
                "NETCONFPATH": str(self._netconf),
                "CNI_PATH": ":".join(map(str, (*self._plugins.folders, SYSTEM_PLUGINS))),
                "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};"
                f"K8S_POD_NAME={name};K8S_POD_INFRA_CONTAINER_ID={name}",
                "CNI_IFNAME": "eth0",
            },
        )
        return done.stdout


def create_service(api: Kube, spec: ServiceSpec, endpoints: Sequence[tuple[str, str]]) -> str:
    """Create a Service with its EndpointSlice.

    :param endpoints: address and node of each pod behind it.
    :returns: its ClusterIP.
    """
    made = api.ensure(service_object(spec))
    api.ensure(endpoint_slice(spec, endpoints))
    return str(made["spec"]["clusterIP"])


def lead_to(api: Kube, spec: ServiceSpec, endpoints: Sequence[tuple[str, str]]) -> None:
    """Have a Service lead to other pods, as its controller would.

    :param endpoints: address and node of each pod behind it.
    """
    made = endpoint_slice(spec, endpoints)
    api.merge(ENDPOINT_SLICE, made["metadata"]["name"], made, spec.namespace)


def await_services(
    pod_command: PodCommand, pods: Iterable[PodSpec], services: Iterable[tuple[str, str, int]]
) -> None:
    """Wait until every Service takes TCP connections from a pod of each node.

    A node's kube-proxy or agent programs a Service some time after the API server has it:
    kube-proxy waits for up to a second to take several changes at once
    (``--iptables-min-sync-period``).

    :param services: name, ClusterIP and port of each.
    :raises WaitTimeoutError: naming the Service, the node and what connecting said at last.
    """
    clients = {pod.node: pod for pod in pods}.values()

    def answers(pair: tuple[PodSpec, tuple[str, str, int]]) -> None:
        pod, (name, ip, port) = pair
        argv = ["bash", "-c", f"</dev/tcp/{ip}/{port}"]
        # A first SYN that comes too early is sent again after a second only (RFC 6298).
        seconds = chain(_FIRST_TRIES_SECONDS, repeat(_TRY_SECONDS))

        def refusal() -> str | None:
            limit = next(seconds)
            words = pod_command(pod.name, pod.node, argv, limit)
            done = subprocess.run(
                words, capture_output=True, text=True, env=environment(), check=False
            )
            if done.returncode == 0:
                return None
            return done.stderr.strip() or f"no answer within {limit:g} s"

        what = f"the Service {name} ({ip}:{port}) to answer on {pod.node}"
        until(what, refusal, timeout=_ANSWER_SECONDS)

    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(answers, product(clients, list(services))))


def dns_pod(sandbox: Sandbox, node: str) -> PodSpec:
    """CoreDNS's pod on a node; writes its Corefile."""
    corefile = sandbox.paths.config / "Corefile"
    kubeconfig = json.dumps(str(sandbox.paths.kubeconfig))  # quoted: a path may have spaces
    corefile.write_text(_COREFILE.format(domain=CLUSTER_DOMAIN, kubeconfig=kubeconfig))
    argv = (COREDNS, "-conf", str(corefile))
    return PodSpec(name=COREDNS, app=COREDNS, node=node, argv=argv, namespace=DNS_NAMESPACE)


def dns_service(cluster_ip: str) -> ServiceSpec:
    """The Service ``kube-dns``; EKS gives it the tenth address of the service range."""
    ports = (ServicePort("dns", 53, 53, "UDP"), ServicePort("dns-tcp", 53, 53, "TCP"))
    return ServiceSpec("kube-dns", COREDNS, ports, namespace=DNS_NAMESPACE, cluster_ip=cluster_ip)


def register_node(
    api: Kube,
    address: NodeAddress,
    labels: Mapping[str, str],
    provider_id: str | None,
    max_pods: int | None,
) -> None:
    """Make the Node object, as the node's kubelet and the cloud provider do."""
    api.ensure(node_object(address, labels, provider_id))
    status = node_status(address, max_pods)
    api.merge(NODE, address.name, status, subresource="status")


# -- objects --------------------------------------------------------------------------------------


def node_object(
    address: NodeAddress, labels: Mapping[str, str], provider_id: str | None = None
) -> Json:
    """A Node as its kubelet registers it.

    :param provider_id: of the node's machine, as its cloud provider writes it.
    """
    machine = {} if provider_id is None else {"providerID": provider_id}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": address.name,
            "labels": {
                "kubernetes.io/hostname": address.name,
                "kubernetes.io/os": "linux",
                **labels,
            },
        },
        "spec": {"podCIDR": address.pod_cidr, "podCIDRs": [address.pod_cidr], **machine},
    }


def node_status(address: NodeAddress, max_pods: int | None = None) -> Json:
    """The status of a node that is ready.

    :param max_pods: what the node's kubelet would run at most.
    """
    room = {} if max_pods is None else {"capacity": {"pods": str(max_pods)}}
    return {
        "status": {
            **room,
            "addresses": [
                {"type": "InternalIP", "address": address.ip},
                {"type": "Hostname", "address": address.name},
            ],
            "conditions": [{"type": "Ready", "status": "True", "reason": "Lab"}],
        }
    }


def pod_object(spec: PodSpec) -> Json:
    """A Pod that is bound to its node."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": spec.name,
            "namespace": spec.namespace,
            "labels": {"app": spec.app, "app.kubernetes.io/name": spec.app},
        },
        "spec": {
            "nodeName": spec.node,
            "enableServiceLinks": False,
            # Taints are set by controllers that the lab does not run.
            "tolerations": [{"operator": "Exists"}],
            "containers": [
                {"name": "main", "image": f"lab/{spec.argv[0]}", "command": list(spec.argv)}
            ],
        },
    }


def pod_status(ip: str, host_ip: str) -> Json:
    """The status of a pod that runs, with its address and its node's."""
    return {
        "status": {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "hostIP": host_ip,
            "conditions": [{"type": "Ready", "status": "True"}],
        }
    }


def service_object(spec: ServiceSpec) -> Json:
    """A Service of the type ClusterIP."""
    ports = [
        {"name": p.name, "port": p.port, "targetPort": p.target_port, "protocol": p.protocol}
        for p in spec.ports
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": spec.name, "namespace": spec.namespace},
        "spec": {
            "selector": {"app": spec.app},
            "ports": ports,
            **({"clusterIP": spec.cluster_ip} if spec.cluster_ip else {}),
        },
    }


def endpoint_slice(spec: ServiceSpec, addresses: Sequence[tuple[str, str]]) -> Json:
    """The EndpointSlice of a Service; ``addresses`` are pairs of pod address and node name."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{spec.name}-lab",
            "namespace": spec.namespace,
            "labels": {SERVICE_NAME: spec.name},
        },
        "addressType": "IPv4",
        "ports": [
            {"name": p.name, "port": p.target_port, "protocol": p.protocol} for p in spec.ports
        ],
        "endpoints": [
            {"addresses": [ip], "nodeName": on, "conditions": {"ready": True}}
            for ip, on in addresses
        ],
    }
