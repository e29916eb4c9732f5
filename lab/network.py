"""The lab's fabric: what a VPC subnet is to EC2 instances.

A bridge in the sandbox's own network namespace joins one namespace per node. The control plane
listens on the bridge, as a managed control plane's endpoint is reached through the VPC.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from lab.sandbox import Place, Sandbox

VPC_CIDR = ipaddress.IPv4Network("172.30.0.0/16")
SUBNET = ipaddress.IPv4Network("172.30.0.0/24")
GATEWAY = SUBNET[1]
#: The MTU of EC2 within a VPC (jumbo frames, "Network MTU for your EC2 instance").
MTU = 9001
#: Linux's and Amazon Linux's default, asked for in every namespace, since the host's may differ.
#: A kernel lets a namespace choose only among the host's `tcp_allowed_congestion_control`, so the
#: one in force is read back and reported (:func:`congestion_control`).
CONGESTION_CONTROL = "cubic"

#: Per network namespace: routing as on a cloud node, with the kernel's defaults made explicit.
SYSCTLS = f"""
sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \\
  net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0
sysctl -qw net.ipv4.tcp_congestion_control={CONGESTION_CONTROL} 2>/dev/null || true
ip link set lo up
"""


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A node's name and addresses: its own on the fabric and the subnet of its pods."""

    name: str
    ip: str
    pod_cidr: str

    @property
    def mac(self) -> str:
        """A locally administered MAC made from the address, the same in every lab."""
        return "02:00:" + ":".join(f"{byte:02x}" for byte in ipaddress.IPv4Address(self.ip).packed)


def node_addresses(count: int) -> tuple[NodeAddress, ...]:
    """Addresses of ``count`` nodes: 172.30.0.11 and so on, pods in 172.30.11.0/24 and so on."""
    return tuple(
        NodeAddress(f"node-{i}", str(SUBNET[10 + i]), f"172.30.{10 + i}.0/24")
        for i in range(1, count + 1)
    )


def make_fabric(sandbox: Sandbox) -> None:
    sandbox.script(
        f"""{SYSCTLS}
ip link add fabric type bridge
ip link set fabric mtu {MTU} up
ip addr add {GATEWAY}/{SUBNET.prefixlen} dev fabric
"""
    )


def attach_node(sandbox: Sandbox, node: NodeAddress, nodes: tuple[NodeAddress, ...]) -> None:
    """Make a node's network namespace with ``eth0`` on the fabric.

    A VPC delivers a pod's address straight to the interface that owns it; routes to the other
    nodes' pod subnets, over the fabric's one broadcast domain, stand for that: no extra hop that
    would burden native routing against an overlay.
    """
    port = f"port-{node.name}"
    sandbox.script(
        f"""
ip netns add {node.name}
ip link add {port} mtu {MTU} type veth \\
  peer name eth0 mtu {MTU} address {node.mac} netns {node.name}
ip link set {port} master fabric up
ip route add {node.pod_cidr} via {node.ip} dev fabric
"""
    )
    others = "\n".join(
        f"ip route add {other.pod_cidr} via {other.ip} dev eth0" for other in nodes if other != node
    )
    sandbox.script(
        f"""{SYSCTLS}
ip addr add {node.ip}/{SUBNET.prefixlen} dev eth0
ip link set eth0 up
ip route add default via {GATEWAY}
{others}
""",
        Place(netns=node.name),
    )


def congestion_control(sandbox: Sandbox, netns: str) -> str:
    """The TCP congestion control that new sockets of a namespace really get."""
    return sandbox.script("sysctl -n net.ipv4.tcp_congestion_control", Place(netns=netns)).strip()
