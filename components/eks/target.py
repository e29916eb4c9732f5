"""EKS as a target: everything of a stack, in the order in which it must come and go.

On create: network, cluster, the CNI with its permissions and janitor, nodes, the gate that waits
for the cluster's network, CoreDNS and the toggles' verification, workloads. Destroy runs it
backwards: nodes go before the CNI and its permissions, which until then give back what they hold.
"""

import hashlib
import json
from typing import Any

import pulumi
import pulumi_aws as aws

from bench.environment import Environment, NetworkLimits
from cni.platform import ClusterEndpoint, PlatformFacts
from cni.scenario import Scenario
from cni.toggles import Decision
from components.eks.cluster import Place, make_addon, make_cluster, make_coredns, make_nodes
from components.eks.dataplane import dataplane
from components.eks.dataplane.interface import Installed
from components.eks.iam import node_role
from components.eks.network import Network
from components.eks.preflight import Preflight
from components.eks.settings import EksSettings, cluster_name, tags
from components.kubernetes.access import EksAccess, to_json
from components.kubernetes.gate import GateSpec
from components.kubernetes.resources import (
    ReadinessGate,
    VerifiedToggles,
    Workloads,
    session_descriptor,
)
from components.settings import Settings
from components.target import Deployment

# Of one flow, by whether both ends are in one cluster placement group. Source: EC2 user guide,
# "Amazon EC2 instance network bandwidth", single-flow traffic.
_FLOW_GBIT = {False: 5.0, True: 10.0}


def deploy(
    settings: Settings,
    preflight: Preflight,
    decisions: tuple[Decision, ...],
    parent: pulumi.Resource,
) -> Deployment:
    """A stack's cluster on EKS, up to the running workloads.

    :raises pulumi.RunError: values that the chart does not know; nothing has been declared then.
    """
    scenario, eks = settings.scenario, settings.section(EksSettings)
    cni = dataplane(scenario.cni)
    together = eks.together(possible=preflight.facts.cluster_placement)
    _check_values(scenario, decisions)
    place = _place(eks, preflight, parent)
    installed = cni.install(scenario, decisions, preflight.cni_build, place)
    kube_proxy = scenario.kube_proxy != "none"
    if kube_proxy:
        # The mode is set also where it is the default.
        mode = {"mode": scenario.kube_proxy}
        # An add-on keeps its version when its cluster gets another, unless it is told one.
        proxy = make_addon(
            "kube-proxy",
            place,
            place.after(),
            version=preflight.kube_proxy_build,
            configuration=mode,
        )
        identity: pulumi.Output[object] = pulumi.Output.all(installed.identity, proxy.addon_version)
        installed = Installed([*installed.resources, proxy], identity, installed.values)
    nodes = make_nodes(
        place,
        node_role(place.partition, place.after()),
        preflight.facts.arch,
        scenario.dataplane.rollout.taint,
        installed.resources,
        together=together,
    )
    access = place.cluster.name.apply(
        lambda name: to_json(EksAccess(cluster=name, region=eks.region, profile=eks.profile))
    )
    revision = _revision(eks, installed, nodes)
    # A group that could not be created stays as it is: for the engine it has been made.
    anew = f"pulumi up -s {pulumi.get_stack()} --replace '**::nodes'"
    awaited = GateSpec(cni=scenario.cni, kube_proxy=kube_proxy, nodes=eks.nodes, anew=anew)
    gate = ReadinessGate("gate", access, awaited, revision, place.after(nodes))
    agents = eks.nodes if scenario.dataplane.agents else 0
    verified = VerifiedToggles(
        "dataplane", access, scenario.cni, decisions, agents, revision, place.after(gate)
    )
    dns = make_coredns(place, gate)
    workloads = Workloads(
        "workloads", place.cluster.kubernetes, revision, place.inside(dns, verified)
    )
    return Deployment(
        session=session_descriptor(
            settings,
            access,
            Environment(
                target=f"eks: a cluster of its own in {eks.region}",
                target_kind=settings.target,
                network=network_limits(preflight.facts, together=together),
            ),
            workloads.ready,
            values=installed.values,
            toggles=verified.toggles,
        ),
        toggles=verified.toggles,
    )


def network_limits(facts: PlatformFacts, *, together: bool) -> NetworkLimits:
    """What AWS lets through between nodes of a type.

    :param together: in one cluster placement group.
    """
    return NetworkLimits(
        sustained_gbit=facts.sustained_gbit,
        burst_gbit=facts.burst_gbit,
        flow_gbit=_FLOW_GBIT[together],
        placement_group=together,
    )


def bandwidth(settings: Settings, preflight: Preflight) -> str:
    """What AWS lets through between a stack's nodes, for people."""
    eks, facts = settings.section(EksSettings), preflight.facts
    limits = network_limits(facts, together=eks.together(possible=facts.cluster_placement))
    where = "in" if limits.placement_group else "outside"
    told = [f"of one flow {limits.flow_gbit:g}, {where} a cluster placement group"]
    if limits.burst_gbit and limits.burst_gbit != limits.sustained_gbit:
        told.insert(0, f"for minutes {limits.burst_gbit:g}")
    if limits.sustained_gbit:
        told.insert(0, f"for any time {limits.sustained_gbit:g}")
    return f"Gbit/s of a node: {', '.join(told)}."


def existing(settings: Settings, preflight: Preflight) -> dict[str, Any]:
    """What a stack's user pays for from the first `up` on; how to log in to it, and to end it."""
    stack, eks = pulumi.get_stack(), settings.section(EksSettings)
    name = cluster_name(pulumi.get_organization(), stack)
    profile = f" --profile {eks.profile}" if eks.profile else ""
    return {
        "name": name,
        "region": eks.region,
        "nodes": f"{eks.nodes} x {eks.instance_type}",
        "usd_per_hour": round(preflight.cost.usd_per_hour, 2),
        "since": preflight.since.isoformat(timespec="seconds"),
        "ttl_hours": eks.ttl_hours,
        "log_in": f"aws eks update-kubeconfig --name {name} --region {eks.region}{profile}",
        "clean_up": f"pulumi destroy -s {stack}",
    }


def _place(eks: EksSettings, preflight: Preflight, parent: pulumi.Resource) -> Place:
    """The VPC and the cluster in it, below a component that has the AWS provider."""
    stack = pulumi.get_stack()
    name = cluster_name(pulumi.get_organization(), stack)
    marks = tags(name, stack, eks.tags)
    provider = aws.Provider(
        "aws",
        region=eks.region,
        profile=eks.profile,
        # Credentials of another account would make everything a second time there.
        allowed_account_ids=[preflight.account.number],
        default_tags=aws.ProviderDefaultTagsArgs(tags=marks),
        opts=pulumi.ResourceOptions(parent=parent),
    )
    group = pulumi.ComponentResource(
        "cni-benchmark:eks:Cluster",
        "eks",
        {},
        pulumi.ResourceOptions(parent=parent, providers=[provider]),
    )
    network = Network("network", name, eks, pulumi.ResourceOptions(parent=group))
    return Place(
        name=name,
        account=preflight.account.number,
        partition=preflight.account.partition,
        tags=marks,
        settings=eks,
        network=network,
        cluster=make_cluster(name, eks, network, preflight.api_cidrs, provider, group),
        parent=group,
    )


def _check_values(scenario: Scenario, decisions: tuple[Decision, ...]) -> None:
    """:raises pulumi.RunError: the installer does not have some of the scenario's values."""
    # Of a cluster that is not there yet; the values' names do not depend on it.
    cluster = ClusterEndpoint(name="any", api_host="any", eni_subnet_ids=["any"], eni_role="any")
    values = scenario.dataplane.values(scenario, decisions, cluster)
    unknown = scenario.dataplane.unknown_values(scenario.cni_version, values)
    if unknown:
        file = f"Pulumi.{pulumi.get_stack()}.yaml"
        raise pulumi.RunError("\n".join(f"{file}: scenario.values: {line}" for line in unknown))


def _revision(
    eks: EksSettings, installed: Installed, nodes: aws.eks.NodeGroup
) -> pulumi.Output[str]:
    """A digest of what runs; with another one everything is awaited, verified and measured anew."""
    machines = pulumi.Output.all(nodes.id, nodes.launch_template, nodes.release_version)
    return pulumi.Output.all(eks.version, eks.nodes, installed.identity, machines).apply(
        lambda known: hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:12]
    )
