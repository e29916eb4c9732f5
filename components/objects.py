"""Kubernetes objects of an experiment's own, kept through a target's API server."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.session import SessionError
from kube import bulk
from kube.client import Kube
from kube.objects import Kind, KubernetesError
from studies.experiments.capabilities import Manifest, Progress


class KeepsObjects(ABC):
    """A session's :class:`studies.experiments.capabilities.ObjectStore`."""

    @property
    @abstractmethod
    def _objects_in(self) -> tuple[Kube, str]:
        """The API server, and the namespace in which objects are created and changed."""

    def create_objects(self, wanted: Sequence[Manifest], say: Progress, /) -> None:
        kube, namespace = self._objects_in
        with _as_session_error():
            bulk.create(kube, wanted, namespace, say)

    def delete_objects(self, unwanted: Sequence[Manifest], say: Progress, /) -> None:
        kube, namespace = self._objects_in
        with _as_session_error():
            bulk.delete(kube, unwanted, namespace, say)

    def merge_object(self, manifest: Manifest) -> None:
        kube, namespace = self._objects_in
        with _as_session_error():
            kube.merge(Kind.of(manifest), manifest["metadata"]["name"], manifest, namespace)

    def list_objects(self, api_version: str, kind: str, selector: str = "") -> list[Manifest]:
        with _as_session_error():
            return list(self._objects_in[0].items(Kind(api_version, kind), labels=selector))


@contextmanager
def _as_session_error() -> Iterator[None]:
    try:
        yield
    except KubernetesError as error:
        raise SessionError(str(error)) from error
