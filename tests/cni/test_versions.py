"""The tables of supported versions, against the sources that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cni import kubernetes
from cni.cilium import versions as cilium
from cni.cilium.values import chart_keys
from cni.platform import Kernel, version_numbers
from cni.registry import DATAPLANES
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


@pytest.mark.parametrize("version", cilium.VERSIONS.values(), ids=str)
def test_the_page_of_versions_has_what_the_table_has(version: cilium.CiliumVersion) -> None:
    oldest, newest = version.kubernetes
    row = f"| {version.version} | {oldest} to {newest} | {version.llvm} |"
    assert row in (ROOT / "docs" / "versions.md").read_text()


def test_versions_are_ordered_by_their_lines() -> None:
    numbers = [version_numbers(each) for each in cilium.VERSIONS]
    assert numbers == sorted(numbers)
    newest = cilium.VERSIONS[list(cilium.VERSIONS)[-1]]
    assert newest.since("1.18")
    assert newest.since(".".join(map(str, newest.line)))
    assert not cilium.VERSIONS["1.16.5"].since("1.17")


def test_a_kubernetes_that_is_not_tested_is_told_with_the_versions_that_are() -> None:
    def cautions(version: str, kubernetes: str) -> list[str]:
        return list(DATAPLANES["cilium"].cautions(version, kubernetes, Kernel(6, 12)))

    (told,) = cautions("1.16.5", "1.35")
    assert told.startswith(
        "Cilium 1.16.5 is tested by its makers with Kubernetes 1.27 to 1.30, and the cluster has "
        "1.35; tested with that: "
    )
    assert cilium.DEFAULT in told.rpartition(": ")[2].split(", ")
    assert cautions(cilium.DEFAULT, "1.35") == []
    assert cautions("1.16.5", "1.28") == []
    (told,) = cautions(cilium.DEFAULT, "1.99")
    assert told.endswith("tested with that: none that the project has")


@pytest.mark.parametrize("version", kubernetes.VERSIONS.values(), ids=lambda v: v.module)
def test_a_kubernetes_has_a_go_module_with_all_staging_modules_of_its_release(
    version: kubernetes.KubernetesVersion,
) -> None:
    module = (ROOT / "tools" / version.module / "go.mod").read_text()
    assert f"k8s.io/kubernetes v{version.version}\n" in module
    replaced = re.findall(r"^\t(\S+) => \1 v0\.(\S+)$", module, re.MULTILINE)
    assert len(replaced) > 20
    assert {staged for _, staged in replaced} == {version.version.removeprefix("1.")}


def test_the_page_of_versions_has_the_other_tables() -> None:
    page = (ROOT / "docs" / "versions.md").read_text()
    for server in kubernetes.VERSIONS.values():
        assert f"| {server.minor} | {server.version} |" in page
    for cni in vpc_cni.VERSIONS.values():
        assert f"| {cni.version} | {cni.kubernetes} |" in page


def test_what_is_told_of_a_vpc_cni_on_a_kubernetes() -> None:
    def told(version: str, on: str) -> list[str]:
        return list(DATAPLANES["vpc-cni"].cautions(version, on, None))

    assert told("1.19.2", "1.35") == [
        "the VPC CNI 1.19.2 is known as an add-on of Kubernetes up to 1.32, and the cluster has "
        "1.35"
    ]
    assert told("1.19.2", "1.31") == told(vpc_cni.DEFAULT, kubernetes.DEFAULT) == []
    # EKS has versions that are not in the table.
    assert told("1.21.1", "1.35") == []


def test_the_suggested_versions_are_supported() -> None:
    assert kubernetes.DEFAULT in kubernetes.VERSIONS
    assert cilium.DEFAULT in cilium.VERSIONS
    assert vpc_cni.DEFAULT in vpc_cni.VERSIONS
