"""Addresses that the VPC CNI's stand-in gives: none twice, and the same again to the same pod."""

from __future__ import annotations

import importlib.util
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lab.dataplane.vpc_cni.daemons import RESPONDER

SUBNET = IPv4Network("172.30.11.0/24")
TINY = IPv4Network("172.30.11.0/29")


class _AbortError(Exception):
    """The context has ended the call, as gRPC's does."""


class _Context:
    def abort(self, code: object, details: str) -> None:
        """As :meth:`grpc.ServicerContext.abort`."""
        raise _AbortError(str(code), details)


@pytest.fixture(scope="module")
def responder() -> ModuleType:
    """The module, with plain objects in place of the generated messages."""
    return _loaded("AddNetworkReply", "DelNetworkReply")


def _loaded(*names: str) -> ModuleType:
    messages = ModuleType("rpc_pb2")
    for name in names:
        setattr(messages, name, lambda **fields: SimpleNamespace(**fields))
    services = ModuleType("rpc_pb2_grpc")
    services.CNIBackendServicer = object  # type: ignore[attr-defined]
    spec = importlib.util.spec_from_file_location("responder", RESPONDER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "rpc_pb2", messages)
        patch.setitem(sys.modules, "rpc_pb2_grpc", services)
        spec.loader.exec_module(module)
    return module


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "node-1.json"


def test_pods_get_different_addresses_of_the_nodes_subnet(
    responder: ModuleType, file: Path
) -> None:
    allocations = responder.Allocations(SUBNET, file)
    given = [IPv4Address(allocations.add(f"default/pod-{number}")) for number in range(100)]
    assert len(set(given)) == 100
    assert all(address in SUBNET for address in given)
    # Network, gateway and broadcast belong to nobody.
    assert not {SUBNET[0], SUBNET[1], SUBNET[-1]} & set(given)


def test_the_same_pod_gets_the_same_address(responder: ModuleType, file: Path) -> None:
    allocations = responder.Allocations(SUBNET, file)
    first = allocations.add("default/web")
    assert allocations.add("other/web") != first
    assert allocations.add("default/web") == first


def test_a_restart_hands_out_no_live_address(responder: ModuleType, file: Path) -> None:
    before = responder.Allocations(SUBNET, file)
    web, dns = before.add("default/web"), before.add("kube-system/dns")
    after = responder.Allocations(SUBNET, file)
    assert after.add("default/web") == web
    assert after.add("default/new") not in (web, dns)
    after.remove("kube-system/dns")
    assert "kube-system/dns" not in json.loads(file.read_text())


def test_an_allocation_is_on_disk_before_it_is_answered(responder: ModuleType, file: Path) -> None:
    address = responder.Allocations(SUBNET, file).add("default/web")
    assert json.loads(file.read_text()) == {"default/web": address}
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_a_crash_while_writing_leaves_the_last_state(
    responder: ModuleType, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocations = responder.Allocations(SUBNET, file)
    first = allocations.add("default/web")

    def crash(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(OSError, match="no space"):
        allocations.add("default/other")
    assert json.loads(file.read_text()) == {"default/web": first}


def test_none_is_left_when_all_are_taken_and_a_freed_one_is_given_again(
    responder: ModuleType, file: Path
) -> None:
    allocations = responder.Allocations(TINY, file)
    given = [allocations.add(f"default/pod-{number}") for number in range(5)]
    assert sorted(given) == [str(TINY[number]) for number in range(2, 7)]
    assert allocations.add("default/one-more") is None
    assert allocations.add("default/pod-3") == given[3]
    assert allocations.remove("default/pod-2") == given[2]
    assert allocations.add("default/one-more") == given[2]
    assert "default/pod-2" not in json.loads(file.read_text())


def test_pods_asking_at_once_get_an_address_each(responder: ModuleType, file: Path) -> None:
    allocations = responder.Allocations(SUBNET, file)
    names = [f"default/pod-{number}" for number in range(64)]
    with ThreadPoolExecutor(max_workers=16) as pool:
        given = list(pool.map(allocations.add, names))
    assert len(set(given)) == 64
    assert json.loads(file.read_text()) == dict(zip(names, given, strict=True))


# -- as the plugin asks -----------------------------------------------------------------------


def _request(name: str) -> Any:
    return SimpleNamespace(K8S_POD_NAMESPACE="default", K8S_POD_NAME=name)


def test_the_plugin_is_answered_as_by_its_daemon(responder: ModuleType, file: Path) -> None:
    backend = responder.Backend(responder.Allocations(TINY, file), "172.30.0.0/16")
    reply = backend.AddNetwork(_request("web"), _Context())
    assert reply.Success is True
    assert reply.IPv4Addr == "172.30.11.2"  # Bare: the plugin adds the length itself.
    assert reply.DeviceNumber == 0
    # A mode would have the plugin ask an agent of policies, which is not there.
    assert not hasattr(reply, "NetworkPolicyMode")
    assert reply.VPCv4CIDRs == ["172.30.0.0/16"]
    gone = backend.DelNetwork(_request("web"), _Context())
    assert (gone.Success, gone.IPv4Addr) == (True, "172.30.11.2")


def test_from_1_20_on_addresses_are_a_list(file: Path) -> None:
    responder = _loaded("AddNetworkReply", "DelNetworkReply", "IPAllocationMetadata")
    backend = responder.Backend(responder.Allocations(TINY, file), "172.30.0.0/16")
    given = backend.AddNetwork(_request("web"), _Context())
    (one,) = given.IPAllocationMetadata
    # The first interface's pods are routed by the node's main table.
    assert (one.IPv4Addr, one.DeviceNumber, one.RouteTableId) == ("172.30.11.2", 0, 254)
    assert backend.DelNetwork(_request("web"), _Context()).IPAllocationMetadata == [one]


def test_a_pod_that_is_not_known_is_told_in_the_daemons_words(
    responder: ModuleType, file: Path
) -> None:
    backend = responder.Backend(responder.Allocations(TINY, file), "172.30.0.0/16")
    with pytest.raises(_AbortError, match="datastore: unknown pod"):
        backend.DelNetwork(_request("web"), _Context())


def test_without_an_address_the_plugin_is_told_that_it_failed(
    responder: ModuleType, file: Path
) -> None:
    backend = responder.Backend(responder.Allocations(TINY, file), "172.30.0.0/16")
    for number in range(5):
        backend.AddNetwork(_request(f"pod-{number}"), _Context())
    reply = backend.AddNetwork(_request("one-more"), _Context())
    assert reply.Success is False
    assert not hasattr(reply, "IPv4Addr")
