"""A Pulumi program: what a stack on EKS has inside its cluster, and nothing of what is around it.

It stands in for the project's own program in a copy of the checkout. The cluster, and the role of
Cilium's operator, are resources that are nothing but names.
"""

import os
from typing import Any, cast

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi.dynamic import CreateResult, Resource, ResourceProvider

from cni.cilium.versions import DEFAULT
from cni.decisions import decide
from cni.platform import ClusterEndpoint, Kernel, known_facts
from components.eks.cluster import Cluster, Place
from components.eks.dataplane.cilium import operator_account
from components.eks.iam import Role
from components.kubernetes import cilium
from components.kubernetes.resources import Workloads
from tests.components.stack_config import read

ROLE = "arn:aws:iam::123456789012:role/operator"
cilium.REPOSITORY = os.environ["TEST_CHARTS"]  # type: ignore[misc]


class _Provider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_="cluster", outs=props)


class _Cluster(Resource):
    def __init__(self) -> None:
        super().__init__(_Provider(), "cluster", {})


class _Role(pulumi.ComponentResource):
    def __init__(self) -> None:
        super().__init__("cni-benchmark:test:Role", "role")
        self.arn = pulumi.Output.from_input(ROLE)


name = pulumi.Output.from_input("test")
access = kubernetes.Provider(
    "kubernetes", kubeconfig=os.environ["TEST_KUBECONFIG"], cluster_identifier="test"
)
parent = pulumi.ComponentResource("cni-benchmark:test:Cluster", "eks")
cluster = Cluster(
    name=name,
    api_host=name,
    issuer=name,
    oidc_provider=name,
    kubernetes=access,
    resource=cast("Any", _Cluster()),
)
nothing = cast("Any", None)
place = Place(
    name="test",
    account="123456789012",
    partition="aws",
    tags={},
    settings=nothing,
    network=nothing,
    cluster=cluster,
    parent=parent,
)
account = operator_account(cast("Role", _Role()), place)
scenario = read("scenario-e", {"scenario.toggles.hubbleOff": not os.environ.get("TEST_HUBBLE")})
known = known_facts("m6i.xlarge", kernel=Kernel(6, 12))
assert known is not None
endpoint = ClusterEndpoint(
    name="test", api_host="api.test", eni_subnet_ids=["subnet-1"], eni_role=ROLE, region="eu-west-1"
)
values = scenario.scenario.dataplane.values(
    scenario.scenario, decide(scenario.scenario, known), endpoint
)
release = cilium.CiliumRelease("cilium", DEFAULT, values, access, place.inside(account))
workloads = Workloads("workloads", access, "1", place.inside(release))
pulumi.export("ready", workloads.ready)
