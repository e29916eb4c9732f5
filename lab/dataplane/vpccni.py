"""The VPC CNI in the lab: the real ``aws-cni`` plugin, an address responder in its daemon's place.

The plugin wires every pod exactly as on EC2 (a /32 with a static neighbour, a host route and an
``ip rule`` per pod). What its daemon (ipamd) does with the EC2 API has no counterpart here and is
listed in :data:`ADAPTATIONS`.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from lab import network
from lab.api import Api
from lab.node import Node
from lab.nshttp import network_namespace
from lab.pods import Plugins
from lab.sandbox import Sandbox
from lab.toolchain import Toolchain
from lab.wait import until

#: Where the plugin looks for its daemon (amazon-vpc-cni-k8s, cmd/routed-eni-cni-plugin/cni.go).
ADDRESS = "127.0.0.1:50051"
NAME = "address-responder"
RESPONDER = Path(__file__).with_name("responder.py")

ADAPTATIONS = (
    "The VPC CNI's daemon is replaced by an address responder: pod addresses come from a pod "
    "subnet per node, routed by the fabric, not from secondary addresses of ENIs.",
    "The daemon's own host rules (SNAT chain, connection mark, rule 1024) are not there; "
    "its CPU and memory are not measured.",
)


class VpcCni:
    """The VPC CNI of one lab."""

    adaptations = ADAPTATIONS

    def __init__(self, sandbox: Sandbox, toolchain: Toolchain) -> None:
        self._sandbox = sandbox
        self._toolchain = toolchain

    def prepare(self, api: Api) -> None:
        """Nothing: the plugin keeps nothing in the API server."""

    def start(self, api: Api, nodes: Sequence[Node]) -> None:
        """Start the address responders; :meth:`wait_ready` follows."""
        stubs = self._toolchain.share("aws-cni") / "python"
        state = self._sandbox.paths.root / "addresses"
        state.mkdir(exist_ok=True)
        for node in nodes:
            argv = [sys.executable, str(RESPONDER), ADDRESS, node.address.pod_cidr]
            argv += [str(network.VPC_CIDR), str(state / f"{node.name}.json")]
            self._sandbox.spawn(
                f"{node.name}-{NAME}", argv, node.host, env={"PYTHONPATH": str(stubs)}
            )

    def wait_ready(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            until(
                f"the address responder on {node.name}",
                lambda node=node: self._not_ready(node),  # type: ignore[misc]
                timeout=30,
                log=self._sandbox.paths.log(f"{node.name}-{NAME}"),
            )

    def _not_ready(self, node: Node) -> str | None:
        host, _, port = ADDRESS.partition(":")
        with network_namespace(self._sandbox.netns_path(node.name)):
            probe = socket.socket()
        with probe:
            probe.settimeout(1)
            answer = probe.connect_ex((host, int(port)))
        return None if answer == 0 else os.strerror(answer)

    def plugins(self, nodes: Sequence[Node]) -> Plugins:
        """The configuration list that the VPC CNI's DaemonSet installs (misc/10-aws.conflist)."""
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
            [self._toolchain.program("aws-cni").parent],
            {},
        )
