"""The VPC CNI in the lab: its real plugin, and on every node the daemon that the plugin asks.

The daemon is the real one (:mod:`.ipamd`), or, where the nodes are in no VPC, an address responder
in its place (:mod:`.responders`). The plugin wires every pod exactly as on EC2: a /32 with a static
neighbour, a host route and an ``ip rule`` per pod.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from lab import network
from lab.api import Api
from lab.cloud.cloud import Cloud
from lab.dataplane.ipamd import Ipamd
from lab.dataplane.responders import AddressResponders
from lab.errors import LabError
from lab.node import Node
from lab.nshttp import http_get, refusal
from lab.pods import Plugins
from lab.sandbox import Sandbox
from lab.toolchain import Toolchain
from lab.wait import until

#: Where the plugin looks for its daemon (amazon-vpc-cni-k8s, cmd/routed-eni-cni-plugin/cni.go).
_HOST, _PORT = "127.0.0.1", 50051
#: The daemon's introspection (pkg/ipamd/introspect.go).
ENIS = "http://127.0.0.1:61679/v1/enis"


class VpcCni:
    """The VPC CNI of one lab.

    :param env: environment variables of the daemon, as the EKS add-on's configuration has them.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        toolchain: Toolchain,
        cloud: Cloud | None,
        env: Mapping[str, str],
    ) -> None:
        self._sandbox = sandbox
        self._toolchain = toolchain
        self.daemons: Ipamd | AddressResponders = (
            AddressResponders(sandbox, toolchain, f"{_HOST}:{_PORT}")
            if cloud is None
            else Ipamd(sandbox, toolchain, cloud, env)
        )

    @property
    def adaptations(self) -> tuple[str, ...]:
        return self.daemons.adaptations

    def prepare(self, api: Api) -> None:
        """What the daemons need in the API server."""
        self.daemons.prepare(api)

    def start(self, api: Api, nodes: Sequence[Node]) -> None:
        """Start the daemons; :meth:`wait_ready` follows."""
        for node in nodes:
            self.daemons.start(node)

    def wait_ready(self, nodes: Sequence[Node]) -> None:
        """Wait until the daemon of every node listens."""
        for node in nodes:
            until(
                f"{self.daemons.name} on {node.name} to listen",
                lambda node=node: refusal(  # type: ignore[misc]
                    self._sandbox.netns_path(node.name), _HOST, _PORT
                ),
                timeout=60,
                log=self._sandbox.paths.log(f"{node.name}-{self.daemons.name}"),
            )

    def eni_report(self, _api: Api, node: Node) -> dict[str, Any]:
        """What a node's daemon answers of its ENIs.

        :raises OSError: it does not answer.
        """
        status, body = http_get(self._sandbox.netns_path(node.name), ENIS)
        if status != HTTPStatus.OK:
            raise LabError(f"{ENIS} on {node.name}: {status} {body}")
        return dict(json.loads(body))

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
