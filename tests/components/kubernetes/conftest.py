"""A served cluster, and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kube import client as kube_client
from kube import exec as pod_exec
from kube.client import Kube, settings_of
from tests.components.kubernetes.kube_api import KubeApi


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many attempts as always, with shorter waits between them."""
    for module in (kube_client, pod_exec):
        monkeypatch.setattr(module, "_FIRST_WAIT_SECONDS", 0.005)


@pytest.fixture
def server() -> Iterator[KubeApi]:
    """An API server with nothing in it."""
    with KubeApi().serving() as api:
        yield api


Connect = Callable[[KubeApi], Kube]


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    """Logs in to a served cluster by a kubeconfig."""
    return lambda api: Kube(settings_of(str(api.kubeconfig(tmp_path / "config"))))


@pytest.fixture
def client(server: KubeApi, connect: Connect) -> Kube:
    """A client of :func:`server`."""
    return connect(server)
