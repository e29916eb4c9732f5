"""The EKS section's own settings: what they take, and what is said of what they do not."""

from __future__ import annotations

import pytest

from components.eks.settings import CALLER, EksSettings
from tests.components.stack_config import EKS, pulumi_config, read, refusal, stack_tree

STACK = "scenario-e"


def _told(changes: dict[str, object], stack: str = STACK) -> list[str]:
    start = f"Pulumi.{stack}.yaml: cni-benchmark:"
    lines = refusal(pulumi_config(stack_tree(stack, changes)), stack)
    assert all(line.startswith(start) for line in lines)
    return [line.removeprefix(start).removesuffix(f" -s {stack}") for line in lines]


def test_what_nobody_sets() -> None:
    usual = ("apiCidrs", "maxCostUsd", "ttlHours")
    needed = {name: EKS[name] for name in EKS if name not in usual}
    eks = EksSettings.model_validate(needed)
    assert eks.api_cidrs == (CALLER,)
    assert eks.max_cost_usd == 10
    assert eks.ttl_hours == 12
    assert eks.profile is None
    assert eks.tags == {}
    assert eks.placement_group is None


@pytest.mark.parametrize(
    ("nodes", "asked", "possible", "together"),
    [
        (3, None, True, True),
        (2, None, True, True),
        (4, None, True, False),
        (3, None, False, False),
        (4, True, True, True),
        (3, False, True, False),
    ],
)
def test_up_to_three_nodes_are_near_each_other_unless_somebody_says_otherwise(
    nodes: int, asked: bool | None, possible: bool, together: bool
) -> None:
    changes: dict[str, object] = {"eks.nodes": nodes}
    if asked is not None:
        changes["eks.placementGroup"] = asked
    eks = read(STACK, {"target": "eks", **changes}).section(EksSettings)
    assert eks.together(possible=possible) == together


def test_what_a_user_sets() -> None:
    changes: dict[str, object] = {
        "eks.apiCidrs": ["203.0.113.0/24", CALLER, "0.0.0.0/0"],
        "eks.profile": "bench",
        "eks.tags": {"owner": "net", "cost centre/2": "a:b=c+d-e@f"},
    }
    eks = read(STACK, {"target": "eks", **changes}).section(EksSettings)
    assert eks.api_cidrs == ("203.0.113.0/24", CALLER, "0.0.0.0/0")
    assert eks.profile == "bench"
    assert eks.tags == {"owner": "net", "cost centre/2": "a:b=c+d-e@f"}


@pytest.mark.parametrize("given", [20, 2.5, "2.5", "20"])
def test_the_ceiling_is_a_number_however_the_config_command_has_written_it(given: object) -> None:
    assert read(STACK, {"eks.maxCostUsd": given}).section(EksSettings).max_cost_usd == float(
        str(given)
    )


API = "--path 'eks.apiCidrs[0]' caller"
WRONG: list[tuple[dict[str, object], str]] = [
    (
        {"eks.apiCidrs": ["callr"]},
        "eks.apiCidrs[0]: callr: must be caller or an IPv4 network such as 203.0.113.7/32 "
        f"(did you mean caller?). Fix: pulumi config set {API}",
    ),
    (
        {"eks.apiCidrs": ["203.0.113.7"]},
        "eks.apiCidrs[0]: 203.0.113.7: must be caller or an IPv4 network such as 203.0.113.7/32. "
        f"Fix: pulumi config set {API}",
    ),
    (
        {"eks.apiCidrs": ["192.168.1.0/24"]},
        "eks.apiCidrs[0]: 192.168.1.0/24: must be public addresses: the endpoint is reached over "
        f"the internet. Fix: pulumi config set {API}",
    ),
    (
        {"eks.apiCidrs": []},
        "eks.apiCidrs: []: must have at least 1. Fix: pulumi config rm --path 'eks.apiCidrs'",
    ),
    (
        {"eks.apiCidrs": [CALLER, CALLER]},
        "eks.apiCidrs: [caller, caller]: must not have a network twice. "
        "Fix: pulumi config rm --path 'eks.apiCidrs'",
    ),
    (
        {"eks.maxCostUsd": 0},
        "eks.maxCostUsd: 0: must be more than 0. Fix: pulumi config set --path 'eks.maxCostUsd' 10",
    ),
    (
        {"eks.maxCostUsd": "much"},
        "eks.maxCostUsd: much: must be a number. Fix: pulumi config set --path 'eks.maxCostUsd' 10",
    ),
    (
        {"eks.maxCostUsd": True},
        "eks.maxCostUsd: true: must be a number. Fix: pulumi config set --path 'eks.maxCostUsd' 10",
    ),
    (
        {"eks.profile": ""},
        "eks.profile: \"\": must not be empty. Fix: pulumi config set --path 'eks.profile' default",
    ),
    (
        {"eks.tags": {"cost.centre": 12}},
        'eks.tags["cost.centre"]: 12: must be text: put it in quotes. '
        "Fix: pulumi config set --path 'eks.tags[\"cost.centre\"]' 12 --type string",
    ),
    (
        {"eks.maxCost": 3},
        "eks.maxCost: 3: unknown setting (did you mean maxCostUsd?). "
        "Fix: pulumi config rm --path 'eks.maxCost'",
    ),
    (
        {"eks.vpcCidr": "10.0.0.0/24"},
        "eks.vpcCidr: 10.0.0.0/24: must be a /16 to a /20: EC2's largest, and room for every pod. "
        "Fix: pulumi config set --path 'eks.vpcCidr' 10.0.0.0/16",
    ),
]


@pytest.mark.parametrize(("changes", "line"), WRONG)
def test_a_wrong_setting(changes: dict[str, object], line: str) -> None:
    assert _told(changes) == [line]


def test_too_many_networks_and_tags() -> None:
    networks = [f"203.0.113.{index}/32" for index in range(41)]
    (line,) = _told({"eks.apiCidrs": networks})
    assert ": must have at most 40. Fix: pulumi config rm" in line
    (line,) = _told({"eks.tags": {f"tag{index}": "x" for index in range(31)}})
    assert ": must have at most 30. Fix: pulumi config rm" in line


@pytest.mark.parametrize(
    "tag", ["aws:x", "Name", "cni-benchmark:cluster", "io.cilium/x", "kubernetes.io/cluster/x"]
)
def test_tags_that_others_set_are_theirs(tag: str) -> None:
    (line,) = _told({"target": "eks", "eks.tags": {tag: "x"}})
    assert line.startswith("eks.tags")
    assert ": x: a tag that AWS, the cluster or this project sets itself. Fix: pulumi" in line


@pytest.mark.parametrize(
    ("tag", "value", "what"),
    [("owner", "", "value"), ("ow*ner", "me", "name"), ("owner", "x" * 257, "value")],
)
def test_tags_are_text_that_aws_takes(tag: str, value: str, what: str) -> None:
    (line,) = _told({"target": "eks", "eks.tags": {tag: value}})
    assert f"a tag's {what} is 1 to " in line


NFTABLES: list[tuple[str, dict[str, object], str]] = [
    ("scenario-a", {}, "the VPC CNI goes with this mode from 1.23.0 on only"),
    (
        "scenario-b",
        {"eks.version": "1.31"},
        "EKS's kube-proxy has this mode from 1.33 on, and eks.version is 1.31",
    ),
]


@pytest.mark.parametrize(("stack", "changes", "reason"), NFTABLES)
def test_kube_proxy_modes_that_eks_does_not_have(
    stack: str, changes: dict[str, object], reason: str
) -> None:
    nftables: dict[str, object] = {"scenario.kubeProxy": "nftables", **changes}
    assert _told({"target": "eks", **nftables}, stack) == [
        f"scenario.kubeProxy: nftables: {reason}. "
        "Fix: pulumi config set --path 'scenario.kubeProxy' iptables"
    ]
    # The lab has it.
    assert read(stack, nftables).scenario.kube_proxy == "nftables"


@pytest.mark.parametrize(
    ("stack", "more"), [("scenario-b", {}), ("scenario-a", {"scenario.cniVersion": "1.23.0"})]
)
def test_kube_proxy_with_nftables_where_eks_has_it(stack: str, more: dict[str, object]) -> None:
    changes: dict[str, object] = {"scenario.kubeProxy": "nftables"}
    result = read(stack, {"target": "eks", **changes, **more})
    assert result.scenario.kube_proxy == "nftables"


def test_eks_may_have_another_vpc_cni_than_the_lab() -> None:
    version: dict[str, object] = {"scenario.cniVersion": "1.21.1"}
    assert read("scenario-a", {"target": "eks", **version}).scenario.cni_version == "1.21.1"
    assert _told({"target": "lab", **version}, "scenario-a") == [
        "scenario.cniVersion: 1.21.1: the lab has the VPC CNI 1.19.2, 1.22.4, 1.23.2 only. "
        "Fix: pulumi config set --path 'scenario.cniVersion' 1.22.4"
    ]


def test_eks_may_have_another_kubernetes_than_the_lab() -> None:
    version: dict[str, object] = {"eks.version": "1.33"}
    assert read("scenario-a", {"target": "eks", **version}).section(EksSettings).version == "1.33"
    assert _told({"target": "lab", **version}, "scenario-a") == [
        "eks.version: 1.33: the lab has Kubernetes 1.31, 1.35, 1.36 only. "
        "Fix: pulumi config set --path 'eks.version' 1.35"
    ]
