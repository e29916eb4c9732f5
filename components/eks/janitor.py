"""Removes, on destroy, the network interfaces that the CNI's daemon has left in the VPC.

A node that ends takes its attached ENIs along. What remains are those that the CNI had just made,
and they keep subnets, security groups and the VPC from being deleted. This resource stands between
the CNI and its permissions: on destroy its turn comes when no node and no CNI is there any more.

Found again by import path for as long as a stack lives; boto3 is imported when it is needed.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi.dynamic import CreateResult, Resource, UpdateResult

from components.dynamic import VERSION, Provider, UserError, inputs
from components.eks.names import interface_tags

if TYPE_CHECKING:
    from cni.scenario import CniName

_INPUTS = ("cluster", "vpc", "region", "profile", "tags", "version")


class JanitorProvider(Provider):
    """Does nothing until it is deleted. Other settings only change how it will."""

    replaced_by = ("cluster", "vpc", "region")

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(f"{props['cluster']}-interfaces", inputs(props, _INPUTS))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(inputs(_news, _INPUTS))

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        from components.eks.interfaces import LeftBehindError, remove_from

        profile, region = _props["profile"] or None, _props["region"]
        try:
            remove_from(profile, region, _props["vpc"], json.loads(_props["tags"]), _say)
        except LeftBehindError as error:
            raise UserError(
                f"could not remove the network interfaces of {_props['cluster']}: {error}. "
                "Another pulumi destroy goes on once the cause is gone"
            ) from None


class Janitor(Resource):
    """The janitor of one cluster's interfaces."""

    def __init__(
        self,
        name: str,
        cni: CniName,
        cluster: pulumi.Input[str],
        vpc: pulumi.Input[str],
        region: str,
        profile: str | None,
        opts: pulumi.ResourceOptions,
    ) -> None:
        props = {
            "cluster": cluster,
            "vpc": vpc,
            "region": region,
            # The engine drops what is None.
            "profile": profile or "",
            "tags": pulumi.Output.from_input(cluster).apply(
                lambda known: json.dumps(interface_tags(cni, known), sort_keys=True)
            ),
            "version": VERSION,
        }
        super().__init__(JanitorProvider(), name, props, opts)


def _say(line: str) -> None:
    print(line, flush=True)
