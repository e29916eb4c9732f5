"""A machine of the VPC that is no node: where clients outside the cluster are.

Two things of real networks come with it, on nodes whose agents have not started yet:

- direct server return: a node answers in another's name, so the router's source/destination check
  is off, as it has to be on EC2;
- native XDP on veth. The kernel attaches it only where the other end's packets fit into a page
  (``veth_xdp_set``, ERANGE beyond). What XDP sends back it queues on the other end, which is woken
  for it only if it has an XDP program itself (``veth_xdp_flush``): so the router's ports have one,
  which lets all pass. Nor may packets come to it with their checksum still to be filled in by a
  device, as those of a local socket have: XDP would send them on without.
"""

import shlex
from collections.abc import Sequence

from lab import cgroups, network
from lab.bpf import compile_bpf
from lab.network import Node
from lab.sandbox import Place, Sandbox

NAME = "outside"
ADDRESS = str(network.SUBNET[200])
MTU = 3498
"""The most with XDP on ENA ("Linux kernel driver for ENA", amzn-drivers); a veth's own limit is
higher with pages of 4 KiB."""
ADAPTATIONS = (
    "The fabric takes packets from any address (EC2's source/destination check is off), so that a "
    "node may answer in another's name.",
    f"Nodes have an MTU of {MTU}, at which native XDP attaches, and the router's ports have an XDP "
    "program that lets all pass, without which nothing that XDP sends back would arrive; checksums "
    "are written before a packet leaves a node.",
)

_PASS = """
__attribute__((section("xdp"), used)) int pass(void *context) { return 2; /* XDP_PASS */ }
"""


def start(sandbox: Sandbox, nodes: Sequence[Node]) -> None:
    """Put the machine on the fabric, and have nodes and router ready for DSR and XDP.

    :raises LabError: there is no compiler, or the kernel refuses something.
    """
    cgroups.create(sandbox.paths.lab_id, NAME)
    mac = network.mac_of(ADDRESS)
    port, device = network.port_name(NAME, 0), network.device_name(0)
    network.add_namespace(sandbox, NAME)
    inside = Place(netns=NAME)
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
    program = sandbox.paths.config / "pass.o"
    compile_bpf(_PASS, program)
    for node in nodes:
        whole = f"ip link set {device} mtu {MTU}\nethtool -K {device} tx off >/dev/null"
        sandbox.script(whole, Place(netns=node.name))
        sandbox.script(
            f"""
ip link set {node.address.port} mtu {MTU}
ip link set {node.address.port} xdp object {shlex.quote(str(program))} section xdp
"""
        )
    sandbox.script(
        """
for check in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > "$check"; done
"""
    )
