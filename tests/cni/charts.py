"""Everything that the real chart renders, for tests."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cni.kubernetes import DEFAULT, VERSIONS

KUBE_VERSION = VERSIONS[DEFAULT].version


def manifests(helm: Path, chart: Path, values: Mapping[str, object]) -> list[dict[str, Any]]:
    """The objects of a release, as `helm install` would send them."""
    argv = [str(helm), "template", "cilium", str(chart), "--namespace=kube-system"]
    argv += [f"--kube-version={KUBE_VERSION}", "--values=-"]
    done = subprocess.run(
        argv, input=yaml.safe_dump(dict(values)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # The C parser: a release is long, and Python's own takes a second for it.
    return [each for each in yaml.load_all(done.stdout, yaml.CSafeLoader) if each]


def config_of(objects: list[dict[str, Any]]) -> dict[str, str]:
    """The agents' configuration among the objects."""
    (data,) = (
        each["data"]
        for each in objects
        if (each["kind"], each["metadata"]["name"]) == ("ConfigMap", "cilium-config")
    )
    return dict(data)
