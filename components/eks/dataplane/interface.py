"""What the EKS target asks of a CNI."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pulumi

from cni.scenario import Scenario
from cni.settings import Values
from cni.toggles import Decision
from components.eks.cluster import Place
from components.eks.iam import Role
from components.eks.janitor import Janitor


@dataclass(frozen=True, slots=True)
class Installed:
    """A CNI that is installed, not yet running.

    :param resources: what nodes must find, and what must not go before they have gone.
    :param identity: what was installed, as data; another one is another dataplane.
    :param values: what its installer has been given.
    """

    resources: Sequence[pulumi.Resource]
    identity: pulumi.Output[object]
    values: pulumi.Output[Values]


class EksDataplane(ABC):
    """A CNI on EKS. It has no state: what it installs is the scenario's."""

    #: The EKS add-on that installs it, in the build that the preflight looks up; None for none.
    addon: ClassVar[str | None] = None
    #: AWS's managed policies that its roles have attached, by name.
    managed_policies: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def install(
        self,
        scenario: Scenario,
        decisions: tuple[Decision, ...],
        build: str | None,
        place: Place,
    ) -> Installed:
        """Declare the CNI before there are nodes.

        Nothing here waits for what runs in the cluster: pods start with the first node. What the
        CNI needs comes first (permissions, then the janitor of its network interfaces), so that on
        destroy it goes last.

        :param build: the add-on's, v1.19.2-eksbuild.5 for example; None for a CNI without one.
        """


def make_janitor(tags: Mapping[str, str], role: Role, place: Place) -> Janitor:
    """Declare what removes, on destroy, the interfaces that a CNI leaves.

    :param tags: of every network interface that the CNI makes for this cluster.
    :param role: the one by which it makes them.
    """
    inputs: dict[str, pulumi.Input[str]] = {
        "cluster": place.cluster.name,
        "vpc": place.network.vpc.id,
        "region": place.settings.region,
        "profile": place.settings.profile or "",
    }
    return Janitor(tags, inputs, place.after(role))
