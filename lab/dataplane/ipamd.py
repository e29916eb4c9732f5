"""The VPC CNI's real daemon (ipamd, ``aws-k8s-agent``) on every node.

Its environment is the one of the container ``aws-node`` in upstream's own DaemonSet, changed by the
EKS add-on's configuration, and told where the lab keeps the API server and AWS.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from lab.api import Api
from lab.cloud.cloud import Cloud
from lab.errors import LabError
from lab.node import Node
from lab.sandbox import Sandbox
from lab.toolchain import Toolchain

PROGRAM = "aws-k8s-agent"
MANIFEST = "config/master/aws-k8s-cni.yaml"
CRDS = "charts/aws-vpc-cni/crds/customresourcedefinition.yaml"

#: What the DaemonSet's init container does (cmd/aws-vpc-cni-init), and the folder that the daemon
#: keeps its pods' addresses in.
_NODE = """
mkdir -p /run/aws-node
sysctl -qw net.ipv4.conf.{device}.rp_filter=2
"""


class Ipamd:
    """The daemons of one lab.

    :param env: environment variables, as the EKS add-on's configuration has them.
    """

    name = "aws-node"
    adaptations = (
        "The VPC CNI's daemon (ipamd) runs as a process, with the environment of its DaemonSet.",
    )

    def __init__(
        self, sandbox: Sandbox, toolchain: Toolchain, cloud: Cloud, env: Mapping[str, str]
    ) -> None:
        self._sandbox = sandbox
        self._toolchain = toolchain
        self._cloud = cloud
        self._env = env

    def prepare(self, api: Api) -> None:
        """Define the custom resources that it watches."""
        for crd in yaml.safe_load_all((self._share / CRDS).read_text()):
            api.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)

    def start(self, node: Node) -> None:
        """Start a node's daemon; also again, after its end."""
        device = "ens5"
        self._sandbox.script(_NODE.format(device=device), node.host)
        self._sandbox.spawn(
            f"{node.name}-{self.name}",
            [str(self._toolchain.program(PROGRAM))],
            node.agent(self.name),
            env={
                **container_environment(self._share / MANIFEST),
                **self._env,
                **self._cloud.vpc_cni_environment(),
                "AWS_VPC_K8S_CNI_LOG_FILE": "stdout",
                "KUBECONFIG": str(self._sandbox.paths.kubeconfig),
                "MY_NODE_NAME": node.name,
                "MY_POD_NAME": f"{self.name}-{node.name}",
            },
        )

    @property
    def _share(self) -> Path:
        return self._toolchain.share("aws-cni")


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
