"""The cloud of one lab: its processes and files, all inside the sandbox."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

from lab import cgroups
from lab.cloud import metadata, vpc
from lab.cloud.vpc import INSTANCES, INTERFACES, Instance, attached, describe
from lab.errors import LabError, tail
from lab.network import GATEWAY, NodeAddress
from lab.sandbox import Place, Sandbox, network_namespace
from lab.toolchain.cache import CHECKOUT
from lab.wait import until

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_ec2.literals import InstanceTypeType

EC2 = "ec2-api"
METADATA = "instance-metadata"
RECONCILER = "eni-reconciler"
PORT = 8000
#: moto's own ("MOTO_ACCOUNT_ID").
ACCOUNT = "123456789012"


@dataclass(frozen=True, slots=True)
class CloudSpec:
    """What the lab's part of AWS looks like.

    :param zones: of the VPC's subnets; all nodes are in the first one.
    :param instance_type: of all nodes; its limits are kept.
    :param max_pods: of the nodes' kubelets, in their Node objects.
    """

    region: str
    zones: tuple[str, ...]
    instance_type: str
    max_pods: int


class Cloud:
    """Starts, finds and asks what plays AWS in one lab."""

    @property
    def adaptations(self) -> tuple[str, ...]:
        return (
            "The EC2 API is moto with an extension of the lab's (prefix delegation, unique "
            f"addresses, limits); it knows one instance type, {self._spec.instance_type}, and asks "
            "for no permissions. Instance metadata has the entries that a CNI reads and no others.",
            "ENIs are veth devices. The lab plays hypervisor and VPC router: it plugs in what the "
            "EC2 API says is attached, and routes each address to its interface.",
        )

    def __init__(self, sandbox: Sandbox, spec: CloudSpec) -> None:
        self._sandbox = sandbox
        self._spec = spec
        self._log = sandbox.paths.log
        self._instances_file = sandbox.paths.config / "instances.json"
        self._interfaces_file = sandbox.paths.config / "interfaces.json"
        self.calls_file = sandbox.paths.root / "ec2-calls.jsonl"
        """All calls of the API so far, a JSON object a line (:class:`lab.cloud.ec2.Call`)."""
        self.endpoint = f"http://{GATEWAY}:{PORT}"
        """The EC2 API's, inside the sandbox."""

    # -- bringing up --------------------------------------------------------------------------

    def start_api(self) -> None:
        """Start the EC2 API; it takes seconds to listen, :meth:`create` waits for it."""
        self._python(
            EC2,
            "lab.cloud.ec2",
            str(GATEWAY),
            str(PORT),
            self._spec.instance_type,
            str(self.calls_file),
        )

    def create(self, nodes: Sequence[NodeAddress]) -> list[Instance]:
        """Make the VPC and the nodes' instances; start metadata service and reconciler."""
        until("the EC2 API to listen", self._not_listening, timeout=60, log=self._log(EC2))
        with network_namespace(self._sandbox.netns_path(None)):
            ec2 = self.client()
            made = vpc.create(
                ec2,
                nodes,
                instance_type=cast("InstanceTypeType", self._spec.instance_type),
                zones=self._spec.zones,
            )
            born_with = attached(describe(ec2), {each.id: each.node for each in made})
        self._instances_file.write_bytes(INSTANCES.dump_json(made))
        self._interfaces_file.write_bytes(INTERFACES.dump_json(born_with))
        self._sandbox.script(f"ip addr add {metadata.ADDRESS}/32 dev lo")
        self.start_reconciler()
        self._python(
            METADATA,
            "lab.cloud.metadata",
            str(self._instances_file),
            str(self._interfaces_file),
            self._spec.region,
            ACCOUNT,
        )
        return made

    def wait_ready(self) -> None:
        """Wait until instance metadata can be read: agents ask for it first, and some end where
        nobody answers."""
        until(
            "instance metadata to listen",
            lambda: self._sandbox.refusal(None, metadata.ADDRESS, metadata.PORT),
            timeout=30,
            log=self._log(METADATA),
        )

    def start_reconciler(self) -> None:
        """Start it, also again: it goes on with what it finds."""
        self._python(
            RECONCILER,
            "lab.cloud.reconciler",
            self.endpoint,
            self._spec.region,
            str(self._instances_file),
            str(self._interfaces_file),
        )

    def _python(self, name: str, module: str, *words: str) -> None:
        place = Place(cgroup=cgroups.of_control_plane(self._sandbox.paths.lab_id, name))
        argv = [sys.executable, "-m", module, *words]
        self._sandbox.spawn(name, argv, place, env={"PYTHONPATH": str(CHECKOUT)})

    def _not_listening(self) -> str | None:
        if self._sandbox.pid_of(EC2) is None:
            raise LabError(f"the EC2 API ended:\n{tail(self._log(EC2))}")
        return self._sandbox.refusal(None, str(GATEWAY), PORT)

    # -- what is there ------------------------------------------------------------------------

    def client(self, caller: str = vpc.OWNER) -> EC2Client:
        """A client of the API, to be used inside the sandbox's network namespace."""
        return vpc.connect(self.endpoint, self._spec.region, caller)

    @cached_property
    def instances(self) -> list[Instance]:
        return INSTANCES.validate_json(self._instances_file.read_bytes())

    def credentials(self, caller: str) -> dict[str, str]:
        """Environment variables by which the API knows a caller.

        :param caller: the access key, by which the recorded calls tell callers apart.
        """
        return {"AWS_ACCESS_KEY_ID": caller, "AWS_SECRET_ACCESS_KEY": vpc.SECRET}
