"""Each toggle alone, in the real chart: what it changes in the agents' configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cni.cilium.dataplane import Cilium
from cni.cilium.versions import version_of
from cni.decisions import decide
from cni.platform import ClusterEndpoint, Kernel, PlatformFacts
from cni.registry import TOGGLES
from tests.cni.charts import config_of, manifests
from tests.cni.stackfiles import Load

Render = Callable[..., list[dict[str, Any]]]

# Helm reads numbers as floats and prints large ones as 1.048576e+06, which the agent refuses.
_FLOAT = re.compile(r"\d(\.\d+)?e[+-]\d\d")
_MASQUERADE: dict[str, object] = {"bpfMasquerade": True}
_PACED: dict[str, object] = _MASQUERADE | {"hostRouting": True, "bandwidthManager": True}

# Toggle: the stack that it is added to, with what toggles it needs there, and which of the agent's
# options become what; None where the option is not there.
ALONE: dict[str, tuple[str, dict[str, object], dict[str, tuple[str | None, str | None]]]] = {
    "hostRouting": (
        "scenario-d",
        _MASQUERADE,
        {"enable-host-legacy-routing": (None, "false")},
    ),
    "bandwidthManager": (
        "scenario-d",
        {},
        {
            "enable-bandwidth-manager": (None, "true"),
            "enable-bbr": (None, "false"),
            "enable-bbr-hostns-only": (None, "false"),
        },
    ),
    "bbr": ("scenario-d", _PACED, {"enable-bbr": ("false", "true")}),
    "bpfMasquerade": (
        "scenario-d",
        {},
        {
            "enable-bpf-masquerade": (None, "true"),
            "enable-ipv4-masquerade": ("false", "true"),
            "egress-masquerade-interfaces": ("en+", None),
        },
    ),
    "socketLB": (
        "scenario-d",
        {},
        {"bpf-lb-sock": ("false", "true")},
    ),
    "nativeRouting": (
        "scenario-c",
        {},
        {
            "routing-mode": ("tunnel", "native"),
            "ipv4-native-routing-cidr": (None, "10.244.0.0/16"),
            "auto-direct-node-routes": ("false", "true"),
        },
    ),
    "ctTables": (
        "scenario-d",
        {},
        {
            "bpf-ct-global-tcp-max": (None, "1048576"),
            "bpf-ct-global-any-max": (None, "524288"),
        },
    ),
    "hubbleOff": ("scenario-d", {}, {"enable-hubble": ("true", "false")}),
    "dsr": ("scenario-d", {}, {"bpf-lb-mode": (None, "dsr")}),
    "xdp": ("scenario-d", {}, {"bpf-lb-acceleration": ("disabled", "native")}),
    "netkit": ("scenario-e", {}, {"datapath-mode": ("veth", "netkit")}),
    "bigTCP": ("scenario-e", {}, {"enable-ipv4-big-tcp": ("false", "true")}),
    "wireguard": ("scenario-b", {}, {"enable-wireguard": (None, "true")}),
}
# What the chart itself leaves out or puts in beside the switch.
_FOLLOWS = {"hubbleOff": re.compile("hubble-.*"), "wireguard": re.compile("wireguard-.*")}
_ASKED = {"ctTables": {"tcpMax": 1_048_576, "anyMax": 524_288}}


@pytest.fixture
def metal(m6i: PlatformFacts) -> PlatformFacts:
    """Nodes on which no toggle falls back."""
    return replace(m6i, bare_metal=True, driver="mlx5_core", kernel=Kernel(6, 18))


@pytest.fixture
def render(
    load: Load, metal: PlatformFacts, endpoint: ClusterEndpoint, helm: Path, chart: Path
) -> Render:
    """Renders a stack with toggles added; all that are asked for are applied."""

    def rendered(stack: str, toggles: Mapping[str, object], **changes: object) -> Any:
        scenario = load(stack, toggles=toggles, strict=True, **changes)
        values = Cilium().values(scenario, decide(scenario, metal), endpoint)
        return manifests(helm, chart, values)

    return rendered


def test_every_toggle_is_here() -> None:
    assert ALONE.keys() == TOGGLES.keys()


@pytest.mark.parametrize("toggle", ALONE)
def test_a_toggle_alone_changes_its_own_options(render: Render, toggle: str) -> None:
    stack, needed, expected = ALONE[toggle]
    tunnel = {"tunnelProtocol": None} if toggle == "nativeRouting" else {}
    before = config_of(render(stack, needed))
    objects = render(stack, {**needed, toggle: _ASKED.get(toggle, True)}, **tunnel)
    after = config_of(objects)
    changed = {
        key: (before.get(key), after.get(key))
        for key in before.keys() | after.keys()
        if before.get(key) != after.get(key)
    }
    follows = _FOLLOWS.get(toggle)
    own = {key: value for key, value in changed.items() if not (follows and follows.match(key))}
    assert own == expected
    assert_no_number_is_printed_as_a_float(objects)


@pytest.mark.parametrize("toggle", sorted(set(ALONE) - {"nativeRouting", "ctTables", "socketLB"}))
def test_a_toggle_that_is_switched_off_is_off(render: Render, toggle: str) -> None:
    """Also where the chart would turn it on by itself."""
    before = config_of(render("scenario-d", {}))
    after = config_of(render("scenario-d", {toggle: False}))
    options = {
        "hostRouting": ("enable-host-legacy-routing", "true"),
        "bandwidthManager": ("enable-bandwidth-manager", None),
        "bbr": ("enable-bbr", None),
        "bpfMasquerade": ("enable-bpf-masquerade", "false"),
        "hubbleOff": ("enable-hubble", "true"),
        "dsr": ("bpf-lb-mode", "snat"),
        "xdp": ("bpf-lb-acceleration", "disabled"),
        "netkit": ("datapath-mode", "veth"),
        "bigTCP": ("enable-ipv4-big-tcp", "false"),
        "wireguard": ("enable-wireguard", None),
    }
    option, value = options[toggle]
    assert after.get(option) == value
    assert {key: after.get(key) for key in before.keys() - {option}} == {
        key: before[key] for key in before.keys() - {option}
    }


def test_every_versions_chart_takes_netkit_big_tcp_and_wireguard(
    load: Load,
    metal: PlatformFacts,
    endpoint: ClusterEndpoint,
    helm: Path,
    release: tuple[str, Path],
) -> None:
    version, chart = release
    toggles = {"netkit": True, "bigTCP": True, "wireguard": True}
    # Not refused with ENI addresses from there on.
    has_ipv6 = version_of(version).since("1.20")
    given = {"ipv6": {"enabled": has_ipv6}, "ipv6NativeRoutingCIDR": "fd00::/104"}
    scenario = load("scenario-e", toggles, strict=True, cniVersion=version, values=given)
    values = Cilium().values(scenario, decide(scenario, metal), endpoint)
    assert Cilium().unknown_values(version, values) == []
    config = config_of(manifests(helm, chart, values))
    assert config["datapath-mode"] == "netkit"
    assert config["enable-ipv4-big-tcp"] == config["enable-wireguard"] == "true"
    assert config["enable-ipv6-big-tcp"] == config["enable-ipv6"] == str(has_ipv6).lower()
    assert "enable-ipsec" not in config


@pytest.mark.parametrize("stack", ["scenario-b", "scenario-c", "scenario-d", "scenario-e"])
def test_no_number_is_printed_as_a_float(render: Render, stack: str) -> None:
    assert_no_number_is_printed_as_a_float(render(stack, {}))


def assert_no_number_is_printed_as_a_float(objects: list[dict[str, Any]]) -> None:
    config = config_of(objects)
    assert all(isinstance(value, str) for value in config.values())
    assert {key: value for key, value in config.items() if _FLOAT.search(value)} == {}
    assert [path for path, value in _scalars(objects, "") if isinstance(value, float)] == []


def _scalars(node: object, path: str) -> list[tuple[str, object]]:
    if isinstance(node, dict):
        return [one for key, value in node.items() for one in _scalars(value, f"{path}.{key}")]
    if isinstance(node, list):
        return [
            one for index, value in enumerate(node) for one in _scalars(value, f"{path}.{index}")
        ]
    return [(path, node)]


def test_the_check_for_floats_sees_one(
    load: Load, metal: PlatformFacts, endpoint: ClusterEndpoint, helm: Path, chart: Path
) -> None:
    """A value of the chart that no setting of ours uses."""
    scenario = load("scenario-d")
    values = Cilium().values(scenario, decide(scenario, metal), endpoint)
    values["hubble"] = {"eventBufferCapacity": 1_048_576}
    with pytest.raises(AssertionError, match="hubble-event-buffer-capacity"):
        assert_no_number_is_printed_as_a_float(manifests(helm, chart, values))
