"""Pods: a network namespace wired by the node's real CNI plugin, and a process in it."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

from kube.client import Kube
from kube.objects import POD
from lab import objects
from lab.errors import LabError
from lab.network import SYSCTLS
from lab.node import Node
from lab.objects import PodSpec
from lab.sandbox import Place, Sandbox
from lab.toolchain.toolchain import Toolchain

#: Where Debian's containernetworking-plugins puts portmap and its like.
SYSTEM_PLUGINS = Path("/usr/lib/cni")


class Plugins:
    """How pods of one lab get their network: a CNI configuration list and its plugins.

    :param conflist: the CNI configuration list (CNI specification 1.0.0).
    :param folders: where the plugins' binaries are.
    :param env: environment of the plugin, by node.
    """

    def __init__(
        self,
        conflist: Mapping[str, object],
        folders: Sequence[Path],
        env: Mapping[str, dict[str, str]],
    ) -> None:
        self.conflist = conflist
        self.folders = tuple(folders)
        self.env = env

    @property
    def network(self) -> str:
        return str(self.conflist["name"])


class Pods:
    """Makes and removes pods of one lab."""

    def __init__(self, sandbox: Sandbox, toolchain: Toolchain, api: Kube, plugins: Plugins) -> None:
        self._sandbox = sandbox
        self._toolchain = toolchain
        self._api = api
        self._plugins = plugins
        # A kubelet adds a node's pods side by side, but cilium-cni names its first interface after
        # the start of the container's id, which cnitool gives all pods alike.
        self._one_at_a_time: defaultdict[str, Lock] = defaultdict(Lock)
        self._cnitool = str(toolchain.program("cnitool"))
        self._netconf = sandbox.paths.config / "net.d"
        self._netconf.mkdir(exist_ok=True)
        (self._netconf / "10-lab.conflist").write_text(json.dumps(plugins.conflist, indent=2))

    def create(self, spec: PodSpec, node: Node) -> str:
        """Create the Pod object, wire it, start its command; returns its address."""
        self._api.ensure(objects.pod(spec))
        self._sandbox.script(f"ip netns add {spec.name}")
        place = Place(netns=spec.name, cgroup=node.cgroup)
        self._sandbox.script(SYSCTLS, place)
        with self._one_at_a_time[node.name]:
            ip = self._wire(spec, node)
        program = program_path(self._toolchain, spec.argv[0])
        self._sandbox.spawn(spec.name, [program, *spec.argv[1:]], place)
        status = objects.pod_status(ip, node.address.ip)
        self._api.merge(POD, spec.name, status, spec.namespace, subresource="status")
        return ip

    def remove(self, spec: PodSpec, node: Node) -> None:
        """End a pod's processes, give its address back, delete the Pod object."""
        pid = self._sandbox.pid_of(spec.name)
        if pid is not None:
            self._sandbox.run(["kill", "-KILL", str(pid)])
        self._cni("del", spec, node)
        self._sandbox.script(f"ip netns del {spec.name}")
        self._api.delete(POD, spec.name, spec.namespace, [("gracePeriodSeconds", "0")])

    def _wire(self, spec: PodSpec, node: Node) -> str:
        answer = self._cni("add", spec, node)
        ips = json.loads(answer).get("ips", [])
        if not ips:
            raise LabError(f"the CNI plugin gave {spec.name} no address: {answer}")
        return str(ips[0]["address"]).partition("/")[0]

    def _cni(self, command: str, spec: PodSpec, node: Node) -> str:
        """What the node's CNI plugin answers to a command for a pod."""
        done = self._sandbox.run(
            [self._cnitool, command, self._plugins.network, f"/run/netns/{spec.name}"],
            node.plugins,
            env={
                **self._plugins.env.get(node.name, {}),
                "NETCONFPATH": str(self._netconf),
                "CNI_PATH": ":".join(map(str, (*self._plugins.folders, SYSTEM_PLUGINS))),
                "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={spec.namespace};"
                f"K8S_POD_NAME={spec.name};K8S_POD_INFRA_CONTAINER_ID={spec.name}",
                "CNI_IFNAME": "eth0",
            },
        )
        return done.stdout


def program_path(toolchain: Toolchain, name: str) -> str:
    """A program of the toolchain, else of the host's packages."""
    if name in toolchain.versions():
        return str(toolchain.program(name))
    found = shutil.which(name)
    if found is None:
        raise LabError(f"the program {name} is not installed. Fix: make setup")
    return found
