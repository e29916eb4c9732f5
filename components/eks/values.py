"""The Cilium chart's values on EKS, and whether the chart knows them all."""

from __future__ import annotations

from collections.abc import Mapping

from cni.chart_keys import chart_keys
from cni.guards import Decision
from cni.scenario import Scenario
from cni.value_tree import HelmValues, merge
from cni.values import ClusterEndpoint, helm_values, unknown_values

# Of a cluster that is not there yet; what the values are called does not depend on it.
_ANY = ClusterEndpoint(name="any", api_host="any", eni_subnet_ids=["any"])


def cilium_values(
    scenario: Scenario,
    decisions: tuple[Decision, ...],
    cluster: ClusterEndpoint,
    operator_role: str | None,
    tags: Mapping[str, str],
) -> HelmValues:
    """Everything that the chart is told.

    :param operator_role: ARN of the role by which the operator manages ENIs; None where it has
        none to manage.
    :param tags: of the ENIs that it makes.
    """
    values = helm_values(scenario, decisions, cluster)
    if operator_role is None:
        return values
    return merge(values, {"eni": {"iamRole": operator_role, "eniTags": dict(tags)}})


def unknown(scenario: Scenario, decisions: tuple[Decision, ...]) -> list[str]:
    """The scenario's values that the chart does not have, each as one sentence.

    The chart ignores what it does not know: a misspelt value would be measured as if it were set.
    """
    if scenario.cni != "cilium":
        return []
    return unknown_values(cilium_values(scenario, decisions, _ANY, "any", {}), chart_keys())
