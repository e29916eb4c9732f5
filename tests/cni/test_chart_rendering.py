"""The real chart renders every scenario, and each toggle reaches the agent's configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cni.cilium.dataplane import Cilium
from cni.cilium.values import chart_keys, unknown_values
from cni.decisions import decide
from cni.platform import ClusterEndpoint, LabFabric, PlatformFacts
from lab.dataplane.cilium.agents import cilium_config
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
        "egress-masquerade-interfaces": "ens+",
        "enable-endpoint-routes": "true",
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
        "enable-hubble": None,
        "bpf-lb-mode": "snat",
        "bpf-lb-acceleration": "disabled",
        "egress-masquerade-interfaces": None,
    },
}


def _check(config: dict[str, str], expected: dict[str, str | None]) -> None:
    assert {key: config.get(key) for key in expected} == expected


@pytest.mark.parametrize("stack", EXPECTED)
def test_the_chart_renders_the_scenario_for_eks(
    load: Load,
    m6i: PlatformFacts,
    endpoint: ClusterEndpoint,
    helm: Path,
    chart: Path,
    stack: str,
) -> None:
    scenario = load(stack)
    values = Cilium().values(scenario, decide(scenario, m6i), endpoint)
    _check(cilium_config(helm, chart, values, "1.31.4"), EXPECTED[stack])


def test_the_chart_renders_dsr_and_xdp_where_the_hardware_has_them(
    load: Load, lab: PlatformFacts, endpoint: ClusterEndpoint, helm: Path, chart: Path
) -> None:
    scenario = load("scenario-e")
    metal = replace(lab, driver="mlx5_core", bare_metal=True, has_fq=True)
    values = Cilium().values(scenario, decide(scenario, metal), endpoint)
    config = cilium_config(helm, chart, values, "1.31.4")
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
    config = cilium_config(helm, chart, values, "1.31.4")
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


@pytest.mark.parametrize("stack", EXPECTED)
def test_the_chart_knows_every_value(
    load: Load,
    m6i: PlatformFacts,
    lab: PlatformFacts,
    endpoint: ClusterEndpoint,
    chart: Path,
    stack: str,
) -> None:
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    scenario = load(stack)
    for values in (
        Cilium().values(scenario, decide(scenario, m6i), endpoint),
        Cilium()
        .lab_values(scenario, decide(scenario, lab), endpoint, LabFabric(pod_cidr="172.30.0.0/16"))
        .values,
    ):
        assert unknown_values(values, defaults) == []


def test_the_studys_own_misspelt_values_are_caught(chart: Path) -> None:
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    values = {"bpf": {"ctGlobalAnyMax": 1, "ctGlobalTcpMax": 1}}
    assert unknown_values(values, defaults) == [
        "bpf.ctGlobalAnyMax: not a value of this chart (did you mean bpf.ctAnyMax?)",
        "bpf.ctGlobalTcpMax: not a value of this chart (did you mean bpf.ctTcpMax?)",
    ]


def test_optional_values_are_those_that_the_charts_templates_read(chart: Path) -> None:
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    templates = "\n".join(path.read_text() for path in (chart / "templates").rglob("*.yaml"))
    for path in chart_keys().optional:
        assert unknown_values({path: 1}, defaults, optional=()), f"{path} is in values.yaml"
        assert f'"{path.rpartition(".")[2]}"' in templates or f".{path}" in templates, path
