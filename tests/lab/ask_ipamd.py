"""Asks a node's VPC CNI daemon for addresses as its plugin does; run in the node's network.

``ask_ipamd.py ADDRESS VERSION FIRST COUNT``: for the pods ``fill-FIRST`` and so on, until one is
refused. Prints the addresses as JSON. The stubs of ``rpc/rpc.proto`` must be on the path.
"""

from __future__ import annotations

import json
import sys

import grpc
import rpc_pb2
import rpc_pb2_grpc


def main() -> None:
    address, version, first, count = sys.argv[1:]
    answered: list[str] = []
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        backend = rpc_pb2_grpc.CNIBackendStub(channel)
        for number in range(int(first), int(first) + int(count)):
            name = f"fill-{number}"
            reply = backend.AddNetwork(
                rpc_pb2.AddNetworkRequest(
                    ClientVersion=version,
                    K8S_POD_NAME=name,
                    K8S_POD_NAMESPACE="default",
                    K8S_POD_INFRA_CONTAINER_ID=name,
                    ContainerID=name,
                    IfName="eth0",
                    NetworkName="aws-cni",
                )
            )
            if not reply.Success:
                break
            # Before 1.20 a reply has one address itself.
            given = getattr(reply, "IPAllocationMetadata", None) or [reply]
            answered += (each.IPv4Addr for each in given)
    print(json.dumps(answered))


if __name__ == "__main__":
    main()
