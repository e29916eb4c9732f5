"""The target `kubeconfig`: measure a scenario on a cluster that somebody has made."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import pulumi
import pulumi_kubernetes as kubernetes

from bench.environment import Environment
from cni.platform import ClusterEndpoint, Kernel, PlatformFacts, known_facts
from cni.settings import Values
from cni.toggles import Decision
from components.kubeconfig import existing
from components.kubeconfig.existing import Cluster
from components.kubeconfig.settings import KubeconfigSettings
from components.kubernetes import access
from components.kubernetes import facts as node_facts
from components.kubernetes.access import KubeconfigAccess
from components.kubernetes.cilium import CiliumRelease
from components.kubernetes.gate import GateSpec
from components.kubernetes.resources import (
    ReadinessGate,
    VerifiedToggles,
    Workloads,
    session_descriptor,
)
from components.programs import check_pods_programs
from components.settings import PROJECT, Settings, StackFile
from components.target import Deployment
from kube.objects import KubernetesError

# What Kubernetes calls architectures, as EC2 and `uname -m` do.
_ARCHITECTURES = {"amd64": "x86_64"}
_INSTALLERS = {"cilium": CiliumRelease}
"""What installs a CNI on a cluster that has none, by the CNI's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A cluster that has been checked.

    :param installs: whether the CNI is this stack's to install, or already installed by it.
    """

    access: KubeconfigAccess
    cluster: Cluster
    installs: bool
    warnings: tuple[str, ...]


def check(settings: Settings) -> Checked:
    """Look at the cluster, at preview, before anything is changed.

    :raises pulumi.RunError: with everything that stands against the scenario there.
    """
    check_pods_programs()
    stack, scenario = pulumi.get_stack(), settings.scenario
    wanted = settings.section(KubeconfigSettings)
    path = str(Path(wanted.path).expanduser().absolute()) if wanted.path else None
    how = KubeconfigAccess(path=path, context=wanted.context)
    try:
        cluster = existing.inspect(access.connect(access.to_json(how)))
    except KubernetesError as error:
        raise pulumi.RunError(
            f"target kubeconfig: the cluster cannot be asked: {error}. "
            f"Fix: pulumi config set --path kubeconfig.context CONTEXT -s {stack}"
        ) from None
    problems = existing.obstacles(scenario, cluster, stack)
    if problems:
        file = StackFile(PROJECT, stack)
        raise pulumi.RunError("\n".join(file.contradiction(each) for each in problems))
    installs = existing.installs(scenario, cluster, stack)
    cautions = scenario.dataplane.cautions(scenario.cni_version, cluster.minor, _kernel(cluster))
    warnings = [*cautions, *existing.remarks(cluster)]
    if not installs:
        warnings = [*scenario.dataplane.differences(scenario, cluster.cni.config), *warnings]
    return Checked(access=how, cluster=cluster, installs=installs, warnings=tuple(warnings))


def facts(settings: Settings, checked: Checked) -> PlatformFacts:
    """What guards decide by: the least of the nodes that take pods. Drivers are not known yet."""
    nodes, kernel = checked.cluster.schedulable, _kernel(checked.cluster)
    memory = min(node_facts.memory_mib(node) for node in nodes)
    first = nodes[0]
    name = node_facts.instance_type(first)
    ec2 = node_facts.is_ec2(first)
    known = known_facts(name, kernel=kernel) if ec2 else None
    if known is not None:
        return replace(known, memory_mib=memory)
    architecture = str(first["status"]["nodeInfo"]["architecture"])
    return PlatformFacts(
        instance_type=name or "the cluster's nodes",
        bare_metal=False,
        hypervisor=None,
        # A type that is not in the table: what would crash an agent on ENA is not tried.
        driver="ena" if ec2 else None,
        arch=_ARCHITECTURES.get(architecture, architecture),
        vcpus=min(node_facts.cpus(node) for node in nodes),
        memory_mib=memory,
        kernel=kernel,
    )


def _kernel(cluster: Cluster) -> Kernel:
    """The oldest of the nodes that take pods."""
    return min(
        Kernel.parse(node["status"]["nodeInfo"]["kernelVersion"]) for node in cluster.schedulable
    )


def deploy(
    settings: Settings, checked: Checked, decisions: tuple[Decision, ...], parent: pulumi.Resource
) -> Deployment:
    """The benchmark's part in the cluster, up to the running workloads.

    :raises pulumi.RunError: values that the chart does not know; nothing has been declared then.
    """
    values = _values(settings, checked, decisions)
    scenario, how = settings.scenario, access.to_json(checked.access)
    provider = kubernetes.Provider(
        "kubernetes",
        kubeconfig=checked.access.path,
        context=checked.access.context,
        opts=pulumi.ResourceOptions(parent=parent),
    )

    def after(*resources: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=parent, depends_on=list(resources))

    before = []
    if values:
        install = _INSTALLERS[scenario.cni]
        before = [install(scenario.cni, scenario.cni_version, values, provider, after())]
    revision = _revision(checked.cluster, values)
    nodes = len(checked.cluster.nodes)
    spec = GateSpec(
        cni=scenario.cni, kube_proxy=scenario.kube_proxy != "none", nodes=nodes, dns=True
    )
    gate = ReadinessGate("gate", how, spec, revision, after(*before))
    expected = nodes if scenario.dataplane.agents else 0
    dataplane = VerifiedToggles(
        "dataplane", how, scenario.cni, decisions, expected, revision, after(gate)
    )
    workloads = Workloads("workloads", provider, revision, after(dataplane))
    where = checked.access.context or "the current context"
    environment = Environment(
        target=f"kubeconfig: {where}, {checked.cluster.host}", target_kind=settings.target
    )
    return Deployment(
        session=session_descriptor(
            settings,
            how,
            environment,
            workloads.ready,
            values=values or scenario.dataplane.adopted_values(checked.cluster.cni.config),
            toggles=dataplane.toggles,
        ),
        toggles=dataplane.toggles,
    )


def _values(settings: Settings, checked: Checked, decisions: tuple[Decision, ...]) -> Values | None:
    """The installer's values, or None where nothing is installed."""
    if not checked.installs:
        return None
    cluster = checked.cluster
    endpoint = ClusterEndpoint(
        name="kubeconfig", api_host=cluster.api_host, api_port=cluster.api_port
    )
    scenario = settings.scenario
    values = scenario.dataplane.values(scenario, decisions, endpoint)
    unknown = scenario.dataplane.unknown_values(scenario.cni_version, values)
    if unknown:
        file = f"Pulumi.{pulumi.get_stack()}.yaml"
        raise pulumi.RunError("\n".join(f"{file}: scenario.values: {line}" for line in unknown))
    return values


def _revision(cluster: Cluster, values: Values | None) -> str:
    """Names what runs: another one is waited for, verified and measured anew."""
    what = {"host": cluster.host, "cni": cluster.cni.version if values is None else values}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]
