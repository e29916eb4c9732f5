"""A whole cluster for tests: objects, and commands that answer with recorded outputs.

`python -m tests.components.kubernetes.kube_cluster --scenario scenario-e` serves it and prints one
JSON line with its URL and certificate, until its standard input ends.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench.session import Clock, Pod
from cni.cilium.dataplane import PER_PACKET, SOCKET
from cni.cilium.evidence import EVIDENCE_COMMANDS
from cni.cilium.versions import DEFAULT
from cni.dataplane import IPTABLES, NFTABLES
from components.kubernetes import facts
from components.kubernetes.manifests import NODE_PROBE
from components.kubernetes.watch import watch_command
from components.programs import path_in_pods
from tests.bench.scripts import connections_of
from tests.cni.stackfiles import stack_scenario
from tests.components.kubernetes import kube_objects
from tests.components.kubernetes.exec_replies import Conversing, Exec, FromInput, Output, Reply
from tests.components.kubernetes.kube_api import KubeApi

if TYPE_CHECKING:
    from tests.bench.fakes import FakeSession

AGENTS = Path(__file__).parents[2] / "fixtures" / "cni" / "agents" / DEFAULT
LISTENING = facts.script("listening")
_TICKS_OF_TURNS = 50
"""What every node uses beside that for each command of turns."""
WATCH = watch_command([])
NODES = ("node-1", "node-2", "node-3")

# The format is that of ethtool 6.1; the names are those of the ENA driver's documentation.
NETWORK = "interface: ens5\nmtu: 9001\ndriver: ena\nversion: 2.13.0g\nfirmware-version: \n"
POD_NETWORK = (
    "device_mtu: 9001\nroute_mtu: {route}\ncongestion_control: cubic\n"
    "search: cni-benchmark.svc.cluster.local svc.cluster.local cluster.local ec2.internal\n"
)


class Recorded:
    """A cluster's commands: the tools and agents as recorded, the node probe as on EC2.

    :param scenario: whose agents answer; those of scenario A are asked nothing.
    :param tools: answers the tools' commands; None takes one of its own.
    :param clock: by which CPUs are used and pods tell the time.
    """

    def __init__(
        self, scenario: str, tools: FakeSession | None = None, clock: Clock | None = None
    ) -> None:
        self._scenario = scenario
        self._lock = threading.Lock()
        self._given = tools
        self._clock = clock or Clock()
        self._start = self._clock.monotonic()
        self._connections = 0
        self._turns_made = 0
        self._tools_run = 0
        self.exceeded = 0

    def __call__(self, call: Exec) -> Reply:
        """What a command does."""
        if call.argv in EVIDENCE_COMMANDS.values():
            return self._agent(call)
        if call.argv in {each.command for each in (IPTABLES, NFTABLES, SOCKET, PER_PACKET)}:
            return Output(self._translated(call.argv))
        if call.argv[:3] == WATCH[:3]:
            return Conversing(lambda: self._notes(len(call.argv) - len(WATCH)))
        if call.container == NODE_PROBE:
            return Output(self._node(call.argv))
        if call.argv == facts.POD_COMMAND:
            return Output(POD_NETWORK.format(route=""))
        if call.argv[:3] == LISTENING[:3] or call.argv == ("test", "-x", path_in_pods()):
            return Output()
        if call.argv == (path_in_pods(), "run"):
            return FromInput(lambda plan: self._turns(call.pod, plan))
        if call.argv[0] == "bash" and "/dev/tcp/" in call.argv[-1]:
            self._connections += connections_of(call.argv)
            return Output("")
        if call.argv[0] == "bash":
            return Output(f"{self._clock.now().timestamp():.6f} tsc\n")
        return self._tool(call)

    def _agent(self, call: Exec) -> Output:
        name = next(key for key, argv in EVIDENCE_COMMANDS.items() if argv == call.argv)
        # One agent was recorded; all say the same.
        return Output((AGENTS / self._scenario / "node-1" / f"{name}.json").read_text())

    def _node(self, argv: tuple[str, ...]) -> str:
        if argv == facts.NETWORK_COMMAND:
            return NETWORK
        if argv == facts.ALLOWANCES_COMMAND:
            return f"     bw_in_allowance_exceeded: {self.exceeded}\n"
        ticks = int((self._clock.monotonic() - self._start) * 100)
        if argv == facts.CPU_COMMAND:  # a twentieth of one CPU of four
            clocks = f"{1.7e9 + ticks / 100:.6f} {ticks / 100:.2f}"
            # A recorded tool ends at once, and still takes some of it.
            used = ticks // 20 + self._turns_made * _TICKS_OF_TURNS + self._tools_run
            return f"{clocks} cpu  {used} 0 0 {4 * ticks} 0 0 0 0 0 0\n"
        return "".join(self._usage(each, ticks) for each in argv[5:])

    def _notes(self, containers: int) -> str:
        """Of a node where no command ever runs."""
        now = self._clock.now().timestamp()
        groups = " | 0 1" * containers
        return "".join(f"{now + i:.6f} cpu 0 0 0 0 0 0 0 0{groups}\n" for i in (0, 1)) + "\n"

    def _usage(self, container: str, ticks: int) -> str:
        """Each uses a hundredth of a CPU."""
        return (
            f"{container} cpu.stat usage_usec {ticks * 100}\n"
            f"{container} memory.stat anon 104857600\n"
            f"{container} memory.stat file_mapped 20971520\n"
        )

    def _tool(self, call: Exec) -> Output:
        with self._lock:
            if "-keepalive=false" in call.argv:
                self._connections += int(call.argv[call.argv.index("-n") + 1])
            self._tools_run += 1
            done = self._tools.run(Pod(call.pod, "", "", ""), call.argv, timeout=1)
        return Output(done.stdout, done.stderr, done.returncode)

    def _turns(self, pod: str, plan: bytes) -> Output | None:
        with suppress(json.JSONDecodeError), self._lock:
            json.loads(plan)
            self._turns_made += 1
            return Output(self._tools.take_turns(Pod(pod, "", "", ""), plan.decode(), timeout=1))
        return None  # there is more to come

    @cached_property
    def _tools(self) -> FakeSession:
        from tests.bench.fakes import FakeSession  # only where tools are run

        return self._given or FakeSession()

    def _translated(self, argv: tuple[str, ...]) -> str:
        """What the mechanisms of these scenarios count, for the Service of httpbin."""
        host, count = kube_objects.HTTPBIN_ADDRESS, self._connections
        if argv == IPTABLES.command:
            seen = count if self._scenario == "scenario-a" else 0
            rule = f"-A KUBE-SERVICES -d {host}/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-X"
            return f"*nat\n[{seen}:{60 * seen}] {rule}\nCOMMIT\n"
        if argv == SOCKET.command:
            value = " ".join(f"{int(part):02x}" for part in host.split("."))
            return f"key: 01\nvalue: {value} 00 50\n" * count + f"Found {count} elements\n"
        entries = count if self._scenario == "scenario-b" else 0
        return f"TCP SVC 10.0.1.10:1 -> {host}:80 expires=1\n" * entries


def cluster(
    scenario: str, nodes: Sequence[str] = NODES, commands: Recorded | None = None
) -> KubeApi:
    """The cluster of a stack of this repository, with everything up."""
    settings = stack_scenario(scenario)
    api = KubeApi(handler=commands or Recorded(scenario))
    api.put(kube_objects.api_server(), *(kube_objects.node(name) for name in nodes))
    if settings["cni"] == "cilium":
        api.put(*kube_objects.cilium(nodes, kube_proxy=settings["kubeProxy"] != "none"))
    else:
        api.put(*kube_objects.vpc_cni(nodes))
    api.put(*kube_objects.workloads(nodes))
    return api


def main() -> None:
    """Serve a cluster until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenario", default="scenario-e")
    parser.add_argument("--nodes", type=int, default=len(NODES))
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    names = [f"node-{number + 1}" for number in range(options.nodes)]
    with cluster(options.scenario, names).serving(options.port) as api:
        print(json.dumps({"url": api.url, "ca": api.certificate.authority}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
