"""Answers the ``aws-cni`` plugin in its daemon's place: one address of the node's pod subnet a pod.

Run in a node's network namespace: ``responder.py ADDRESS POD_CIDR VPC_CIDR STATE_FILE``, with the
stubs of ``rpc/rpc.proto`` on the path. Allocations are written before they are answered, since an
address handed out twice would make the plugin take over a live pod's route in silence.
"""

from __future__ import annotations

import ipaddress
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import rpc_pb2
import rpc_pb2_grpc

_MAIN_TABLE = 254
"""Of the node's routes (RT_TABLE_MAIN)."""


class Allocations:
    """Addresses by pod (``namespace/name``), kept in a file."""

    def __init__(self, subnet: ipaddress.IPv4Network, file: Path) -> None:
        self._free = [str(host) for host in subnet.hosts()][1:]
        self._file = file
        self._lock = threading.Lock()
        self._taken: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}

    def add(self, pod: str) -> str | None:
        """The pod's address, the same one when it is asked for again; None when none is left."""
        with self._lock:
            if pod not in self._taken:
                taken = set(self._taken.values())
                free = next((address for address in self._free if address not in taken), None)
                if free is None:
                    return None
                self._taken[pod] = free
                self._save()
            return self._taken[pod]

    def remove(self, pod: str) -> str | None:
        with self._lock:
            address = self._taken.pop(pod, None)
            if address is not None:
                self._save()
            return address

    def _save(self) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(self._taken))
        draft.replace(self._file)


class Backend(rpc_pb2_grpc.CNIBackendServicer):  # type: ignore[misc]
    """The service ``CNIBackend`` of amazon-vpc-cni-k8s, without ENIs."""

    def __init__(self, allocations: Allocations, vpc: str) -> None:
        self._allocations = allocations
        self._vpc = vpc

    def AddNetwork(self, request: Any, context: Any) -> Any:  # noqa: N802 -- the service's name
        address = self._allocations.add(_pod(request))
        given = _given(address) if address is not None else {}
        return rpc_pb2.AddNetworkReply(Success=address is not None, VPCv4CIDRs=[self._vpc], **given)

    def DelNetwork(self, request: Any, context: Any) -> Any:  # noqa: N802 -- the service's name
        address = self._allocations.remove(_pod(request))
        if address is None:
            # The daemon's own words: the plugin tells by them that the pod is gone already.
            context.abort(grpc.StatusCode.UNKNOWN, "datastore: unknown pod")
        return rpc_pb2.DelNetworkReply(Success=True, **_given(address))


def _given(address: str | None) -> dict[str, Any]:
    """An address of the first interface, as the replies of this version have it."""
    if not hasattr(rpc_pb2, "IPAllocationMetadata"):  # before 1.20
        return {"IPv4Addr": address, "DeviceNumber": 0}
    one = rpc_pb2.IPAllocationMetadata(IPv4Addr=address, DeviceNumber=0, RouteTableId=_MAIN_TABLE)
    return {"IPAllocationMetadata": [one]}


def _pod(request: Any) -> str:
    return f"{request.K8S_POD_NAMESPACE}/{request.K8S_POD_NAME}"


def main() -> None:
    address, subnet, vpc, file = sys.argv[1:]
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    allocations = Allocations(ipaddress.IPv4Network(subnet), Path(file))
    rpc_pb2_grpc.add_CNIBackendServicer_to_server(Backend(allocations, vpc), server)
    server.add_insecure_port(address)
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
