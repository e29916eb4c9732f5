"""A machine of the VPC that is no node: where clients outside the cluster are.

Two things of real networks come with it, on nodes whose agents have not started yet:

- direct server return: a node answers in another's name, so the router's source/destination check
  is off, as it has to be on EC2;
- native XDP on veth. The kernel attaches it only where the other end's packets fit into a page
  (``veth_xdp_set``, ERANGE beyond), and takes packets that XDP sends back only on an end that has
  NAPI, which generic receive offload brings (``veth_xdp_xmit``). Nor may packets have their
  checksum still to be filled in by a device, as those of a local socket have: XDP would send them
  on without.
"""

from __future__ import annotations

from collections.abc import Sequence

from lab import cgroups, network
from lab.node import Node
from lab.sandbox import Place, Sandbox

NAME = "outside"
ADDRESS = str(network.SUBNET[200])
MTU = 3498
"""The most with XDP on ENA ("Linux kernel driver for ENA", amzn-drivers); a veth's own limit is
higher with pages of 4 KiB."""
ADAPTATIONS = (
    "The fabric takes packets from any address (EC2's source/destination check is off), so that a "
    "node may answer in another's name.",
    f"Nodes have an MTU of {MTU}, at which native XDP attaches, and the router's ports receive by "
    "NAPI.",
)


def start(sandbox: Sandbox, nodes: Sequence[Node]) -> None:
    """Put the machine on the fabric, and have nodes and router ready for DSR and XDP."""
    cgroups.create(sandbox.paths.lab_id, NAME)
    mac = network.mac_of(ADDRESS)
    port, device = network.port_name(NAME, 0), network.device_name(0)
    sandbox.script(f"ip netns add {NAME}")
    inside = Place(netns=NAME)
    sandbox.script(network.SYSCTLS, inside)
    network.batch(
        sandbox,
        [*network.add_port(port, device, mac, NAME), *network.add_address(ADDRESS, mac, port)],
    )
    sandbox.script(
        f"""
ip addr add {ADDRESS}/{network.SUBNET.prefixlen} dev {device}
ip link set {device} mtu {MTU} up
ip route add default via {network.GATEWAY}
ethtool -K {device} tx off >/dev/null
""",
        inside,
    )
    for node in nodes:
        sandbox.script(f"ip link set {device} mtu {MTU}", Place(netns=node.name))
        sandbox.script(
            f"ip link set {node.address.port} mtu {MTU}; ethtool -K {node.address.port} gro on"
        )
    sandbox.script(
        """
for check in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > "$check"; done
"""
    )
