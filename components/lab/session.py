"""How the benchmark reaches a running lab; needs no Pulumi."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from bench.environment import About, Environment
from bench.session import (
    CommandResult,
    ComponentUsage,
    MachineUsage,
    Pod,
    Service,
    ServicePath,
    WorkloadUsage,
)
from bench.workloads import DNS_SERVICE, WORKLOADS
from cni.dataplane import Setting, configuration
from cni.registry import DATAPLANES
from components.lab import addresses, cpu, evidence
from components.lab.capabilities import LabCapabilities, as_session_error, command
from lab import workloads
from lab.cluster import Lab
from lab.errors import LabError
from lab.kernel import IdleHold
from lab.workloads import NAMESPACE

TARGET = "lab: network namespaces of one machine, no cloud"


class LabSession(LabCapabilities):
    """The lab as :class:`bench.session.Session`.

    :param about: what the lab itself does not know (:class:`bench.environment.About`), as JSON.
    """

    def __init__(self, lab: Lab, about: Mapping[str, Any]) -> None:
        super().__init__(lab)
        self._about = About.model_validate(about)
        # For as long as this session is there; the engine's process ends with the step.
        self._hold = IdleHold.take()
        self._commands_cpu: defaultdict[str, float] = defaultdict(float)
        self._lock = Lock()

    def close(self) -> None:
        """Let the machine's CPUs idle as before."""
        self._hold.release()

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        with as_session_error():
            if pod.name in self._on_nodes:
                words = self._lab.node_words(pod.node, argv, timeout)
            else:
                words = self._lab.pod_command(pod.name, pod.node, argv, timeout)
        result, cpu_seconds = command(pod.name, words, argv, timeout)
        with self._lock:
            self._commands_cpu[pod.name] += cpu_seconds
        return result

    def pods(self, role: str) -> Sequence[Pod]:
        with as_session_error():
            return [Pod(pod.name, role, pod.node, pod.ip) for pod in self._lab.pods_of(role)]

    def service(self, name: str) -> Service:
        namespace = workloads.DNS_NAMESPACE if name == DNS_SERVICE else NAMESPACE
        with as_session_error():
            host, port = self._lab.service_address(namespace, name)
        return Service(name, host, port)

    def cni_usage(self) -> Sequence[ComponentUsage]:
        with as_session_error():
            return [
                ComponentUsage(node, component, usage.cpu_seconds, usage.memory_bytes)
                for node, component, usage in self._lab.cni_usage()
            ]

    def workload_usage(self) -> Sequence[WorkloadUsage]:
        with as_session_error(), self._lock:
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
        with as_session_error():
            nodes = tuple(node.name for node in self._lab.nodes)
            return [cpu.of_machine("this machine", nodes)]

    def configuration(self) -> Sequence[Setting]:
        lab = self._lab
        with as_session_error():
            return configuration(
                DATAPLANES[lab.spec.cni],
                lab.spec.values,
                evidence.collect(lab),
                kube_proxy=(lab.spec.kube_proxy, lab.kube_proxy_mode()),
            )

    def service_path(self, client: Pod, service: Service) -> ServicePath:
        lab = self._lab
        with as_session_error():
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
        with as_session_error():
            return self._environment

    def about(self) -> About:
        with as_session_error():
            return self._about.model_copy(update={"values": dict(self._lab.spec.values)})

    @cached_property
    def _pods(self) -> dict[str, Sequence[Pod]]:
        return {workload.role: self.pods(workload.role) for workload in WORKLOADS}

    def _main_process(self, pod: str) -> Path:
        pid = self._lab.sandbox.pid_of(pod)
        if pid is None:
            raise LabError(f"the process of {pod} is not running")
        return self._lab.sandbox.proc(pid)

    @cached_property
    def _environment(self) -> Environment:
        lab = self._lab
        told = self._about.environment
        return told.with_facts(
            target=TARGET,
            shared_machine=True,
            **lab.facts(),
            **addresses.environment(lab, [each for role in self._pods.values() for each in role]),
            nodes=[node.name for node in lab.nodes],
            kube_proxy=lab.kube_proxy_mode(),
            agents=DATAPLANES[lab.spec.cni].summary(evidence.collect(lab)),
            versions=lab.versions(),
            cluster_domain=workloads.CLUSTER_DOMAIN,
            adaptations=[*told.adaptations, *lab.adaptations(), self._hold.adaptation],
        )
