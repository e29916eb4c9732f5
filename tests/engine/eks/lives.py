"""The lives of the EKS stacks, from preview to destroy, and what there was to see on the way.

Every life has the same steps; some have an accident or a change in between. They run before the
tests that look at them, two at a time: most of a step is waiting for one program or another.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cni.cilium.evidence import EVIDENCE_COMMANDS
from components.kubernetes import facts
from lab.wait import until
from tests.components.kubernetes.exec_replies import Exec, Output, Reply
from tests.components.kubernetes.kube_api import KubeApi
from tests.components.kubernetes.kube_cluster import cluster
from tests.engine.checkout import Checkout
from tests.engine.eks.standins.journal import Journal
from tests.engine.eks.world import Step, World, world

UP = ("up", "--yes", "--skip-preview", "--non-interactive")
DESTROY = ("destroy", "--yes", "--skip-preview", "--non-interactive")
#: The shortest measurement of all that there is to measure.
SHORT: dict[str, object] = {"benchmark": {"profile": "quick", "runs": 1, "durationSeconds": 1}}
NO_NODES = "NodeCreationFailure: Instances failed to join the kubernetes cluster"
MARKS = {"io.cilium/cilium-managed": "true"}
AT_ONCE = 2
OUT_OF_REACH = "eks-d"
"""The stack whose API server does not answer any more once all is measured."""


@dataclass
class Life:
    """What one stack has gone through."""

    steps: dict[str, Step] = field(default_factory=dict)
    kept: str = ""
    """What a measurement that failed has left."""
    outputs: dict[str, Any] = field(default_factory=dict)
    state: str = ""
    """As exported after `up`, with secrets encrypted."""
    shown: str = ""
    """What `pulumi stack output` shows then."""
    left: dict[str, Any] = field(default_factory=dict)
    """Resources in the state at the end."""
    after_refresh: set[str] = field(default_factory=set)
    """Resources in the state after a refresh without the API server."""
    clusters: list[str] = field(default_factory=list)
    """Of the account at the end."""
    interfaces: dict[str, str] = field(default_factory=dict)
    """Network interfaces that the VPC had before destroy: whose each one was."""
    interfaces_left: list[str] = field(default_factory=list)
    """Whose are left."""

    def __getitem__(self, step: str) -> Step:
        return self.steps[step]


class Server:
    """A cluster's API server, which can be away for a while.

    :ivar journal: of the provider that installs Cilium there; its agents are as the release says.
    """

    journal: Journal

    def __init__(self, scenario: str) -> None:
        self.api = cluster(scenario)
        self._recorded = self.api.handler
        self.api.handler = self._answer
        self._scenario = scenario
        self._running = ExitStack()
        self._running.enter_context(self.api.serving())
        self._port = int(self.api.url.rpartition(":")[2])

    def stop(self) -> None:
        """Go away: connections break, and others are refused."""
        self._running.close()

    def start(self) -> None:
        """Come back, at the same address."""
        self._running.enter_context(self.api.serving(self._port))

    def grow(self, nodes: int) -> None:
        """Have another number of nodes, with everything that runs on each."""
        names = [f"node-{number + 1}" for number in range(nodes)]
        self.api.objects = cluster(self._scenario, names).objects

    def _answer(self, call: Exec) -> Reply:
        reply = self._recorded(call)
        of_tcp = call.argv == facts.POD_COMMAND or call.argv[0] == "iperf3"
        of_agents = call.argv == EVIDENCE_COMMANDS["status"]
        if not isinstance(reply, Output) or not (of_tcp or of_agents):
            return reply
        releases = [
            entry.inputs["values"]
            for entry in self.journal.entries()
            if entry.type == "kubernetes:helm.sh/v3:Release" and not entry.preview
        ]
        if of_agents:
            return Output(json.dumps(_as_released(json.loads(reply.stdout), releases[-1])))
        # The Bandwidth Manager sets it on the node, whose pods are made afterwards.
        assert isinstance(reply.stdout, str)
        bbr = releases and releases[-1].get("bandwidthManager", {}).get("bbr")
        return replace(reply, stdout=reply.stdout.replace("cubic", "bbr")) if bbr else reply


def _as_released(status: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded agent's status, where EC2's nodes and other values make it another one's."""
    manager = values.get("bandwidthManager", {})
    mode = values.get("loadBalancer", {}).get("mode", "snat")
    hubble = values.get("hubble", {}).get("enabled", True)
    status["bandwidth-manager"] = {
        "enabled": manager.get("enabled", False),
        "congestionControl": "bbr" if manager.get("bbr") else "cubic",
        "devices": ["ens5"],
    }
    status["kube-proxy-replacement"]["features"]["nodePort"]["mode"] = mode.upper()
    status["hubble"] = {"state": "Ok" if hubble else "Disabled"}
    return status


Story = Callable[[World, Server, Life], None]


def plain(made: World, server: Server, life: Life) -> None:
    """`up` without an incident."""
    life.steps["up"] = made.must(*UP)


def without_nodes(made: World, server: Server, life: Life) -> None:
    """No node joins at first; the next `up` has luck."""
    made.journal.fail_once("create", "aws:eks/nodeGroup:NodeGroup", NO_NODES)
    life.steps["failed"] = made.step(*UP)
    life.steps["up"] = made.must(*UP)


def cut_off(made: World, server: Server, life: Life) -> None:
    """The API server cannot be reached any more in the middle of the measurement."""

    def cut() -> None:
        until("the measurement to be at DNS", lambda: _not_measuring(server.api), timeout=240)
        server.stop()

    thread = threading.Thread(target=cut)
    thread.start()
    life.steps["failed"] = made.step(*UP)
    thread.join()
    life.kept = _kept(made).read_text()
    server.start()
    life.steps["up"] = made.must(*UP)
    assert not _kept(made).exists()


def changed(made: World, server: Server, life: Life) -> None:
    """A toggle is changed, then the number of nodes."""
    life.steps["up"] = made.must(*UP)
    made.pulumi("config", "set", "--path", "scenario.toggles.hubbleOff", "false")
    life.steps["toggled"] = made.must(*UP)
    made.pulumi("config", "set", "--path", "eks.nodes", "4")
    server.grow(4)
    life.steps["grown"] = made.must(*UP)


STORIES: dict[str, Story] = {
    "scenario-a": plain,
    "scenario-b": plain,
    "scenario-c": cut_off,
    "scenario-d": without_nodes,
    "scenario-e": changed,
}


@contextmanager
def lives(checkout: Checkout, folder: Path) -> Iterator[dict[str, Future[Life]]]:
    """All lives, going on."""
    with ExitStack() as stack, ThreadPoolExecutor(AT_ONCE) as pool:
        going = {}
        for source, story in STORIES.items():
            server = Server(source)
            stack.callback(server.stop)
            made = stack.enter_context(
                world(
                    checkout,
                    folder / source,
                    source,
                    SHORT,
                    endpoint=server.api.url,
                    certificate=server.api.certificate.authority.encode(),
                )
            )
            server.journal = made.journal
            going[source] = pool.submit(_live, made, server, story)
        yield going


def _live(made: World, server: Server, story: Story) -> Life:
    life = Life()
    life.steps["preview"] = made.must("preview", "--non-interactive")
    story(made, server, life)
    life.outputs = json.loads(made.pulumi("stack", "output", "--json"))
    life.shown = made.pulumi("stack", "output")
    life.state = made.pulumi("stack", "export")
    life.steps["again"] = made.must(*UP, "--expect-no-changes")
    life.interfaces = _leave_interfaces(made, life.outputs["cluster"]["name"])
    if made.stack == OUT_OF_REACH:
        server.stop()
        life.steps["refresh"] = made.step("refresh", "--yes", "--skip-preview", "--non-interactive")
        life.after_refresh = set(made.checkout.resources(made.stack))
    life.steps["destroy"] = made.must(*DESTROY)
    life.left = made.checkout.resources(made.stack)
    life.clusters = list(json.loads(made.account.read_text()).get("clusters", {}))
    life.interfaces_left = _interfaces(made, life.interfaces)
    return life


def _kept(made: World) -> Path:
    """Where a failed measurement leaves what it has."""
    return Path(made.checkout.env["XDG_STATE_HOME"], "cni-benchmark/failed", f"{made.stack}.json")


def _not_measuring(api: KubeApi) -> str | None:
    """A measurement begins with what loads the network least, and is in its middle with DNS."""
    shells = [call.argv[-1] for call in api.executed if call.argv[:2] == ("sh", "-c")]
    programs = sorted({call.argv[0] for call in api.executed})
    return None if any("| dnsperf" in shell for shell in shells) else f"{programs} were run"


def _leave_interfaces(made: World, name: str) -> dict[str, str]:
    """Network interfaces that nothing uses: the cluster's own, another's, and somebody's."""
    ec2 = made.client("ec2")
    subnet = ec2.create_subnet(VpcId=made.vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    owners = {
        "ours": {**MARKS, "io.cilium/cluster-name": name},
        "another cluster's": {**MARKS, "io.cilium/cluster-name": "another"},
        "somebody's": {"Name": name},
    }
    made_for = {}
    for owner, tags in owners.items():
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        specification = [{"ResourceType": "network-interface", "Tags": listed}]
        interface = ec2.create_network_interface(SubnetId=subnet, TagSpecifications=specification)
        made_for[interface["NetworkInterface"]["NetworkInterfaceId"]] = owner
    return made_for


def _interfaces(made: World, owners: dict[str, str]) -> list[str]:
    found = made.client("ec2").describe_network_interfaces()["NetworkInterfaces"]
    present = {each["NetworkInterfaceId"] for each in found}
    return [owner for id_, owner in owners.items() if id_ in present]
