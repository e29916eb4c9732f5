"""The EC2 API of a lab: moto's server with our extension, which writes down who called what.

Run inside the sandbox: ``python -m lab.cloud.ec2 ADDRESS PORT INSTANCE_TYPE CALLS``.

The extension is the only place where the API is not moto's as it is published. moto 5.2.5 ignores
prefix delegation (``Ipv4PrefixCount``, ``Ipv4Prefixes``) in silence, draws addresses at random (a
subnet's reserved ones and those in use among them), keeps no limit of an instance type, and
forgets an attachment's ``DeleteOnTermination``. :func:`install` replaces the actions and the two
models that this concerns. Error codes: "Error codes for the Amazon EC2 API", Amazon EC2 Developer
Guide.
"""

import contextlib
import io
import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from moto.core.responses import ActionResult, EmptyResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.elastic_network_interfaces import NetworkInterface, NetworkInterfaceBackend
from moto.ec2.models.instance_types import INSTANCE_TYPES, InstanceType, InstanceTypeBackend
from moto.ec2.models.subnets import Subnet
from moto.ec2.responses.elastic_network_interfaces import ElasticNetworkInterfaces
from moto.ec2.utils import add_tag_specification
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple

from lab.cloud.vpc import (
    DOORBELL,
    PREFIX_SIZE,
    SubnetFullError,
    Taken,
    free_addresses,
    free_prefixes,
)
from lab.network import mac_of

_StartResponse = Callable[..., Any]
# `Credential=<access key>/<day>/<region>/<service>/aws4_request` (Signature Version 4).
_CREDENTIAL = re.compile(r"Credential=([^/]+)/[^/]+/[^/]+/([^/]+)/")
_ERROR_CODE = re.compile(r"<Code>([^<]+)</Code>")
_ID = re.compile(r">((?:eni-attach|eni|i|sg|subnet|vpc)-[0-9a-f]+)<")
_READS = ("Describe", "Get", "List")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the API: by whom, of what, with what outcome.

    :param caller: the access key that signed it.
    :param action: as IAM names it: ``ec2:DescribeVpcs``.
    :param request: the parameters in the Query API's own names.
    :param error: the error's code, where it failed.
    :param ids: of a change, the ids in its answer, each once: what it made, and where.
    """

    caller: str
    action: str
    request: dict[str, str]
    status: int
    error: str | None = None
    ids: tuple[str, ...] = ()

    @classmethod
    def of(cls, authorization: str, form: bytes, status: str, body: bytes) -> "Call":
        """A call from its HTTP request and answer.

        :param status: the status line, e.g. ``200 OK``.
        """
        signed = _CREDENTIAL.search(authorization)
        caller, service = signed.groups() if signed else ("", "unknown")
        request = dict(parse_qsl(form.decode(errors="replace"), keep_blank_values=True))
        request.pop("Version", None)
        action = request.pop("Action", "")
        number = int(status.split()[0])
        text = body.decode(errors="replace")
        failed = _ERROR_CODE.search(text) if number >= 400 else None
        call = cls(
            caller=caller,
            action=f"{service}:{action}",
            request=request,
            status=number,
            error=failed[1] if failed else None,
        )
        return replace(call, ids=tuple(dict.fromkeys(_ID.findall(text)))) if call.changes else call

    @property
    def reads(self) -> bool:
        """Whether it is of a kind that changes nothing."""
        return self.action.partition(":")[2].startswith(_READS)

    @property
    def changes(self) -> bool:
        """Whether it has changed something."""
        return self.status < 400 and not self.reads

    def to_json(self) -> str:
        """The line that the record of calls has of it."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, line: str) -> "Call":
        """A call from its line in the record."""
        read = json.loads(line)
        return cls(**{**read, "ids": tuple(read["ids"])})


class Recorder:
    """A WSGI application around moto's: one request at a time, each one a line in a file.

    After every change it rings (:data:`lab.cloud.vpc.DOORBELL`), so that whoever plays the
    hypervisor need not ask all the time.
    """

    def __init__(self, app: Any, calls: Path) -> None:
        self._app = app
        self._calls = calls
        self._bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # moto's models have no locks, and an address must be given once.
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        form = environ["wsgi.input"].read(length)
        environ["wsgi.input"] = io.BytesIO(form)
        statuses: list[str] = []

        def start(status: str, headers: Any, exc_info: Any = None) -> Any:
            statuses.append(status)
            return start_response(status, headers, exc_info)

        with self._lock:
            body = b"".join(self._app(environ, start))
            call = Call.of(environ.get("HTTP_AUTHORIZATION", ""), form, statuses[0], body)
            with self._calls.open("a") as file:
                file.write(call.to_json() + "\n")
        if call.changes:
            with contextlib.suppress(OSError):  # nobody there: who starts looks at everything
                self._bell.sendto(b"\0", socket.MSG_DONTWAIT, DOORBELL)
        return [body]


# -- the extension -------------------------------------------------------------------------------


def install(instance_type: str) -> None:
    """Put the extension in place, in this process.

    :param instance_type: the one type that DescribeInstanceTypes knows afterwards: answering for
        all 1,395 takes seconds of CPU, each time that Cilium's operator asks.
    :raises KeyError: moto does not know the type.
    """
    InstanceTypeBackend.instance_types = [InstanceType(instance_type)]

    NetworkInterfaceBackend.create_network_interface = _with_own_mac(  # type: ignore[method-assign]
        NetworkInterfaceBackend.create_network_interface
    )
    Subnet.available_ip_address_count = property(_available_addresses)  # type: ignore[assignment,method-assign]

    actions = ElasticNetworkInterfaces
    modify = actions.modify_network_interface_attribute

    def modify_attribute(self: ElasticNetworkInterfaces) -> ActionResult:
        return _modify(self, modify)

    actions.create_network_interface = _create  # type: ignore[method-assign]
    actions.delete_network_interface = _delete  # type: ignore[method-assign]
    actions.attach_network_interface = _attach  # type: ignore[method-assign]
    actions.modify_network_interface_attribute = modify_attribute  # type: ignore[method-assign]
    actions.assign_private_ip_addresses = _assign  # type: ignore[method-assign]
    actions.unassign_private_ip_addresses = _unassign  # type: ignore[method-assign]


# -- models --------------------------------------------------------------------------------------


def _with_own_mac(create: Callable[..., NetworkInterface]) -> Callable[..., NetworkInterface]:
    """An interface's MAC follows from its address, so that a lab's nodes have the same ones always
    (their agents compile MACs into the datapath); and it has prefixes."""

    def create_network_interface(*args: Any, **kwargs: Any) -> NetworkInterface:
        eni = create(*args, **kwargs)
        eni.mac_address = mac_of(str(eni.private_ip_address))
        eni.ipv4_prefixes = []  # type: ignore[attr-defined]
        return eni

    return create_network_interface


def _available_addresses(subnet: Subnet) -> int:
    taken = _taken(subnet.ec2_backend, subnet)
    size: int = subnet.cidr.num_addresses - 5
    return size - len(taken.addresses) - PREFIX_SIZE * len(taken.prefixes)


def _taken(backend: Any, subnet: Subnet) -> Taken:
    mine = [eni for eni in backend.get_all_network_interfaces() if eni.subnet.id == subnet.id]
    return Taken.of(
        (each["PrivateIpAddress"] for eni in mine for each in eni.private_ip_addresses),
        (each["Ipv4Prefix"] for eni in mine for each in eni.ipv4_prefixes),
    )


# -- actions -------------------------------------------------------------------------------------


def _create(self: ElasticNetworkInterfaces) -> ActionResult:
    subnet = self.ec2_backend.get_subnet(self._get_param("SubnetId"))
    _refuse_chosen(self)
    tags = add_tag_specification(self._get_param("TagSpecifications", []))
    primary = self._get_param("PrivateIpAddress")
    if not primary:
        taken = _taken(self.ec2_backend, subnet)
        with _full_subnet("InsufficientFreeAddressesInSubnet"):
            primary = str(free_addresses(IPv4Network(subnet.cidr_block), taken, 1)[0])
    eni = self.ec2_backend.create_network_interface(
        subnet,
        primary,
        group_ids=self._get_param("Groups", []),
        description=self._get_param("Description"),
        tags=tags,
    )
    try:
        _give(self, eni)
    except EC2ClientError:
        self.ec2_backend.delete_network_interface(eni.id)
        raise
    return ActionResult({"NetworkInterface": eni})


def _assign(self: ElasticNetworkInterfaces) -> ActionResult:
    _refuse_chosen(self)
    eni = self.ec2_backend.get_network_interface(self._get_param("NetworkInterfaceId"))
    addresses, prefixes = _give(self, eni)
    return ActionResult(
        {
            "NetworkInterfaceId": eni.id,
            "AssignedPrivateIpAddresses": addresses,
            "AssignedIpv4Prefixes": prefixes,
        }
    )


def _unassign(self: ElasticNetworkInterfaces) -> ActionResult:
    eni = self.ec2_backend.get_network_interface(self._get_param("NetworkInterfaceId"))
    for key, held, mine in (
        ("PrivateIpAddresses", eni.private_ip_addresses, "PrivateIpAddress"),
        ("Ipv4Prefixes", eni.ipv4_prefixes, "Ipv4Prefix"),
    ):
        asked = self._get_param(key, [])
        there = {each[mine] for each in held if not each.get("Primary")}
        if strangers := sorted(set(asked) - there):
            raise EC2ClientError(
                "InvalidParameterValue",
                f"Some of [{', '.join(strangers)}] are not assigned to interface {eni.id}",
            )
        held[:] = [each for each in held if each[mine] not in asked]
    return EmptyResult()


def _attach(self: ElasticNetworkInterfaces) -> ActionResult:
    eni = self.ec2_backend.get_network_interface(self._get_param("NetworkInterfaceId"))
    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    index = int(self._get_param("DeviceIndex"))
    limits = INSTANCE_TYPES[instance.instance_type]["NetworkInfo"]
    if eni.instance is not None:
        raise EC2ClientError("InvalidNetworkInterface.InUse", f"Interface: [{eni.id}] in use.")
    if index in instance.nics:
        raise EC2ClientError(
            "InvalidParameterValue",
            f"Instance '{instance.id}' already has an interface attached at device index "
            f"'{index}'.",
        )
    if len(instance.nics) >= limits["MaximumNetworkInterfaces"]:
        raise EC2ClientError(
            "AttachmentLimitExceeded",
            f"Interface count {len(instance.nics) + 1} exceeds the limit for "
            f"{instance.instance_type}",
        )
    _check_slots(eni, limits, 0)
    attachment = self.ec2_backend.attach_network_interface(eni.id, instance.id, index)
    return ActionResult(
        {
            "AttachmentId": attachment.attachment_id,
            "NetworkCardIndex": attachment.network_card_index,
        }
    )


def _delete(self: ElasticNetworkInterfaces) -> ActionResult:
    eni = self.ec2_backend.get_network_interface(self._get_param("NetworkInterfaceId"))
    if eni.instance is not None:
        raise EC2ClientError(
            "InvalidNetworkInterface.InUse", f"Network interface '{eni.id}' is currently in use."
        )
    self.ec2_backend.delete_network_interface(eni.id)
    return EmptyResult()


def _modify(
    self: ElasticNetworkInterfaces, others: Callable[[ElasticNetworkInterfaces], ActionResult]
) -> ActionResult:
    attachment = self._get_param("Attachment") or {}
    if "DeleteOnTermination" in attachment:
        eni = self.ec2_backend.get_network_interface(self._get_param("NetworkInterfaceId"))
        eni.delete_on_termination = attachment["DeleteOnTermination"]
    return others(self)


# -- addresses -----------------------------------------------------------------------------------


def _give(self: ElasticNetworkInterfaces, eni: Any) -> tuple[list[Any], list[Any]]:
    """Give an interface as many addresses and prefixes as the request asks for."""
    addresses = int(self._get_param("SecondaryPrivateIpAddressCount") or 0)
    prefixes = int(self._get_param("Ipv4PrefixCount") or 0)
    if eni.instance is not None:
        limits = INSTANCE_TYPES[eni.instance.instance_type]["NetworkInfo"]
        _check_slots(eni, limits, addresses + prefixes)
    owner = IPv4Address(eni.private_ip_address)
    network, backend = IPv4Network(eni.subnet.cidr_block), self.ec2_backend
    with _full_subnet("InsufficientCidrBlocks"):
        free_blocks = free_prefixes(network, _taken(backend, eni.subnet), prefixes, owner)
    blocks = [{"Ipv4Prefix": str(each)} for each in free_blocks]
    eni.ipv4_prefixes.extend(blocks)
    with _full_subnet("InsufficientFreeAddressesInSubnet"):
        free = free_addresses(network, _taken(backend, eni.subnet), addresses, owner)
    single = [{"Primary": False, "PrivateIpAddress": str(each)} for each in free]
    eni.private_ip_addresses.extend(single)
    return single, blocks


def _check_slots(eni: Any, limits: dict[str, Any], more: int) -> None:
    """A prefix takes an address's slot ("IP addresses per network interface per instance type")."""
    slots = len(eni.private_ip_addresses) + len(eni.ipv4_prefixes) + more
    if slots > limits["Ipv4AddressesPerInterface"]:
        raise EC2ClientError(
            "PrivateIpAddressLimitExceeded",
            f"Number of private addresses will exceed limit ({slots}).",
        )


@contextlib.contextmanager
def _full_subnet(code: str) -> Iterator[None]:
    """Answer a full subnet by an error code of the API."""
    try:
        yield
    except SubnetFullError as error:
        raise EC2ClientError(code, str(error)) from None


def _refuse_chosen(self: ElasticNetworkInterfaces) -> None:
    """Refuse a request for certain addresses: the lab assigns them by number only."""
    for parameter in ("PrivateIpAddresses", "Ipv4Prefixes"):
        if self._get_param(parameter):
            raise EC2ClientError("UnsupportedOperation", f"{parameter}: not in the lab's EC2 API")


def main() -> None:
    address, port, instance_type, calls = sys.argv[1:]
    install(instance_type)
    app = DomainDispatcherApplication(create_backend_app)
    # Made at the first request otherwise, which would wait seconds for it.
    app.app_instances["ec2"] = create_backend_app("ec2")
    recorder = Recorder(app, Path(calls))
    run_simple(address, int(port), recorder, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
