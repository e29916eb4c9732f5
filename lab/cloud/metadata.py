"""Instance metadata (IMDSv2) for the nodes: 169.254.169.254, port 80.

Run inside the sandbox: ``python -m lab.cloud.metadata INSTANCES INTERFACES REGION ACCOUNT``, with
the files of the nodes' instances and of the interfaces that they have now. Paths as of "Instance
metadata categories", Amazon EC2 User Guide; as on Amazon Linux 2023 a session token is demanded.
"""

import json
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from lab.cloud.vpc import INSTANCES, INTERFACES, Instance, Interface
from lab.network import SUBNETS, VPC_CIDR

#: The address that every EC2 instance finds its metadata at.
ADDRESS = "169.254.169.254"
PORT = 80
_TOKEN = "/latest/api/token"
_TTL = "X-aws-ec2-metadata-token-ttl-seconds"
_MACS = "/latest/meta-data/network/interfaces/macs"

#: What an instance reads about itself, by path.
Tree = Mapping[str, str]


def tree(
    instance: Instance, interfaces: Iterable[Interface], region: str, account: str
) -> dict[str, str]:
    """An instance's metadata.

    :param interfaces: those of the whole lab.
    """
    document = {
        "accountId": account,
        "availabilityZone": instance.zone,
        "instanceId": instance.id,
        "instanceType": instance.type,
        "privateIp": instance.address,
        "region": region,
    }
    entries = {
        "/latest/meta-data/instance-id": instance.id,
        "/latest/meta-data/instance-type": instance.type,
        "/latest/meta-data/local-ipv4": instance.address,
        "/latest/meta-data/mac": instance.mac,
        "/latest/meta-data/placement/availability-zone": instance.zone,
        "/latest/meta-data/placement/region": region,
        "/latest/dynamic/instance-identity/document": json.dumps(document),
    }
    for each in interfaces:
        if each.node == instance.node:
            entries |= _interface(each, account)
    return entries


def _interface(interface: Interface, account: str) -> dict[str, str]:
    own = IPv4Address(interface.primary)
    subnet = next(each for each in SUBNETS if own in each)
    fields = {
        "device-number": str(interface.index),
        "interface-id": interface.eni,
        "ipv4-prefix": "\n".join(interface.prefixes),
        "local-ipv4s": "\n".join([interface.primary, *interface.addresses]),
        "mac": interface.mac,
        "owner-id": account,
        "security-group-ids": "\n".join(interface.groups),
        "subnet-id": interface.subnet,
        "subnet-ipv4-cidr-block": str(subnet),
        "vpc-id": interface.vpc,
        "vpc-ipv4-cidr-block": str(VPC_CIDR),
        "vpc-ipv4-cidr-blocks": str(VPC_CIDR),
    }
    # The service has no empty values.
    return {f"{_MACS}/{interface.mac}/{name}": value for name, value in fields.items() if value}


def read(entries: Tree, path: str) -> str | None:
    """A value, or the list of what is below a path, folders with a slash; None for neither."""
    path = path.rstrip("/")
    if path in entries:
        return entries[path]
    below = [each.removeprefix(f"{path}/") for each in entries if each.startswith(f"{path}/")]
    names = dict.fromkeys(name.partition("/")[0] + "/" * ("/" in name) for name in below)
    return "\n".join(names) or None


class Handler(BaseHTTPRequestHandler):
    """Answers an instance, which it knows by its address."""

    protocol_version = "HTTP/1.1"
    tree_of: Callable[[str], Tree]
    """What the instance with an address reads; a stranger reads nothing."""
    token = secrets.token_urlsafe(24)

    def do_PUT(self) -> None:
        if self.path != _TOKEN or _TTL not in self.headers:
            self._answer(HTTPStatus.BAD_REQUEST, "")
            return
        self._answer(HTTPStatus.OK, self.token, {_TTL: self.headers[_TTL]})

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") != self.token:
            self._answer(HTTPStatus.UNAUTHORIZED, "")
            return
        value = read(type(self).tree_of(self.client_address[0]), self.path)
        self._answer(HTTPStatus.OK if value else HTTPStatus.NOT_FOUND, value or "")

    def _answer(self, status: HTTPStatus, text: str, headers: Mapping[str, str] = {}) -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        print(self.client_address[0], format % args, flush=True)


def main() -> None:
    instances_file, interfaces_file, region, account = sys.argv[1:]
    instances = INSTANCES.validate_json(Path(instances_file).read_bytes())
    by_address = {each.address: each for each in instances}

    def tree_of(address: str) -> Tree:
        if address not in by_address:
            return {}
        interfaces = INTERFACES.validate_json(Path(interfaces_file).read_bytes())
        return tree(by_address[address], interfaces, region, account)

    Handler.tree_of = tree_of
    ThreadingHTTPServer((ADDRESS, PORT), Handler).serve_forever()


if __name__ == "__main__":
    main()
