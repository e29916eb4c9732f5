"""A node: a network namespace on the fabric, a mount namespace of its own, a cgroup, a Node object.

The mount namespace carries what an agent owns on a real host: a sysfs that shows the node's devices
(sysfs shows those of the namespace it is mounted in), a BPF file system and a /run of its own. A
sleeping process holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kube.client import Kube
from kube.objects import NODE
from lab import cgroups, network, objects
from lab.errors import LabError
from lab.network import NodeAddress
from lab.sandbox import MODULES_FILE, Place, Sandbox
from lab.wait import until

#: Cgroup below a node's (and the control plane's) that holds one cgroup per CNI component.
AGENTS = "agents"

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
    """A running node and the two places in which things run on it."""

    address: NodeAddress
    holder: int
    cgroup: Path

    @property
    def name(self) -> str:
        return self.address.name

    @property
    def host(self) -> Place:
        """The node's own namespaces."""
        return Place(netns=self.name, holder=self.holder, cgroup=self.cgroup)

    def agent(self, component: str) -> Place:
        """The node's own namespaces, in a cgroup which accounts for a component's cost."""
        cgroup = self.agents / component
        cgroup.mkdir(parents=True, exist_ok=True)
        return Place(netns=self.name, holder=self.holder, cgroup=cgroup)

    @property
    def agents(self) -> Path:
        """The cgroup whose children are the node's CNI components."""
        return self.cgroup / AGENTS

    @property
    def plugins(self) -> Place:
        """The node's network, but the sandbox's mounts, where pods' network namespaces show."""
        return Place(netns=self.name, cgroup=self.cgroup)


def start(sandbox: Sandbox, address: NodeAddress) -> Node:
    """Make the node's namespaces and mounts; its agents are started by others."""
    network.attach_node(sandbox, address)
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


def register(
    api: Kube,
    address: NodeAddress,
    labels: Mapping[str, str],
    provider_id: str | None,
    max_pods: int | None,
) -> None:
    """Make the Node object, as the node's kubelet and the cloud provider do."""
    api.ensure(objects.node(address, labels, provider_id))
    status = objects.node_status(address, max_pods)
    api.merge(NODE, address.name, status, subresource="status")


def find(sandbox: Sandbox, address: NodeAddress) -> Node:
    """The node of a running lab.

    :raises LabError: it is not running.
    """
    holder = sandbox.pid_of(f"{address.name}-mounts")
    if holder is None:
        raise LabError(f"{address.name} is not running")
    return Node(address, holder, cgroups.lab_cgroup(sandbox.paths.lab_id) / address.name)
