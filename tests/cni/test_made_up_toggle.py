"""A toggle has one entry: a made-up one, written beside the others, is found everywhere.

The whole project is linked into a folder in which only `cni/cilium/toggles.py` is another one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ENTRY = """
    Toggle(
        name="fastLane",
        title="Fast lane",
        on=_constant({"bpf": {"fastLane": True}}),
        off={"bpf": {"fastLane": False}},
        prove=lambda agent, values: _equals("Fast Lane", agent.socket_lb_coverage, "Full"),
        aspects=(
            Aspect("fast lane", _switch("bpf.fastLane"), lambda a: _lower(a.socket_lb_coverage)),
        ),
        summary=("socket_lb_coverage",),
        needs=Needs(toggles=("bpfMasquerade",)),
        note=lambda scenario, facts: "is made up",
        options=("enable-fast-lane",),
    ),
)

TOGGLES: Mapping"""
ASK = """
import json
from cni.cilium.evidence import AgentEvidence
from cni.decisions import decide, verify, with_toggle
from cni.dataplane import configuration
from cni.platform import ClusterEndpoint, Kernel, known_facts
from cni.settings import leaves
from components.settings import SettingsError
from components.target import toggle_outputs
from studies.experiments.definition import EXPERIMENTS
from tests.components.stack_config import read

scenario = read("scenario-e", {"scenario.toggles.fastLane": True}).scenario
facts = known_facts("m6i.xlarge", kernel=Kernel(6, 1))
decisions = decide(scenario, facts)
values = scenario.dataplane.values(
    scenario, decisions, ClusterEndpoint(name="c", api_host="h")
)
agents = [AgentEvidence(node="node-1", socket_lb_coverage="Full")]
settings = configuration(scenario.dataplane, values, agents, kube_proxy=("none", "none"))
refused = []
for changes in (
    {"scenario.values": {"bpf": {"fastLane": True}}},
    {"scenario.values": {"extraConfig": {"enable-fast-lane": "true"}}},
    {"scenario.toggles.fastLan": True},
):
    try:
        read("scenario-e", changes)
    except SettingsError as error:
        refused.append(str(error))
base = read("scenario-d").scenario
print(json.dumps({
    "note": {each.toggle: each.notes for each in decisions}["fastLane"],
    "value": dict(leaves(values)).get("bpf.fastLane"),
    "output": toggle_outputs(verify(decisions, agents, ["node-1"]))["fastLane"],
    "setting": [[s.requested, s.effective] for s in settings if s.name == "fast lane"],
    "summary": scenario.dataplane.summary(agents)["socket_lb_coverage"],
    "experiment": EXPERIMENTS["toggles"].usual.points[-1],
    "along": with_toggle(base, scenario.toggles, "fastLane", facts).along,
    "refused": refused,
}))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("project")
    for each in ROOT.iterdir():
        if not each.name.startswith(".") and each.name != "cni":
            (folder / each.name).symlink_to(each)
    shutil.copytree(ROOT / "cni", folder / "cni", ignore=shutil.ignore_patterns("__pycache__"))
    toggles = folder / "cni/cilium/toggles.py"
    source = toggles.read_text()
    end = ")\n\nTOGGLES: Mapping"
    assert source.count(end) == 1
    toggles.write_text(source.replace(end, ENTRY.lstrip("\n")))
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_settings_take_it_and_know_its_name(answers: dict[str, Any]) -> None:
    owned, option, misspelt = answers["refused"]
    assert "follows from the setting toggles.fastLane" in owned
    assert "follows from the setting toggles.fastLane" in option
    assert "did you mean fastLane?" in misspelt


def test_it_is_decided_set_verified_and_told(answers: dict[str, Any]) -> None:
    assert answers["note"] == ["is made up"]
    assert answers["value"] is True
    output = answers["output"]
    assert (output["requested"], output["applied"], output["verified"]) == (True, True, True)
    assert output["title"] == "Fast lane"
    assert output["evidence"] == ["node-1: Fast Lane: Full"]
    assert answers["setting"] == [["on", "full"]]
    assert answers["summary"] == "Full"


def test_it_is_taken_alone_and_with_what_it_needs(answers: dict[str, Any]) -> None:
    assert answers["experiment"] == "fastLane"
    assert answers["along"] == ["bpfMasquerade"]
