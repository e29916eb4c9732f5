"""Kubernetes objects as plain data, in the API's own field names, and the client's errors."""

from collections.abc import Mapping
from typing import Any, NamedTuple

Json = dict[str, Any]
"""What the API server answers."""
Manifest = Mapping[str, Any]
"""What it is sent."""


class Kind(NamedTuple):
    """A kind of objects, as a manifest names it: ``apps/v1`` and ``Deployment``."""

    api_version: str
    name: str

    @classmethod
    def of(cls, manifest: Manifest) -> "Kind":
        """The kind of a manifest."""
        return cls(str(manifest["apiVersion"]), str(manifest["kind"]))

    @property
    def group_path(self) -> str:
        """Where the API server serves the kind's group and version."""
        return f"/{'apis' if '/' in self.api_version else 'api'}/{self.api_version}"


CONFIG_MAP = Kind("v1", "ConfigMap")
EVENT = Kind("v1", "Event")
NAMESPACE = Kind("v1", "Namespace")
NODE = Kind("v1", "Node")
POD = Kind("v1", "Pod")
SERVICE = Kind("v1", "Service")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount")
DAEMON_SET = Kind("apps/v1", "DaemonSet")
DEPLOYMENT = Kind("apps/v1", "Deployment")
JOB = Kind("batch/v1", "Job")
ENDPOINT_SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice")
CUSTOM_RESOURCE = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")


def condition(item: Json, name: str) -> Json:
    """A condition of an object's status; empty where the object does not report it."""
    conditions = item.get("status", {}).get("conditions") or ()
    return next((each for each in conditions if each["type"] == name), {})


def is_true(item: Json, name: str) -> bool:
    """Whether an object reports a condition as true."""
    return condition(item, name).get("status") == "True"


def is_ready(item: Json) -> bool:
    """Whether a node or a pod reports that it is ready."""
    return is_true(item, "Ready")


# -- errors --------------------------------------------------------------------------------------


class KubernetesError(Exception):
    """A cluster cannot be reached, refuses a request, or is not as it should be."""


class ApiError(KubernetesError):
    """The API server refused a request, or did not answer (``status`` 0)."""

    def __init__(self, method: str, path: str, status: int, message: str) -> None:
        super().__init__(f"{method} {path}: {status or 'no answer'}: {message}")
        self.status = status


class UnreachableError(ApiError):
    """No connection was made, so the API server has received nothing."""

    def __init__(self, method: str, path: str, message: str) -> None:
        super().__init__(method, path, 0, message)


class NotStartedError(KubernetesError):
    """A command in a pod could not be started; nothing of it runs."""


class TornError(KubernetesError):
    """The end of a command in a pod is unknown: its connection broke or its time was over.

    The command may still run there: a container runtime does not end a command whose client is gone
    (containerd 1.7, ``pkg/cri/sbserver/streaming.go``: it runs in a context of its own).
    """
