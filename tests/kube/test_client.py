"""Requests that last, errors that tell, and kinds as the server spells them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kube import bulk
from kube import exec as pod_exec
from kube.client import Kube, settings_of
from kube.exec import Container
from kube.objects import NODE, SERVICE, ApiError, Kind, KubernetesError, NotStartedError
from tests.components.kubernetes import kube_objects
from tests.components.kubernetes.kube_api import KubeApi


@pytest.mark.parametrize("name", ["config", "a name\nof two lines"])
@pytest.mark.parametrize("text", ["a: [\n", "- 1\n", "kind: Config\n", None])
def test_a_file_that_is_no_kubeconfig_is_told_in_one_line(
    tmp_path: Path, name: str, text: str | None
) -> None:
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    with pytest.raises(KubernetesError, match=r"^kubeconfig ") as raised:
        settings_of(str(file))
    assert len(str(raised.value).splitlines()) == 1


def test_no_kubeconfig(tmp_path: Path) -> None:
    with pytest.raises(KubernetesError, match=f"kubeconfig {tmp_path}/none"):
        settings_of(str(tmp_path / "none"))


def test_a_context_that_is_not_in_it(server: KubeApi, tmp_path: Path) -> None:
    file = server.kubeconfig(tmp_path / "config")
    with pytest.raises(KubernetesError, match="other"):
        settings_of(str(file), "other")


# -- requests -------------------------------------------------------------------------------------


def test_reading_goes_on_when_the_server_comes_back(server: KubeApi, client: Kube) -> None:
    server.trouble = [503, 429, 500]
    assert client.version() == "v1.31.4"
    assert len(server.requests) == 4


def test_reading_gives_up(server: KubeApi, client: Kube) -> None:
    server.trouble = [503] * 9
    with pytest.raises(ApiError, match="GET /version: 503: not now"):
        client.version()
    assert len(server.requests) == 4


def test_a_refusal_is_not_repeated(server: KubeApi, client: Kube) -> None:
    client.items(NODE)
    server.trouble, asked = [403], len(server.requests)
    with pytest.raises(ApiError, match="GET /api/v1/nodes: 403: not now"):
        client.items(NODE)
    assert len(server.requests) == asked + 1


def test_objects_come_in_pages_of_one_moment(server: KubeApi, client: Kube) -> None:
    server.put(*(kube_objects.node(f"n{number}") for number in range(5)))
    pages = list(client.pages(NODE, 2))
    assert [len(page["items"]) for page in pages] == [2, 2, 1]
    names = [each["metadata"]["name"] for page in pages for each in page["items"]]
    assert names == [f"n{number}" for number in range(5)]


def test_a_kind_without_objects_is_one_empty_page(client: Kube) -> None:
    assert [page["items"] for page in client.pages(NODE)] == [[]]


def test_changes_are_the_events_of_a_watch(server: KubeApi, client: Kube) -> None:
    event = {"type": "ADDED", "object": kube_objects.node("n1")}
    server.legs = [[event, event], []]
    assert client.changes(NODE, "7", 3) == [event, event]
    assert client.changes(NODE, "8", 3) == []
    watch, _ = [path for _, path in server.requests if "watch" in path]
    assert "resourceVersion=7&timeoutSeconds=3" in watch


def test_a_version_that_the_server_has_forgotten(server: KubeApi, client: Kube) -> None:
    status = {"kind": "Status", "code": 410, "message": "too old resource version"}
    server.legs = [[{"type": "ERROR", "object": status}]]
    with pytest.raises(ApiError, match="410: too old") as refused:
        client.changes(NODE, "7", 3)
    assert refused.value.status == 410


def test_what_is_not_there_is_none(server: KubeApi, client: Kube) -> None:
    assert client.find(SERVICE, "kube-dns", "kube-system") is None
    server.trouble = [403]
    with pytest.raises(ApiError):
        client.find(SERVICE, "kube-dns", "kube-system")


def test_a_server_with_another_certificate_is_not_believed(server: KubeApi, tmp_path: Path) -> None:
    with KubeApi().serving() as other:
        file = other.kubeconfig(tmp_path / "config")
        file.write_text(file.read_text().replace(other.url, server.url))
        api = Kube(settings_of(str(file)))
        with pytest.raises(ApiError, match="certificate verify failed"):
            api.version()
        with pytest.raises(NotStartedError, match="certificate verify failed"):
            pod_exec.run(api, Container("x", "y", "z"), ["true"], timeout=5)
    assert server.requests == []


# -- kinds ----------------------------------------------------------------------------------------


def test_a_server_is_asked_for_its_kinds_once_in_each_group(server: KubeApi, client: Kube) -> None:
    assert server.requests == []
    for kind in (NODE, SERVICE, NODE, Kind("apps/v1", "DaemonSet")):
        client.items(kind)
    paths = [path for _, path in server.requests]
    assert [path for path in paths if path in ("/api/v1", "/apis/apps/v1")] == [
        "/api/v1",
        "/apis/apps/v1",
    ]
    assert client.path(SERVICE, "a", "b") == "/api/v1/namespaces/a/services/b"
    assert client.path(NODE, "a", "b") == "/api/v1/nodes/b"  # nodes are in no namespace


def test_a_kind_that_comes_later_is_asked_for_again(server: KubeApi, client: Kube) -> None:
    """As a CRD's is, which is created beside others of its group."""
    later = Kind("v1", "Later")
    client.items(NODE)
    for _ in range(2):
        with pytest.raises(ApiError, match="GET /api/v1: 404: the server has no kind Later"):
            client.items(later)
    assert [path for _, path in server.requests].count("/api/v1") == 3
    assert client.find(later, "x") is None
    with pytest.raises(ApiError, match="404"):
        client.items(Kind("example.com/v1", "Other"))


# -- networks -------------------------------------------------------------------------------------


def test_every_connection_is_made_in_the_clients_network(server: KubeApi, tmp_path: Path) -> None:
    """A lab's server is in a network namespace, which a thread enters to make a socket."""
    entered: list[str] = []

    @contextmanager
    def network() -> Iterator[None]:
        entered.append("in")
        yield

    server.tokens = {"a-token"}
    client = Kube(settings_of(str(server.kubeconfig(tmp_path / "config"))), network=network)
    client.version()
    client.version()
    assert entered == ["in"]  # the connection is kept
    pod = kube_objects.pod("p", "here", "node-1", {}, {"main": "image"})
    bulk.create(client, [{"apiVersion": "v1", **pod}], "here", lambda line: None)
    assert server.object("Pod", "p")["status"]["phase"] == "Running"
    in_bulk = len(entered)
    assert in_bulk > 1
    pod_exec.run(client, Container("here", "p", "main"), ["true"], timeout=5)
    assert len(entered) == in_bulk + 1
