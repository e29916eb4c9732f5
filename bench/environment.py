"""On what was measured: the stack as it was declared, and the cluster as it was found.

A cluster tells its kernel, nodes and versions (:class:`Environment`). It does not know which
scenario it is, and what was decided about it: that its stack tells (:class:`StackRecord`). Both are
part of results, so that a stored file says what its numbers are of. What nobody knows is None or
empty.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from cni.registry import TOGGLES

DEFAULT_DOMAIN = "cluster.local"


class Model(BaseModel):
    """Data that does not change, and refuses fields that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ScenarioRecord(Model):
    """A scenario: the name of its stack, and its settings as the stack's file has them."""

    name: str = ""
    title: str = ""
    settings: dict[str, Any] = {}


class CniRecord(Model):
    """The CNI as the settings name it, and its version without a leading v."""

    name: str
    version: str = ""


class ToggleRecord(Model):
    """What became of one toggle.

    ``applied``: in effect, as far as anybody knows. ``verified``: every running agent proves it.
    ``reason`` says why it is not applied or not verified; ``evidence`` is what each agent said.
    """

    toggle: str
    title: str = ""
    requested: bool = False
    applied: bool = False
    verified: bool | None = None
    reason: str = ""
    notes: list[str] = []
    evidence: list[str] = []


def toggle_records(toggles: object) -> list[ToggleRecord]:
    """A stack's output ``toggles`` as records: states by name, or a list of them; others are none.

    The engine drops what is None, so that any field may be absent, and gives a map's entries in
    another order each time; records are in the order of reports.
    """
    if isinstance(toggles, Mapping):
        known = [name for name in TOGGLES if name in toggles]
        names = [*known, *sorted(name for name in toggles if name not in known)]
        states = [
            {"toggle": name, **toggles[name]}
            for name in names
            if isinstance(toggles[name], Mapping)
        ]
    elif isinstance(toggles, list):
        states = [{"toggle": "?", **each} for each in toggles if isinstance(each, Mapping)]
    else:
        return []
    return [
        ToggleRecord.model_validate(
            {
                name: value
                for name, value in state.items()
                if name in ToggleRecord.model_fields and value is not None
            }
        )
        for state in states
    ]


class NodeFacts(Model):
    """A node's machine, system and uplink, by its Node object and a look at the node."""

    name: str
    instance_type: str = ""
    zone: str = ""
    architecture: str = ""
    cpus: int
    memory_mib: int
    kernel: str
    os_image: str = ""
    container_runtime: str = ""
    kubelet: str = ""
    interface: str = ""
    mtu: int
    driver: str = ""
    driver_version: str = ""


class EniFacts(Model):
    """A network interface of a node: its id, device number, and addresses or /28 prefixes."""

    id: str
    device: int
    addresses: list[str] = []
    prefixes: list[str] = []


class PodAddress(Model):
    """Where a pod's address comes from: ``block`` is the address or prefix of the ENI."""

    pod: str
    node: str
    address: str
    eni: str
    device: int
    block: str


class PodsPerNode(Model):
    """How many pods a node of an instance type has addresses for."""

    instance_type: str
    enis: int
    pods: int
    pods_with_single_addresses: int
    pods_with_prefixes: int
    recommended_max_pods: int


class NetworkLimits(Model):
    """What a cloud lets through, in Gbit/s: of a machine for any time, of it in bursts, and of one
    flow between two machines, which is more where all are in one cluster placement group."""

    sustained_gbit: float | None = None
    burst_gbit: float | None = None
    flow_gbit: float
    placement_group: bool


class Environment(Model):
    """The cluster and its machines. Where nodes differ, a list has each different value, sorted.

    ``target`` describes the target for people, ``target_kind`` is its name in the stack's file.
    ``shared_machine``: all nodes share the CPUs of one machine, which is no cloud's.
    ``instance_type`` is the machines' own; ``emulated_instance_type`` is the one whose limits a lab
    plays. MTUs are in bytes, ``network`` is what a cloud is known to let through.
    ``placement_of_cpus`` has, by node, the CPUs of a shared machine that all of a node runs on; it
    is empty where any may be used. ``agents`` is what the CNI's agents say of their configuration.
    ``dns_nodes`` has the node of each pod of the cluster's DNS, ``runner_node`` that of the pod in
    which the benchmark itself ran; None where it ran outside of the cluster.
    ``images`` are what containers run, ``image_digests`` what tags stood for at the preview.
    """

    target: str = ""
    target_kind: str | None = None
    shared_machine: bool = False
    instance_type: str | list[str] | None = None
    emulated_instance_type: str | None = None
    region: str | list[str] | None = None
    zone: str | list[str] | None = None
    kernel: str | list[str] | None = None
    cpus: int | list[int] | None = None
    node_mtu: int | list[int] | None = None
    network: NetworkLimits | None = None
    pod_mtu: int | None = None
    congestion_control: str | None = None
    placement_of_cpus: dict[str, list[int]] = {}
    cluster_domain: str = DEFAULT_DOMAIN
    dns_nodes: list[str] = []
    runner_node: str | None = None
    nodes: list[str] = []
    node_facts: list[NodeFacts] = []
    kube_proxy: str | None = None
    agents: dict[str, str | list[str]] = {}
    versions: dict[str, str | list[str]] = {}
    images: dict[str, str | list[str]] = {}
    image_digests: dict[str, str] = {}
    pods_per_node: PodsPerNode | None = None
    enis: dict[str, list[EniFacts]] = {}
    pod_addresses: list[PodAddress] = []
    adaptations: list[str] = []

    def with_facts(self, **facts: Any) -> "Environment":
        """The same with these facts in place of what was known of them.

        :raises pydantic.ValidationError: there is no such fact, or its value is impossible.
        """
        return Environment.model_validate({**self.model_dump(exclude_unset=True), **facts})


class StackRecord(Model):
    """What a stack declared: scenario, CNI, the toggles' decisions, and the effective values.

    ``values`` is what the CNI's installer took: Helm values, an add-on's configuration.
    """

    scenario: ScenarioRecord = ScenarioRecord()
    cni: CniRecord | None = None
    decisions: list[ToggleRecord] = []
    values: dict[str, Any] = {}

    def record(self) -> dict[str, Any]:
        """These four fields alone, for whatever else holds them."""
        return {name: getattr(self, name) for name in StackRecord.model_fields}


class About(StackRecord):
    """What a session is told when it is opened, because its cluster does not know it.

    ``bring_up`` names the cluster's life: another one is another bring-up. ``environment`` has the
    facts that only the target knows.
    """

    bring_up: str = ""
    environment: Environment = Environment()
