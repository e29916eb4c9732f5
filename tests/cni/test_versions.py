"""The tables of supported versions, against the sources that they name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from shutil import copyfile
from typing import cast

import pytest
from pydantic import ValidationError

from cni import kubernetes
from cni.cilium import values
from cni.cilium import versions as cilium
from cni.cilium.values import chart_keys
from cni.decisions import decide
from cni.platform import ClusterEndpoint, Kernel, PlatformFacts, version_numbers
from cni.registry import DATAPLANES
from cni.vpc_cni import versions as vpc_cni
from lab.dataplane.cilium.agents import cilium_config
from tests.cni.charts import KUBE_VERSION
from tests.cni.stackfiles import ChartOf, Load

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "cni" / "cilium"


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


def test_a_version_is_added_by_the_documented_steps(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    load: Load,
    m6i: PlatformFacts,
    endpoint: ClusterEndpoint,
    helm: Path,
    chart_of: ChartOf,
) -> None:
    """docs/versions.md, as if 1.19.0 were new: the scenario is refused, then renders."""
    new, base = "1.19.0", "1.19.7"
    chart, versions = chart_of(new), cast("dict[str, cilium.CiliumVersion]", cilium.VERSIONS)
    entry = versions[new]
    monkeypatch.delitem(versions, new)
    with pytest.raises(ValidationError, match=f"made for cilium .*{cilium.DEFAULT} only"):
        load("scenario-e", cniVersion=new)
    for each in versions:
        copyfile(SOURCES / f"chart-{each}.json", tmp_path / f"chart-{each}.json")
    monkeypatch.setattr(values, "__file__", str(tmp_path / "values.py"))
    values.chart_keys.cache_clear()
    try:
        argv = [sys.executable, "-m", "cni.cilium.values", str(chart), base]
        made = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        (tmp_path / f"chart-{new}.json").write_text(made)
        monkeypatch.setitem(versions, new, entry)
        scenario = load("scenario-e", cniVersion=new)
        rendered = scenario.dataplane.values(scenario, decide(scenario, m6i), endpoint)
        assert scenario.dataplane.unknown_values(new, rendered) == []
        assert scenario.dataplane.unknown_values(new, {"bpf": {"masqerade": True}}) != []
        config = cilium_config(helm, chart, rendered, KUBE_VERSION)
        assert config["enable-bpf-masquerade"] == "true"
    finally:
        values.chart_keys.cache_clear()
    assert made == (SOURCES / f"chart-{new}.json").read_text()


def test_the_suggested_versions_are_supported() -> None:
    assert kubernetes.DEFAULT in kubernetes.VERSIONS
    assert cilium.DEFAULT in cilium.VERSIONS
    assert vpc_cni.DEFAULT in vpc_cni.VERSIONS
