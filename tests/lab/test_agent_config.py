"""The agents' configuration folder: what the chart renders, key by key, and nothing older."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from cni.cilium.versions import VERSIONS, CiliumVersion
from lab.dataplane.cilium.agents import PATCHED, cilium_config, write_config_dir
from lab.errors import CommandError, LabError


def _files(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_a_file_per_key_holds_the_value_alone(tmp_path: Path) -> None:
    config = {"routing-mode": "native", "devices": "eth0", "enable-bbr": "false", "empty": ""}
    write_config_dir(tmp_path / "config/cilium", config)
    assert _files(tmp_path / "config/cilium") == config


def test_keys_of_an_earlier_rendering_are_gone(tmp_path: Path) -> None:
    write_config_dir(tmp_path, {"tunnel-protocol": "vxlan", "routing-mode": "tunnel"})
    write_config_dir(tmp_path, {"routing-mode": "native"})
    assert _files(tmp_path) == {"routing-mode": "native"}


def _helm(folder: Path, script: str) -> Path:
    """A Helm that does what a script says, after it has kept its arguments and values."""
    helm = folder / "helm"
    helm.write_text(
        "#!/bin/sh\n"
        f'for word; do echo "$word"; done > {folder}/argv\n'
        f'for word; do case "$word" in --values=*) cp "${{word#*=}}" {folder}/values;; esac; done\n'
        f"{script}\n"
    )
    helm.chmod(0o755)
    return helm


RENDERED = """\
---
# Source: cilium/templates/cilium-configmap.yaml
---
apiVersion: v1
kind: ConfigMap
metadata: {name: another}
data: {routing-mode: wrong}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: cilium-config}
data:
  routing-mode: native
  bpf-map-dynamic-size-ratio: "0.0025"
  enable-ipv4: "true"
"""


def test_the_charts_own_configmap_is_read(tmp_path: Path) -> None:
    (tmp_path / "rendered").write_text(RENDERED)
    helm = _helm(tmp_path, f"cat {tmp_path}/rendered")
    config = cilium_config(helm, tmp_path / "chart", {"bpf": {"ctTcpMax": 1}}, "1.31.4")
    assert config == {
        "routing-mode": "native",
        "bpf-map-dynamic-size-ratio": "0.0025",
        "enable-ipv4": "true",
    }
    assert yaml.safe_load((tmp_path / "values").read_text()) == {"bpf": {"ctTcpMax": 1}}
    argv = (tmp_path / "argv").read_text().splitlines()
    assert argv[:3] == ["template", "cilium", str(tmp_path / "chart")]
    # Without it Helm renders for a version of its own.
    assert "--kube-version=1.31.4" in argv


def test_what_helm_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    helm = _helm(tmp_path, "echo 'Error: bpf.x: wrong' >&2; exit 1")
    with pytest.raises(CommandError, match=r"Error: bpf\.x: wrong$"):
        cilium_config(helm, tmp_path, {}, "1.31.4")


def test_a_helm_without_an_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(argv: list[str], timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(argv, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(LabError, match="helm"):
        cilium_config(tmp_path / "helm", tmp_path, {}, "1.31.4")


@pytest.mark.parametrize("printed", ["", "metadata: {name: another}", "---"])
def test_a_chart_without_the_configmap_is_an_error(tmp_path: Path, printed: str) -> None:
    with pytest.raises(LabError, match="rendered no ConfigMap cilium-config"):
        cilium_config(_helm(tmp_path, f"echo '{printed}'"), tmp_path, {}, "1.31.4")


@pytest.mark.parametrize("version", VERSIONS.values(), ids=lambda each: each.version)
def test_results_tell_what_is_changed_in_a_versions_agent(version: CiliumVersion) -> None:
    assert set(version.patches) <= PATCHED.keys()
