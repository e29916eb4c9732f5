"""What tests ask of a lab whose pods have addresses of ENIs."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

from bench.session import CommandResult, Pod
from components.eks.dataplane.cilium import operator_policy
from components.eks.settings import CLUSTER_TAG
from kube.objects import POD, SERVICE
from lab import network
from lab.cloud.cloud import Cloud
from lab.cloud.ec2 import Call
from lab.dataplane.cilium.agents import CILIUM_NODE, SOCKET, Cilium
from lab.network import Node
from lab.sandbox import Place, network_namespace
from lab.wait import until
from lab.workloads import PodSpec
from tests.aws.authorisation import ACCOUNT, PARTITION, REGION, asked, vpc_of
from tests.aws.policy import Request
from tests.lab.recorded import read_calls
from tests.lab.running import RunningLab

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.type_defs import NetworkInterfaceTypeDef

#: A machine outside the VPC, in a range that is kept for documentation (RFC 5737).
OUTSIDE = "198.51.100.2"
_OUTSIDE_NETNS = "outside"


def marks(cluster: str) -> dict[str, str]:
    """The tags of every ENI that Cilium makes (1.16.5, ``pkg/ipam/allocator/aws``)."""
    return {"io.cilium/cilium-managed": "true", "io.cilium/cluster-name": cluster}


@dataclass
class EniLab:
    """A running lab, with its parts by the names of EC2."""

    running: RunningLab
    extra: list[PodSpec] = field(default_factory=list)
    """Pods that tests have added."""

    @property
    def cloud(self) -> Cloud:
        cloud = self.running.lab.cloud
        assert cloud is not None
        return cloud

    @property
    def cilium(self) -> Cilium:
        return self.running.agents

    def calls(self) -> list[Call]:
        """The calls of the EC2 API so far."""
        return read_calls(self.cloud.calls_file)

    def asked(self, caller: str) -> list[Request]:
        """What IAM would have been asked for a caller's calls so far. On EKS, nodes and their
        first interfaces have the cluster's tag by the launch template."""
        return asked(self.calls(), caller, {CLUSTER_TAG: "lab"})

    def operator_policy(self) -> dict[str, Any]:
        """What the EKS target would grant Cilium's operator in this lab's account."""
        vpc = vpc_of(self.calls())
        return operator_policy(PARTITION, REGION, ACCOUNT, "lab", vpc)

    def node(self, name: str) -> Node:
        return next(node for node in self.running.lab.nodes if node.name == name)

    # -- interfaces ---------------------------------------------------------------------------

    @contextmanager
    def ec2(self) -> Iterator[EC2Client]:
        """The EC2 API, as the owner of the account uses it."""
        with network_namespace(self.running.lab.sandbox.netns_path(None)):
            yield self.cloud.client()

    def described(self, node: str) -> list[NetworkInterfaceTypeDef]:
        """A node's interfaces as EC2 has them, by device index."""
        instance = next(each.id for each in self.cloud.instances if each.node == node)
        with self.ec2() as ec2:
            found = ec2.describe_network_interfaces(
                Filters=[{"Name": "attachment.instance-id", "Values": [instance]}]
            )["NetworkInterfaces"]
        return sorted(found, key=lambda each: each["Attachment"]["DeviceIndex"])

    def status(self, node: str) -> dict[str, Any]:
        """The status of a node's CiliumNode."""
        found = self.running.lab.api.get(CILIUM_NODE, node)
        return dict(found["status"])

    def interfaces(self, node: str) -> dict[int, dict[str, Any]]:
        """A node's interfaces as its CiliumNode has them, by device index."""
        enis = self.status(node)["eni"]["enis"].values()
        return {each.get("number", 0): each for each in enis}

    def index_of(self, node: str, address: str) -> int:
        """The interface that an address is of, as EC2 has it."""
        ip = IPv4Address(address)
        for each in self.described(node):
            prefixes = (p["Ipv4Prefix"] for p in each.get("Ipv4Prefixes", []))
            single = (p["PrivateIpAddress"] for p in each["PrivateIpAddresses"])
            if any(ip in IPv4Network(block) for block in (*single, *prefixes)):
                return each["Attachment"]["DeviceIndex"]
        raise AssertionError(f"{address} is of no interface of {node}")

    def secondary_addresses(self, node: str, index: int) -> set[str]:
        """The addresses of one of a node's interfaces that are for pods."""
        held = self.described(node)[index]["PrivateIpAddresses"]
        return {each["PrivateIpAddress"] for each in held if not each["Primary"]}

    def devices(self, node: str) -> dict[str, str]:
        """MACs of a node's interfaces to the VPC, by name."""
        shown = self.running.lab.node_command(self.node(node), ["ip", "-json", "link", "show"])
        return {
            each["ifname"]: each["address"]
            for each in json.loads(shown)
            if each["ifname"].startswith("ens")
        }

    # -- pods ---------------------------------------------------------------------------------

    def add_pod(self, name: str, node: str, *argv: str) -> Pod:
        """A further pod on a node; as a kubelet does, asks again while there is no address."""
        spec = PodSpec(name=name, app=name, node=node, argv=argv or ("sleep", "infinity"))
        made: list[str] = []

        def refusal() -> str | None:
            try:
                made.append(self.running.lab.pods.create(spec, self.node(node)))
            except Exception as error:
                self.running.lab.sandbox.run(["ip", "netns", "del", name], check=False)
                return str(error)
            return None

        until(f"an address for {name}", refusal, timeout=60, interval=1)
        self.extra.append(spec)
        return Pod(name, name, node, made[0])

    def remove_pods(self) -> None:
        """Remove all pods that were added."""
        while self.extra:
            spec = self.extra.pop()
            self.running.lab.pods.remove(spec, self.node(spec.node))

    def connects(self, pod: Pod, host: str, port: int) -> CommandResult:
        """Whether a TCP connection from a pod comes about."""
        argv = ["bash", "-c", f"</dev/tcp/{host}/{port}"]
        return self.running.session.run(pod, argv, timeout=5)

    # -- around the VPC -----------------------------------------------------------------------

    def add_outside(self) -> None:
        """A web server outside the VPC, which tells its clients their addresses."""
        sandbox = self.running.lab.sandbox
        sandbox.script(
            f"""
ip netns add {_OUTSIDE_NETNS}
ip link add outside type veth peer name eth0 netns {_OUTSIDE_NETNS}
ip link set outside up
ip route add {OUTSIDE}/32 dev outside
"""
        )
        sandbox.script(
            f"""
{network.SYSCTLS}
ip addr add {OUTSIDE}/24 dev eth0
ip link set eth0 up
ip route add {network.GATEWAY} dev eth0
ip route add default via {network.GATEWAY} dev eth0
""",
            Place(netns=_OUTSIDE_NETNS),
        )
        httpbin = str(self.running.lab.toolchain.program("go-httpbin"))
        argv = [httpbin, "-host", "0.0.0.0", "-port", "8080"]
        sandbox.spawn("outside-httpbin", argv, Place(netns=_OUTSIDE_NETNS))

    def address_outside(self, pod: Pod) -> str:
        """The address that a pod has for a server outside the VPC."""
        argv = ["fortio", "curl", "-quiet", "-timeout", "5s", f"http://{OUTSIDE}:8080/ip"]
        answer = self.running.session.run(pod, argv, timeout=10)
        assert answer.returncode == 0, answer.stderr
        return str(json.loads(answer.stdout)["origin"])

    def get_from_outside(self, url: str) -> CommandResult:
        """An HTTP request from outside the VPC."""
        lab = self.running.lab
        argv = ["fortio", "curl", "-quiet", "-timeout", "5s", url]
        words = [*lab.sandbox.enter(Place(netns=_OUTSIDE_NETNS), 10)]
        words += [str(lab.toolchain.program("fortio")), *argv[1:]]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return CommandResult(tuple(argv), done.returncode, done.stdout, done.stderr, 0.0)

    def await_node_port(self, service: str, node: str) -> None:
        """Publish a Service of the benchmark on every node; wait for it to answer outside."""
        change = {"spec": {"type": "NodePort"}}
        spec = self.running.lab.api.merge(SERVICE, service, change, "default")["spec"]
        port = spec["ports"][0]["nodePort"]
        url = f"http://{self.node(node).address.ip}:{port}/status/200"

        def refusal() -> str | None:
            answer = self.get_from_outside(url)
            return None if answer.returncode == 0 else answer.stderr[-300:]

        until(f"{url} to answer", refusal, timeout=15)

    # -- filling a node -----------------------------------------------------------------------

    def addresses_on(self, node: str) -> set[str]:
        """Addresses of the benchmark's pods, CoreDNS among them, on a node."""
        found = self.running.lab.api.items(POD)
        return {each["status"]["podIP"] for each in found if each["spec"]["nodeName"] == node}

    def pods_on(self, node: str) -> int:
        """How many of the benchmark's pods, CoreDNS among them, have an address on a node."""
        return len(self.addresses_on(node))

    def fill(self, node: str, limit: int) -> list[str]:
        """Take addresses of a node until as many pods as ``limit`` would have one, with those that
        run there; the addresses."""
        there = self.pods_on(node)
        given: list[str] = []

        def filled() -> str | None:
            while address := self.allocate(node, f"fill-{len(given)}"):
                given.append(address)
            total = there + len(given)
            return None if total >= limit else f"{total} of {limit}"

        until(f"{node} to be full", filled, timeout=90, interval=0.5)
        assert len(set(given)) == len(given)
        assert there + len(given) == limit
        return given

    # -- processes ----------------------------------------------------------------------------

    def end(self, process: str) -> None:
        """End a process of the lab as an out-of-memory kill would, and wait until it is gone."""
        sandbox = self.running.lab.sandbox
        pid = sandbox.pid_of(process)
        assert pid is not None, f"{process} does not run"
        sandbox.run(["kill", f"-{signal.SIGKILL.name.removeprefix('SIG')}", str(pid)])
        until(
            f"{process} to end",
            lambda: None if sandbox.pid_of(process) is None else "running",
            timeout=10,
        )

    def end_for_good(self, process: str) -> None:
        """End a process of the lab that is started again whenever it ends, with what does that."""
        sandbox = self.running.lab.sandbox
        pid = sandbox.pid_of(process)
        assert pid is not None, f"{process} does not run"
        parent = sandbox.run(["ps", "-o", "ppid=", "-p", str(pid)]).stdout.strip()
        sandbox.run(["kill", "-KILL", parent])
        self.end(process)

    # -- the agent's own API ------------------------------------------------------------------

    def allocate(self, node: str, owner: str) -> str | None:
        """An address from a node's agent, as its CNI plugin asks for one; None when it has none."""
        status, answer = self._agent(node, "POST", f"/v1/ipam?family=ipv4&owner={owner}")
        return str(answer["address"]["ipv4"]) if status == 201 else None

    def give_back(self, node: str, address: str) -> None:
        status, answer = self._agent(node, "DELETE", f"/v1/ipam/{address}?pool=default")
        assert status == 200, answer

    def _agent(self, node: str, method: str, path: str) -> tuple[int, Any]:
        """A request to a node's agent (api/v1/openapi.yaml of Cilium)."""
        sandbox = self.running.lab.sandbox
        place = sandbox.proc(self.node(node).holder) / "root" / SOCKET.lstrip("/")
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(os.fspath(place))
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        return answer.status, json.loads(body) if body.strip() else None
