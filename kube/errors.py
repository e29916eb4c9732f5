"""What can go wrong between here and a cluster."""

from __future__ import annotations


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
