"""A stack's configuration, as the engine passes it on, becomes settings."""

from __future__ import annotations

import json

import pytest
import yaml

from components.eks.settings import EksSettings
from components.kubeconfig.settings import KubeconfigSettings
from components.lab.settings import LabSettings
from components.settings import SettingsError
from components.targets import settings_of
from tests.components.stack_config import (
    EKS,
    ROOT,
    STACKS,
    pulumi_config,
    read,
    refusal,
    stack_tree,
)


@pytest.mark.parametrize("stack", STACKS)
def test_the_stack_files_are_settings_for_the_lab(stack: str) -> None:
    settings = read(stack)
    assert settings.target == "lab"
    assert settings.profile == "quick"
    assert settings.section(LabSettings).nodes == 3


@pytest.mark.parametrize("stack", STACKS)
def test_every_stack_file_also_suits_eks(stack: str) -> None:
    assert read(stack, {"target": "eks"}).profile == "standard"


def test_what_stands_where_nothing_is_set() -> None:
    settings = read()
    assert settings.benchmark.runs is None
    assert settings.benchmark.http_qps == (1000, 5000)
    assert settings.section(EksSettings).zones == ("ap-northeast-2a", "ap-northeast-2c")


def test_an_existing_cluster_is_kubectls_own_where_nothing_is_set() -> None:
    assert read(changes={"target": "kubeconfig"}).section(KubeconfigSettings).path is None


def test_a_section_is_had_from_the_targets_that_read_it_only() -> None:
    with pytest.raises(LookupError, match="the target kubeconfig reads no EksSettings"):
        read(changes={"target": "kubeconfig"}).section(EksSettings)


def test_an_existing_cluster_needs_no_eks_section_but_a_wrong_one_is_told() -> None:
    tree = stack_tree("scenario-a", {"target": "kubeconfig"})
    del tree["eks"]
    assert settings_of(pulumi_config(tree), "scenario-a").target == "kubeconfig"
    tree["eks"] = {**EKS, "nodes": 0}
    (line,) = refusal(pulumi_config(tree), "scenario-a")
    assert "cni-benchmark:eks.nodes: 0: must be at least 2" in line


def test_the_project_gives_each_eks_setting_that_stacks_share() -> None:
    # Each under its own path: a stack that sets one keeps the others.
    config = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert {key: entry.get("default") for key, entry in config.items()} == {
        f"eks.{name}": value for name, value in EKS.items()
    }


def test_a_set_profile_stays() -> None:
    assert read(changes={"benchmark.profile": "published"}).profile == "published"


def test_providers_namespaces_are_left_to_them() -> None:
    config = pulumi_config(stack_tree("scenario-e")) | {
        "aws:region": "ap-northeast-2",
        "pulumi:disable-default-providers": "[]",
        "cni-benchmark:targt": "lab",
        "cni-bench:target": "lab",
    }
    assert refusal(config) == [
        "Pulumi.scenario-e.yaml: cni-benchmark:targt: unknown setting (did you mean "
        "cni-benchmark:target?). Fix: pulumi config rm cni-benchmark:targt -s scenario-e",
        "Pulumi.scenario-e.yaml: cni-bench:target: unknown namespace (did you mean "
        "cni-benchmark?). Fix: pulumi config rm cni-bench:target -s scenario-e",
    ]


@pytest.mark.parametrize("config", [{}, {"cni-benchmark:eks": json.dumps(EKS)}])
def test_a_stack_without_settings_is_told_how_to_get_some(config: dict[str, str]) -> None:
    assert refusal(config, "dev") == [
        "Pulumi.dev.yaml: cni-benchmark:scenario: missing: a stack is one scenario. "
        "Fix: cp Pulumi.scenario-e.yaml Pulumi.dev.yaml, then edit it"
    ]


def test_without_the_projects_defaults_the_eks_settings_are_missing() -> None:
    tree = stack_tree("scenario-e")
    del tree["eks"]
    assert refusal(pulumi_config(tree)) == [
        "Pulumi.scenario-e.yaml: cni-benchmark:eks: missing. "
        "Fix: add it to Pulumi.scenario-e.yaml, or to Pulumi.yaml for all stacks"
    ]


def test_all_errors_are_told_at_once() -> None:
    changes: dict[str, object] = {
        "target": "moon",
        "scenario.kubeProxy": "iptables",
        "scenario.prefixDelegation": "yes",
        "benchmark.runs": 0,
        "eks.nodes": 0,
    }
    config = pulumi_config(stack_tree("scenario-e", changes))
    config |= {"cni-benchmark:targt": "lab", "cni-benchmrk:lab": "{}"}
    assert [line.split(": ")[1] for line in refusal(config)] == [
        "cni-benchmark:targt",
        "cni-benchmrk:lab",
        "cni-benchmark:target",
        "cni-benchmark:scenario.prefixDelegation",
        "cni-benchmark:benchmark.runs",
        "cni-benchmark:eks.nodes",
    ]


def test_the_error_carries_no_cause_to_clutter_a_traceback() -> None:
    with pytest.raises(SettingsError) as refused:
        read(changes={"benchmark.runs": 0})
    assert refused.value.__suppress_context__


def test_an_existing_clusters_ranges_are_its_own() -> None:
    changes: dict[str, object] = {"target": "kubeconfig", "scenario.podCidr": "10.100.0.0/16"}
    assert read("scenario-c", changes).scenario.pod_cidr == "10.100.0.0/16"


def test_a_cluster_pool_is_routed_natively_where_nodes_share_a_network() -> None:
    changes: dict[str, object] = {
        "scenario.tunnelProtocol": None,
        "scenario.toggles": {"nativeRouting": True},
    }
    assert read("scenario-c", changes).scenario.overlay is None
