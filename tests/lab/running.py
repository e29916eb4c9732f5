"""A real lab for tests, brought up as a stack brings it up."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.session import CommandResult, Pod
from cni.decisions import decide
from cni.toggles import Decision
from components.lab import ablation, target
from components.lab.rollout import deploy_workloads
from components.lab.session import LabSession
from lab.cluster import Lab, LabSpec
from lab.dataplane.cilium.agents import Cilium
from tests.components.stack_config import read
from tests.lab import logs


@dataclass(frozen=True)
class RunningLab:
    """A lab with the benchmark's workloads, as one scenario has it."""

    lab: Lab
    session: LabSession
    boot: str
    addresses: dict[str, str]
    """Of the pods, by name."""
    decisions: tuple[Decision, ...]

    @property
    def cilium(self) -> bool:
        return self.lab.spec.cni == "cilium"

    @property
    def agents(self) -> Cilium:
        """The lab's Cilium, where it has one."""
        dataplane = self.lab.dataplane
        assert isinstance(dataplane, Cilium)
        return dataplane

    def pod(self, role: str) -> Pod:
        """The first pod of a role."""
        return self.session.pods(role)[0]

    def run(self, role: str, *argv: str, timeout: float = 30) -> CommandResult:
        """A command in a role's first pod."""
        return self.session.run(self.pod(role), argv, timeout=timeout)

    def get(self, url: str, role: str = "fortio-client") -> CommandResult:
        """An HTTP request from a pod; the body is on standard output."""
        return self.run(role, "fortio", "curl", "-quiet", "-timeout", "10s", url)

    def json_of(self, role: str, *argv: str) -> Any:
        """What a command in a pod prints as JSON."""
        return json.loads(self.run(role, *argv).stdout)


def bring_up(
    stack: str,
    changes: dict[str, object] | None = None,
    adjust: Callable[[LabSpec], LabSpec] = lambda spec: spec,
) -> RunningLab:
    """Start a lab for a stack's changed settings; whoever asks for it removes it.

    :param adjust: changes what no setting does.
    """
    settings = read(stack, changes)
    decisions = decide(settings.scenario, target.facts(settings))
    spec, adaptations = target.spec(settings, decisions)
    spec = adjust(spec)
    lab = Lab(f"pytest-{stack[-1]}-{secrets.token_hex(4)}")
    logs.STARTED.append(lab.paths)
    try:
        boot = lab.start(spec, print)
        lab.install(print)
        addresses = deploy_workloads(lab, print)
        # As the benchmark does: from the id alone, with nothing shared but the machine.
        about = target.about(settings, spec, adaptations, {})
        connected = ablation.connect(lab.paths.lab_id, about)
    except BaseException:
        lab.remove()
        raise
    return RunningLab(Lab(lab.paths.lab_id), connected, boot, addresses, decisions)
