"""IAM roles, each with the least that its user needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pulumi
import pulumi_aws as aws

from components.eks.policies import service_account_trust, service_trust

# No network permissions: CNIs have roles of their own, by their service accounts.
_NODE_POLICIES = ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly")


class Role(pulumi.ComponentResource):
    """A role with its permissions. Who depends on it waits until they are attached, and on destroy
    they stay until the dependent is gone.

    :param name: whose it is.
    :param managed: names of AWS's managed policies.
    :param policy: a policy of the role's own.
    """

    arn: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        partition: str,
        trust: pulumi.Input[Mapping[str, Any]],
        opts: pulumi.ResourceOptions,
        *,
        managed: Iterable[str] = (),
        policy: pulumi.Input[Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__("cni-benchmark:eks:Role", f"{name}-identity", {}, opts)
        below = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(f"{name}-role", assume_role_policy=_text(trust), opts=below)
        for one in managed:
            aws.iam.RolePolicyAttachment(
                f"{name}-{one}",
                role=role.name,
                policy_arn=f"arn:{partition}:iam::aws:policy/{one}",
                opts=below,
            )
        if policy is not None:
            aws.iam.RolePolicy(f"{name}-policy", role=role.name, policy=_text(policy), opts=below)
        self.arn = role.arn
        self.register_outputs({})


def node_role(partition: str, opts: pulumi.ResourceOptions) -> Role:
    """The nodes' own: joining the cluster and pulling images."""
    trust = service_trust("ec2.amazonaws.com")
    return Role("node", partition, trust, opts, managed=_NODE_POLICIES)


def trust_in(
    provider: pulumi.Input[str], issuer: pulumi.Input[str], service_account: str
) -> pulumi.Output[Mapping[str, Any]]:
    """The trust of a role for a service account in kube-system."""
    return pulumi.Output.all(provider, issuer).apply(
        lambda known: service_account_trust(known[0], known[1], "kube-system", service_account)
    )


def _text(document: pulumi.Input[Mapping[str, Any]]) -> pulumi.Output[str]:
    return pulumi.Output.from_input(document).apply(lambda known: json.dumps(known, sort_keys=True))
