"""The scenario's CNI and kube-proxy, put into the cluster before its nodes come.

Everything here waits for nothing that runs in the cluster: pods start with the first node. What a
CNI needs comes first (permissions, then the janitor of its network interfaces), so that on destroy
it goes last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from cni.guards import Decision
from cni.scenario import Scenario
from cni.value_tree import HelmValues, leaves
from cni.values import ClusterEndpoint
from components.eks import addons
from components.eks.janitor import Janitor
from components.eks.place import Place
from components.eks.policies import operator_policy
from components.eks.roles import Role, trust_in
from components.eks.values import cilium_values
from components.kubernetes.cilium import CiliumRelease

_OPERATOR = "cilium-operator"
"""The operator's service account, as the chart names it."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A dataplane that is installed, not yet running.

    :param resources: what nodes must find, and what must not go before they have gone.
    :param identity: what was installed, as data; another one is another dataplane.
    :param values: of the Cilium chart; None where it is not installed.
    """

    resources: Sequence[pulumi.Resource]
    identity: pulumi.Output[object]
    values: pulumi.Output[HelmValues] | None


def install(
    scenario: Scenario,
    decisions: tuple[Decision, ...],
    vpc_cni_version: str | None,
    place: Place,
) -> Installed:
    """Declare a scenario's CNI, and kube-proxy where it has one.

    :param vpc_cni_version: the add-on's version for a scenario with the VPC CNI, else None.
    """
    if vpc_cni_version is None:
        cni = _cilium(scenario, decisions, place)
    else:
        cni = _vpc_cni(scenario, vpc_cni_version, place)
    if scenario.kube_proxy == "none":
        return cni
    proxy = addons.kube_proxy(place.cluster, scenario, place.after())
    identity: pulumi.Output[object] = pulumi.Output.all(cni.identity, proxy.addon_version)
    return Installed([*cni.resources, proxy], identity, cni.values)


def _vpc_cni(scenario: Scenario, version: str, place: Place) -> Installed:
    cluster = place.cluster
    trust = trust_in(cluster.oidc_provider, cluster.issuer, "aws-node")
    role = Role("vpc-cni", place.partition, trust, place.after(), managed=["AmazonEKS_CNI_Policy"])
    janitor = _janitor(scenario, role, place)
    configuration = addons.vpc_cni_configuration(scenario, place.tags)
    addon = addons.vpc_cni(cluster, version, configuration, role, place.after(janitor, role))
    identity: pulumi.Output[object] = pulumi.Output.from_input(
        {"version": version, **configuration}
    )
    return Installed([addon], identity, None)


def _cilium(scenario: Scenario, decisions: tuple[Decision, ...], place: Place) -> Installed:
    role = _operator_role(scenario, place) if scenario.ipam == "eni" else None
    before = [] if role is None else [role, _janitor(scenario, role, place)]

    def values(known: Sequence[str]) -> HelmValues:
        host, subnet, *arn = known
        endpoint = ClusterEndpoint(name=place.name, api_host=host, eni_subnet_ids=[subnet])
        return cilium_values(scenario, decisions, endpoint, arn[0] if arn else None, place.tags)

    known = [place.cluster.api_host, place.network.nodes.id, *([role.arn] if role else [])]
    made = pulumi.Output.all(*known).apply(values)
    release = CiliumRelease("cilium", made, place.cluster.kubernetes, place.after(*before))
    return Installed([release], made, made)


def _operator_role(scenario: Scenario, place: Place) -> Role:
    """The operator alone changes the network, by its service account; nodes and agents may not."""
    cluster = place.cluster
    filtered = bool(dict(leaves(scenario.values)).get("eni.instanceTagsFilter"))
    policy = place.network.vpc.arn.apply(
        lambda vpc: operator_policy(
            place.partition,
            place.settings.region,
            place.account,
            place.name,
            vpc,
            filters_instances=filtered,
        )
    )
    trust = trust_in(cluster.oidc_provider, cluster.issuer, _OPERATOR)
    return Role(_OPERATOR, place.partition, trust, place.after(), policy=policy)


def _janitor(scenario: Scenario, role: Role, place: Place) -> Janitor:
    return Janitor(
        "janitor",
        scenario.cni,
        place.cluster.name,
        place.network.vpc.id,
        place.settings.region,
        place.settings.profile,
        place.after(role),
    )
