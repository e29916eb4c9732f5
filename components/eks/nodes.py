"""The nodes: one managed group in one zone, all alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws

from cni.scenario import Scenario
from components.eks.place import Place
from components.eks.roles import Role

VOLUME_GIB = 20
VOLUME_TYPE = "gp3"
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
_CREATE_TIMEOUT = "30m"

# Cilium's operator takes it off a node once an agent runs there: no pod starts without the CNI.
# Nothing would take it off with the VPC CNI.
AGENT_NOT_READY = "node.cilium.io/agent-not-ready"


def make_nodes(
    place: Place, scenario: Scenario, role: Role, arch: str, after: Sequence[pulumi.Resource]
) -> aws.eks.NodeGroup:
    """Declare the node group.

    :param arch: the instance type's architecture, one of :data:`ARCHITECTURES`.
    :param after: the CNI, and whatever else must be there before a node comes and go after it.
    """
    settings = place.settings
    template = _launch_template({**place.tags, "Name": f"{place.name}-node"}, place.after())
    # Two groups at once would cost twice, and workloads could be on either.
    alone = pulumi.ResourceOptions(
        delete_before_replace=True, custom_timeouts=pulumi.CustomTimeouts(create=_CREATE_TIMEOUT)
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
        taints=taints(scenario),
        tags={"Name": f"{place.name}-nodes"},
        opts=pulumi.ResourceOptions.merge(place.after(place.network, role, *after), alone),
    )


def taints(scenario: Scenario) -> list[aws.eks.NodeGroupTaintArgs]:
    """What keeps pods off a node whose CNI does not run yet."""
    if scenario.cni != "cilium":
        return []
    return [aws.eks.NodeGroupTaintArgs(key=AGENT_NOT_READY, value="true", effect="NO_EXECUTE")]


def _launch_template(
    tags: Mapping[str, str], opts: pulumi.ResourceOptions
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
                    volume_type=VOLUME_TYPE,
                    volume_size=VOLUME_GIB,
                    encrypted="true",
                    delete_on_termination="true",
                ),
            )
        ],
        tag_specifications=[
            aws.ec2.LaunchTemplateTagSpecificationArgs(resource_type=kind, tags=dict(tags))
            for kind in _TAGGED
        ],
        opts=opts,
    )
