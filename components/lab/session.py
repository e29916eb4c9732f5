"""How the benchmark and its experiments reach a running lab; needs no Pulumi."""

import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from bench.environment import About, Environment
from bench.session import (
    CommandResult,
    ComponentUsage,
    Health,
    MachineUsage,
    Pod,
    Service,
    ServicePath,
    SessionError,
    TurnClient,
    WorkloadUsage,
)
from bench.text import ParseError, tail
from bench.workloads import DNS_SERVICE, WORKLOADS
from cni.dataplane import CountError, Setting, configuration
from cni.platform import Eni, origin, version_numbers
from cni.registry import DATAPLANES
from cni.toggles import Evidence
from components.lab import cpu, perf, rollout
from components.objects import KeepsObjects
from components.programs import TURNS
from kube.client import Kube
from lab import cgroups, machine, placement, workloads
from lab.bpf import at_devices, counting_runs
from lab.cluster import Lab
from lab.controlplane import KUBE_PROXY
from lab.errors import LabError
from lab.kernel import IdleHold
from lab.network import Node
from lab.sandbox import KILLED, environment
from lab.toolchain.programs import need_of
from lab.workloads import COREDNS, NAMESPACE, PodSpec
from studies.experiments.capabilities import AtDevice, PodRequest

_LONGEST_TURNS = 3_600.0
"""Seconds after which a client that was left behind ends."""
_FRESH_SECONDS = 5.0
_FAULTS = {"": "has ended", "T": "is stopped", "t": "is stopped"}
"""By a process's state."""
_FROZEN = "is frozen"
TARGET = "lab: network namespaces of one machine, no cloud"


_MEASURED: dict[int, Lab] = {}
"""The labs of all sessions of this process: they are measured side by side."""


def _measured() -> set[str]:
    """Their PID namespaces, but for labs that have ended."""
    found = set()
    for lab in _MEASURED.values():
        with suppress(LabError, OSError):
            found.add(lab.sandbox.pid_namespace())
    return found


@contextmanager
def _as_session_error() -> Iterator[None]:
    try:
        yield
    except (*rollout.FAILURES, ParseError, CountError) as error:
        raise SessionError(str(error)) from error


class LabSession(KeepsObjects):
    """The lab as :class:`bench.session.Session`, with the capabilities of
    :mod:`studies.experiments.capabilities`.

    :param about: what the lab itself does not know (:class:`bench.environment.About`), as JSON.
    """

    def __init__(self, lab: Lab, about: Mapping[str, Any]) -> None:
        self._lab = lab
        self._about = About.model_validate(about)
        # Both for as long as this session is there; the engine's process ends with the step.
        with _as_session_error():
            self._machine = machine.measuring(f"measuring the lab {lab.paths.lab_id}")
        _MEASURED[id(self)] = lab
        self._hold = IdleHold.take()
        self._commands_cpu: defaultdict[str, float] = defaultdict(float)
        self._lock = Lock()
        self._told: tuple[float, list[Evidence]] | None = None
        self._restarted: dict[tuple[str, str], str] = {}
        """Identity before, of what was started anew on purpose, by name and identity after it."""
        self._ended: dict[str, str] = {}
        """Identity, by name, of what :meth:`end_component` has ended."""
        self._removed: dict[str, Health] = {}
        """Experiments' pods that are gone because their time was over, as they were last."""
        self._on_nodes: set[str] = set()
        """Names of the pods that run in their node's network."""

    def close(self) -> None:
        """Let the machine's CPUs idle as before, and others have it."""
        self._hold.release()
        self._machine.release()
        _MEASURED.pop(id(self), None)

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        with _as_session_error():
            words = self._words(pod, argv, timeout)
        result, cpu_seconds = _command(pod.name, words, argv, timeout)
        with self._lock:
            self._commands_cpu[pod.name] += cpu_seconds
        return result

    def turn_client(self, pod: Pod) -> TurnClient:
        with _as_session_error():
            words = self._words(pod, [TURNS], _LONGEST_TURNS)
            cgroup = cgroups.lab_cgroup(self._lab.paths.lab_id)
            usage = [str(cgroup / node.name / "cpu.stat") for node in self._lab.nodes]
            cpu = next(iter(self._lab.cpus_of(pod.node)), -1)
        return TurnClient("this machine", tuple(words[:-1]), cpu, tuple(usage))

    def take_turns(self, pod: Pod, plan: str, *, timeout: float) -> bytes:
        # On the machine itself: from there the pods of all labs can be entered.
        program = self._lab.toolchain.command(TURNS)
        try:
            done = subprocess.run(
                [program, "run"],
                input=plan.encode(),
                capture_output=True,
                env=environment(),
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SessionError(f"turns run was killed, after {timeout:.0f} s") from None
        if done.returncode:
            raise SessionError(tail(done.stderr.decode(errors="replace")))
        return done.stdout

    def run_load(self, pod: Pod, plan: str, *, timeout: float) -> CommandResult:
        return self.run(pod, [TURNS, "load", plan], timeout=timeout)

    def sampling(self) -> AbstractContextManager[perf.Recording]:
        return self.tracing(None)

    @contextmanager
    def tracing(self, points: Mapping[str, str] | None) -> Iterator[perf.Recording]:
        with _as_session_error():
            program = self._lab.toolchain.command("perf")
            cpus = sorted({cpu for cpus in self._lab.cpus.values() for cpu in cpus})
        with perf.recording(program, cpus or placement.machine_cpus(), points) as made:
            yield made

    @contextmanager
    def counting_runs(self) -> Iterator[None]:
        with ExitStack() as counted:
            with _as_session_error():
                counted.enter_context(counting_runs())
            yield

    def programs_at_devices(self, node: str) -> Sequence[AtDevice]:
        with _as_session_error():
            return [AtDevice(*each) for each in at_devices(self._lab.sandbox.netns_path(node))]

    def on_node(self, node: str, argv: Sequence[str]) -> str:
        on = next(each for each in self._lab.nodes if each.name == node)
        with _as_session_error():
            return self._lab.node_command(on, argv)

    def node_cgroups(self) -> Mapping[str, str]:
        with _as_session_error():
            root = cgroups.hierarchy()
            return {f"/{node.cgroup.relative_to(root)}": node.name for node in self._lab.nodes}

    def _words(self, pod: Pod, argv: Sequence[str], timeout: float) -> list[str]:
        if pod.name in self._on_nodes:
            return self._lab.node_words(pod.node, argv, timeout)
        return self._lab.pod_command(pod.name, pod.node, argv, timeout)

    def pods(self, role: str) -> Sequence[Pod]:
        with _as_session_error():
            return [Pod(pod.name, role, pod.node, pod.ip) for pod in self._lab.pods_of(role)]

    def service(self, name: str) -> Service:
        namespace = workloads.DNS_NAMESPACE if name == DNS_SERVICE else NAMESPACE
        with _as_session_error():
            host, port = self._lab.service_address(namespace, name)
        return Service(name, host, port)

    def cni_usage(self) -> Sequence[ComponentUsage]:
        with _as_session_error():
            return [
                ComponentUsage(node, component, usage.cpu_seconds, usage.memory_bytes)
                for node, component, usage in self._lab.cni_usage()
            ]

    def workload_usage(self) -> Sequence[WorkloadUsage]:
        with _as_session_error(), self._lock:
            return [
                WorkloadUsage(
                    pod.name,
                    workload.role,
                    pod.node,
                    cpu.of_process(self._main_process(pod.name)) + self._commands_cpu[pod.name],
                )
                for workload in WORKLOADS
                for pod in self._pods[workload.role]
            ]

    def machines(self) -> Sequence[MachineUsage]:
        with _as_session_error():
            nodes = tuple(node.name for node in self._lab.nodes)
            return [cpu.of_machine("this machine", nodes, _measured(), self._lab.cpus)]

    def worked(self) -> None:
        return None  # a reading takes milliseconds here

    def health(self) -> Sequence[Health]:
        with _as_session_error():
            found = {
                name: Health(
                    name,
                    self._restarted.get((name, each.started), each.started),
                    _FAULTS.get(each.state, _FROZEN if each.frozen else ""),
                )
                for name, each in self._lab.sandbox.processes().items()
            }
        return list({**self._removed, **found}.values())

    def configuration(self) -> Sequence[Setting]:
        lab = self._lab
        with _as_session_error():
            of_the_cni = configuration(
                DATAPLANES[lab.spec.cni],
                lab.spec.values,
                self._agents_evidence(),
                kube_proxy=(lab.spec.kube_proxy, lab.kube_proxy_mode()),
            )
            return [*of_the_cni, *_cpus_of_nodes(lab)]

    def service_path(self, client: Pod, service: Service) -> ServicePath:
        lab = self._lab
        with _as_session_error():
            plan = DATAPLANES[lab.spec.cni].services(lab.spec.kube_proxy, lab.spec.values)
            node = next(each for each in lab.nodes if each.name == client.node)
            translated = {
                each.name: each.count(
                    lab.node_command(node, each.command), service.host, service.port
                )
                for each in plan.possible
            }
        return ServicePath(plan.expected.name, translated)

    def allowances(self) -> Mapping[str, Mapping[str, int]]:
        return {}  # nobody limits a veth

    def environment(self) -> Environment:
        with _as_session_error():
            return self._environment

    def about(self) -> About:
        with _as_session_error():
            return self._about.model_copy(update={"values": dict(self._lab.spec.values)})

    # -- what experiments may ask --------------------------------------------------------------

    @property
    def _objects_in(self) -> tuple[Kube, str]:
        return self._lab.api, NAMESPACE

    def run_beside(
        self, component: str, node: str, argv: Sequence[str], *, timeout: float
    ) -> CommandResult:
        with _as_session_error():
            words = self._lab.node_words(node, argv, timeout)
        return _command(f"{component} on {node}", words, argv, timeout)[0]

    def component_metrics(self, component: str) -> Mapping[str, str]:
        lab, cni = self._lab, DATAPLANES[self._lab.spec.cni]
        with _as_session_error():
            if component == KUBE_PROXY:
                return lab.kube_proxy_metrics()
            part = cni.component(component)
            if part is None or not part.counters:
                return {}
            return {
                node.name: cni.read_counters(lab.node_command(node, part.counters))
                for node in lab.nodes
            }

    def restart_component(self, component: str, node: str) -> None:
        self.end_component(component, node, kill=False)
        self.start_component(component, node)

    def end_component(self, component: str, node: str, *, kill: bool) -> None:
        before = self._identities()
        with _as_session_error():
            self._lab.end(component, node, kill=kill)
            left = self._lab.sandbox.processes()
        self._ended |= {name: each for name, each in before.items() if name not in left}

    def start_component(self, component: str, node: str, version: str | None = None) -> None:
        with _as_session_error():
            self._lab.start_again(component, node, version)
        self._take_as_before(self._ended)
        self._ended.clear()

    def other_version(self, component: str) -> str | None:
        lab, name = self._lab, self._lab.spec.cni
        if component != lab.dataplane.agent:
            return None
        own = version_numbers(lab.spec.cni_version)
        older = [each for each in DATAPLANES[name].versions if version_numbers(each) < own]
        built = [each for each in older if not lab.toolchain.missing({need_of(name, each)})]
        return max(built, key=version_numbers, default=None)

    @contextmanager
    def dns_replaced(self, grace: float) -> Iterator[None]:
        before = self._identities()
        with _as_session_error():
            self._lab.replace_dns(f"{COREDNS}-next", grace)
        try:
            yield
        finally:
            with _as_session_error():
                self._lab.replace_dns(COREDNS, 0.0)
            self._take_as_before(before)

    def _identities(self) -> dict[str, str]:
        return {each.name: each.identity for each in self.health()}

    def _take_as_before(self, before: Mapping[str, str]) -> None:
        """What was started anew on purpose is no fault: it keeps the identity that it had."""
        with _as_session_error():
            after = self._lab.sandbox.processes()
        self._restarted |= {
            (name, each.started): before[name] for name, each in after.items() if name in before
        }

    @contextmanager
    def experiment_pods(self, wanted: Sequence[PodRequest]) -> Iterator[Sequence[Pod]]:
        with ExitStack() as running:
            with _as_session_error():
                pods = [running.enter_context(self._pod(each)) for each in wanted]
            yield pods

    @contextmanager
    def _pod(self, wanted: PodRequest) -> Iterator[Pod]:
        lab = self._lab
        on = next((node for node in lab.nodes if node.name == wanted.node), None)
        if on is None:
            raise LabError(f"the lab has no node {wanted.node}")
        if wanted.host_network:
            yield from self._on_node(wanted, on)
            return
        spec = PodSpec(wanted.name, wanted.role, on.name, wanted.command)
        try:
            yield Pod(wanted.name, wanted.role, on.name, lab.pods.create(spec, on))
        finally:
            last = {each.name: each for each in self.health()}
            lab.pods.remove(spec, on)
            if wanted.name in last:
                self._removed[wanted.name] = replace(last[wanted.name], fault="")

    def _on_node(self, wanted: PodRequest, on: Node) -> Iterator[Pod]:
        sandbox = self._lab.sandbox
        program = self._lab.toolchain.command(wanted.command[0])
        sandbox.spawn(wanted.name, [program, *wanted.command[1:]], on.host)
        self._on_nodes.add(wanted.name)
        try:
            yield Pod(wanted.name, wanted.role, on.name, on.address.ip)
        finally:
            self._on_nodes.remove(wanted.name)
            sandbox.end(wanted.name)

    @cached_property
    def _pods(self) -> dict[str, Sequence[Pod]]:
        return {workload.role: self.pods(workload.role) for workload in WORKLOADS}

    def _main_process(self, pod: str) -> Path:
        pid = self._lab.sandbox.pid_of(pod)
        if pid is None:
            raise LabError(f"the process of {pod} is not running")
        return self._lab.sandbox.proc(pid)

    def _agents_evidence(self) -> list[Evidence]:
        """What the agents say. Before a measurement they are asked for it twice within moments,
        which takes most of a second of CPU time each time."""
        now = time.monotonic()
        if self._told is None or now - self._told[0] > _FRESH_SECONDS:
            self._told = (now, rollout.agents_evidence(self._lab))
        return self._told[1]

    @cached_property
    def _environment(self) -> Environment:
        lab = self._lab
        about = self._about.environment
        return about.with_facts(
            target=TARGET,
            shared_machine=True,
            **lab.facts(),
            **_pod_addresses(lab, [each for role in self._pods.values() for each in role]),
            dns_nodes=[lab.dns_node],
            nodes=[node.name for node in lab.nodes],
            kube_proxy=lab.kube_proxy_mode(),
            agents=DATAPLANES[lab.spec.cni].summary(self._agents_evidence()),
            versions=lab.versions(),
            cluster_domain=workloads.CLUSTER_DOMAIN,
            adaptations=[*about.adaptations, *lab.adaptations(), self._hold.adaptation],
        )


def _command(
    where: str, words: Sequence[str], argv: Sequence[str], timeout: float
) -> tuple[CommandResult, float]:
    """Run the words that enter a place, and the CPU seconds that it took.

    :raises SessionError: it was killed.
    """
    start = time.monotonic()
    done = cpu.run(words)
    seconds = time.monotonic() - start
    if done.returncode == KILLED:
        raise SessionError(
            f"{where}: `{' '.join(argv)}` was killed, after {timeout:.0f} s at the latest"
        )
    result = CommandResult(tuple(argv), done.returncode, done.stdout, done.stderr, seconds)
    return result, done.cpu_seconds


def _cpus_of_nodes(lab: Lab) -> Iterator[Setting]:
    """By the affinity of every thread of a node's agents and pods."""
    for node in lab.nodes:
        if node.cpus:
            used = {placement.as_list(cpus) for cpus in placement.cpus_used(node.cgroup)}
            yield Setting.of(f"CPUs of {node.name}", placement.as_list(node.cpus), used)


def enis_of(lab: Lab) -> dict[str, tuple[Eni, ...]]:
    """Every node's ENIs; nothing where pods have no addresses of ENIs."""
    read = DATAPLANES[lab.spec.cni].enis
    return {node: read(report) for node, report in lab.eni_reports().items()}


def _pod_addresses(lab: Lab, pods: Iterable[Pod]) -> dict[str, Any]:
    """`enis` by node and `pod_addresses` by pod, for a result's reader; nothing where pods have no
    addresses of ENIs.

    :raises LabError: a pod's address is of no ENI of its node.
    """
    enis_by_node = enis_of(lab)
    if not enis_by_node:
        return {}
    return {
        "enis": {node: [asdict(each) for each in all_] for node, all_ in enis_by_node.items()},
        "pod_addresses": [_address(pod, enis_by_node[pod.node]) for pod in pods],
    }


def _address(pod: Pod, of_node: Iterable[Eni]) -> dict[str, object]:
    place = origin(pod.ip, of_node)
    if place is None:
        raise LabError(f"the address {pod.ip} of {pod.name} is of no ENI of {pod.node}")
    return {
        "pod": pod.name,
        "node": pod.node,
        "address": pod.ip,
        "eni": place.eni.id,
        "device": place.eni.device,
        "block": place.block,
    }
