"""Where in AWS everything of a stack is put."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components.eks.cluster import Cluster
from components.eks.network import Network
from components.eks.settings import EksSettings


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
