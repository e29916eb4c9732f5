"""Cilium on EKS: a Helm release, and a role for its operator where pods have ENIs' addresses."""

from collections.abc import Sequence

import pulumi
import pulumi_kubernetes as kubernetes

from cni.cilium.dataplane import CLUSTER_TAG as CILIUM_CLUSTER_TAG
from cni.cilium.dataplane import OPERATOR_ACCOUNT
from cni.platform import ClusterEndpoint
from cni.scenario import Scenario
from cni.settings import Values, leaves
from cni.toggles import Decision
from components.eks.cluster import Place
from components.eks.dataplane.interface import EksDataplane, Installed, make_janitor
from components.eks.iam import Document, Role, document, trust_in
from components.eks.settings import CLUSTER_TAG, interface_tags
from components.kubernetes.cilium import RELEASE, CiliumRelease
from components.kubernetes.gate import ROLE_ANNOTATION
from components.kubernetes.manifests import SYSTEM_NAMESPACE

# Only where it is told to pass over instances (the chart's `eni.instanceTagsFilter`).
_READS_INSTANCES = "ec2:DescribeInstances"


class Cilium(EksDataplane):
    """Cilium, as its chart installs it."""

    def install(
        self,
        scenario: Scenario,
        decisions: tuple[Decision, ...],
        build: str | None,
        place: Place,
    ) -> Installed:
        """Declare the release with the scenario's values for this cluster."""
        role = _operator_role(scenario, place) if scenario.ipam == "eni" else None
        before: list[pulumi.Resource] = []
        if role is not None:
            janitor = make_janitor(interface_tags(scenario.cni, place.name), role, place)
            before = [role, janitor, operator_account(role, place)]

        def values(known: Sequence[str]) -> Values:
            host, subnet, *arn = known
            endpoint = ClusterEndpoint(
                name=place.name,
                api_host=host,
                eni_subnet_ids=[subnet],
                eni_role=arn[0] if arn else None,
                eni_tags=place.tags,
                region=place.settings.region,
            )
            return scenario.dataplane.values(scenario, decisions, endpoint)

        inputs = [place.cluster.api_host, place.network.nodes.id, *([role.arn] if role else [])]
        made = pulumi.Output.all(*inputs).apply(values)
        release = CiliumRelease(
            "cilium", scenario.cni_version, made, place.cluster.kubernetes, place.inside(*before)
        )
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
    trust = trust_in(cluster.oidc_provider, cluster.issuer, OPERATOR_ACCOUNT)
    return Role(OPERATOR_ACCOUNT, place.partition, trust, place.after(), policy=policy)


def operator_account(role: Role, place: Place) -> kubernetes.core.v1.ServiceAccount:
    """The operator's service account, with its role, before the Deployment that uses it.

    Made in the same moment by the chart, EKS could miss it, and the operator would run without its
    role. The chart makes no permissions for an account that it does not make, so Helm is led to
    believe that this one is its own already (helm.sh, "adopting resources").
    """
    within = pulumi.ResourceOptions(provider=place.cluster.kubernetes)
    return kubernetes.core.v1.ServiceAccount(
        f"{OPERATOR_ACCOUNT}-account",
        metadata=kubernetes.meta.v1.ObjectMetaArgs(
            name=OPERATOR_ACCOUNT,
            namespace=SYSTEM_NAMESPACE,
            labels={"app.kubernetes.io/managed-by": "Helm"},
            annotations={
                ROLE_ANNOTATION: role.arn,
                "meta.helm.sh/release-name": RELEASE,
                "meta.helm.sh/release-namespace": SYSTEM_NAMESPACE,
            },
        ),
        opts=pulumi.ResourceOptions.merge(place.inside(role), within),
    )


def operator_policy(
    partition: str,
    region: str,
    account: str,
    cluster: str,
    vpc: str,
    *,
    filters_instances: bool = False,
) -> Document:
    """What Cilium's operator may do for ENI addressing (`pkg/aws/ec2`), and no more.

    EC2's Describe actions take no resource and no condition on one. Every change is held to the
    stack's own cluster, each by the narrowest means that EC2 offers for its action (Service
    Authorization Reference, Amazon EC2):

    - a new ENI has to carry the cluster's tag, which the operator sets in the same call, and lies
      in the stack's VPC; tags may be set by that call only, so that no other ENI can be made ours;
    - ENIs are attached, changed and deleted by that tag, and attached to the stack's own nodes;
    - addresses are given to any ENI of the VPC, since nodes' first ENIs, which Cilium uses too, are
      not Cilium's own.

    That this is what it calls, and all of it, is tested on the running operator and on calls that
    labs have recorded, each with its resources and condition keys.

    :param vpc: the VPC's ARN.
    :param filters_instances: `eni.instanceTagsFilter` is set.
    """
    policy = document(
        "cilium-operator",
        scope=f"arn:{partition}:ec2:{region}:{account}",
        region=region,
        cluster=cluster,
        vpc=vpc,
        cilium_tag=CILIUM_CLUSTER_TAG,
        cluster_tag=CLUSTER_TAG,
    )
    if filters_instances:
        policy["Statement"][0]["Action"].append(_READS_INSTANCES)
    return policy
