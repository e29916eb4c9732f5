"""The agents' configuration as the Helm chart itself renders it.

The very values that an EKS cluster would get go through ``helm template``; the resulting
``cilium-config`` ConfigMap becomes the agents' and the operator's ``--config-dir``.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.errors import CommandError, LabError

#: Rendered keys that name places of a container image, which a process on a host has elsewhere.
PLACES = ("cgroup-root", "bpf-root", "procfs", "write-cni-conf-when-ready", "cni-log-file")


def cilium_config(
    helm: Path, chart: Path, values: Mapping[str, Any], kube_version: str
) -> dict[str, str]:
    """The ``cilium-config`` ConfigMap that the chart renders from ``values``.

    :raises CommandError: when Helm refuses the values, with its words.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "values.yaml"
        file.write_text(yaml.safe_dump(dict(values)))
        argv = [str(helm), "template", "cilium", str(chart), "--namespace=kube-system"]
        argv += [f"--kube-version={kube_version}", f"--values={file}"]
        argv += ["--show-only=templates/cilium-configmap.yaml"]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        except subprocess.TimeoutExpired as error:
            raise LabError(str(error)) from None
    if done.returncode != 0:
        raise CommandError(argv, done.returncode, done.stderr)
    for manifest in yaml.safe_load_all(done.stdout):
        if manifest and manifest["metadata"]["name"] == "cilium-config":
            return {key: str(value) for key, value in manifest["data"].items()}
    raise LabError("the Cilium chart rendered no ConfigMap cilium-config")


def write_config_dir(folder: Path, config: Mapping[str, str]) -> None:
    """One file per key, as a mounted ConfigMap has it."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for key, value in config.items():
        (folder / key).write_text(value)
