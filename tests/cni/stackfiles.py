"""Scenarios and agents on file: what the stack files hold, what the lab's agents once said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from cni.cilium.evidence import EVIDENCE_COMMANDS, AgentEvidence
from cni.scenario import Scenario

ROOT = Path(__file__).parents[2]
AGENTS = ROOT / "tests/fixtures/cni/agents"

Load = Callable[..., Scenario]
"""Loads a stack's scenario with settings changed: `load("scenario-e", strict=True)`."""


ChartOf = Callable[[str], Path]
"""The chart of a version of Cilium; skips where it is not there."""


def stack_scenario(stack: str) -> dict[str, Any]:
    """A stack file's scenario, as data."""
    config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    scenario: dict[str, Any] = config["cni-benchmark:scenario"]
    return scenario


def recorded_agents(stack: str, version: str = "1.16.5") -> list[AgentEvidence]:
    """What the agents of a lab with this scenario said."""
    return [
        AgentEvidence.parse(
            node.name, {name: (node / f"{name}.json").read_text() for name in EVIDENCE_COMMANDS}
        )
        for node in sorted((AGENTS / version / stack).iterdir())
    ]
