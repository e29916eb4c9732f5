"""Address responders in the place of the VPC CNI's daemon, for nodes that are in no VPC."""

from __future__ import annotations

import sys
from pathlib import Path

from lab import network
from lab.api import Api
from lab.node import Node
from lab.sandbox import Sandbox
from lab.toolchain import Toolchain

RESPONDER = Path(__file__).with_name("responder.py")


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

    def __init__(self, sandbox: Sandbox, toolchain: Toolchain, address: str) -> None:
        self._sandbox = sandbox
        self._toolchain = toolchain
        self._address = address

    def prepare(self, api: Api) -> None:
        """Nothing: they keep nothing in the API server."""

    def start(self, node: Node) -> None:
        """Start a node's responder, and let the fabric route its subnet."""
        network.route_to(self._sandbox, node.address, node.address.pod_cidr)
        stubs = self._toolchain.share("aws-cni") / "python"
        state = self._sandbox.paths.root / "addresses"
        state.mkdir(exist_ok=True)
        argv = [sys.executable, str(RESPONDER), self._address, node.address.pod_cidr]
        argv += [str(network.VPC_CIDR), str(state / f"{node.name}.json")]
        env = {"PYTHONPATH": str(stubs)}
        self._sandbox.spawn(f"{node.name}-{self.name}", argv, node.host, env=env)
