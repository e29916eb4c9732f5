"""Cilium in the lab: the operator in the sandbox, one agent per node, the real CNI plugin.

What differs from the DaemonSet's pods: processes instead of containers, so the places of sockets,
sources and cgroups are given by flags. Everything else comes from the Helm chart: the very values
that an EKS cluster would get go through ``helm template``, and the resulting ``cilium-config``
ConfigMap becomes the agents' and the operator's ``--config-dir``.
"""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cni.cilium.versions import VERSIONS
from kube.objects import ApiError, Kind
from lab import cgroups, network
from lab.cloud.vpc import Instance, Taken, free_addresses
from lab.dataplane.interface import LabDataplane, LabParts, Progress
from lab.errors import CommandError, LabError
from lab.network import Node
from lab.sandbox import Place
from lab.toolchain.build import Toolchain
from lab.toolchain.programs import llvm_bin
from lab.wait import until
from lab.workloads import Plugins

if TYPE_CHECKING:
    from kube.client import Kube


AGENT = "cilium-agent"
OPERATOR = "cilium-operator"
CLANG = Path(__file__).with_name("clang.sh")
#: Places inside a node's mount namespace. They are the same in every lab, so that compiling the
#: same datapath again is a hit of the compiler's cache.
LIB = "/run/cilium/lib"
SOCKET = "/run/cilium/cilium.sock"
CILIUM_NODE = Kind("cilium.io/v2", "CiliumNode")
#: What an agent of every version waits for with every setting of ours (agentCRDResourceNames in
#: pkg/k8s/synced). One that is missing here comes from the operator, some time later.
_KINDS = (
    "ciliumnodes",
    "ciliumnetworkpolicies",
    "ciliumclusterwidenetworkpolicies",
    "ciliumendpoints",
    "ciliumidentities",
    "ciliumcidrgroups",
    "ciliumpodippools",
    "ciliumloadbalancerippools",
    "ciliuml2announcementpolicies",
)
#: The chart's own (``healthPort``).
HEALTH_PORT = 9879
#: The operator's, as its probes in the chart ask for it (``operator-api-serve-addr``).
OPERATOR_HEALTH = "http://127.0.0.1:9234/healthz"

#: Rendered keys that name places of a container image, which a process on a host has elsewhere.
_PLACES = ("cgroup-root", "bpf-root", "procfs", "write-cni-conf-when-ready", "cni-log-file")

#: What an agent would make with random MACs (pkg/datapath/loader, setupVethPair and
#: setupTunnelDevice) it takes as it finds it: with the same MACs in every lab, the same datapath
#: compiles to a hit of the cache. The router's address is on cilium_host, as after an agent's
#: restart: one that comes later changes the configuration, and all programs are loaded once more.
_NODE = """
ip link add cilium_host address 02:00:00:00:ce:01 txqueuelen 1000 \\
  type veth peer name cilium_net address 02:00:00:00:ce:02
ip link set cilium_net up
ip link set cilium_host up
ip addr add {router}/32 dev cilium_host
"""
#: What an agent compiles is of its own version, also where one takes another's place.
_WITH_SOURCES = f'mkdir -p {LIB}; ln -sfn "$0" {LIB}/bpf; exec "$@"'
_TUNNEL = """
ip link add cilium_{protocol} address 02:00:00:00:ce:03 \\
  type {protocol} external dstport {port}
"""
#: The chart's own (``tunnelPort``).
_TUNNEL_PORTS = {"vxlan": 8472, "geneve": 6081}

# The operator looks again, after a minute, at nodes for which it could get no addresses the first
# time (ipam-node-interval-refresh in pkg/ipam/node_manager.go), and then every minute.
_READY_SECONDS = 180

ADAPTATIONS = (
    "cilium-agent and cilium-operator run as processes, configured from the chart's own rendering.",
    "Router addresses and the MACs of cilium_host and of the tunnel's device are the same in every "
    "lab, so that the agents' compiled datapath can be cached.",
    "The custom resources that agents wait for are defined by the lab, as the operator would, "
    "before it starts.",
)
LARGE_PACKETS = (
    "The router between nodes passes packets of BIG TCP on in one piece, not cut to its MTU.",
)
#: By the names of ``tools/programs.toml``.
PATCHED = {
    "modules-list": "The agent reads a file of the lab in place of /proc/modules, which a kernel "
    "without loadable modules does not have.",
    "deferred-cycle-check": "The agent checks the graph of its parts for cycles once, which only "
    "shortens its start.",
    "first-addresses": "The agent looks for its first addresses more often, which only shortens "
    "its start.",
    "first-request": "The agent asks for addresses again at once, where the request met another "
    "change of its CiliumNode, which only shortens its start.",
    "definitions": "The operator looks more often whether its definitions are served, which only "
    "shortens the agents' start.",
    "host-endpoint-number": "The number of a node's own endpoint is the same in every lab, so that "
    "the compiled datapath can be cached.",
    "host-endpoint-known": "The agent knows that number from its start, so that it does not load "
    "all programs a second time.",
}


class Cilium(LabDataplane):
    """The Cilium installation of one lab."""

    programs = (AGENT,)

    def __init__(self, parts: LabParts) -> None:
        super().__init__(parts)
        self._config_dir = self._sandbox.paths.config / f"cilium{parts.apart}"
        self._configuration = (
            f"--config-dir={self._config_dir}",
            f"--k8s-kubeconfig-path={self._sandbox.paths.kubeconfig}",
        )

    @property
    def adaptations(self) -> tuple[str, ...]:
        patches = VERSIONS[self._parts.version].patches
        large = LARGE_PACKETS if self._big_tcp else ()
        return (*ADAPTATIONS, *large, *(PATCHED[name] for name in patches))

    @property
    def _big_tcp(self) -> bool:
        return bool(self._parts.values.get("enableIPv4BIGTCP"))

    def _program(self, name: str) -> Path:
        return self._toolchain.program(name, self._parts.version)

    @property
    def _share(self) -> Path:
        return self._toolchain.share("cilium", self._parts.version)

    @cached_property
    def _values(self) -> Mapping[str, Any]:
        """The Helm values with what is known only once the VPC is there."""
        values = self._parts.values
        if self._cloud is None:
            return values
        return {
            **values,
            "eni": {**values["eni"], "subnetIDsFilter": [self._cloud.instances[0].subnet]},
        }

    @classmethod
    def configuration(
        cls, toolchain: Toolchain, kubernetes: str, version: str, values: Mapping[str, Any]
    ) -> dict[str, str]:
        return cilium_config(
            toolchain.program("helm"),
            toolchain.share("cilium", version) / "install/kubernetes/cilium",
            values,
            kubernetes,
        )

    def prepare(self, api: Kube) -> None:
        crds = self._share / "pkg/k8s/apis/cilium.io/client/crds"
        define_kinds(api, crds)

    def configure(self, progress: Progress) -> None:
        parts = self._parts
        config = self.configuration(self._toolchain, parts.kubernetes, parts.version, self._values)
        kept = {key: value for key, value in config.items() if key not in _PLACES}
        write_config_dir(self._config_dir, kept)
        progress("chart rendered; starting cilium-operator and the agents")

    def start(self, api: Kube, nodes: Sequence[Node]) -> None:
        self.start_operator(nodes[-1])
        instances = self._cloud.instances if self._cloud else []
        by_node = {instance.node: instance for instance in instances}
        routers = create_cilium_nodes(api, nodes, self._values, by_node)
        for node, router in zip(nodes, routers, strict=True):
            if self._big_tcp:
                network.take_large_packets(self._sandbox, node.address.port)
            self._make_devices(node, router)
            self.start_agent(node)
        if self._values["routingMode"] == "native" and self._cloud is None:
            subnets = pod_subnets(nodes, self._values)
            for node, subnet in zip(nodes, subnets, strict=True):
                network.route_to(self._sandbox, node.address, str(subnet))

    @property
    def agent(self) -> str:
        return AGENT

    @property
    def operator(self) -> str:
        return OPERATOR

    def operator_not_ready(self, node: Node) -> str | None:
        if self._sandbox.pid_of(OPERATOR) is None:
            return "it does not run"
        return self._sandbox.unhealthy(node.name, OPERATOR_HEALTH)

    def start_operator(self, node: Node) -> None:
        """Start the operator, as a pod of a node's own network."""
        env = {"K8S_NODE_NAME": node.name, "CILIUM_K8S_NAMESPACE": "kube-system"}
        if self._cloud is not None:
            env |= {"AWS_ENDPOINT_URL_EC2": self._cloud.endpoint}
            env |= self._cloud.credentials(OPERATOR)
        folder = f"{cgroups.AGENTS}/{OPERATOR}"
        cgroup = cgroups.of_control_plane(self._sandbox.paths.lab_id, folder)
        self._sandbox.spawn(
            OPERATOR,
            [str(self._program(OPERATOR)), *self._configuration],
            Place(netns=node.name, cgroup=cgroup),
            env=env,
            # It ends itself when the API server does not answer in time.
            again=True,
        )

    def _make_devices(self, node: Node, router: ipaddress.IPv4Address) -> None:
        setup = _NODE.format(router=router)
        if self._values["routingMode"] == "tunnel":
            protocol = self._values["tunnelProtocol"]
            setup += _TUNNEL.format(protocol=protocol, port=_TUNNEL_PORTS[protocol])
        self._sandbox.script(setup, node.host)

    def start_agent(self, node: Node) -> None:
        self._sandbox.spawn(
            f"{node.name}-{AGENT}",
            [
                *("sh", "-ec", _WITH_SOURCES, str(self._share / "bpf")),
                str(self._program(AGENT)),
                *self._configuration,
                f"--lib-dir={LIB}",
                "--cgroup-root=/run/cilium/cgroupv2",
                "--bpf-root=/sys/fs/bpf",
                "--procfs=/proc",
                "--write-cni-conf-when-ready=",
            ],
            node.agent(AGENT),
            env={
                "K8S_NODE_NAME": node.name,
                "CILIUM_K8S_NAMESPACE": "kube-system",
                **self._compiler(),
            },
        )

    def _compiler(self) -> dict[str, str]:
        """The environment in which an agent finds ``clang`` (:data:`CLANG`, by ccache)."""
        clang = shutil.which("clang", path=llvm_bin(self._parts.version))
        if clang is None or shutil.which("ccache") is None:
            raise LabError("clang or ccache is not installed. Fix: make setup")
        folder = self._sandbox.paths.root / "bin"
        folder.mkdir(exist_ok=True)
        link = folder / "clang"
        if not link.is_symlink():
            link.symlink_to(CLANG)
        return {
            "PATH": f"{folder}:/usr/sbin:/usr/bin:/sbin:/bin",
            "CLANG": clang,
            "HEADERS": "/var/run/cilium/state",
            "CCACHE_DIR": str(self._toolchain.builder.cache.root / "ccache"),
        }

    def wait_ready(self, nodes: Sequence[Node]) -> None:
        # As a kubelet asks (the DaemonSet's readiness probe).
        for node in nodes:
            until(
                f"cilium-agent on {node.name} to be ready",
                lambda node=node: self._not_ready(node),  # type: ignore[misc]
                timeout=_READY_SECONDS,
                log=self._sandbox.paths.log(f"{node.name}-{AGENT}"),
            )

    def _not_ready(self, node: Node) -> str | None:
        self._sandbox.must_run(f"{node.name}-{AGENT}")
        url = f"http://127.0.0.1:{self._values.get('healthPort', HEALTH_PORT)}/healthz"
        return self._sandbox.unhealthy(node.name, url)

    def eni_report(self, api: Kube, node: Node) -> dict[str, Any]:
        return dict(api.get(CILIUM_NODE, node.name).get("status", {}))

    def plugins(self, nodes: Sequence[Node]) -> Plugins:
        # The configuration is the one that the agent would write.
        plugin = self._program("cilium-cni")
        log = self._sandbox.paths.log("cilium-cni")
        return Plugins(
            {
                "cniVersion": "0.3.1",
                "name": "cilium",
                "plugins": [{"type": plugin.name, "enable-debug": False, "log-file": str(log)}],
            },
            [plugin.parent],
            # A node's /run is not the plugin's: the socket is reached through the holder's root.
            {n.name: {"CILIUM_SOCK": f"/proc/{n.holder}/root{SOCKET}"} for n in nodes},
        )


def cilium_config(
    helm: Path, chart: Path, values: Mapping[str, Any], kube_version: str
) -> dict[str, str]:
    """The ``cilium-config`` ConfigMap that the chart renders from ``values``.

    :raises CommandError: when Helm refuses the values, with its words.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "values.yaml"
        file.write_text(yaml.safe_dump(dict(values)))
        argv = [str(helm), "template", "cilium", str(chart), "--namespace=kube-system"]
        argv += [f"--kube-version={kube_version}", f"--values={file}"]
        argv += ["--show-only=templates/cilium-configmap.yaml"]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired as error:
            raise LabError(str(error)) from None
    if done.returncode != 0:
        raise CommandError(argv, done.returncode, done.stderr)
    for manifest in yaml.safe_load_all(done.stdout):
        if manifest and manifest["metadata"]["name"] == "cilium-config":
            return {key: str(value) for key, value in manifest["data"].items()}
    raise LabError("the Cilium chart rendered no ConfigMap cilium-config")


def write_config_dir(folder: Path, config: Mapping[str, str]) -> None:
    """One file per key, as a mounted ConfigMap has it."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for key, value in config.items():
        (folder / key).write_text(value)


# -- CiliumNode objects --------------------------------------------------------------------------
#
# They exist before the agents start, as after an agent's restart. An agent takes the router address
# of its CiliumNode (daemon/cmd/local_node_sync.go), and the operator keeps pod subnets that are
# there. Both are then the same in every lab, and so is the datapath that the agents compile from
# them.


def define_kinds(api: Kube, crds: Path) -> None:
    """Create the CRDs that agents wait for; they are served some time later.

    The operator would create them one after the other. It leaves those alone that say they are of
    its own version or of a later one (pkg/k8s/apis/crdhelpers), and these are from its own sources.

    :param crds: the folder of Cilium's CRDs (``client/crds`` of the module).
    """
    for name in _KINDS:
        (file,) = crds.glob(f"v2*/{name}.yaml")
        # Some are of 400 kB, which takes the loader in Python a third of a second.
        crd = yaml.load(file.read_text(), yaml.CSafeLoader)
        crd["metadata"]["labels"] = {"io.cilium.k8s.crd.schema.version": "1000.0.0"}
        api.ensure(crd)


def create_cilium_nodes(
    api: Kube,
    nodes: Sequence[Node],
    values: Mapping[str, Any],
    instances: Mapping[str, Instance],
) -> list[ipaddress.IPv4Address]:
    """Create one object per node, once the CRD is served.

    An agent that comes first makes its own object: the lab works as well then, but its datapath is
    compiled anew.

    :param values: Helm values, which say where pods' addresses come from.
    :param instances: the nodes' instances by node name, where ENIs give pods their addresses.
    :returns: the nodes' router addresses.
    """
    if values["ipam"]["mode"] == "eni":
        here = [instances[node.name] for node in nodes]
        routers = [_free_address(each) for each in here]
        specs = [_with_enis(each) for each in here]
    else:
        subnets = pod_subnets(nodes, values)
        routers = [each[1] for each in subnets]
        specs = [{"ipam": {"podCIDRs": [str(each)]}} for each in subnets]
    for node, router, spec in zip(nodes, routers, specs, strict=True):
        manifest = _cilium_node(node, router, spec)
        until(
            f"the CiliumNode {node.name}",
            lambda manifest=manifest: _not_applied(api, manifest),  # type: ignore[misc]
            timeout=30,
            interval=0.05,
        )
    return routers


def pod_subnets(nodes: Sequence[Node], values: Mapping[str, Any]) -> list[ipaddress.IPv4Network]:
    """Each node's pod subnet: of the cluster pool in the values, else of the Node object."""
    if values["ipam"]["mode"] != "cluster-pool":
        return [ipaddress.IPv4Network(node.address.pod_cidr) for node in nodes]
    operator = values["ipam"]["operator"]
    pool = ipaddress.IPv4Network(operator["clusterPoolIPv4PodCIDRList"][0])
    size = operator.get("clusterPoolIPv4MaskSize", 24)
    return [subnet for _, subnet in zip(nodes, pool.subnets(new_prefix=size), strict=False)]


def _free_address(instance: Instance) -> ipaddress.IPv4Address:
    owner = ipaddress.IPv4Address(instance.address)
    return free_addresses(network.SUBNET, Taken.of([instance.address], []), 1, owner)[0]


def _with_enis(instance: Instance) -> dict[str, Any]:
    """What an agent writes of its instance; the operator starts from it (pkg/nodediscovery)."""
    eni = {
        "vpc-id": instance.vpc,
        "node-subnet-id": instance.subnet,
        "availability-zone": instance.zone,
        "instance-type": instance.type,
        "first-interface-index": 0,
        "use-primary-address": False,
        "disable-prefix-delegation": False,
    }
    return {"instance-id": instance.id, "eni": eni}


def _cilium_node(
    node: Node, router: ipaddress.IPv4Address, spec: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNode",
        "metadata": {"name": node.name},
        "spec": {
            "addresses": [
                {"type": "InternalIP", "ip": node.address.ip},
                {"type": "CiliumInternalIP", "ip": str(router)},
            ],
            **spec,
        },
    }


def _not_applied(api: Kube, manifest: Mapping[str, Any]) -> str | None:
    try:
        api.apply(manifest, "lab")
    except ApiError as error:  # until its kind is served
        return str(error)
    return None
