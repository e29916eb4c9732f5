"""EKS add-ons: what AWS installs and looks after in a cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pulumi
import pulumi_aws as aws

from cni.scenario import KubeProxyMode, Scenario
from cni.vpc_cni.dataplane import daemon_environment
from components.eks.cluster import Cluster
from components.eks.roles import Role

# Without nodes CoreDNS stays degraded for EKS's 20 minutes; with them it takes one.
_COREDNS_TIMEOUT = "10m"


def vpc_cni(
    cluster: Cluster,
    version: str,
    configuration: Mapping[str, object],
    role: Role,
    opts: pulumi.ResourceOptions,
) -> aws.eks.Addon:
    """The VPC CNI.

    :param version: as EKS names it, v1.19.2-eksbuild.5 say.
    :param role: of its service account aws-node.
    """
    return _addon(
        "vpc-cni",
        cluster,
        opts,
        addon_version=version,
        configuration_values=_text(configuration),
        service_account_role_arn=role.arn,
    )


def kube_proxy(cluster: Cluster, scenario: Scenario, opts: pulumi.ResourceOptions) -> aws.eks.Addon:
    """kube-proxy in the scenario's mode, at the version that EKS takes for the cluster's."""
    configuration = _text(kube_proxy_configuration(scenario.kube_proxy))
    return _addon("kube-proxy", cluster, opts, configuration_values=configuration)


def coredns(cluster: Cluster, opts: pulumi.ResourceOptions) -> aws.eks.Addon:
    """The cluster's DNS; it wants nodes that are ready for its pods."""
    bound = pulumi.CustomTimeouts(create=_COREDNS_TIMEOUT, update=_COREDNS_TIMEOUT)
    bounded = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(custom_timeouts=bound))
    return _addon("coredns", cluster, bounded)


def vpc_cni_configuration(scenario: Scenario, tags: Mapping[str, str]) -> dict[str, object]:
    """The add-on's configuration values: environment variables of aws-node, as text.

    :param tags: of the network interfaces that it makes.
    """
    return {"env": daemon_environment(scenario, tags)}


def kube_proxy_configuration(mode: KubeProxyMode) -> dict[str, object]:
    """The add-on's configuration values; the mode is said also where it is the default."""
    return {"mode": mode}


def _text(configuration: Mapping[str, object]) -> str:
    return json.dumps(dict(configuration), sort_keys=True)


def _addon(
    name: str,
    cluster: Cluster,
    opts: pulumi.ResourceOptions,
    *,
    addon_version: str | None = None,
    configuration_values: str | None = None,
    service_account_role_arn: pulumi.Input[str | None] = None,
) -> aws.eks.Addon:
    return aws.eks.Addon(
        name,
        cluster_name=cluster.name,
        addon_name=name,
        addon_version=addon_version,
        configuration_values=configuration_values,
        service_account_role_arn=service_account_role_arn,
        # There is nothing yet that could be in conflict, except what a torn `up` has left.
        resolve_conflicts_on_create="OVERWRITE",
        resolve_conflicts_on_update="OVERWRITE",
        opts=opts,
    )
