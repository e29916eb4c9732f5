"""The stand-in of pulumi-kubernetes: objects and Helm releases, as if an API server took them.

Source: pulumi-kubernetes 4.34, provider/pkg/provider (`provider.go`, `helm_release.go`); what it
does where the API server answers is held to the real provider by `make test-all`
(`tests/engine/provider`).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from tests.engine.eks.standins.journal import StepFailedError
from tests.engine.eks.standins.package import Props, Resource
from tests.engine.eks.standins.structs import UNKNOWN

RELEASE = "kubernetes:helm.sh/v3:Release"


class Kubernetes:
    """The package `kubernetes`."""

    version = "4.34.2"

    def __init__(self) -> None:
        self._server = ""
        self._lenient = False

    def configure(self, config: Mapping[str, Any]) -> None:
        kubeconfig = config.get("kubeconfig", UNKNOWN)
        if kubeconfig != UNKNOWN:
            # The provider takes its text or its path.
            text = kubeconfig if "clusters" in kubeconfig else Path(kubeconfig).read_text()
            self._server = yaml.safe_load(text)["clusters"][0]["cluster"]["server"]
        self._lenient = str(config.get("deleteUnreachable")).lower() == "true"

    def _reachable(self) -> bool:
        place = urlsplit(self._server)
        with socket.socket() as probe:
            probe.settimeout(5)
            return probe.connect_ex((place.hostname, place.port or 443)) == 0

    def check(self, resource: Resource, inputs: Props, olds: Props) -> Props:
        name = f"{resource.name}-{resource.token(8)}"
        if resource.type == RELEASE:
            return {"name": olds.get("name") or name} | inputs
        metadata = inputs.get("metadata") or {}
        known = (olds.get("metadata") or {}).get("name") or name
        return inputs | {"metadata": {"name": known} | metadata}

    def replaces(self, resource: Resource) -> frozenset[str]:
        return frozenset({"name", "namespace"} if resource.type == RELEASE else {"metadata"})

    def create(self, resource: Resource, inputs: Props) -> tuple[str, Props]:
        named = inputs if resource.type == RELEASE else inputs["metadata"]
        namespace = named.get("namespace")
        id_ = f"{namespace}/{named['name']}" if namespace else str(named["name"])
        return id_, self._outputs(resource, inputs)

    def update(self, resource: Resource, inputs: Props, olds: Props) -> Props:
        return self._outputs(resource, inputs)

    def delete(self, resource: Resource, inputs: Props) -> None:
        """As the provider answers without a cluster (provider.go, `Delete`: a release is handed on
        before `deleteUnreachable` is looked at, and refused in helm_release.go)."""
        if self._reachable():
            return
        if resource.type == RELEASE:
            raise StepFailedError("can't delete Helm Release with unreachable cluster")
        if not self._lenient:
            raise StepFailedError("configured Kubernetes cluster is unreachable")

    def present(self, resource: Resource) -> bool:
        """As the provider reads without a cluster (provider.go, `Read`)."""
        if self._reachable():
            return True
        if self._lenient:
            return False
        raise StepFailedError("failed to read resource state due to unreachable cluster")

    def _outputs(self, resource: Resource, inputs: Props) -> Props:
        if resource.type != RELEASE:
            return {}
        return {"status": {"name": inputs["name"], "status": "deployed", "revision": 1}}

    def invoke(self, token: str, arguments: Props) -> Props:
        raise KeyError(token)
