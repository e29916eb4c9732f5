"""What a cluster's Cilium agents say of themselves, asked in their own pods."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from cni.evidence import EVIDENCE_COMMANDS, AgentEvidence
from components.kubernetes import pods
from kube.client import Kube
from kube.exec import Container

_AT_ONCE = 8


def collect(api: Kube) -> list[AgentEvidence]:
    """The evidence of every ready agent, by node; none where no agent runs.

    :raises KubernetesError: an agent cannot be asked.
    :raises cni.evidence.EvidenceError: its answer makes no sense.
    """
    found = {
        pod["spec"]["nodeName"]: pods.container(pod, "cilium-agent")
        for pod in pods.ready(api, "", "k8s-app=cilium")
    }
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        told = pool.map(lambda agent: _ask(api, agent), found.values())
        outputs = dict(zip(found, told, strict=True))
    return [AgentEvidence.parse(node, outputs[node]) for node in sorted(outputs)]


def _ask(api: Kube, agent: Container) -> dict[str, str]:
    return {name: pods.output(api, agent, argv) for name, argv in EVIDENCE_COMMANDS.items()}
