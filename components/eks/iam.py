"""IAM: policy documents, and roles with the least that their users need."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template
from typing import Any

import pulumi
import pulumi_aws as aws

Document = dict[str, Any]

NODE_POLICIES = ("AmazonEKSWorkerNodePolicy", "AmazonEC2ContainerRegistryPullOnly")
"""AWS's managed policies of nodes. None is about the network: CNIs have roles of their own, by
their service accounts."""


def document(name: str, **values: str) -> Document:
    """A policy document of the folder `policies`.

    :param values: by the names of its `${placeholders}`.
    :raises KeyError: a placeholder has no value.
    """
    file = Path(__file__).parent / "policies" / f"{name}.json"
    made: Document = json.loads(Template(file.read_text()).substitute(values))
    return made


class Role(pulumi.ComponentResource):
    """A role with its permissions.

    A dependent of it waits until they are attached; on destroy they stay until it is gone.

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
    trust = document("service-trust", service="ec2.amazonaws.com")
    return Role("node", partition, trust, opts, managed=NODE_POLICIES)


def trust_in(
    provider: pulumi.Input[str], issuer: pulumi.Input[str], service_account: str
) -> pulumi.Output[Mapping[str, Any]]:
    """The trust of a role that one service account in kube-system takes, by its token (IRSA).

    :param provider: ARN of the cluster's OpenID Connect provider in IAM.
    :param issuer: the cluster's token issuer, without a scheme.
    """
    return pulumi.Output.all(provider, issuer).apply(
        lambda known: document(
            "service-account-trust",
            provider=known[0],
            issuer=known[1],
            service_account=service_account,
        )
    )


def _text(document: pulumi.Input[Mapping[str, Any]]) -> pulumi.Output[str]:
    return pulumi.Output.from_input(document).apply(lambda known: json.dumps(known, sort_keys=True))
