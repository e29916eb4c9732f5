"""The real chart renders every scenario, and each toggle reaches the agent's configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cni.cilium.dataplane import Cilium
from cni.cilium.values import chart_keys, unknown_values
from cni.cilium.versions import version_of
from cni.decisions import decide
from cni.platform import ClusterEndpoint, LabFabric, PlatformFacts
from lab.dataplane.cilium.agents import cilium_config
from tests.cni.charts import KUBE_VERSION
from tests.cni.stackfiles import Load

EXPECTED: dict[str, dict[str, str | None]] = {
    "scenario-b": {
        "kube-proxy-replacement": "false",
        "routing-mode": "tunnel",
        "tunnel-protocol": "vxlan",
        "ipam": "cluster-pool",
        "cluster-pool-ipv4-cidr": "10.244.0.0/16",
    },
    "scenario-c": {"kube-proxy-replacement": "true", "routing-mode": "tunnel"},
    "scenario-d": {
        "routing-mode": "native",
        "ipam": "eni",
        "aws-enable-prefix-delegation": "true",
        "subnet-ids-filter": "subnet-2a",
        "egress-masquerade-interfaces": "en+",
        "enable-endpoint-routes": "true",
        "enable-ipv4-masquerade": "false",
        "enable-hubble": "true",
        "bpf-lb-sock": "false",
    },
    "scenario-e": {
        "enable-host-legacy-routing": "false",
        "enable-bandwidth-manager": "true",
        "enable-bbr": "true",
        "enable-bpf-masquerade": "true",
        "bpf-lb-sock": "true",
        "routing-mode": "native",
        # Not 1.048576e+06, which stops the agent.
        "bpf-ct-global-tcp-max": "1048576",
        "bpf-ct-global-any-max": "524288",
        "enable-ipv4-masquerade": "true",
        "enable-hubble": "false",
        "bpf-lb-mode": "snat",
        "bpf-lb-acceleration": "disabled",
        "egress-masquerade-interfaces": None,
    },
}


# Where earlier lines differ: up to which, and in what.
_EARLIER: dict[str, tuple[str, dict[str, str | None]]] = {
    "scenario-d": ("1.18", {"enable-ipv4-masquerade": "true"}),
    "scenario-e": ("1.18", {"enable-hubble": None}),
}


def _expected(stack: str, version: str) -> dict[str, str | None]:
    line, earlier = _EARLIER.get(stack, ("1.18", {}))
    return EXPECTED[stack] | ({} if version_of(version).since(line) else earlier)


def _check(config: dict[str, str], expected: dict[str, str | None]) -> None:
    assert {key: config.get(key) for key in expected} == expected


@pytest.mark.parametrize("stack", EXPECTED)
def test_each_versions_chart_knows_and_renders_the_scenario_for_eks(
    load: Load,
    m6i: PlatformFacts,
    endpoint: ClusterEndpoint,
    helm: Path,
    release: tuple[str, Path],
    stack: str,
) -> None:
    version, chart = release
    scenario = load(stack, cniVersion=version)
    values = Cilium().values(scenario, decide(scenario, m6i), endpoint)
    assert Cilium().unknown_values(version, values) == []
    _check(cilium_config(helm, chart, values, KUBE_VERSION), _expected(stack, version))


def test_the_chart_renders_dsr_and_xdp_where_the_hardware_has_them(
    load: Load, lab: PlatformFacts, endpoint: ClusterEndpoint, helm: Path, chart: Path
) -> None:
    scenario = load("scenario-e")
    metal = replace(lab, driver="mlx5_core", bare_metal=True, lacks=frozenset())
    values = Cilium().values(scenario, decide(scenario, metal), endpoint)
    config = cilium_config(helm, chart, values, KUBE_VERSION)
    _check(config, {"bpf-lb-mode": "dsr", "bpf-lb-acceleration": "native"})


@pytest.mark.parametrize("stack", EXPECTED)
def test_the_chart_renders_the_labs_adaptations(
    load: Load,
    lab: PlatformFacts,
    endpoint: ClusterEndpoint,
    helm: Path,
    chart: Path,
    stack: str,
) -> None:
    scenario = load(stack)
    fabric = LabFabric(pod_cidr="172.30.0.0/16")
    values, _ = Cilium().lab_values(scenario, decide(scenario, lab), endpoint, fabric)
    assert Cilium().unknown_values(scenario.cni_version, values) == []
    config = cilium_config(helm, chart, values, KUBE_VERSION)
    _check(config, {"enable-l7-proxy": "false", "devices": "ens+"})
    if scenario.ipam == "eni":
        _check(
            config,
            {
                "ipam": "kubernetes",
                "ipv4-native-routing-cidr": "172.30.0.0/16",
                "enable-endpoint-routes": "true",
                "auto-direct-node-routes": "false",
            },
        )


def test_the_studys_own_misspelt_values_are_caught() -> None:
    values = {"bpf": {"ctGlobalAnyMax": 1, "ctGlobalTcpMax": 1}}
    assert unknown_values(values, chart_keys()) == [
        "bpf.ctGlobalAnyMax: not a value of this chart (did you mean bpf.ctAnyMax?)",
        "bpf.ctGlobalTcpMax: not a value of this chart (did you mean bpf.ctTcpMax?)",
    ]
