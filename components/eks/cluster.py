"""The EKS cluster, how its Kubernetes API is reached, its nodes and its add-ons.

:class:`Place` is the cluster with what whoever adds to it needs to know.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks
import pulumi_kubernetes as kubernetes

from components.eks.iam import Role
from components.eks.network import Network
from components.eks.settings import EksSettings

VOLUME_GIB = 20
"""Of each node's root volume."""
_VOLUME_TYPE = "gp3"
# The root device of Amazon Linux 2023.
_ROOT_DEVICE = "/dev/xvda"
# What the group makes is tagged through the launch template: neither the provider's default tags
# nor EKS's own reach it. Of these EKS takes the first two so far (aws/containers-roadmap #1496), so
# no permission may depend on the third.
_TAGGED = ("instance", "volume", "network-interface")
_IMAGES = {"x86_64": "AL2023_x86_64_STANDARD", "arm64": "AL2023_ARM_64_STANDARD"}
ARCHITECTURES = tuple(_IMAGES)
"""Those that nodes can have, as EC2 names them."""
# EKS gives up after about as long when nodes do not get ready, as they do not without a CNI.
_NODES_TIMEOUT = "30m"
# Without nodes CoreDNS stays degraded for EKS's 20 minutes; with them it takes one.
_COREDNS_TIMEOUT = "10m"
_COREDNS_PODS = 2


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster whose API server answers.

    :param api_host: the API server's host, without scheme and port.
    :param issuer: of service accounts' tokens, without scheme.
    :param oidc_provider: ARN of the issuer's provider in IAM.
    :param kubernetes: the provider of everything in the cluster; its kubeconfig is a secret.
    :param resource: with which everything in the cluster ends.
    """

    name: pulumi.Output[str]
    api_host: pulumi.Output[str]
    issuer: pulumi.Output[str]
    oidc_provider: pulumi.Output[str]
    kubernetes: kubernetes.Provider
    resource: pulumi.Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A stack's cluster, and what whoever adds to it needs to know.

    :param name: the cluster's.
    :param tags: of what is made by others than the engine: instances, network interfaces.
    :param parent: of all resources.
    """

    name: str
    account: str
    partition: str
    tags: Mapping[str, str]
    settings: EksSettings
    network: Network
    cluster: Cluster
    parent: pulumi.Resource

    def after(self, *resources: pulumi.Resource) -> pulumi.ResourceOptions:
        """Options of a resource here that comes after others, and goes before them."""
        return pulumi.ResourceOptions(parent=self.parent, depends_on=list(resources))

    def inside(self, *resources: pulumi.Resource) -> pulumi.ResourceOptions:
        """The same of what is in the cluster, and so needs no removal of its own where the cluster
        goes too: its API server may be out of reach by then, or have no nodes left to work with.

        `deleteUnreachable` of pulumi-kubernetes is no way to that: it does not look at it for Helm
        releases (its issue 2675), and a refresh that does not reach the cluster would forget
        everything in it.
        """
        within = pulumi.ResourceOptions(deleted_with=self.cluster.resource)
        return pulumi.ResourceOptions.merge(self.after(*resources), within)


def make_cluster(
    name: str,
    settings: EksSettings,
    network: Network,
    api_cidrs: Sequence[str],
    provider: aws.Provider,
    parent: pulumi.Resource,
) -> Cluster:
    """Declare the cluster of a stack.

    EKS's default add-ons are off for every scenario, also those that have them: as resources of
    their own (:func:`make_addon`) they have the scenario's version, and come in order with the
    nodes.

    :param api_cidrs: who reaches the public endpoint. Nodes use the private one.
    """
    # A secret here makes the component's kubeconfig outputs secrets too.
    credentials = pulumi.Output.secret(eks.KubeconfigOptionsArgs(profile_name=settings.profile))
    component = eks.Cluster(
        "cluster",
        name=name,
        version=settings.version,
        vpc_id=network.vpc.id,
        subnet_ids=network.subnet_ids,
        kubernetes_service_ip_address_range=settings.service_cidr,
        authentication_mode=eks.AuthenticationMode.API,
        endpoint_private_access=True,
        endpoint_public_access=True,
        public_access_cidrs=list(api_cidrs),
        create_oidc_provider=True,
        provider_credential_opts=credentials,
        bootstrap_self_managed_addons=False,
        # True means that the component does not make the add-on.
        use_default_vpc_cni=True,
        kube_proxy_addon_options=eks.KubeProxyAddonOptionsArgs(enabled=False),
        coredns_addon_options=eks.CoreDnsAddonOptionsArgs(enabled=False),
        skip_default_node_group=True,
        skip_default_security_groups=True,
        cluster_tags={"Name": name},
        opts=pulumi.ResourceOptions(parent=parent, providers=[provider]),
    )
    made = component.eks_cluster
    known_as: pulumi.Output[str] = made.apply(lambda cluster: cluster.name)
    endpoint: pulumi.Output[str] = made.apply(lambda cluster: cluster.endpoint)
    # Known once the API server has answered the component. Together with the cluster's own name, so
    # that everything in the cluster goes before the cluster itself does, not only the component.
    kubeconfig: pulumi.Output[str] = pulumi.Output.all(component.kubeconfig_json, known_as).apply(
        lambda known: pulumi.Output.secret(with_profile(known[0], settings.profile))
    )
    access = kubernetes.Provider(
        "kubernetes",
        kubeconfig=kubeconfig,
        # Another way to log in to the same cluster replaces nothing in it.
        cluster_identifier=name,
        opts=pulumi.ResourceOptions(parent=parent),
    )
    return Cluster(
        name=known_as,
        api_host=endpoint.apply(host_of),
        issuer=component.oidc_issuer,
        oidc_provider=component.oidc_provider_arn,
        kubernetes=access,
        resource=component,
    )


def host_of(endpoint: str) -> str:
    """The host of an API server's URL.

    :raises ValueError: it is no URL.
    """
    host = urlsplit(endpoint).netloc.partition(":")[0]
    if not host:
        raise ValueError(f"the cluster's endpoint {endpoint!r} is no URL")
    return host


def with_profile(kubeconfig: str, profile: str | None) -> str:
    """A kubeconfig, as JSON, whose login uses an AWS profile; unchanged where there is none.

    pulumi-eks uses the profile in a provider of its own only, and leaves it out of its output.
    """
    if profile is None:
        return kubeconfig
    config = json.loads(kubeconfig)
    for user in config["users"]:
        user["user"]["exec"]["args"] += ["--profile", profile]
    return json.dumps(config)


def make_nodes(
    place: Place,
    role: Role,
    arch: str,
    taint: str | None,
    after: Sequence[pulumi.Resource],
    *,
    together: bool,
) -> aws.eks.NodeGroup:
    """Declare the nodes: one managed group in one zone, all alike.

    :param arch: the instance type's architecture, one of :data:`ARCHITECTURES`.
    :param taint: key of the taint that keeps pods off a node until its CNI runs; None for none.
    :param after: the CNI, and whatever else must be there before a node comes and go after it.
    :param together: in one cluster placement group.
    """
    settings = place.settings
    group = (
        aws.ec2.PlacementGroup(
            "placement", name=place.name, strategy=aws.ec2.PlacementStrategy.CLUSTER,
            opts=place.after(),
        )
        if together
        else None
    )  # fmt: skip
    tags = {**place.tags, "Name": f"{place.name}-node"}
    template = _launch_template(tags, group, place.after())
    # Two groups at once would cost twice, and workloads could be on either.
    alone = pulumi.ResourceOptions(
        delete_before_replace=True, custom_timeouts=pulumi.CustomTimeouts(create=_NODES_TIMEOUT)
    )
    return aws.eks.NodeGroup(
        "nodes",
        cluster_name=place.cluster.name,
        version=settings.version,
        node_role_arn=role.arn,
        subnet_ids=[place.network.nodes.id],
        ami_type=_IMAGES[arch],
        capacity_type="ON_DEMAND",
        instance_types=[settings.instance_type],
        scaling_config=aws.eks.NodeGroupScalingConfigArgs(
            desired_size=settings.nodes, min_size=settings.nodes, max_size=settings.nodes
        ),
        update_config=aws.eks.NodeGroupUpdateConfigArgs(max_unavailable=1),
        launch_template=aws.eks.NodeGroupLaunchTemplateArgs(
            id=template.id, version=template.latest_version.apply(str)
        ),
        taints=[aws.eks.NodeGroupTaintArgs(key=taint, value="true", effect="NO_EXECUTE")]
        if taint
        else [],
        tags={"Name": f"{place.name}-nodes"},
        opts=pulumi.ResourceOptions.merge(place.after(place.network, role, *after), alone),
    )


def _launch_template(
    tags: Mapping[str, str], group: aws.ec2.PlacementGroup | None, opts: pulumi.ResourceOptions
) -> aws.ec2.LaunchTemplate:
    return aws.ec2.LaunchTemplate(
        "node-template",
        update_default_version=True,
        metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
            http_endpoint="enabled",
            http_tokens="required",
            # One hop is the node itself: CNI agents and the operator, which share its network, can
            # ask who they are; a pod in its own network cannot take the node's credentials.
            http_put_response_hop_limit=1,
        ),
        block_device_mappings=[
            aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
                device_name=_ROOT_DEVICE,
                ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                    volume_type=_VOLUME_TYPE,
                    volume_size=VOLUME_GIB,
                    encrypted="true",
                    delete_on_termination="true",
                ),
            )
        ],
        placement=aws.ec2.LaunchTemplatePlacementArgs(group_name=group.name) if group else None,
        tag_specifications=[
            aws.ec2.LaunchTemplateTagSpecificationArgs(resource_type=kind, tags=dict(tags))
            for kind in _TAGGED
        ],
        opts=opts,
    )


def make_addon(
    name: str,
    place: Place,
    opts: pulumi.ResourceOptions,
    *,
    version: str | None = None,
    configuration: Mapping[str, object] | None = None,
    role: Role | None = None,
) -> aws.eks.Addon:
    """Declare an EKS add-on, which AWS installs and looks after.

    :param name: EKS's name of it, `vpc-cni` for example.
    :param version: v1.19.2-eksbuild.5 for example; None for EKS's choice.
    :param configuration: its configuration values.
    :param role: of its service account.
    """
    return aws.eks.Addon(
        name,
        cluster_name=place.cluster.name,
        addon_name=name,
        addon_version=version,
        configuration_values=json.dumps(dict(configuration), sort_keys=True)
        if configuration is not None
        else None,
        service_account_role_arn=role.arn if role else None,
        # There is nothing yet that could be in conflict, except what a torn `up` has left.
        resolve_conflicts_on_create="OVERWRITE",
        resolve_conflicts_on_update="OVERWRITE",
        opts=opts,
    )


def make_coredns(place: Place, *after: pulumi.Resource) -> aws.eks.Addon:
    """Declare the cluster's DNS. It needs nodes that are ready for its pods.

    One node is left without it, for the clients, so that their queries cross the fabric.
    (`aws eks describe-addon-configuration` tells the settings of each version. EKS's own choice is
    two pods, spread over nodes as far as there are some.)
    """
    replicas = {"replicaCount": min(_COREDNS_PODS, place.settings.nodes - 1)}
    bound = pulumi.CustomTimeouts(create=_COREDNS_TIMEOUT, update=_COREDNS_TIMEOUT)
    bounded = pulumi.ResourceOptions(custom_timeouts=bound)
    options = pulumi.ResourceOptions.merge(place.after(*after), bounded)
    return make_addon("coredns", place, options, configuration=replicas)
