"""The VPC CNI on EKS: an add-on, with a role of its own."""

import pulumi

from cni.platform import ClusterEndpoint
from cni.scenario import Scenario
from cni.toggles import Decision
from components.eks.cluster import Place, make_addon
from components.eks.dataplane.interface import EksDataplane, Installed, make_janitor
from components.eks.iam import Role, trust_in
from components.eks.settings import interface_tags

_SERVICE_ACCOUNT = "aws-node"


class VpcCni(EksDataplane):
    """Amazon's CNI, as EKS's add-on."""

    addon = "vpc-cni"
    managed_policies = ("AmazonEKS_CNI_Policy",)

    def install(
        self,
        scenario: Scenario,
        decisions: tuple[Decision, ...],
        build: str | None,
        place: Place,
    ) -> Installed:
        """Declare the add-on with the scenario's environment of the daemon."""
        cluster = place.cluster
        trust = trust_in(cluster.oidc_provider, cluster.issuer, _SERVICE_ACCOUNT)
        role = Role("vpc-cni", place.partition, trust, place.after(), managed=self.managed_policies)
        janitor = make_janitor(interface_tags(scenario.cni, place.name), role, place)
        endpoint = ClusterEndpoint(name=place.name, api_host="", eni_tags=place.tags)
        configuration = scenario.dataplane.values(scenario, decisions, endpoint)
        addon = make_addon(
            self.addon,
            place,
            place.after(janitor, role),
            version=build,
            configuration=configuration,
            role=role,
        )
        identity: pulumi.Output[object] = pulumi.Output.from_input(
            {"version": build, **configuration}
        )
        return Installed([addon], identity, pulumi.Output.from_input(configuration))
