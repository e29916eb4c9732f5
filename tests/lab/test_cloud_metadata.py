"""The metadata service as an instance asks it, over HTTP on the loopback."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import ThreadingHTTPServer
from threading import Thread

import pytest

from lab.cloud.metadata import Handler, read, tree
from lab.cloud.vpc import Instance, Interface

INSTANCE = Instance(
    id="i-0a",
    node="node-1",
    type="m6i.xlarge",
    zone="ap-northeast-2a",
    address="127.0.0.1",
    mac="02:00:ac:1e:00:0b",
    eni="eni-0b",
    vpc="vpc-0c",
    subnet="subnet-0d",
)
FIRST = Interface(
    eni="eni-0b",
    node="node-1",
    index=0,
    mac="02:00:ac:1e:00:0b",
    primary="172.30.0.11",
    addresses=("172.30.11.16", "172.30.11.17"),
    prefixes=("172.30.11.0/28",),
    vpc="vpc-0c",
    subnet="subnet-0d",
    groups=("sg-0e",),
)
OTHERS = Interface(
    eni="eni-0f", node="node-2", index=0, mac="02:00:ac:1e:00:0c", primary="172.30.0.12"
)
TREE = tree(INSTANCE, [FIRST, OTHERS], "ap-northeast-2", "123456789012")
TTL = {"X-aws-ec2-metadata-token-ttl-seconds": "300"}


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    class Mine(Handler):
        tree_of = staticmethod({"127.0.0.1": TREE}.__getitem__)

    served = ThreadingHTTPServer(("127.0.0.1", 0), Mine)
    thread = Thread(target=served.serve_forever)
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


def _ask(
    server: ThreadingHTTPServer, path: str, headers: dict[str, str], method: str = "GET"
) -> tuple[int, str, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body, answer.headers


def _token(server: ThreadingHTTPServer) -> dict[str, str]:
    status, token, headers = _ask(server, "/latest/api/token", TTL, "PUT")
    assert status == 200
    # The AWS SDK refuses a token without its life in the answer.
    assert headers["X-aws-ec2-metadata-token-ttl-seconds"] == "300"
    return {"X-aws-ec2-metadata-token": token}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("instance-id", "i-0a"),
        ("instance-type", "m6i.xlarge"),
        ("mac", "02:00:ac:1e:00:0b"),
        ("placement/availability-zone", "ap-northeast-2a"),
        ("network/interfaces/macs/02:00:ac:1e:00:0b/vpc-id", "vpc-0c"),
        ("network/interfaces/macs/02:00:ac:1e:00:0b/subnet-id", "subnet-0d"),
        ("network/interfaces/macs/02:00:ac:1e:00:0b/device-number", "0"),
        ("network/interfaces/macs/02:00:ac:1e:00:0b/ipv4-prefix", "172.30.11.0/28"),
        (
            "network/interfaces/macs/02:00:ac:1e:00:0b/local-ipv4s",
            "172.30.0.11\n172.30.11.16\n172.30.11.17",
        ),
        ("network/interfaces/macs/02:00:ac:1e:00:0b/subnet-ipv4-cidr-block", "172.30.0.0/20"),
        ("network/interfaces/macs/02:00:ac:1e:00:0b/vpc-ipv4-cidr-blocks", "172.30.0.0/16"),
        # Folders, with their slashes; the other node's interfaces are not this one's to know.
        ("network/interfaces/macs/", "02:00:ac:1e:00:0b/"),
        ("placement/", "availability-zone\nregion"),
    ],
)
def test_an_instance_reads_about_itself(server: ThreadingHTTPServer, path: str, value: str) -> None:
    status, body, _ = _ask(server, f"/latest/meta-data/{path}", _token(server))
    assert (status, body) == (200, value)


def test_the_identity_document_names_the_region(server: ThreadingHTTPServer) -> None:
    path = "/latest/dynamic/instance-identity/document"
    _, body, _ = _ask(server, path, _token(server))
    document = json.loads(body)
    assert document["region"] == "ap-northeast-2"
    assert document["accountId"] == "123456789012"
    assert document["instanceId"] == "i-0a"


def test_without_a_token_nothing_is_told(server: ThreadingHTTPServer) -> None:
    for headers in ({}, {"X-aws-ec2-metadata-token": "guessed"}):
        assert _ask(server, "/latest/meta-data/instance-id", headers)[:2] == (401, "")
    assert _ask(server, "/latest/api/token", {}, "PUT")[0] == 400


def test_what_there_is_not_is_not_found(server: ThreadingHTTPServer) -> None:
    assert _ask(server, "/latest/meta-data/none", _token(server))[0] == 404


def test_an_interface_without_prefixes_has_no_such_entry() -> None:
    without = tree(INSTANCE, [replace(FIRST, prefixes=())], "r", "a")
    path = "/latest/meta-data/network/interfaces/macs/02:00:ac:1e:00:0b"
    assert read(without, f"{path}/ipv4-prefix") is None
    assert "ipv4-prefix" not in (read(without, path) or "").split()
    assert "local-ipv4s" in (read(without, path) or "").split()


def test_a_stranger_is_told_nothing() -> None:
    assert read({}, "/latest/meta-data/instance-id") is None
    assert read({}, "/") is None
