"""The stand-in of pulumi-eks: its cluster component, with the children that the real one makes.

Read in pulumi-eks 4.4 (nodejs/eks/cluster/cluster.ts, `createCore`). What no stack of ours asks for
is refused, so that a stack that begins to is noticed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
from pulumi.provider import ConstructResult, Provider
from pulumi.provider.server import main

from tests.engine.eks.standins.journal import Entry, Journal
from tests.engine.eks.standins.server import end_with_the_engine

VERSION = "4.4.0"
TYPE = "eks:index:Cluster"
_POLICY = "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"


class Cluster(pulumi.ComponentResource):
    """`eks:index:Cluster`, without default node group and default security groups."""

    def __init__(
        self, name: str, inputs: Mapping[str, Any], options: pulumi.ResourceOptions | None
    ) -> None:
        super().__init__(TYPE, name, dict(inputs), options)
        self._name, self._inputs = name, inputs
        self._refuse_what_is_not_here()
        self._child = pulumi.ResourceOptions(parent=self)
        self.cluster = self._cluster(self._role())
        self.kubeconfig = self._kubeconfig()
        self._addons()
        self.oidc = self._oidc()
        self._provider = kubernetes.Provider(
            f"{name}-eks-k8s",
            kubeconfig=self.kubeconfig.apply(json.dumps),
            opts=self._child,
        )
        self.register_outputs({})

    def _refuse_what_is_not_here(self) -> None:
        inputs = self._inputs
        for wanted in ("skipDefaultNodeGroup", "skipDefaultSecurityGroups"):
            if not inputs.get(wanted):
                raise ValueError(f"the stand-in's cluster wants {wanted}")
        if inputs.get("authenticationMode") != "API":
            raise ValueError("the stand-in's cluster wants authenticationMode: API")

    def _role(self) -> aws.iam.Role:
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Action": ["sts:AssumeRole", "sts:TagSession"],
                    "Effect": "Allow",
                    "Principal": {"Service": ["eks.amazonaws.com"]},
                }
            ],
        }
        role = aws.iam.Role(
            f"{self._name}-eksRole-role",
            assume_role_policy=json.dumps(trust),
            tags=self._inputs.get("tags"),
            opts=self._child,
        )
        self._attachment = aws.iam.RolePolicyAttachment(
            f"{self._name}-eksRole-policy", role=role.name, policy_arn=_POLICY, opts=self._child
        )
        return role

    def _cluster(self, role: aws.iam.Role) -> aws.eks.Cluster:
        inputs = self._inputs
        return aws.eks.Cluster(
            f"{self._name}-eksCluster",
            name=inputs.get("name"),
            role_arn=role.arn,
            version=inputs.get("version"),
            bootstrap_self_managed_addons=inputs.get("bootstrapSelfManagedAddons", True),
            kubernetes_network_config=aws.eks.ClusterKubernetesNetworkConfigArgs(
                service_ipv4_cidr=inputs.get("kubernetesServiceIpAddressRange"), ip_family="ipv4"
            ),
            vpc_config=aws.eks.ClusterVpcConfigArgs(
                subnet_ids=inputs["subnetIds"],
                endpoint_private_access=inputs.get("endpointPrivateAccess"),
                endpoint_public_access=inputs.get("endpointPublicAccess"),
                public_access_cidrs=inputs.get("publicAccessCidrs"),
            ),
            access_config=aws.eks.ClusterAccessConfigArgs(
                authentication_mode="API", bootstrap_cluster_creator_admin_permissions=True
            ),
            enabled_cluster_log_types=inputs.get("enabledClusterLogTypes"),
            tags=pulumi.Output.from_input(inputs.get("tags") or {}).apply(
                lambda tags: {"Name": f"{self._name}-eksCluster", **tags}
            ),
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[self._attachment],
                ignore_changes=[
                    "accessConfig.bootstrapClusterCreatorAdminPermissions",
                    "bootstrapSelfManagedAddons",
                ],
            ),
        )

    def _addons(self) -> None:
        inputs = self._inputs
        options = inputs.get("kubeProxyAddonOptions") or {}
        if options.get("enabled", True):
            self._addon("kube-proxy", options, preserve=True)
        if not inputs.get("useDefaultVpcCni"):
            self._addon("vpc-cni", inputs.get("vpcCniOptions") or {}, preserve=False)
        if (inputs.get("corednsAddonOptions") or {}).get("enabled"):
            self._addon("coredns", inputs["corednsAddonOptions"], preserve=True)

    def _addon(self, addon: str, options: Mapping[str, Any], *, preserve: bool) -> None:
        version = options.get("version") or options.get("addonVersion")
        if version is None:
            latest = aws.eks.get_addon_version_output(
                addon_name=addon,
                kubernetes_version=self.cluster.version,
                most_recent=True,
                opts=pulumi.InvokeOutputOptions(parent=self),
            )
            version = latest.version
        values = options.get("configurationValues")
        aws.eks.Addon(
            f"{self._name}-{addon}",
            cluster_name=self.cluster.name,
            addon_name=addon,
            addon_version=version,
            preserve=preserve,
            configuration_values=None if values is None else pulumi.Output.json_dumps(values),
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            tags=self._inputs.get("tags"),
            opts=self._child,
        )

    def _oidc(self) -> aws.iam.OpenIdConnectProvider | None:
        if not self._inputs.get("createOidcProvider"):
            return None
        return aws.iam.OpenIdConnectProvider(
            f"{self._name}-oidcProvider",
            client_id_lists=["sts.amazonaws.com"],
            url=self._issuer(),
            thumbprint_lists=["9e99a48a9960b14926bb7f3b02e22da2b0ab7280"],
            opts=self._child,
        )

    def _issuer(self) -> pulumi.Output[str]:
        oidcs = self.cluster.identities[0].oidcs.apply(lambda found: found or [])
        return oidcs[0].issuer.apply(str)

    def _kubeconfig(self) -> pulumi.Output[dict[str, Any]]:
        credentials = pulumi.Output.from_input(self._inputs.get("providerCredentialOpts"))
        cluster = self.cluster
        return pulumi.Output.all(
            name=cluster.name,
            endpoint=cluster.endpoint,
            ca=cluster.certificate_authority.data,
            region=cluster.arn.apply(lambda arn: arn.split(":")[3]),
            profile=credentials.apply(lambda options: (options or {}).get("profileName")),
        ).apply(_kubeconfig)

    def state(self) -> dict[str, Any]:
        """What the component's reader gets."""
        issuer = self._issuer()
        return {
            "eksCluster": self.cluster,
            "kubeconfig": self.kubeconfig,
            "kubeconfigJson": self.kubeconfig.apply(json.dumps),
            "clusterSecurityGroupId": self.cluster.vpc_config.cluster_security_group_id,
            "nodeSecurityGroupId": self.cluster.vpc_config.cluster_security_group_id,
            "instanceRoles": [],
            "oidcProviderArn": self.oidc.arn if self.oidc else "",
            "oidcProviderUrl": issuer,
            "oidcIssuer": issuer.apply(lambda url: url.removeprefix("https://")),
            "core": {
                "cluster": self.cluster,
                "endpoint": self.cluster.endpoint,
                "provider": self._provider,
                "subnetIds": self._inputs["subnetIds"],
                "vpcId": self._inputs.get("vpcId"),
                **({"oidcProvider": self.oidc} if self.oidc else {}),
            },
        }


def _kubeconfig(known: dict[str, Any]) -> dict[str, Any]:
    words = ["--region", known["region"], "eks", "get-token"]
    words += ["--cluster-name", known["name"], "--output", "json"]
    words += ["--profile", known["profile"]] if known["profile"] else []
    login = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": "aws",
        "args": words,
    }
    cluster = {"server": known["endpoint"], "certificate-authority-data": known["ca"]}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "aws",
        "clusters": [{"name": "kubernetes", "cluster": cluster}],
        "contexts": [{"name": "aws", "context": {"cluster": "kubernetes", "user": "aws"}}],
        "users": [{"name": "aws", "user": {"exec": login}}],
    }


class Eks(Provider):
    """The package `eks`, of which only the cluster is used."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(VERSION)
        self._journal = journal

    def construct(
        self,
        name: str,
        resource_type: str,
        inputs: pulumi.Inputs,
        options: pulumi.ResourceOptions | None = None,
    ) -> ConstructResult:
        if resource_type != TYPE:
            raise ValueError(f"the stand-in has no {resource_type}")
        self._journal.write(Entry("construct", resource_type, name, pulumi.runtime.is_dry_run()))
        made = Cluster(name, inputs, options)
        return ConstructResult(made.urn, made.state())


def serve() -> None:
    """Run the plugin until the engine ends."""
    end_with_the_engine()
    main(Eks(Journal.of_this_process()), sys.argv[1:])
