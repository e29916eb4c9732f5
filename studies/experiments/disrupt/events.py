"""What is disrupted: each kind of event, what it needs of a session, and how it is brought about.

The servers that are asked are two pods of our own behind a Service of our own, whose endpoints are
written here as a controller would, so that a pod is replaced alike on every target. Components are
those of the client's node, where a Service's address is led to a pod; an operator is where it is.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

from bench.probes.base import Bench
from bench.probes.cost import CLUSTER_WIDE, components_of
from bench.session import Pod, SessionError
from bench.workloads import TOOLS_IMAGE, TURNS_ECHO_PORT
from cni.dataplane import KUBE_PROXY_PODS
from cni.registry import DATAPLANES
from studies.experiments.capabilities import (
    ComponentOutage,
    DnsReplacement,
    ExperimentPods,
    Manifest,
    ObjectStore,
    PodRequest,
)
from studies.experiments.disrupt.load import CONNECTIONS, CONTROL, STREAMS, Aim
from studies.experiments.model import Progress
from studies.experiments.policies import Kind as PolicyKind
from studies.experiments.policies import admit
from studies.experiments.scale.services import endpoints_manifest, service_manifest

SERVICE: Final = "disrupt"
CLIENT: Final = "disrupt-client"
SERVER: Final = "disrupt-server"
WITNESS: Final = "disrupt-witness"
"""On the servers' node: it asks itself, and tells whether that node is starved."""
_LABELS = {"cni-benchmark/disrupt": "true"}
_PROTOCOLS = ("TCP", "UDP")
_COMMAND = ("turns", "serve", "-urgent")
_READY_SECONDS, _PAUSE_SECONDS = 30.0, 0.1
GRACE_SECONDS: Final = 2.0
"""For which a pod still answers after its Service has turned away from it."""
ABSENT_SECONDS: Final = 5.0
_POLICY_SECONDS = 2.0
_POLICY: Final[PolicyKind] = "NetworkPolicy"


@dataclass(slots=True)
class Stage:
    """The pods that are asked, and who asks them, for the length of an experiment.

    ``servers`` are behind the Service, with what ends each. ``say`` is told of long work.
    """

    bench: Bench
    say: Progress
    address: str = ""
    client: Pod = field(init=False)
    witness: Pod = field(init=False)
    servers: list[tuple[Pod, ExitStack]] = field(default_factory=list)
    _made: int = 0

    @property
    def node(self) -> str:
        """The client's."""
        return self.client.node

    def aims(self) -> list[Aim]:
        """Where the client's streams go: all but the control path by the Service's address."""
        targets = self.bench.targets
        return [
            Aim(
                name,
                name,
                f"{targets.dns.host}:{targets.dns.port}" if name == "dns" else self.address,
                connections=CONNECTIONS if name == "kept" else 1,
                host=targets.dns_name if name == "dns" else "",
            )
            for name in STREAMS
        ] + self.control()

    def control(self) -> list[Aim]:
        """The path of a pod to itself."""
        return [Aim(CONTROL, "kept", f"127.0.0.1:{TURNS_ECHO_PORT}")]

    # -- its parts ----------------------------------------------------------------------------

    @property
    def store(self) -> ObjectStore:
        assert isinstance(self.bench.session, ObjectStore)
        return self.bench.session

    def start_pod(self, role: str, node: str) -> tuple[Pod, ExitStack]:
        """A pod that answers, and what ends it."""
        session = self.bench.session
        assert isinstance(session, ExperimentPods)
        self._made += 1
        wanted = PodRequest(f"{role}-{self._made}", role, node, TOOLS_IMAGE, _COMMAND)
        running = ExitStack()
        (pod,) = running.enter_context(session.experiment_pods([wanted]))
        try:
            self._await(pod)
        except BaseException:
            running.close()
            raise
        return pod, running

    def _await(self, pod: Pod) -> None:
        """Wait until a pod's server answers itself.

        :raises SessionError: it does not in time.
        """
        clock = self.bench.clock
        end = clock.monotonic() + _READY_SECONDS
        argv = ("bash", "-c", f"</dev/tcp/127.0.0.1/{TURNS_ECHO_PORT}")
        while self.bench.session.run(pod, argv, timeout=5).returncode:
            if clock.monotonic() > end:
                raise SessionError(f"{pod.name} does not answer after {_READY_SECONDS:.0f} s")
            clock.sleep(_PAUSE_SECONDS)

    def objects(self, ending: Sequence[Pod] = ()) -> list[Manifest]:
        """The Service, and the endpoints that lead to the servers.

        :param ending: pods that are behind it no more but still answer.
        """
        return [
            service_manifest(SERVICE, TURNS_ECHO_PORT, TURNS_ECHO_PORT, _LABELS, _PROTOCOLS),
            endpoints_manifest(
                SERVICE,
                TURNS_ECHO_PORT,
                [pod.ip for pod, _ in self.servers],
                _LABELS,
                _PROTOCOLS,
                [pod.ip for pod in ending],
            ),
        ]

    def end_servers(self) -> None:
        """End those that are there, whichever they are by then."""
        with ExitStack() as ending:
            for _, ends in self.servers:
                ending.push(ends)

    def lead(self, ending: Sequence[Pod] = ()) -> None:
        """Have the Service lead to the servers as they are."""
        self.store.merge_object(self.objects(ending)[1])

    def service_address(self) -> str:
        """The Service's, with its port."""
        (made,) = self.store.list_objects("v1", "Service", "cni-benchmark/disrupt=true")
        return f"{made['spec']['clusterIP']}:{TURNS_ECHO_PORT}"


@contextmanager
def staged(bench: Bench, say: Progress) -> Iterator[Stage]:
    """A stage with two servers, for the length of the block.

    :raises SessionError: a pod or the Service does not come up.
    """
    stage = Stage(bench, say)
    here, there = bench.targets.one("iperf3-client").node, bench.targets.one("echo-server").node
    with ExitStack() as running:
        stage.client, ends = stage.start_pod(CLIENT, here)
        running.push(ends)
        stage.witness, ends = stage.start_pod(WITNESS, there)
        running.push(ends)
        running.callback(stage.end_servers)
        for _ in range(2):
            stage.servers.append(stage.start_pod(SERVER, there))
        running.callback(lambda: stage.store.delete_objects(stage.objects()[::-1], say))
        stage.store.create_objects(stage.objects(), say)
        stage.address = stage.service_address()
        stage.lead()  # where an ended run has left others
        yield stage


Act = Callable[[Stage, ExitStack], None]
"""Brings an event about, and returns once all that it has begun is over. What has to be put back
when the load is over is pushed on the stack."""


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of event. ``seconds`` is what it takes, roughly, when nobody has seen one yet."""

    name: str
    what: str
    act: Act
    seconds: float


def _outage(component: str, *, kill: bool = False, absent: float = 0.0) -> Act:
    def act(stage: Stage, after: ExitStack) -> None:
        session = stage.bench.session
        assert isinstance(session, ComponentOutage)
        session.end_component(component, stage.node, kill=kill)
        try:
            stage.bench.clock.sleep(absent)
        finally:
            session.start_component(component, stage.node)

    return act


def _upgrade(component: str, version: str) -> Act:
    """There and back: an older version takes the place of a component's own, which comes back."""

    def act(stage: Stage, after: ExitStack) -> None:
        session = stage.bench.session
        assert isinstance(session, ComponentOutage)
        session.end_component(component, stage.node, kill=False)
        try:
            session.start_component(component, stage.node, version)
        finally:
            session.end_component(component, stage.node, kill=False)
            session.start_component(component, stage.node)

    return act


def _replaced(stage: Stage, after: ExitStack) -> None:
    """As a Deployment does: the new pod first; the old one ends after its grace."""
    old, ends = stage.servers[0]
    new = stage.start_pod(SERVER, old.node)
    stage.servers[0] = new
    try:
        stage.lead(ending=[old])
        stage.bench.clock.sleep(GRACE_SECONDS)
    finally:
        ends.close()
    stage.lead()


def _killed(stage: Stage, after: ExitStack) -> None:
    """Its processes end at once; the Service turns away when the pod is gone, and to the new one
    when that answers."""
    old, ends = stage.servers.pop(0)
    ends.close()
    stage.lead()
    stage.servers.insert(0, stage.start_pod(SERVER, old.node))
    stage.lead()


def _dns_replaced(stage: Stage, after: ExitStack) -> None:
    session = stage.bench.session
    assert isinstance(session, DnsReplacement)
    after.enter_context(session.dns_replaced(GRACE_SECONDS))


def _policy(stage: Stage, after: ExitStack) -> None:
    """One that selects the servers and allows the client all that it sends."""
    policy = admit(_POLICY, SERVER, CLIENT)
    stage.store.create_objects([policy], stage.say)
    try:
        stage.bench.clock.sleep(_POLICY_SECONDS)
    finally:
        stage.store.delete_objects([policy], stage.say)


def events(bench: Bench, wanted: Sequence[str]) -> tuple[list[Event], dict[str, str]]:
    """The events that a session can have, of those that are wanted, and why not the others."""
    session = bench.session
    components = components_of(session.cni_usage())
    record = session.about().cni
    cni = DATAPLANES.get(record.name) if record else None
    named = [each for each in cni.components if each.name in components] if cni else []
    agent = next((each.name for each in named if not each.cluster_wide), None)
    operator = next((each for each in components if each in CLUSTER_WIDE), None)
    proxy = next((each for each in components if each == KUBE_PROXY_PODS.container), None)
    found: dict[str, Event] = {}
    reasons: dict[str, str] = {}
    for name, what, component, act, seconds in (
        ("agent-restart", "{} ends and is started at once", agent, {}, 5.0),
        ("agent-killed", "{} is killed and started at once", agent, {"kill": True}, 5.0),
        (
            "agent-absent",
            f"{{}} is away for {ABSENT_SECONDS:.0f} s",
            agent,
            {"absent": ABSENT_SECONDS},
            10.0,
        ),
        ("kube-proxy-restart", "{} ends and is started at once", proxy, {}, 2.0),
        ("operator-restart", "{} ends and is started a second later", operator, {}, 4.0),
    ):
        if component is None:
            reasons[name] = "there is none here"
        elif not isinstance(session, ComponentOutage):
            reasons[name] = "this target cannot end the CNI's components"
        else:
            found[name] = Event(name, what.format(component), _outage(component, **act), seconds)
    other = session.other_version(agent) if agent and isinstance(session, ComponentOutage) else None
    if agent and other:
        found["agent-upgrade"] = Event(
            "agent-upgrade",
            f"{agent} is replaced by its version {other}, and that by its own again",
            _upgrade(agent, other),
            20.0,
        )
    else:
        reasons["agent-upgrade"] = "there is no other version of an agent here"
    grace = f"{GRACE_SECONDS:.0f} s"
    found["pod-replaced"] = Event(
        "pod-replaced", f"one of two servers is replaced, and ends after {grace}", _replaced, 4.0
    )
    found["pod-killed"] = Event(
        "pod-killed", "one of two servers is killed, then replaced", _killed, 2.0
    )
    if isinstance(session, DnsReplacement):
        found["dns-replaced"] = Event(
            "dns-replaced", f"CoreDNS's pod is replaced, and ends after {grace}", _dns_replaced, 5.0
        )
    else:
        reasons["dns-replaced"] = "this target cannot replace a pod of the cluster's DNS"
    if cni is not None and cni.policies.enforced and _POLICY in cni.policies.kinds:
        found["policy"] = Event(
            "policy", f"a {_POLICY} that allows the client comes, and goes after 2 s", _policy, 2.5
        )
    else:
        reasons["policy"] = "this CNI enforces no policies"
    return (
        [found[name] for name in wanted if name in found],
        {name: reasons[name] for name in wanted if name in reasons},
    )
