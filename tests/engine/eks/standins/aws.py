"""The stand-in of pulumi-aws: identities, computed outputs and look-ups of what EKS stacks use.

Attributes are of the Terraform AWS Provider's documentation of each resource ("Attribute
Reference"), where nothing else is named; pulumi-aws is made from that provider.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.engine.eks.standins.account import Clusters
from tests.engine.eks.standins.package import Props, Resource

ACCOUNT = "123456789012"  # moto's own
CLUSTER = "aws:eks/cluster:Cluster"
VPC = "aws:ec2/vpc:Vpc"

# How each type's identity begins; where EC2 makes it up, it is this and hexadecimal digits. Source:
# the examples of each type's Describe action, Amazon EC2 API Reference; a route has no identity of
# EC2's, and `r` is the Terraform provider's.
_PREFIXES = {
    "aws:ec2/eip:Eip": "eipalloc",
    "aws:ec2/internetGateway:InternetGateway": "igw",
    "aws:ec2/launchTemplate:LaunchTemplate": "lt",
    "aws:ec2/natGateway:NatGateway": "nat",
    "aws:ec2/route:Route": "r",
    "aws:ec2/routeTable:RouteTable": "rtb",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": "rtbassoc",
    "aws:ec2/securityGroup:SecurityGroup": "sg",
    "aws:ec2/subnet:Subnet": "subnet",
    "aws:ec2/vpcEndpoint:VpcEndpoint": "vpce",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": "sgr",
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": "sgr",
}
# The input that names a resource. Where it is left out, the engine makes it up: the resource's name
# and seven hexadecimal digits. Source: "Autonaming", Pulumi's documentation of resource names.
_NAMED = {
    "aws:ec2/launchTemplate:LaunchTemplate": "name",
    "aws:ec2/placementGroup:PlacementGroup": "name",
    "aws:ec2/securityGroup:SecurityGroup": "name",
    "aws:eks/cluster:Cluster": "name",
    "aws:eks/nodeGroup:NodeGroup": "nodeGroupName",
    "aws:iam/policy:Policy": "name",
    "aws:iam/role:Role": "name",
    "aws:iam/rolePolicy:RolePolicy": "name",
}
# Inputs that make another resource (`ForceNew` in the Terraform provider's schemas).
_REPLACES: dict[str, frozenset[str]] = {
    type_: frozenset(names.split())
    for type_, names in {
        "aws:ec2/eip:Eip": "domain",
        "aws:ec2/launchTemplate:LaunchTemplate": "name namePrefix",
        "aws:ec2/placementGroup:PlacementGroup": "name strategy",
        "aws:ec2/natGateway:NatGateway": "allocationId connectivityType subnetId",
        "aws:ec2/routeTable:RouteTable": "vpcId",
        "aws:ec2/routeTableAssociation:RouteTableAssociation": "gatewayId subnetId",
        "aws:ec2/securityGroup:SecurityGroup": "description name vpcId",
        "aws:ec2/subnet:Subnet": "availabilityZone cidrBlock vpcId",
        "aws:ec2/vpc:Vpc": "cidrBlock",
        "aws:eks/addon:Addon": "addonName clusterName",
        "aws:eks/cluster:Cluster": "bootstrapSelfManagedAddons kubernetesNetworkConfig name "
        "roleArn",
        "aws:eks/nodeGroup:NodeGroup": "amiType capacityType clusterName diskSize instanceTypes "
        "nodeGroupName nodeRoleArn subnetIds",
        "aws:eks/podIdentityAssociation:PodIdentityAssociation": "clusterName namespace "
        "serviceAccount",
        "aws:iam/openIdConnectProvider:OpenIdConnectProvider": "url",
        "aws:iam/policy:Policy": "description name path",
        "aws:iam/role:Role": "name path",
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment": "policyArn role",
    }.items()
}


class Aws:
    """The package `aws`."""

    version = "7.51.1"

    def __init__(self, endpoint: str, certificate: str, vpc: str, clusters: Clusters) -> None:
        """
        :param endpoint: of the clusters' API server.
        :param certificate: its CA, in base64.
        :param vpc: the VPC's identity, one that the account's EC2 knows.
        """
        self._endpoint = endpoint
        self._certificate = certificate
        self._vpc = vpc
        self._clusters = clusters
        self._region = ""
        self._tags: dict[str, str] = {}

    def configure(self, config: Mapping[str, Any]) -> None:
        self._region = str(config.get("region", ""))
        default = config.get("defaultTags", {})
        # The bridge gets what is no text as JSON.
        default = json.loads(default) if isinstance(default, str) else default
        self._tags = dict(default.get("tags") or {})

    def check(self, resource: Resource, inputs: Props, olds: Props) -> Props:
        named = _NAMED.get(resource.type)
        if named is None or named in inputs or f"{named}Prefix" in inputs:
            return inputs
        return inputs | {named: olds.get(named) or f"{resource.name}-{resource.token(7)}"}

    def replaces(self, resource: Resource) -> frozenset[str]:
        return _REPLACES.get(resource.type, frozenset())

    def create(self, resource: Resource, inputs: Props) -> tuple[str, Props]:
        id_ = self._identity(resource, inputs)
        outputs = self._outputs(resource, inputs, id_)
        if resource.type == CLUSTER:
            self._clusters.add(inputs | outputs)
        return id_, outputs

    def update(self, resource: Resource, inputs: Props, olds: Props) -> Props:
        outputs = self._outputs(resource, inputs, str(olds.get("id", "")))
        if "latestVersion" in olds:
            outputs["latestVersion"] = olds["latestVersion"] + 1
        return outputs

    def delete(self, resource: Resource, inputs: Props) -> None:
        if resource.type == CLUSTER:
            self._clusters.remove(inputs["name"])

    def present(self, resource: Resource) -> bool:
        return True

    def _identity(self, resource: Resource, inputs: Props) -> str:
        if resource.type == VPC:
            return self._vpc
        if resource.type in _PREFIXES:
            return f"{_PREFIXES[resource.type]}-{resource.token(17)}"
        if resource.type == "aws:eks/nodeGroup:NodeGroup":
            return f"{inputs['clusterName']}:{inputs['nodeGroupName']}"
        if resource.type == "aws:eks/addon:Addon":
            return f"{inputs['clusterName']}:{inputs['addonName']}"
        named = _NAMED.get(resource.type)
        return str(inputs[named]) if named in inputs else f"{resource.name}-{resource.token(7)}"

    def _outputs(self, resource: Resource, inputs: Props, id_: str) -> Props:
        service = resource.type.split(":")[1].partition("/")[0]
        kind = resource.type.rpartition(":")[2].lower()
        outputs: Props = {"id": id_, "arn": self._arn(service, f"{kind}/{id_}")}
        outputs["tagsAll"] = self._tags | (inputs.get("tags") or {})
        compute = COMPUTED.get(resource.type)
        return outputs | (compute(self, resource, inputs) if compute else {})

    def _arn(self, service: str, what: str) -> str:
        region = "" if service == "iam" else self._region
        service = "ec2" if service == "vpc" else service
        return f"arn:aws:{service}:{region}:{ACCOUNT}:{what}"

    def cluster(self, resource: Resource, inputs: Props) -> Props:
        """Source: aws_eks_cluster, and "DescribeCluster", Amazon EKS API Reference, for the values'
        forms."""
        issuer = f"https://oidc.eks.{self._region}.amazonaws.com/id/{resource.token(32).upper()}"
        return {
            "endpoint": self._endpoint,
            "certificateAuthority": {"data": self._certificate},
            "identities": [{"oidcs": [{"issuer": issuer}]}],
            "status": "ACTIVE",
            "platformVersion": "eks.20",
            "vpcConfig": inputs["vpcConfig"]
            | {"clusterSecurityGroupId": f"sg-{resource.token(17)}"},
        }

    def address(self, resource: Resource, inputs: Props) -> Props:
        """Source: aws_eip. The address is for documentation (RFC 5737)."""
        return {"allocationId": self._identity(resource, inputs), "publicIp": "203.0.113.99"}

    def addon(self, resource: Resource, inputs: Props) -> Props:
        """Source: aws_eks_addon: without a version, EKS's choice."""
        return {"addonVersion": inputs.get("addonVersion", "v1.35.0-eksbuild.2")}

    def launch_template(self, resource: Resource, inputs: Props) -> Props:
        """Source: aws_launch_template: a first version, and one more at each update."""
        return {"latestVersion": 1, "defaultVersion": 1}

    def node_group(self, resource: Resource, inputs: Props) -> Props:
        """Source: aws_eks_node_group, and "Amazon EKS optimized Amazon Linux AMI versions", Amazon
        EKS User Guide, for the release's form."""
        group = {"name": f"eks-{inputs['nodeGroupName']}-{resource.token(8)}"}
        return {
            "status": "ACTIVE",
            "releaseVersion": f"{inputs['version']}.13-20261101",
            "resources": [{"autoscalingGroups": [group]}],
        }

    def invoke(self, token: str, arguments: Props) -> Props:
        return LOOK_UPS[token](self, arguments)

    def partition(self, arguments: Props) -> Props:
        """Source: the data source aws_partition."""
        return {
            "id": "aws",
            "partition": "aws",
            "dnsSuffix": "amazonaws.com",
            "reverseDnsPrefix": "com.amazonaws",
        }

    def region(self, arguments: Props) -> Props:
        """Source: the data source aws_region."""
        return {"id": self._region, "name": self._region, "region": self._region}

    def caller(self, arguments: Props) -> Props:
        """Source: the data source aws_caller_identity."""
        arn = f"arn:aws:iam::{ACCOUNT}:user/tester"
        return {"id": ACCOUNT, "accountId": ACCOUNT, "arn": arn, "userId": "AIDATESTER"}

    def addon_version(self, arguments: Props) -> Props:
        """Source: the data source aws_eks_addon_version."""
        version = f"v{arguments['kubernetesVersion']}.0-eksbuild.1"
        return {"id": arguments["addonName"], "version": version, **arguments}


COMPUTED: dict[str, Callable[[Aws, Resource, Props], Props]] = {
    "aws:ec2/eip:Eip": Aws.address,
    "aws:ec2/launchTemplate:LaunchTemplate": Aws.launch_template,
    "aws:eks/addon:Addon": Aws.addon,
    CLUSTER: Aws.cluster,
    "aws:eks/nodeGroup:NodeGroup": Aws.node_group,
}
LOOK_UPS: dict[str, Callable[[Aws, Props], Props]] = {
    "aws:eks/getAddonVersion:getAddonVersion": Aws.addon_version,
    "aws:index/getCallerIdentity:getCallerIdentity": Aws.caller,
    "aws:index/getPartition:getPartition": Aws.partition,
    "aws:index/getRegion:getRegion": Aws.region,
}
