"""How the benchmark reaches a running lab; needs no Pulumi."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from bench.session import CommandResult, ComponentUsage, Pod, Service, SessionError
from bench.workloads import DNS_SERVICE
from components.lab import evidence
from lab import coredns
from lab.cluster import Lab
from lab.errors import LabError
from lab.latency import IdleHold
from lab.objects import NAMESPACE
from lab.sandbox import KILLED


class LabSession:
    """The lab as :class:`bench.session.Session`.

    :param about: facts of the scenario that the lab itself does not know (title, instance type).
    """

    def __init__(self, lab: Lab, about: Mapping[str, Any]) -> None:
        self._lab = lab
        self._about = about
        # For as long as this session is there; the engine's process ends with the step.
        self._hold = IdleHold.take()

    def close(self) -> None:
        """Let the machine's CPUs idle as before."""
        self._hold.release()

    def run(self, pod: Pod, argv: Sequence[str], *, timeout: float) -> CommandResult:
        with _as_session_error():
            words = self._lab.pod_command(pod.name, pod.node, argv, timeout)
        start = time.monotonic()
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode == KILLED:
            raise SessionError(
                f"{pod.name}: `{' '.join(argv)}` was killed, after {timeout:.0f} s at the latest"
            )
        return CommandResult(
            tuple(argv), done.returncode, done.stdout, done.stderr, time.monotonic() - start
        )

    def pods(self, role: str) -> Sequence[Pod]:
        with _as_session_error():
            return [
                Pod(found.name, role, found.node, found.ip) for found in self._lab.pods_of(role)
            ]

    def service(self, name: str) -> Service:
        namespace = coredns.NAMESPACE if name == DNS_SERVICE else NAMESPACE
        with _as_session_error():
            host, port = self._lab.service_address(namespace, name)
        return Service(name, host, port)

    def cni_usage(self) -> Sequence[ComponentUsage]:
        with _as_session_error():
            return [
                ComponentUsage(node, component, usage.cpu_seconds, usage.memory_bytes)
                for node, component, usage in self._lab.cni_usage()
            ]

    def environment(self) -> Mapping[str, Any]:
        with _as_session_error():
            return self._environment

    @cached_property
    def _environment(self) -> dict[str, Any]:
        lab = self._lab
        about = dict(self._about)
        adapted = about.pop("adaptations", [])
        return {
            "target": "lab: network namespaces of one machine, no cloud",
            **about,
            **lab.facts(),
            "nodes": [node.name for node in lab.nodes],
            "kube_proxy": lab.kube_proxy_mode(),
            "agents": evidence.summary(evidence.collect(lab)),
            "versions": lab.versions(),
            "cluster_domain": coredns.DOMAIN,
            "adaptations": [*adapted, *lab.adaptations(), self._hold.adaptation],
        }


@contextmanager
def _as_session_error() -> Iterator[None]:
    try:
        yield
    except (LabError, OSError) as error:
        raise SessionError(str(error)) from error


def connect(lab_id: str, about: Mapping[str, Any] | None = None) -> LabSession:
    """The session of a running lab (a factory for :func:`bench.session.open_session`)."""
    return LabSession(Lab(lab_id), about or {})
