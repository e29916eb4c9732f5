"""The stand-in of pulumi-kubernetes: objects and Helm releases, as if an API server took them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.engine.eks.standins.package import Props, Resource

RELEASE = "kubernetes:helm.sh/v3:Release"


class Kubernetes:
    """The package `kubernetes`."""

    version = "4.34.2"

    def configure(self, config: Mapping[str, Any]) -> None:
        pass

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
        pass

    def _outputs(self, resource: Resource, inputs: Props) -> Props:
        if resource.type != RELEASE:
            return {}
        return {"status": {"name": inputs["name"], "status": "deployed", "revision": 1}}

    def invoke(self, token: str, arguments: Props) -> Props:
        raise KeyError(token)
