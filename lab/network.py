"""The lab's fabric and the nodes on it: what a VPC and its router are to EC2 instances.

Every interface of a node has its own port on the router, which is the sandbox's own network
namespace. As in a VPC there is no broadcast domain: the router answers every ARP request for an
address that it knows, takes each packet by its destination address to the interface that has it,
and drops what comes from an address that the sending interface does not have ("source/destination
check"). The control plane listens on the router, as a managed one's endpoint is reached through the
VPC.

A node is a network namespace on the fabric, a mount namespace of its own and a cgroup. The mount
namespace carries what an agent owns on a real host: a sysfs that shows the node's devices (sysfs
shows those of the namespace it is mounted in), a BPF file system and a /run of its own. A sleeping
process holds it.
"""

import ipaddress
import json
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from lab import cgroups, congestion
from lab.errors import LabError
from lab.sandbox import MODULES_FILE, Place, Sandbox, network_namespace
from lab.wait import until

VPC_CIDR = ipaddress.IPv4Network("172.30.0.0/16")
#: Subnets, one a zone; nodes are in the first.
SUBNETS = tuple(VPC_CIDR.subnets(new_prefix=20))
SUBNET = SUBNETS[0]
#: A subnet's router is its first address ("Subnet route tables", Amazon VPC User Guide).
GATEWAY = SUBNET[1]
#: The MTU of EC2 within a VPC (jumbo frames, "Network MTU for your EC2 instance").
MTU = 9001
#: Per network namespace: routing as on a cloud node, with the kernel's defaults made explicit.
SYSCTLS = """
sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \\
  net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.default.send_redirects=0
ip link set lo up
"""


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A node's name and addresses: its own in the VPC, and the subnet of its pods where those do
    not have addresses of ENIs."""

    name: str
    ip: str
    pod_cidr: str

    @property
    def mac(self) -> str:
        return mac_of(self.ip)

    @property
    def port(self) -> str:
        """The router's end of the node's own interface."""
        return port_name(self.name, 0)


def node_addresses(count: int) -> tuple[NodeAddress, ...]:
    """Addresses of ``count`` nodes: 172.30.0.11 and so on, pods in 172.30.101.0/24 and so on."""
    return tuple(
        NodeAddress(f"node-{i}", str(SUBNET[10 + i]), f"172.30.{100 + i}.0/24")
        for i in range(1, count + 1)
    )


def mac_of(address: str) -> str:
    """A locally administered MAC made from an address, the same in every lab."""
    return "02:00:" + ":".join(f"{byte:02x}" for byte in ipaddress.IPv4Address(address).packed)


def device_name(index: int) -> str:
    """A node's interface as Amazon Linux 2023 names it, by the attachment's device index."""
    return f"ens{5 + index}"


def port_name(node: str, index: int) -> str:
    """The router's end of a node's interface."""
    return f"{node}-{device_name(index)}"


def add_port(port: str, device: str, mac: str, node: str) -> list[str]:
    """Commands of ip(8) that plug an interface into a node.

    Its MAC is the link's alias too, written last: a port with its alias is whole.
    """
    return [
        f"link add {port} mtu {MTU} type veth"
        f" peer name {device} mtu {MTU} address {mac} netns {node}",
        # Linux answers in another's place up to 0.8 s later than in its own.
        f"ntable change name arp_cache dev {port} proxy_delay 0",
        f"link set {port} up",
        f"link set {port} alias {mac}",
    ]


def add_address(address: str, mac: str, port: str) -> list[str]:
    """Commands of ip(8) that lead an interface's own address to its port.

    The neighbour is permanent: a VPC delivers by what it knows and asks nobody. The route comes
    last: where it is there, so is the neighbour.
    """
    return [
        f"neigh replace {address} lladdr {mac} dev {port} nud permanent",
        f"route replace {address}/32 dev {port} src {GATEWAY}",
    ]


def add_route(destination: str, via: str, port: str) -> str:
    """The command of ip(8) that leads further addresses to the interface that has them."""
    return f"route replace {destination} via {via} dev {port} onlink"


def add_namespace(
    sandbox: Sandbox, name: str, congestion_control: str = congestion.DEFAULT
) -> None:
    """A network namespace of the sandbox, set up as a cloud's machine has it."""
    sandbox.script(f"ip netns add {name}")
    sandbox.script(SYSCTLS, Place(netns=name))
    congestion.choose(congestion_control, sandbox.netns_path(name))


def make_fabric(sandbox: Sandbox) -> None:
    """The router, with its addresses and what every port of it is born with."""
    gateways = "\n".join(f"ip addr add {subnet[1]}/32 dev lo" for subnet in SUBNETS[:2])
    sandbox.script(
        f"""{SYSCTLS}
sysctl -qw net.ipv4.conf.default.rp_filter=1 net.ipv4.conf.default.proxy_arp=1
{gateways}
"""
    )


def attach_node(
    sandbox: Sandbox, node: NodeAddress, congestion_control: str = congestion.DEFAULT
) -> None:
    """Make a node's network namespace, with its first interface in the VPC."""
    add_namespace(sandbox, node.name, congestion_control)
    inside = Place(netns=node.name)
    device = device_name(0)
    port = add_port(node.port, device, node.mac, node.name)
    batch(sandbox, [*port, *add_address(node.ip, node.mac, node.port)])
    sandbox.script(
        f"""
ip addr add {node.ip}/{SUBNET.prefixlen} dev {device}
ip link set {device} up
ip route add default via {GATEWAY}
""",
        inside,
    )


def route_to(sandbox: Sandbox, node: NodeAddress, destination: str) -> None:
    """Let the router lead a subnet to a node, as the VPC does with the addresses of an ENI."""
    batch(sandbox, [add_route(destination, node.ip, node.port)])


#: What a veth device takes at most (GSO_MAX_SIZE in the kernel's netdevice.h), in bytes.
LARGEST_PACKET = 8 * 65_535
#: IFLA_GSO_IPV4_MAX_SIZE in linux/if_link.h; ip(8) has no word for it before 6.3.
_GSO_IPV4_MAX_SIZE = 63
_SET_LINK, _REQUEST, _ACKNOWLEDGE = 19, 1, 4  # of linux/rtnetlink.h and linux/netlink.h


def take_large_packets(sandbox: Sandbox, port: str) -> None:
    """Let a port of the router pass on what is larger than 64 KiB in one piece, as it does with
    what is smaller. It would cut the packets to its MTU, in software, which no wire does.

    :raises OSError: the kernel is older than 6.3, or there is no such port.
    """
    with (
        network_namespace(sandbox.netns_path(None)),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel,
    ):
        link = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, socket.if_nametoindex(port), 0, 0)
        size = struct.pack("=HHI", 8, _GSO_IPV4_MAX_SIZE, LARGEST_PACKET)
        length = struct.calcsize("=IHHII") + len(link) + len(size)
        flags = _REQUEST | _ACKNOWLEDGE
        kernel.send(struct.pack("=IHHII", length, _SET_LINK, flags, 1, 0) + link + size)
        (error,) = struct.unpack_from("=i", kernel.recv(4096), struct.calcsize("=IHHII"))
    if error:
        raise OSError(-error, os.strerror(-error), port)


def batch(sandbox: Sandbox, commands: list[str]) -> None:
    """Run commands of ip(8) on the router."""
    sandbox.run(["ip", "-batch", "-"], stdin="\n".join(commands) + "\n")


def mtu(sandbox: Sandbox, netns: str, device: str) -> int:
    """A device's MTU in bytes, or the default route's where it is smaller (Cilium leaves room for
    a tunnel's headers there)."""
    place = Place(netns=netns)
    links = json.loads(sandbox.run(["ip", "-json", "link", "show", device], place).stdout)
    routes = json.loads(sandbox.run(["ip", "-json", "route", "show", "default"], place).stdout)
    metrics = [metric for each in routes for metric in each.get("metrics", [])]
    limits = [int(metric["mtu"]) for metric in metrics if "mtu" in metric]
    return min([int(links[0]["mtu"]), *limits])


# -- nodes ---------------------------------------------------------------------------------------

# /sys comes last: the cgroup hierarchy is bound from under the host's one. The host's goes first:
# cilium-agent ends when the mount table has two BPF file systems at one place.
_MOUNTS = """
set -e
listing=$(cat {modules})
mount -t tmpfs -o mode=755 node-run /run
mkdir -p /run/cilium/cgroupv2 {modules_dir} /run/lock
printf '%s\\n' "$listing" > {modules}
mount --bind {cgroup} /run/cilium/cgroupv2
umount -R -l /sys
mount -t sysfs sysfs /sys
mount -t bpf bpffs /sys/fs/bpf
echo ready
exec sleep infinity
"""


@dataclass(frozen=True, slots=True)
class Node:
    """A running node and the places in which things run on it.

    :param cpus: what runs on it from now on runs there; none stands for any.
    """

    address: NodeAddress
    holder: int
    cgroup: Path
    cpus: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return self.address.name

    @property
    def host(self) -> Place:
        """The node's own namespaces."""
        return Place(self.name, self.holder, self.cgroup, self.cpus)

    def agent(self, component: str) -> Place:
        """The node's own namespaces, in a cgroup which accounts for a component's cost."""
        cgroup = self.agents / component
        cgroup.mkdir(parents=True, exist_ok=True)
        return Place(self.name, self.holder, cgroup, self.cpus)

    @property
    def agents(self) -> Path:
        """The cgroup whose children are the node's CNI components."""
        return self.cgroup / cgroups.AGENTS

    @property
    def plugins(self) -> Place:
        """The node's network, but the sandbox's mounts, where pods' network namespaces show."""
        return self.pod(self.name)

    def pod(self, netns: str) -> Place:
        """A network namespace on the node, in the sandbox's mounts."""
        return Place(netns=netns, cgroup=self.cgroup, cpus=self.cpus)


def start_node(sandbox: Sandbox, address: NodeAddress, congestion_control: str) -> Node:
    """Make a node's namespaces and mounts; its agents are started by others."""
    attach_node(sandbox, address, congestion_control)
    cgroup = cgroups.create(sandbox.paths.lab_id, address.name)
    script = _MOUNTS.format(cgroup=cgroup, modules=MODULES_FILE, modules_dir=MODULES_FILE.parent)
    name = f"{address.name}-mounts"
    holder = sandbox.spawn(
        name, ["unshare", "--mount", "sh", "-c", script], Place(netns=address.name, cgroup=cgroup)
    )
    log = sandbox.paths.log(name)
    until(
        f"the mounts of {address.name}",
        lambda: None if log.read_text().endswith("ready\n") else "not all mounted",
        timeout=10,
        interval=0.02,
        log=log,
    )
    return Node(address, holder, cgroup)


def running_node(sandbox: Sandbox, address: NodeAddress, cpus: tuple[int, ...]) -> Node:
    """The node of a running lab, with its CPUs.

    :raises LabError: it is not running.
    """
    holder = sandbox.pid_of(f"{address.name}-mounts")
    if holder is None:
        raise LabError(f"{address.name} is not running")
    return Node(address, holder, cgroups.lab_cgroup(sandbox.paths.lab_id) / address.name, cpus)
