"""The lab as a target: typed components around the dynamic resources of :mod:`.providers`."""

import dataclasses
import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pulumi
from pulumi.dynamic import Resource

from bench.environment import Environment
from cni.capacity import in_short, vpc_cni_max_pods
from cni.dataplane import InstalledValues
from cni.kubernetes import VERSIONS
from cni.platform import (
    DESCRIPTIONS,
    ClusterEndpoint,
    Feature,
    Kernel,
    LabFabric,
    PlatformFacts,
    known_facts,
    lab_facts,
)
from cni.scenario import Scenario
from cni.settings import Values
from cni.toggles import Decision
from components.dynamic import VERSION, Provider
from components.eks.settings import EksSettings
from components.lab.providers import (
    DECISIONS,
    ClusterProvider,
    CniProvider,
    SlotProvider,
    WorkloadsProvider,
)
from components.lab.settings import LabSettings
from components.programs import refuse_without
from components.settings import PROJECT, Settings
from components.target import Deployment, descriptor
from components.target import about as told_to_session
from lab import kernel, network
from lab.cloud.cloud import CloudSpec
from lab.cluster import SPEC, LabSpec
from lab.controlplane import API_PORT
from lab.toolchain import doctor
from lab.toolchain.build import Toolchain
from lab.toolchain.programs import ENGINE, needs_of_lab, packages_for

#: The name by which a lab's CNI marks its ENIs.
CLUSTER = "lab"


class _Step(Resource):
    """One of the lab's steps, with the outputs that its provider has."""

    lab_id: pulumi.Output[str]
    boot: pulumi.Output[str]
    toggles: pulumi.Output[Mapping[str, Any]]

    def __init__(
        self,
        provider: Provider,
        name: str,
        output: str,
        inputs: Mapping[str, Any],
        opts: pulumi.ResourceOptions,
    ) -> None:
        # The engine wants an output's name among the inputs.
        super().__init__(provider, name, {**inputs, "version": VERSION, output: None}, opts)


# -- before anything is started ---------------------------------------------------------------


def check_machine() -> None:
    """:raises pulumi.RunError: with all that is missing, in one message."""
    problems = doctor.missing(doctor.gather())
    if problems:
        raise pulumi.RunError(doctor.message(problems))


def check_programs(settings: Settings) -> None:
    """Whether all that a stack's lab starts is there, its CNI's own programs included.

    :raises pulumi.RunError: naming what is missing, and the command that makes it.
    """
    refuse_without(lacking_programs(settings))


def lacking_programs(settings: Settings) -> list[str]:
    """What a stack's lab would start and is not there."""
    scenario, kubernetes = settings.scenario, settings.section(EksSettings).version
    needs = needs_of_lab(
        scenario.cni, scenario.cni_version, kubernetes, kube_proxy=scenario.kube_proxy != "none"
    )
    needs -= {ENGINE}  # it runs already
    lacking = Toolchain.default().missing(needs)
    if doctor.is_debian():
        lacking += doctor.missing_packages(packages_for(needs))
    return lacking


def cautions(settings: Settings) -> tuple[str, ...]:
    """What is known of the CNI with the lab's Kubernetes; the kernel is this machine's."""
    scenario, kubernetes = settings.scenario, settings.section(EksSettings).version
    return tuple(scenario.dataplane.cautions(scenario.cni_version, kubernetes, None))


def check_values(scenario: Scenario, values: Values) -> None:
    """An installer may ignore what it does not know: a misspelt value must not pass.

    :raises pulumi.RunError: naming the values that the CNI's installer does not have.
    """
    unknown = scenario.dataplane.unknown_values(scenario.cni_version, values)
    if unknown:
        file = f"Pulumi.{pulumi.get_stack()}.yaml"
        raise pulumi.RunError("\n".join(f"{file}: scenario.values: {line}" for line in unknown))


# -- what is built ----------------------------------------------------------------------------


def facts(settings: Settings) -> PlatformFacts:
    """What guards decide by: the network card of the instance type that the stack names, so that
    the lab applies the values that EKS would get; kernel and memory are this machine's."""
    mine = lab_facts(
        kernel=Kernel.parse(kernel.release()),
        arch=platform.machine(),
        vcpus=kernel.cpus(),
        memory_mib=kernel.memory_mib(),
        lacks=frozenset(_lacking()),
    )
    known = known_facts(settings.section(EksSettings).instance_type, kernel=mine.kernel)
    if known is None:
        return mine
    return dataclasses.replace(known, memory_mib=mine.memory_mib, lacks=mine.lacks)


def _lacking() -> Iterator[Feature]:
    """What no node of a lab on this machine has."""
    # Network namespaces have no net.core.default_qdisc, without which the agent's Bandwidth
    # Manager does not start, whatever the kernel offers.
    yield Feature.FQ
    if "bbr" not in kernel.congestion_controls():
        yield Feature.BBR
    # By the names of their options.
    options = kernel.kernel_options()
    for feature in (Feature.NETKIT, Feature.WIREGUARD):
        if options is not None and feature.name not in options:
            yield feature


def _basis(instance_type: str) -> str:
    """By what :func:`facts` lets the guards decide, as an adaptation."""
    if known_facts(instance_type) is None:
        return (
            "Guards decide by the lab's own veth devices: nothing is known of "
            f"{instance_type} here."
        )
    return (
        f"Guards decide by the network card of {instance_type}, so that the lab applies the values "
        "that EKS would get; kernel and memory are this machine's."
    )


Specified = tuple[LabSpec, tuple[str, ...]]
"""What to build for a stack, and how its values differ from EKS's."""


def spec(settings: Settings, decisions: tuple[Decision, ...]) -> Specified:
    """What to build for a stack.

    :raises pulumi.RunError: it cannot be built here; names the setting or program, and the fix.
    """
    scenario, eks = settings.scenario, settings.section(EksSettings)
    check_programs(settings)
    cloud = _cloud(settings)
    values, adaptations = _values(scenario, decisions, routed=cloud is None)
    labels = {
        "node.kubernetes.io/instance-type": eks.instance_type,
        "topology.kubernetes.io/region": eks.region,
        "topology.kubernetes.io/zone": eks.node_zone,
    }
    adaptations += (_basis(eks.instance_type),)
    made = LabSpec(
        nodes=settings.section(LabSettings).nodes,
        service_cidr=eks.service_cidr,
        node_labels=labels,
        kubernetes=VERSIONS[eks.version].version,
        kube_proxy=scenario.kube_proxy,
        cni=scenario.cni,
        cni_version=scenario.cni_version,
        values=values,
        cloud=cloud,
        congestion_control=settings.section(LabSettings).congestion_control,
        own_cpus=settings.section(LabSettings).placement == "nodes",
    )
    return made, adaptations


def _cloud(settings: Settings) -> CloudSpec | None:
    """The part of AWS that the scenario's CNI talks to.

    :raises pulumi.RunError: EC2's limits for the instance type are not known here.
    """
    scenario, eks = settings.scenario, settings.section(EksSettings)
    if scenario.ipam not in ("eni", "vpc") or settings.section(LabSettings).eni == "routed":
        return None
    known = known_facts(eks.instance_type)
    if known is None:
        raise pulumi.RunError(
            f"eks.instanceType: {eks.instance_type}: the lab's EC2 API does not know its limits of "
            f"ENIs; it knows {', '.join(DESCRIPTIONS)}. Fix: choose one of these, or take routed "
            "pod subnets: pulumi config set --path cni-benchmark:lab.eni routed "
            f"-s {pulumi.get_stack()}"
        )
    return CloudSpec(
        region=eks.region,
        zones=(eks.node_zone, *(zone for zone in eks.zones if zone != eks.node_zone)),
        instance_type=eks.instance_type,
        max_pods=vpc_cni_max_pods(known, prefix_delegation=scenario.prefix_delegation),
    )


def about(
    settings: Settings,
    made: LabSpec,
    adaptations: Iterable[str],
    toggles: Mapping[str, Any],
    *,
    stack: str = "",
    bring_up: str = "",
) -> dict[str, Any]:
    """What a running lab does not know of itself (:func:`components.target.about`).

    :param made: the specification, as :func:`spec` gives it with ``adaptations``.
    :param toggles: every toggle's state by name.
    """
    scenario, instance_type = settings.scenario, settings.section(EksSettings).instance_type
    facts = Environment(
        target_kind=settings.target,
        emulated_instance_type=instance_type,
        adaptations=list(adaptations),
    )
    known = known_facts(instance_type)
    if made.cloud is not None and known is not None:
        room = in_short(
            known,
            scenario.dataplane,
            prefix_delegation=scenario.prefix_delegation,
            health_endpoint=False,  # the lab has none
        )
        facts = facts.with_facts(pods_per_node=room)
    return told_to_session(scenario, facts, stack=stack, toggles=toggles, bring_up=bring_up)


def _values(
    scenario: Scenario, decisions: tuple[Decision, ...], *, routed: bool
) -> InstalledValues:
    """What the CNI's installer takes, and how that differs from EKS's."""
    endpoint = ClusterEndpoint(
        name=CLUSTER,
        api_host=str(network.GATEWAY),
        api_port=API_PORT,
        eni_tags=scenario.dataplane.interface_tags(CLUSTER, {f"{PROJECT}:cluster": CLUSTER}),
    )
    fabric = LabFabric(pod_cidr=str(network.VPC_CIDR) if routed else None)
    made = scenario.dataplane.lab_values(scenario, decisions, endpoint, fabric)
    check_values(scenario, made.values)
    return made


def deploy(
    settings: Settings, decisions: tuple[Decision, ...], parent: pulumi.Resource
) -> Deployment:
    """The lab of a stack, up to the running workloads."""
    made, adaptations = spec(settings, decisions)
    stack = pulumi.get_stack()

    def after(*resources: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=parent, depends_on=list(resources))

    slot = _Step(SlotProvider(), "slot", "lab_id", {"stack": stack}, after())
    known = {
        "lab_id": slot.lab_id,
        "spec": json.dumps(SPEC.dump_python(made, mode="json"), sort_keys=True),
    }
    cluster = _Step(ClusterProvider(), "cluster", "boot", known, after(slot))
    started = {"lab_id": slot.lab_id, "boot": cluster.boot}
    decided = {**started, "decisions": DECISIONS.dump_json(decisions).decode()}
    cni = _Step(CniProvider(), "cni", "toggles", decided, after(cluster))
    installed = {**started, "cni": cni.id}
    workloads = _Step(WorkloadsProvider(), "workloads", "pods", installed, after(cni))
    session = pulumi.Output.all(slot.lab_id, cluster.boot, workloads.id, cni.toggles).apply(
        lambda known: descriptor(
            settings.target,
            {
                "lab_id": known[0],
                "about": about(
                    settings, made, adaptations, known[3], stack=stack, bring_up=known[1]
                ),
                "stack": stack,
            },
            known[1],
        )
    )
    return Deployment(session=session, toggles=cni.toggles)
