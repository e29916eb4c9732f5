"""Whether the workloads' images are there, against a registry that asks for a token."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from bench.workloads import WORKLOADS
from components.eks.aws import Caution, Refusal
from components.eks.preflight import machine
from components.eks.preflight.machine import (
    Reference,
    check_images,
    digests,
    look_up_images,
    parse_reference,
)

DIGEST = "sha256:" + "a2" * 32
OTHER = "sha256:" + "b" * 64


class _Registry(BaseHTTPRequestHandler):
    """Has `group/tool:1.0` and one digest of it; anything else of `busy` is refused for a while."""

    def do_HEAD(self) -> None:
        if "image.index" not in self.headers["Accept"]:
            self._answer(406)
        elif self.headers["Authorization"] != "Bearer repository:group/tool:pull":
            realm = f"http://{self.headers['Host']}/token"
            scope = f"repository:{self.path.removeprefix('/v2/').partition('/manifests/')[0]}:pull"
            self._answer(401, f'Bearer realm="{realm}",service="test",scope="{scope}"')
        elif self.path.startswith("/v2/busy/"):
            self._answer(429)
        else:
            place, _, version = self.path.rpartition("/")
            there = place == "/v2/group/tool/manifests" and version in ("1.0", DIGEST)
            # Not every registry tells the digest.
            told = OTHER if version == "1.0" else ""
            self._answer(200, digest=told) if there else self._answer(404)

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        if asked.get("service") != ["test"]:
            self._answer(400)
            return
        # The token says what it is for.
        scope = asked["scope"][0].replace("busy", "group/tool")
        body = json.dumps({"token": scope}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, status: int, challenge: str = "", digest: str = "") -> None:
        self.send_response(status)
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        if challenge:
            self.send_header("WWW-Authenticate", challenge)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its name; it speaks plain HTTP."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Registry)
    head = machine._head
    monkeypatch.setattr(
        machine, "_head", lambda url, headers: head(url.replace("https", "http", 1), headers)
    )
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("image", "registry", "repository", "version"),
    [
        ("group/tool:1.0", "registry-1.docker.io", "group/tool", "1.0"),
        ("ghcr.io/group/tool:1.0", "ghcr.io", "group/tool", "1.0"),
        ("localhost:5000/tool", "localhost:5000", "tool", "latest"),
        (f"group/tool:1.0@{DIGEST}", "registry-1.docker.io", "group/tool", DIGEST),
    ],
)
def test_names_are_read_as_runtimes_do(
    image: str, registry: str, repository: str, version: str
) -> None:
    assert parse_reference(image) == Reference(registry, repository, version)


def test_images_that_are_there_are_no_finding(registry: str) -> None:
    wanted = [f"{registry}/group/tool:1.0", f"{registry}/group/tool:2.0@{DIGEST}"]
    answers = look_up_images([*wanted, *wanted])
    assert answers == {wanted[0]: OTHER, wanted[1]: "there"}
    assert list(check_images(answers)) == []
    assert digests(answers) == {wanted[0]: OTHER}


def test_an_image_that_is_missing_is_refused_with_its_place(registry: str) -> None:
    image = f"{registry}/group/tool:1.1"
    assert look_up_images([image]) == {image: "missing"}
    assert [
        str(each) for each in check_images({image: "missing"}) if isinstance(each, Refusal)
    ] == [
        f"images: {registry} has no {image} (any more). "
        "Fix: name another version in bench/workloads.py"
    ]


def test_a_registry_that_cannot_say_is_one_warning(registry: str) -> None:
    silent = ["127.0.0.1:1/tool:1", "127.0.0.1:1/other:1"]
    answers = look_up_images([f"{registry}/busy:1", *silent])
    warnings = [each.text for each in check_images(answers) if isinstance(each, Caution)]
    assert (
        f"not checked: whether {registry}/busy:1 can be pulled ({registry} answers 429)" in warnings
    )
    (refused,) = (line for line in warnings if "127.0.0.1:1 does not answer" in line)
    assert "whether 127.0.0.1:1/other:1, 127.0.0.1:1/tool:1 can be pulled" in refused


def test_every_workload_names_a_version() -> None:
    assert all(parse_reference(each.image).version != "latest" for each in WORKLOADS)


# -- the way to the region -------------------------------------------------------------------------


def test_the_way_to_a_server_is_the_fastest_of_a_few_connections(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("urllib.request.getproxies", dict)
    waits = iter([0.3, 0.02, 0.3])
    connect = socket.create_connection

    def late(address: tuple[str, int], timeout: float) -> socket.socket:
        time.sleep(next(waits))
        return connect(address, timeout=timeout)

    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(socket, "create_connection", late)
        told = machine.round_trip(url)
    assert told is not None
    assert 0.02 <= told < 0.3


def test_a_proxy_hides_the_way_and_silence_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    monkeypatch.setattr("urllib.request.getproxies", dict)
    assert machine.round_trip(url) == 0
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"http": "http://127.0.0.1:1"})
    monkeypatch.setattr("urllib.request.proxy_bypass", lambda host: host != "127.0.0.1")
    assert machine.round_trip(url) is None
