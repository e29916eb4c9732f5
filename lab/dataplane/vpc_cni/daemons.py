"""The VPC CNI in the lab: its real plugin, and on every node the daemon that the plugin asks.

The daemon is the real one (ipamd), or, where the nodes are in no VPC, an address responder in its
place (:mod:`.responder`). The plugin wires every pod exactly as on EC2: a /32 with a static
neighbour, a host route and an ``ip rule`` per pod.

ipamd runs as a process with the environment of its DaemonSet: the one of the manifest that upstream
installs, what EKS's add-on would set, and what leads it to the lab's EC2 API.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cni.vpc_cni.versions import VERSIONS
from lab import network
from lab.cloud.cloud import Cloud
from lab.dataplane.interface import LabDataplane, LabParts, Progress
from lab.errors import LabError
from lab.network import Node
from lab.toolchain.build import Toolchain
from lab.wait import until
from lab.workloads import Plugins

if TYPE_CHECKING:
    from kube.client import Kube


DAEMON = "aws-node"
_PROGRAM = "aws-k8s-agent"
_MANIFEST = "config/master/aws-k8s-cni.yaml"
_CRDS = "charts/aws-vpc-cni/crds/customresourcedefinition.yaml"
RESPONDER = Path(__file__).with_name("responder.py")

#: The daemon's introspection (pkg/ipamd/introspect.go).
ENIS = "http://127.0.0.1:61679/v1/enis"

#: What the DaemonSet's init container does (cmd/aws-vpc-cni-init), and the folder that the daemon
#: keeps its pods' addresses in.
_NODE = """
mkdir -p /run/aws-node
sysctl -qw net.ipv4.conf.{device}.rp_filter=2
"""

#: Without the policy agent, plugins from 1.20 on wire no pod in any other mode than none.
_POLICY_MODE = "NETWORK_POLICY_ENFORCING_MODE"

#: A node's /run is not the plugin's, which looks for the daemon's socket there: it gets a place of
#: its own, and the socket in it through the root of the process that holds the node's mounts.
_WITH_SOCKET = """
mount -t tmpfs aws-node {folder}
ln -s /proc/{holder}/root{path} {path}
exec "$@"
"""


class Ipamd:
    """The daemons of one lab; the values have their environment."""

    name = DAEMON
    adaptations = (
        "The VPC CNI's daemon (ipamd) runs as a process, with the environment of its DaemonSet "
        "less the mode of network policies: their agent, which enforces nothing on EKS unless that "
        "is switched on, does not run.",
    )

    def __init__(self, parts: LabParts, cloud: Cloud) -> None:
        self._parts = parts
        self._sandbox = parts.sandbox
        self._cloud = cloud

    def prepare(self, api: Kube) -> None:
        """Define the custom resources that it watches."""
        for crd in yaml.safe_load_all((self._share / _CRDS).read_text()):
            api.ensure(crd)

    def start(self, node: Node) -> None:
        """Start a node's daemon; also again, after its end."""
        device = "ens5"
        self._sandbox.script(_NODE.format(device=device), node.host)
        self._sandbox.spawn(
            f"{node.name}-{self.name}",
            [str(self._parts.toolchain.program(_PROGRAM, self._parts.version))],
            node.agent(self.name),
            env={
                **VpcCni.configuration(
                    self._parts.toolchain,
                    self._parts.kubernetes,
                    self._parts.version,
                    self._parts.values,
                ),
                # The daemon's own variable, and the SDK's, which 1.22 heeds alone.
                **dict.fromkeys(("AWS_EC2_ENDPOINT", "AWS_ENDPOINT_URL_EC2"), self._cloud.endpoint),
                **self._cloud.credentials(self.name),
                "AWS_VPC_K8S_CNI_LOG_FILE": "stdout",
                "KUBECONFIG": str(self._sandbox.paths.kubeconfig),
                "MY_NODE_NAME": node.name,
                "MY_POD_NAME": f"{self.name}-{node.name}",
            },
        )

    @property
    def _share(self) -> Path:
        return self._parts.toolchain.share("aws-cni", self._parts.version)


class AddressResponders:
    """One per node, which gives each pod an address of the node's routed pod subnet.

    :param address: where the plugin looks for its daemon.
    """

    name = "address-responder"
    adaptations = (
        "The VPC CNI's daemon is replaced by an address responder: pod addresses come from a pod "
        "subnet per node, routed by the fabric, not from secondary addresses of ENIs.",
        "The daemon's own host rules (SNAT chain, connection mark, rule 1024) are not there; "
        "its CPU and memory are not measured.",
    )

    def __init__(self, parts: LabParts, address: str) -> None:
        self._parts = parts
        self._sandbox = parts.sandbox
        self._address = address

    def prepare(self, api: Kube) -> None:
        """Nothing: they keep nothing in the API server."""

    def start(self, node: Node) -> None:
        """Start a node's responder, and let the fabric route its subnet."""
        self._sandbox.script("mkdir -p /run/aws-node", node.host)
        network.route_to(self._sandbox, node.address, node.address.pod_cidr)
        stubs = self._parts.toolchain.share("aws-cni", self._parts.version) / "python"
        state = self._sandbox.paths.root / "addresses"
        state.mkdir(exist_ok=True)
        argv = [sys.executable, str(RESPONDER), grpc_address(self._address), node.address.pod_cidr]
        argv += [str(network.VPC_CIDR), str(state / f"{node.name}.json")]
        env = {"PYTHONPATH": str(stubs)}
        self._sandbox.spawn(f"{node.name}-{self.name}", argv, node.host, env=env)


class VpcCni(LabDataplane):
    """The VPC CNI of one lab."""

    programs = ("aws-cni",)

    def __init__(self, parts: LabParts) -> None:
        super().__init__(parts)
        self._daemon = VERSIONS[parts.version].daemon
        self.daemons: Ipamd | AddressResponders = (
            AddressResponders(parts, self._daemon)
            if parts.cloud is None
            else Ipamd(parts, parts.cloud)
        )

    @classmethod
    def configuration(
        cls, toolchain: Toolchain, kubernetes: str, version: str, values: Mapping[str, Any]
    ) -> dict[str, str]:
        manifest = toolchain.share("aws-cni", version) / _MANIFEST
        environment = container_environment(manifest)
        del environment[_POLICY_MODE]
        return {**environment, **values.get("env", {})}

    @property
    def adaptations(self) -> tuple[str, ...]:
        return self.daemons.adaptations

    def prepare(self, api: Kube) -> None:
        self.daemons.prepare(api)

    def configure(self, progress: Progress) -> None:
        pass  # the daemons' configuration is their environment

    @property
    def agent(self) -> str:
        return self.daemons.name

    def start_agent(self, node: Node) -> None:
        self.daemons.start(node)

    def start(self, api: Kube, nodes: Sequence[Node]) -> None:
        for node in nodes:
            self.start_agent(node)

    def wait_ready(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            until(
                f"{self.daemons.name} on {node.name} to listen",
                lambda node=node: self._refusal(node),  # type: ignore[misc]
                timeout=60,
                log=self._sandbox.paths.log(f"{node.name}-{self.daemons.name}"),
            )

    def _refusal(self, node: Node) -> str | None:
        """Why a node's daemon does not take a connection yet."""
        if self._daemon.startswith("/"):
            return self._sandbox.socket_refusal(node.holder, self._daemon)
        host, _, port = self._daemon.rpartition(":")
        return self._sandbox.refusal(node.name, host, int(port))

    def eni_report(self, api: Kube, node: Node) -> dict[str, Any]:
        status, body = self._sandbox.http_get(node.name, ENIS)
        if status != HTTPStatus.OK:
            raise LabError(f"{ENIS} on {node.name}: {status} {body}")
        return dict(json.loads(body))

    def plugins(self, nodes: Sequence[Node]) -> Plugins:
        prefix: dict[str, list[str]] = {}
        if self._daemon.startswith("/"):
            folder = Path(self._daemon).parent
            self._sandbox.script(f"mkdir -p {folder}")
            for node in nodes:
                script = _WITH_SOCKET.format(holder=node.holder, path=self._daemon, folder=folder)
                prefix[node.name] = ["unshare", "--mount", "sh", "-ec", script, "sh"]
        # As the VPC CNI's DaemonSet installs it (misc/10-aws.conflist).
        return Plugins(
            {
                "cniVersion": "1.0.0",
                "name": "aws-cni",
                "disableCheck": True,
                "plugins": [
                    {
                        "name": "aws-cni",
                        "type": "aws-cni",
                        "vethPrefix": "eni",
                        "mtu": str(network.MTU),
                        "podSGEnforcingMode": "strict",
                        "pluginLogFile": str(self._sandbox.paths.log("aws-cni")),
                        "pluginLogLevel": "INFO",
                    },
                    {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
                ],
            },
            [self._toolchain.program("aws-cni", self._parts.version).parent],
            prefix=prefix,
        )


def grpc_address(daemon: str) -> str:
    """Where a version's daemon listens, as gRPC names it."""
    return f"unix:{daemon}" if daemon.startswith("/") else daemon


def container_environment(manifest: Path) -> dict[str, str]:
    """The environment of the container ``aws-node``, but for what depends on the node.

    :raises LabError: the manifest has no such container.
    """
    for each in yaml.safe_load_all(manifest.read_text()):
        if each and each["kind"] == "DaemonSet":
            for container in each["spec"]["template"]["spec"]["containers"]:
                if container["name"] == "aws-node":
                    return {
                        item["name"]: item["value"] for item in container["env"] if "value" in item
                    }
    raise LabError(f"{manifest} has no container aws-node")
