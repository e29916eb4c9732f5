"""What is verified and measured, what a stack tells its user, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pulumi
import pytest

from cni.decisions import decide
from cni.platform import Kernel
from components.kubernetes.providers import DECISIONS
from components.kubernetes.unexplained import UNEXPLAINED
from tests.components import engine_mocks
from tests.components.eks import eks_mocks
from tests.components.eks.declared import (
    name_of,
)
from tests.components.engine_mocks import Program
from tests.components.stack_config import STACKS, read

# -- gate, toggles, benchmark -----------------------------------------------------------------


@pytest.mark.parametrize("stack", STACKS)
def test_the_gate_waits_for_what_the_scenario_has(stack: str, programs: dict[str, Program]) -> None:
    spec = json.loads(programs[stack].resources["gate"].inputs["spec"])
    assert spec == {
        "cni": "vpc-cni" if stack == "scenario-a" else "cilium",
        "kube_proxy": stack in ("scenario-a", "scenario-b"),
        "nodes": 3,
        "dns": False,
        "anew": f"pulumi up -s {stack} --replace '**::nodes'",
    }


@pytest.mark.parametrize("stack", STACKS)
def test_the_toggles_are_decided_by_the_instance_types_facts(
    stack: str, programs: dict[str, Program]
) -> None:
    dataplane = programs[stack].resources["dataplane"].inputs
    facts = eks_mocks.checked(read(stack)).facts
    assert facts.kernel is None  # EC2 does not tell
    wanted = decide(read(stack).scenario, replace(facts, kernel=Kernel(6, 1)))
    assert DECISIONS.validate_json(dataplane["decisions"]) == wanted
    assert dataplane["expected_nodes"] == ("0" if stack == "scenario-a" else "3")


@pytest.mark.parametrize("stack", STACKS)
def test_the_cluster_is_reached_by_a_descriptor_without_secrets(
    stack: str, programs: dict[str, Program]
) -> None:
    resources = programs[stack].resources
    session = json.loads(resources["benchmark"].inputs["session"])
    access = {
        "kind": "eks",
        "cluster": name_of(stack),
        "region": "ap-northeast-2",
        "profile": None,
    }
    assert session["target"] == "eks"
    assert session["args"]["access"] == access
    about = session["args"]["about"]
    assert about["scenario"]["title"] == read(stack).scenario.title
    assert about["scenario"]["name"] == stack
    assert about["environment"]["target_kind"] == "eks"
    for step in ("gate", "dataplane"):
        assert json.loads(resources[step].inputs["access"]) == access


CHANGES: list[dict[str, object]] = [
    {"eks.nodes": 4},
    {"eks.version": "1.36"},
    {"scenario.prefixDelegation": False},
    {"scenario.toggles.hubbleOff": False},
]


@pytest.mark.parametrize("changes", CHANGES)
def test_another_dataplane_is_waited_for_verified_and_measured_anew(
    changes: dict[str, object], programs: dict[str, Program]
) -> None:
    was, now = programs["scenario-e"].resources, eks_mocks.program("scenario-e", changes).resources
    for step in ("gate", "dataplane"):
        assert was[step].inputs["revision"] != now[step].inputs["revision"]
    assert was["benchmark"].inputs["session"] != now["benchmark"].inputs["session"]


def test_two_declarations_of_a_stack_are_the_same(programs: dict[str, Program]) -> None:
    # Any difference would be a change on every `up`.
    assert eks_mocks.program("scenario-e").resources == programs["scenario-e"].resources


# -- secrets and outputs ----------------------------------------------------------------------


@pytest.mark.parametrize("stack", STACKS)
def test_the_kubeconfig_is_a_secret_and_in_nothing_else(
    stack: str, programs: dict[str, Program]
) -> None:
    resources = programs[stack].resources
    assert "kubeconfig" in resources["kubernetes"].secrets
    # By it the component's own kubeconfig outputs are secrets.
    assert "providerCredentialOpts" in resources["cluster"].secrets
    for name, each in resources.items():
        if name != "kubernetes":
            assert "certificate-authority-data" not in json.dumps(each.inputs)
    assert eks_mocks.CA not in json.dumps(programs[stack].outputs)
    assert "get-token" not in json.dumps(programs[stack].outputs)


def test_a_profile_is_used_by_everything_that_logs_in() -> None:
    program = eks_mocks.program("scenario-e", {"eks.profile": "bench"})
    resources = program.resources
    assert program.outputs["cluster"]["log_in"].endswith(" --profile bench")
    assert resources["aws"].inputs["profile"] == "bench"
    assert resources["janitor"].inputs["profile"] == "bench"
    assert json.loads(resources["gate"].inputs["access"])["profile"] == "bench"
    assert resources["cluster"].inputs["providerCredentialOpts"] == {"profileName": "bench"}
    user = json.loads(resources["kubernetes"].inputs["kubeconfig"])["users"][0]["user"]
    assert user["exec"]["args"][-2:] == ["--profile", "bench"]


@pytest.mark.parametrize("stack", STACKS)
def test_what_is_in_a_cluster_ends_with_it(stack: str, programs: dict[str, Program]) -> None:
    inside = [
        each for each in programs[stack].resources.values() if each.type.startswith("kubernetes:")
    ]
    assert {"httpbin", "fortio-client"} <= {each.name for each in inside}
    assert (stack != "scenario-a") == ("cilium" in {each.name for each in inside})
    assert {each.options.get("deleted_with") for each in inside} == {"cluster"}


@pytest.mark.parametrize("stack", STACKS)
def test_the_outputs_say_what_exists_what_it_costs_and_how_it_ends(
    stack: str, programs: dict[str, Program]
) -> None:
    outputs = programs[stack].outputs
    assert outputs["cluster"] == {
        "name": name_of(stack),
        "region": "ap-northeast-2",
        "nodes": "3 x m6i.xlarge",
        "usd_per_hour": 1.24,
        "since": "2096-11-28T08:30:00+00:00",
        "ttl_hours": 12.0,
        "log_in": f"aws eks update-kubeconfig --name {name_of(stack)} --region ap-northeast-2",
        "clean_up": f"pulumi destroy -s {stack}",
    }
    assert outputs["toggles"] == {"dsr": {"applied": False}}
    assert eks_mocks.WARNING in outputs["warnings"]


def test_the_cost_is_told_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(pulumi.log, "info", logged.append)
    monkeypatch.setattr(pulumi.log, "warn", logged.append)
    eks_mocks.program("scenario-e")
    (cost, warning) = logged
    assert eks_mocks.COST.summary() in cost
    assert "pulumi up -s scenario-e goes on" in cost
    assert (
        "Gbit/s of a node: for any time 1.562, for minutes 12.5, of one flow 10, in a cluster "
        "placement group."
    ) in cost
    assert "pulumi destroy -s scenario-e removes it all" in cost
    assert warning == eks_mocks.WARNING


def test_a_stack_past_its_time_is_warned_of_and_its_results_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", logged.append)
    monkeypatch.setattr(eks_mocks, "SINCE", datetime(2026, 1, 1, tzinfo=UTC))
    outputs = eks_mocks.program("scenario-e").outputs
    assert logged[0].startswith("scenario-e exists for ")
    assert logged[0].endswith("To end it: pulumi destroy -s scenario-e")
    assert logged[0] not in outputs["warnings"]


def test_an_explanation_is_skipped_with_the_reason() -> None:
    outputs = eks_mocks.program("scenario-e", {"benchmark.explain": True}).outputs
    (line,) = [each for each in outputs["warnings"] if each.startswith("benchmark.explain")]
    assert line == f"benchmark.explain: skipped: {UNEXPLAINED}"
    assert "\n" not in line


# -- refusals ---------------------------------------------------------------------------------


def test_what_preflight_refuses_is_refused_before_anything_is_declared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no(*_: object) -> None:
        raise pulumi.RunError("credentials: AWS says that they have expired")

    monkeypatch.setattr(eks_mocks, "checked", no)
    with pytest.raises(pulumi.RunError, match="they have expired"):
        eks_mocks.program("scenario-e")
    assert engine_mocks.PROGRAMS[0].resources.keys() <= {"scenario"}


def test_a_value_that_the_chart_does_not_know_is_refused_before_anything_is_declared() -> None:
    changes: dict[str, object] = {"scenario.values": {"bfp": {"masquerade": True}}}
    with pytest.raises(pulumi.RunError) as caught:
        eks_mocks.program("scenario-c", changes)
    assert str(caught.value).startswith(
        "Pulumi.scenario-c.yaml: scenario.values: bfp.masquerade: not a value of this chart"
    )
    assert engine_mocks.PROGRAMS[0].resources.keys() <= {"scenario"}


def test_strict_is_decided_by_ec2s_facts() -> None:
    with pytest.raises(pulumi.RunError, match=r"toggles\.xdp: strict is set"):
        eks_mocks.program("scenario-e", {"scenario.strict": True})
