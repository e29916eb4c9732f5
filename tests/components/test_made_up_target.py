"""A target is a folder and a line in the registry: a made-up one needs no edit elsewhere."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pytest

from bench.session import SessionError
from components.scenario import ScenarioStack
from components.settings import Settings
from components.targets import TARGETS, open_session
from tests.bench.fakes import FakeSession
from tests.components import engine_mocks
from tests.components.moon.entry import MoonTarget
from tests.components.moon.settings import MoonSettings
from tests.components.stack_config import pulumi_config, read, refusal, stack_tree

MOON: dict[str, object] = {"target": "moon", "moon.crater": "Tycho"}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its line in the registry."""
    target = MoonTarget()
    monkeypatch.setitem(TARGETS, target.settings.name, target)


def test_its_section_is_read_and_checked_like_any_other() -> None:
    settings = read("scenario-e", MOON)
    assert settings.section(MoonSettings) == MoonSettings(crater="Tycho", nodes=2)
    assert settings.profile == "published"
    assert _refused({"target": "moon"}) == [
        "cni-benchmark:moon: missing. Fix: add it to Pulumi.scenario-e.yaml, or to Pulumi.yaml for "
        "all stacks"
    ]
    assert _refused({**MOON, "moon.nodes": 1}) == [
        "cni-benchmark:moon.nodes: 1: must be at least 2. Fix: pulumi config set --path "
        "'moon.nodes' 2 -s scenario-e"
    ]
    assert _refused({"target": "moon", "moon": {"crater": "Mare Crisium"}}) == [
        "cni-benchmark:moon.crater: Mare Crisium: a sea, not a crater. Fix: pulumi config set "
        "--path 'moon.crater' Tycho -s scenario-e"
    ]
    assert "must be one of 'lab', 'eks', 'kubeconfig' or 'moon'" in _refused({"target": "mon"})[0]


def test_it_needs_no_other_targets_section() -> None:
    tree = stack_tree("scenario-a", MOON)
    del tree["eks"]
    (line,) = refusal(pulumi_config({**tree, "moon": {"crater": "Mare Crisium"}}), "scenario-a")
    assert "a sea, not a crater" in line


@pytest.mark.parametrize("stack", ["scenario-a", "scenario-c", "scenario-e"])
def test_a_stack_is_deployed_and_measured_there(stack: str) -> None:
    settings = read(stack, MOON)
    program = engine_mocks.run(stack, lambda: _declare(settings))
    assert set(program.resources) == {"scenario", "station", "benchmark"}
    benchmark = program.resources["benchmark"]
    session = json.loads(benchmark.inputs["session"])
    assert session == {"target": "moon", "args": {"crater": "Tycho"}, "boot": "landing 1"}
    assert json.loads(benchmark.inputs["plan"])["profile"] == "published"
    assert "it is cold there" in program.outputs["warnings"]
    assert program.outputs["cluster"] == {"nodes": 2, "clean_up": "pulumi destroy"}
    # The decisions are by its facts: ENA has no XDP for Cilium.
    if stack == "scenario-e":
        assert program.outputs["toggles"]["xdp"] == {"applied": False}
    assert isinstance(open_session(session), FakeSession)


def test_its_refusal_to_connect_is_told() -> None:
    with pytest.raises(SessionError, match="nobody in Copernicus"):
        open_session({"target": "moon", "args": {"crater": "Copernicus"}})


def _declare(settings: Settings) -> dict[str, pulumi.Input[Any]]:
    stack = ScenarioStack("scenario", settings)
    return {"toggles": stack.toggles, "warnings": stack.warnings, "cluster": stack.cluster}


def _refused(changes: dict[str, object]) -> list[str]:
    lines = refusal(pulumi_config(stack_tree("scenario-e", changes)))
    return [line.removeprefix("Pulumi.scenario-e.yaml: ") for line in lines]
