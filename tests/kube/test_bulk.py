"""Objects in bulk: order, concurrency, what is passed over, what is tried again, what ends it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import pytest
from kubernetes.client import Configuration
from tenacity import wait_none

from bench.session import SessionError
from components.objects import KeepsObjects
from kube import bulk
from kube.bulk import Send
from kube.client import CONNECTIONS, JSON, Kube, Query
from kube.objects import ApiError
from studies.experiments.capabilities import Manifest
from studies.experiments.scale.services import pair

#: What discovery says of the kinds, by group and version.
KINDS = {
    "/api/v1": [{"name": "services", "kind": "Service", "namespaced": True}],
    "/apis/discovery.k8s.io/v1": [
        {"name": "endpointslices", "kind": "EndpointSlice", "namespaced": True}
    ],
    "/apis/cilium.io/v2": [
        {"name": "ciliumnetworkpolicies", "kind": "CiliumNetworkPolicy", "namespaced": True}
    ],
}


class Server:
    """An API server that keeps objects by path; ``answers`` come first, one each."""

    def __init__(self) -> None:
        self.objects: dict[str, Manifest] = {}
        self.calls: list[tuple[str, str]] = []
        self.content_types: list[str] = []
        self.answers: list[tuple[int, Any]] = []
        self.seconds = 0.0
        self.at_once = self.most_at_once = 0

    def send(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        """One request."""
        self.calls.append((method, path))
        answer = self.answers.pop(0) if self.answers else None
        status, said = answer or self._done(method, path, json.loads(body) if body else None)
        return status, json.dumps(said).encode()

    @asynccontextmanager
    async def connections(self, _: Kube) -> AsyncIterator[Send]:
        """Connections for many."""

        async def send(method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            await asyncio.sleep(self.seconds)
            self.at_once -= 1
            return self.send(method, path, body)

        yield send

    def store(self) -> Store:
        """As a session keeps objects."""
        return Store(self)

    def _done(self, method: str, path: str, body: Manifest | None) -> tuple[int, Any]:
        path = path.partition("?")[0]
        if method == "POST":
            assert body is not None
            name = f"{path}/{body['metadata']['name']}"
            if name in self.objects:
                return 409, {"message": "already exists"}
            self.objects[name] = body
            return 201, body
        if method == "GET":
            return 200, {"items": list(self.objects.values())}
        if path not in self.objects:
            return 404, {"message": "not found"}
        return 200, self.objects.pop(path) if method == "DELETE" else body


class Client(Kube):
    """A client of that server, for single requests."""

    def __init__(self, server: Server) -> None:
        super().__init__(Configuration(host="https://nowhere.test"))
        self._server = server

    def request(
        self,
        method: str,
        path: str,
        query: Query = (),
        body: Manifest | None = None,
        content_type: str = JSON,
    ) -> str:
        if path in KINDS:
            return json.dumps({"resources": KINDS[path]})
        if query:
            path = f"{path}?{urlencode(query)}"
        self._server.content_types.append(content_type)
        status, text = self._server.send(method, path, json.dumps(body).encode() if body else None)
        if status >= 400:
            raise ApiError(method, path, status, text.decode())
        return text.decode()


class Store(KeepsObjects):
    """What a session makes of it."""

    def __init__(self, server: Server) -> None:
        self._client = Client(server)

    @property
    def _objects_in(self) -> tuple[Kube, str]:
        return self._client, "here"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setitem(bulk._PATIENCE, "wait", wait_none())
    served = Server()
    monkeypatch.setattr(bulk, "connections", served.connections)
    return served


def _services(count: int) -> list[Manifest]:
    return [each for i in range(count) for each in pair(f"s-{i}", 80, 8080, ["10.0.0.1"], {})]


def _quiet(line: str) -> None:
    """Nobody listens."""


def test_objects_are_created_and_deleted_at_their_paths(server: Server) -> None:
    store = server.store()
    store.create_objects(_services(2), _quiet)
    assert sorted(server.objects) == [
        "/api/v1/namespaces/here/services/s-0",
        "/api/v1/namespaces/here/services/s-1",
        "/apis/discovery.k8s.io/v1/namespaces/here/endpointslices/s-0-cni-benchmark",
        "/apis/discovery.k8s.io/v1/namespaces/here/endpointslices/s-1-cni-benchmark",
    ]
    store.delete_objects(_services(2), _quiet)
    assert not server.objects


def test_kinds_of_policies_have_their_plurals(server: Server) -> None:
    policy = {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "x"},
    }
    server.store().create_objects([policy], _quiet)
    path = server.calls[0][1].partition("?")[0]
    assert path == "/apis/cilium.io/v2/namespaces/here/ciliumnetworkpolicies"


def test_what_is_there_already_and_what_is_gone_already_is_fine(server: Server) -> None:
    store = server.store()
    store.create_objects(_services(1), _quiet)
    store.create_objects(_services(2), _quiet)
    assert len(server.objects) == 4
    store.delete_objects(_services(3), _quiet)
    assert not server.objects


def test_many_are_under_way_at_a_time(server: Server) -> None:
    server.seconds = 0.002
    server.store().create_objects(_services(100), _quiet)
    assert CONNECTIONS / 2 < server.most_at_once <= CONNECTIONS


@pytest.mark.parametrize("status", [0, 429, 500, 503])
def test_not_now_is_tried_again(server: Server, status: int) -> None:
    server.answers = [(status, "not now")] * 3
    server.store().create_objects(_services(1), _quiet)
    assert len(server.objects) == 2


def test_a_server_that_stays_away_is_an_error(server: Server) -> None:
    server.answers = [(0, "connection refused")] * 1_000
    with pytest.raises(SessionError, match=r"services\S*: no answer: .*connection refused"):
        server.store().create_objects(_services(1), _quiet)


def test_a_refusal_ends_it_with_the_servers_words(server: Server) -> None:
    server.answers = [(507, {"message": "no addresses left"})]
    server.seconds = 0.001
    with pytest.raises(SessionError, match=r"POST .*/services\S*: 507: no addresses left"):
        server.store().create_objects(_services(1_000), _quiet)
    # The first refusal ends it: what is not under way yet is not begun.
    assert len(server.calls) < 500


def test_an_interruption_ends_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_SAY_SECONDS", 0.0)
    server.seconds = 0.001

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        server.store().create_objects(_services(1_000), interrupt)
    assert 0 < len(server.calls) < 500


def test_progress_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_SAY_SECONDS", 0.0)
    said: list[str] = []
    server.store().create_objects(_services(5), said.append)
    assert said[-1].startswith("10 of 10 objects created, ")


def test_a_change_is_a_merge_patch_of_that_object(server: Server) -> None:
    service = pair("s", 80, 8080, ["10.0.0.1"], {})[1]
    store = server.store()
    store.create_objects([service], _quiet)
    store.merge_object(service)
    method, path = server.calls[-1]
    assert (method, server.content_types[-1]) == ("PATCH", "application/merge-patch+json")
    assert path.endswith("/endpointslices/s-cni-benchmark")
    with pytest.raises(SessionError, match="404"):
        store.merge_object(pair("t", 80, 8080, [], {})[0])


def test_objects_are_listed_in_all_namespaces_by_their_label(server: Server) -> None:
    store = server.store()
    store.create_objects(_services(1), _quiet)
    assert len(store.list_objects("v1", "Service", "a=b")) == 2
    assert server.calls[-1] == ("GET", "/api/v1/services?labelSelector=a%3Db")
