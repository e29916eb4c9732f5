"""A served cluster, and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.kubernetes import api, exec, kubeconfig
from components.kubernetes.api import Api
from tests.components.kubernetes.kube_api import KubeApi


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many attempts as always, with shorter waits between them."""
    for module in (api, exec):
        monkeypatch.setattr(module, "_FIRST_WAIT_SECONDS", 0.005)


@pytest.fixture
def server() -> Iterator[KubeApi]:
    """An API server with nothing in it."""
    with KubeApi().serving() as api:
        yield api


Connect = Callable[[KubeApi], Api]


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    """Logs in to a served cluster by a kubeconfig."""
    return lambda api: kubeconfig.connect(str(api.kubeconfig(tmp_path / "config")), None)


@pytest.fixture
def client(server: KubeApi, connect: Connect) -> Api:
    """A client of :func:`server`."""
    return connect(server)
