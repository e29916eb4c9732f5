"""A lab's timeline: the steps that were done, with the CPU time of each part."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.timeline import PROGRAM, Timeline


def _use(lab: Path, component: str, seconds: float) -> None:
    """Let a component's cgroup have used so much CPU."""
    folder = lab / component
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.stat").write_text(f"usage_usec {seconds * 1e6:.0f}\nuser_usec 1\n")


@pytest.fixture
def timeline(tmp_path: Path) -> Timeline:
    (tmp_path / "lab").mkdir()
    return Timeline(tmp_path / "timeline.jsonl", tmp_path / "lab")


def test_a_step_has_what_components_used_on_all_nodes(timeline: Timeline, tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    _use(lab, "control-plane/etcd", 2)
    _use(lab, "node-1/agents/cilium-agent", 1)
    with timeline.step("agents"):
        _use(lab, "control-plane/etcd", 2.5)
        _use(lab, "control-plane/agents/cilium-operator", 0.25)
        _use(lab, "node-1/agents/cilium-agent", 2)
        _use(lab, "node-2/agents/cilium-agent", 3)
    (step,) = timeline.steps()
    assert step.name == "agents"
    used = {part: cpu for part, cpu in step.cpu.items() if part != PROGRAM}
    assert used == {"etcd": 0.5, "cilium-operator": 0.25, "cilium-agent": 4.0}


def test_the_program_has_what_its_commands_used(timeline: Timeline) -> None:
    with timeline.step("idle"):
        pass
    with timeline.step("busy"):
        busy = "import time\nwhile time.process_time() < 0.3: pass"
        subprocess.run([sys.executable, "-c", busy], check=True)
    idle, step = timeline.steps()
    assert idle.cpu.get(PROGRAM, 0) < 0.2
    assert step.cpu[PROGRAM] >= 0.3
    assert step.seconds >= 0.3


def test_a_step_that_fails_is_no_step(timeline: Timeline) -> None:
    with timeline.step("first"):
        pass
    with pytest.raises(ValueError, match="refused"), timeline.step("second"):
        raise ValueError("refused")
    assert [step.name for step in timeline.steps()] == ["first"]
