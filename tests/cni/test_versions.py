"""The tables of supported versions, against the sources that they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from cni.cilium import versions as cilium
from cni.cilium.values import chart_keys
from cni.vpc_cni import versions as vpc_cni

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("version", cilium.VERSIONS.values(), ids=str)
def test_a_cilium_version_has_its_chart_keys(version: cilium.CiliumVersion) -> None:
    keys = chart_keys(version.version)
    assert "kubeProxyReplacement" in {*keys.values, *keys.optional}


@pytest.mark.parametrize(
    "version", [*cilium.VERSIONS.values(), *vpc_cni.VERSIONS.values()], ids=lambda v: v.module
)
def test_a_version_has_a_go_module_of_it(
    version: cilium.CiliumVersion | vpc_cni.VpcCniVersion,
) -> None:
    module = (ROOT / "tools" / version.module / "go.mod").read_text()
    assert f" v{version.version}\n" in module


def test_the_suggested_versions_are_supported() -> None:
    assert cilium.DEFAULT in cilium.VERSIONS
    assert vpc_cni.DEFAULT in vpc_cni.VERSIONS
