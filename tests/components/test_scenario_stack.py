"""A stack's resources for each scenario: what there is, in what order, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pulumi
import pytest

from bench.environment import About, CniRecord, ToggleRecord
from bench.plan import PlanError
from cni.decisions import decide
from cni.scenario import Scenario
from cni.toggles import Decision
from components import scenario
from components.lab import target
from components.lab.providers import DECISIONS
from components.scenario import ScenarioStack
from components.settings import Settings
from lab.sandbox import state_root
from tests.components import engine_mocks
from tests.components.engine_mocks import Program
from tests.components.stack_config import ROOT, STACKS, read

STEPS = ("slot", "cluster", "cni", "workloads", "benchmark")


@pytest.fixture(autouse=True)
def nothing_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A machine on which everything is there; declaring a stack starts nothing on it."""
    monkeypatch.setattr(target, "check_machine", lambda: None)
    monkeypatch.setattr(target, "check_programs", lambda scenario: None)
    monkeypatch.setattr(target, "check_values", lambda *_: None)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield
    assert not state_root().exists()


def _declare(settings: Settings) -> dict[str, pulumi.Input[Any]]:
    stack = ScenarioStack("scenario", settings)
    return {
        "results": stack.results,
        "toggles": stack.toggles,
        "environment": stack.environment,
        "warnings": stack.warnings,
    }


def _program(stack: str, changes: dict[str, object] | None = None) -> Program:
    settings = read(stack, changes)
    return engine_mocks.run(stack, lambda: _declare(settings))


def _refused(stack: str, changes: dict[str, object]) -> str:
    with pytest.raises(pulumi.RunError) as caught:
        _program(stack, changes)
    # At most the component that groups the others.
    assert engine_mocks.PROGRAMS[0].resources.keys() <= {"scenario"}
    return str(caught.value)


def _decisions(stack: str) -> tuple[Decision, ...]:
    settings = read(stack)
    return decide(settings.scenario, target.facts(settings))


# -- what there is ------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", STACKS)
def test_every_scenario_is_five_steps_below_one_component(stack: str) -> None:
    resources = _program(stack).resources
    assert set(resources) == {"scenario", *STEPS}
    assert resources["scenario"].type == "cni-benchmark:index:Scenario"
    assert {resources[step].parent for step in STEPS} == {"scenario"}


@pytest.mark.parametrize("stack", STACKS)
def test_each_step_waits_for_the_one_before(stack: str) -> None:
    resources = _program(stack).resources
    assert resources["slot"].after == frozenset()
    for before, step in pairwise(STEPS):
        assert before in resources[step].after, f"{step} could start before {before} is done"


@pytest.mark.parametrize("stack", STACKS)
def test_what_is_given_to_each_step(stack: str) -> None:
    resources = _program(stack).resources
    assert resources["slot"].inputs["stack"] == stack
    for step in ("cluster", "cni", "workloads"):
        assert resources[step].inputs["lab_id"] == "scenario-x-1f"
    for step in ("cni", "workloads"):
        assert resources[step].inputs["boot"] == "b001"
    given = DECISIONS.validate_json(resources["cni"].inputs["decisions"])
    assert given == _decisions(stack)
    session = json.loads(resources["benchmark"].inputs["session"])
    assert session["target"] == "lab"
    assert session["args"]["stack"] == stack
    assert session["args"]["lab_id"] == "scenario-x-1f"
    # Another boot is another session, which is measured again.
    assert session["boot"] == "b001"


@pytest.mark.parametrize("stack", STACKS)
def test_the_session_says_what_is_measured(stack: str) -> None:
    settings = read(stack)
    about = json.loads(_program(stack).resources["benchmark"].inputs["session"])["args"]["about"]
    told = About.model_validate(about)
    scenario = settings.scenario
    assert (told.scenario.name, told.scenario.title) == (stack, scenario.title)
    assert told.scenario.settings["kubeProxy"] == scenario.kube_proxy
    assert told.cni == CniRecord(name=scenario.cni, version=scenario.cni_version)
    assert told.decisions == [ToggleRecord(toggle="dsr", applied=False)]
    assert told.bring_up == "b001"
    assert told.environment.emulated_instance_type == "m6i.xlarge"
    assert any("network card of m6i.xlarge" in each for each in told.environment.adaptations)


def test_the_clusters_are_as_different_as_the_scenarios() -> None:
    specs = {stack: _program(stack).resources["cluster"].inputs["spec"] for stack in STACKS}
    assert len(set(specs.values())) == len(STACKS)
    assert json.loads(specs["scenario-a"])["cni"] == "vpc-cni"


def test_two_declarations_of_a_stack_are_the_same() -> None:
    # Any difference would be a change on every `up`.
    assert _program("scenario-e").resources == _program("scenario-e").resources


def test_the_outputs_are_the_benchmarks_and_the_agents() -> None:
    outputs = _program("scenario-e").outputs
    assert outputs["results"]["metrics"]["tcp_throughput"]["median"] == 9.0
    assert outputs["toggles"] == {"dsr": {"applied": False}}
    assert outputs["environment"] == {"target": "lab"}
    assert "CPU was short" in outputs["warnings"]


@pytest.mark.parametrize(
    ("stack", "version", "said"),
    [
        ("scenario-a", "1.19.2", "is known as an add-on of Kubernetes up to 1.32"),
        ("scenario-c", "1.16.5", "is tested by its makers with Kubernetes 1.27 to 1.30"),
    ],
)
def test_a_pair_that_its_makers_do_not_name_is_told_at_preview(
    stack: str, version: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", told.append)
    outputs = _program(stack, {"scenario.cniVersion": version}).outputs
    (line,) = told
    assert f"{version} {said}, and the cluster has 1.35" in line
    assert line in outputs["warnings"]


def test_an_explanation_that_no_target_gives_is_skipped_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", told.append)
    outputs = _program("scenario-e", {"benchmark.explain": True}).outputs
    (line,) = told
    assert line.startswith("benchmark.explain: skipped: what is explained are differences")
    assert line in outputs["warnings"]


PLANS: list[tuple[dict[str, object], dict[str, object]]] = [
    ({}, {"profile": "quick", "runs": 3, "http_rates": [1000, 5000], "http_connections": 32}),
    ({"benchmark.profile": "published"}, {"profile": "published", "runs": 3, "bulk_seconds": 30}),
    (
        {"benchmark": {"runs": 1, "durationSeconds": 7, "httpQps": [200], "connections": 4}},
        {"runs": 1, "bulk_seconds": 7, "http_rates": [200], "http_connections": 4},
    ),
]


@pytest.mark.parametrize(("changes", "wanted"), PLANS)
def test_the_plan_is_the_profiles_with_the_users_numbers(
    changes: dict[str, object], wanted: dict[str, object]
) -> None:
    plan = json.loads(_program("scenario-a", changes).resources["benchmark"].inputs["plan"])
    assert {name: plan[name] for name in wanted} == wanted


# -- what is refused ----------------------------------------------------------------------------


CHECKS = [("eks", "components.eks.preflight"), ("kubeconfig", "components.kubeconfig.target")]


@pytest.mark.parametrize(("wanted", "module"), CHECKS)
def test_a_target_that_cannot_take_the_stack_is_refused_before_anything_is_declared(
    wanted: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*_: object) -> None:
        raise pulumi.RunError(f"{wanted}: not with this account")

    monkeypatch.setattr(f"{module}.check", no)
    assert _refused("scenario-a", {"target": wanted}) == f"{wanted}: not with this account"


@pytest.mark.parametrize("wanted", [name for name, _ in CHECKS])
def test_what_goes_into_pods_must_be_built(
    wanted: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CNI_BENCHMARK_CACHE", str(tmp_path))
    assert _refused("scenario-a", {"target": wanted}) == (
        "not set up for this stack yet: turns-amd64, turns-arm64. Fix: make setup STACK=scenario-a"
    )


def test_a_cloud_target_needs_nothing_of_the_lab_but_its_toolchain_and_lock() -> None:
    program = (
        "import sys, components.eks.target, components.kubeconfig.target, components.scenario\n"
        "print(*sorted(name for name in sys.modules if name.startswith('lab.')))"
    )
    argv = [sys.executable, "-W", "ignore", "-c", program]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    told = {name for name in done.stdout.split() if not name.startswith("lab.toolchain")}
    assert told == {"lab.errors", "lab.machine"}


def test_a_bring_up_in_the_lab_waits_for_no_clouds_packages_and_no_statistics() -> None:
    program = (
        "import sys, components.lab.target, components.lab.providers, components.scenario\n"
        "late = {'pulumi_aws', 'pulumi_eks', 'pulumi_kubernetes', 'numpy', 'scipy', 'rich'}\n"
        "print(*(late & sys.modules.keys()))"
    )
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_strict_makes_every_fall_back_an_error_with_its_fix() -> None:
    told = _refused("scenario-e", {"scenario.strict": True}).splitlines()
    refused = {line.split(":")[1].strip().removeprefix("toggles."): line for line in told}
    assert {"dsr", "xdp", "bandwidthManager", "bbr"} == refused.keys()
    for toggle, line in refused.items():
        assert line.startswith(f"Pulumi.scenario-e.yaml: toggles.{toggle}: strict is set")
        assert "cannot be applied on m6i.xlarge" in line
        assert line.endswith(f"Fix: remove toggles.{toggle}, or set strict: false")


def test_a_plan_that_makes_no_sense_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(*_: object, **__: object) -> None:
        raise PlanError("runs must be fewer")

    monkeypatch.setattr(scenario, "plan_for", no)
    assert _refused("scenario-a", {}) == "Pulumi.scenario-a.yaml: runs must be fewer"


def test_a_machine_that_cannot_run_the_lab_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def no() -> None:
        raise pulumi.RunError("this machine cannot run the lab")

    monkeypatch.setattr(target, "check_machine", no)
    assert _refused("scenario-b", {}) == "this machine cannot run the lab"


def test_a_value_that_the_chart_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def no(scenario: Scenario, values: object) -> None:
        raise pulumi.RunError("scenario.values: not a value of this chart")

    monkeypatch.setattr(target, "check_values", no)
    assert "not a value" in _refused("scenario-b", {"scenario.values": {"bfp": {}}})
