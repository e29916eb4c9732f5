"""Every wrong setting is refused in one line: the key, the value, why not, and the fix."""

from __future__ import annotations

import pytest

from tests.components.stack_config import pulumi_config, refusal, stack_tree


def _line(key: str, said: str, fix: str, stack: str) -> str:
    return f"Pulumi.{stack}.yaml: cni-benchmark:{key}: {said}. Fix: pulumi config {fix} -s {stack}"


# The key where it differs from the path, the value set there, what is said of it, and the fix.
WRONG: list[tuple[str, object, str, str]] = [
    ("benchmark.runs", 0, "0: must be at least 1", "set --path 'benchmark.runs' 3"),
    ("benchmark.runs", "three", "three: must be a whole number", "set --path 'benchmark.runs' 3"),
    (
        "benchmark.durationSeconds",
        0.5,
        "0.5: must be a whole number",
        "set --path 'benchmark.durationSeconds' 30",
    ),
    ("benchmark.httpQps", [], "[]: must have at least 1", "rm --path 'benchmark.httpQps'"),
    (
        "benchmark.httpQps",
        [1000, 1000],
        "[1000, 1000]: must not have a rate twice",
        "rm --path 'benchmark.httpQps'",
    ),
    (
        "benchmark.allow",
        ["quiet-machin"],
        "[quiet-machin]: must be of placement, configuration, congestion-control, mtu, "
        "service-path, softirqs, bpf-statistics, clocks, quiet-agents, quiet-machine, allowances, "
        "generator; not quiet-machin",
        "rm --path 'benchmark.allow'",
    ),
    (
        "benchmark.rnus",
        3,
        "3: unknown setting (did you mean runs?)",
        "rm --path 'benchmark.rnus'",
    ),
    (
        "benchmark.http_qps",
        [1000],
        "[1000]: unknown setting (did you mean httpQps?)",
        "rm --path 'benchmark.http_qps'",
    ),
    (
        "benchmark.profile",
        "quik",
        "quik: must be one of 'quick', 'standard' or 'published'",
        "set --path 'benchmark.profile' quick",
    ),
    ("target", "gke", "gke: must be one of 'lab', 'eks' or 'kubeconfig'", "set target lab"),
    (
        "scenario.toggles.hostRoutng",
        True,
        "true: unknown setting (did you mean hostRouting?)",
        "rm --path 'scenario.toggles.hostRoutng'",
    ),
    (
        "scenario.toggles.bbr",
        "on",
        "on: must be true or false",
        "set --path 'scenario.toggles.bbr' true",
    ),
    (
        "scenario.toggles.socketLB",
        1,
        "1: must be true or false",
        "set --path 'scenario.toggles.socketLB' true",
    ),
    (
        "scenario.toggles.ctTables.tcpMax",
        1 << 30,
        "1073741824: must be at most 16777216",
        "set --path 'scenario.toggles.ctTables.tcpMax' 1048576",
    ),
    (
        "scenario.kubeProxy",
        "iptables",
        "iptables: kubeProxyReplacement is true, so Cilium and kube-proxy would both load-balance "
        "Services",
        "set --path 'scenario.kubeProxy' none",
    ),
    ("scenario.cni", None, "missing", "set --path 'scenario.cni' vpc-cni"),
    (
        "scenario.title",
        "",
        '"": must not be empty',
        "set --path 'scenario.title' 'My scenario'",
    ),
    (
        "eks.version",
        1.35,
        "1.35: must be text: put it in quotes",
        "set --path 'eks.version' 1.35",
    ),
    (
        "eks.version",
        "latest",
        "latest: must be a Kubernetes minor version such as 1.35",
        "set --path 'eks.version' 1.35",
    ),
    (
        "eks.vpcCidr",
        "10.0.0.0",
        "10.0.0.0: must be an IPv4 network such as 10.244.0.0/16",
        "set --path 'eks.vpcCidr' 10.0.0.0/16",
    ),
    (
        "eks.zones",
        ["ap-northeast-2a"],
        "[ap-northeast-2a]: must have at least 2",
        "set --path 'eks.zones[0]' ap-northeast-2a",
    ),
    ("lab.nodes", 1, "1: must be at least 2", "set --path 'lab.nodes' 3"),
    ("lab", "three", "three: must be a map of settings", "rm lab"),
]


@pytest.mark.parametrize(("path", "value", "said", "fix"), WRONG)
def test_a_wrong_setting(path: str, value: object, said: str, fix: str) -> None:
    config = pulumi_config(stack_tree("scenario-e", {path: value}))
    assert refusal(config) == [_line(path, said, fix, "scenario-e")]


def test_a_wrong_item_of_a_list_is_named_by_its_place() -> None:
    config = pulumi_config(stack_tree("scenario-e", {"benchmark.httpQps": [1000, -1]}))
    fix = "set --path 'benchmark.httpQps[1]' 1000"
    assert refusal(config) == [
        _line("benchmark.httpQps[1]", "-1: must be at least 1", fix, "scenario-e")
    ]


# The stack, what is changed in it, the key that is named, what is said of it, and the fix.
CONTRADICTORY: list[tuple[str, dict[str, object], str, str, str]] = [
    (
        "scenario-b",
        {"scenario.podCidr": "10.100.0.0/16"},
        "scenario.podCidr",
        "10.100.0.0/16: overlaps eks.serviceCidr 10.100.0.0/16",
        "set --path 'scenario.podCidr' 10.244.0.0/16",
    ),
    (
        "scenario-c",
        {"target": "eks", "scenario.podCidr": "10.0.128.0/17"},
        "scenario.podCidr",
        "10.0.128.0/17: overlaps eks.vpcCidr 10.0.0.0/16",
        "set --path 'scenario.podCidr' 10.244.0.0/16",
    ),
    (
        "scenario-c",
        {"scenario.podCidr": "172.30.0.0/17"},
        "scenario.podCidr",
        "172.30.0.0/17: overlaps the lab's fabric 172.30.0.0/16",
        "set --path 'scenario.podCidr' 10.244.0.0/16",
    ),
    (
        "scenario-e",
        {"target": "eks", "eks.serviceCidr": "10.0.200.0/24"},
        "eks.serviceCidr",
        "10.0.200.0/24: overlaps eks.vpcCidr 10.0.0.0/16",
        "set --path 'eks.serviceCidr' 10.100.0.0/16",
    ),
    (
        "scenario-c",
        {"scenario.podCidr": "10.244.0.0/23"},
        "scenario.podCidr",
        "10.244.0.0/23: too small: each of 3 nodes takes a /24",
        "set --path 'scenario.podCidr' 10.244.0.0/16",
    ),
    (
        "scenario-c",
        {
            "target": "eks",
            "scenario.tunnelProtocol": None,
            "scenario.toggles": {"nativeRouting": True},
        },
        "scenario.ipam",
        "cluster-pool: a VPC does not route a cluster pool's addresses; native routing wants "
        "ipam: eni",
        "set --path 'scenario.ipam' eni",
    ),
    (
        "scenario-e",
        {"target": "eks", "eks.zones": ["ap-northeast-2a", "us-east-1a"]},
        "eks.zones[1]",
        "us-east-1a: not a zone of ap-northeast-2",
        "set --path 'eks.zones[1]' ap-northeast-2a",
    ),
    (
        "scenario-e",
        {"target": "eks", "eks.zones": ["ap-northeast-2a", "ap-northeast-2a"]},
        "eks.zones",
        "[ap-northeast-2a, ap-northeast-2a]: the same zone twice: EKS wants subnets in two",
        "set --path 'eks.zones[1]' ap-northeast-2c",
    ),
    (
        "scenario-e",
        {"target": "eks", "eks.nodeZone": "ap-northeast-2b"},
        "eks.nodeZone",
        "ap-northeast-2b: not one of the cluster's zones, ap-northeast-2a, ap-northeast-2c",
        "set --path 'eks.nodeZone' ap-northeast-2a",
    ),
]


@pytest.mark.parametrize(("stack", "changes", "key", "said", "fix"), CONTRADICTORY)
def test_contradictory_sections(
    stack: str, changes: dict[str, object], key: str, said: str, fix: str
) -> None:
    config = pulumi_config(stack_tree(stack, changes))
    assert refusal(config, stack) == [_line(key, said, fix, stack)]
