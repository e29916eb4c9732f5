"""The EKS cluster without any add-on, and how its Kubernetes API is reached."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks
import pulumi_kubernetes as kubernetes

from components.eks.network import Network
from components.eks.settings import EksSettings


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster whose API server answers.

    :param api_host: the API server's host, without scheme and port.
    :param issuer: of service accounts' tokens, without scheme.
    :param oidc_provider: ARN of the issuer's provider in IAM.
    :param kubernetes: the provider of everything in the cluster; its kubeconfig is a secret.
    """

    name: pulumi.Output[str]
    api_host: pulumi.Output[str]
    issuer: pulumi.Output[str]
    oidc_provider: pulumi.Output[str]
    kubernetes: kubernetes.Provider


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
    their own (:mod:`.addons`) they are at the scenario's version, and in order with the nodes.

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
        # What is in the cluster ends with it: a destroy from where the API cannot be reached, or
        # after the cluster has gone, must not stop there.
        delete_unreachable=True,
        opts=pulumi.ResourceOptions(parent=parent),
    )
    return Cluster(
        name=known_as,
        api_host=endpoint.apply(host_of),
        issuer=component.oidc_issuer,
        oidc_provider=component.oidc_provider_arn,
        kubernetes=access,
    )


def host_of(endpoint: str) -> str:
    """The host of an API server's URL; ValueError where there is none."""
    host = urlsplit(endpoint).netloc.partition(":")[0]
    if not host:
        raise ValueError(f"the cluster's endpoint {endpoint!r} is no URL")
    return host


def with_profile(kubeconfig: str, profile: str | None) -> str:
    """A kubeconfig, as JSON, whose login uses an AWS profile; as it is where there is none.

    pulumi-eks leaves the profile out of what it gives, and has it in a provider of its own only.
    """
    if profile is None:
        return kubeconfig
    config = json.loads(kubeconfig)
    for user in config["users"]:
        user["user"]["exec"]["args"] += ["--profile", profile]
    return json.dumps(config)
