"""What a scenario sets for the VPC CNI's daemon, on EKS and in the lab."""

from __future__ import annotations

import json
from collections.abc import Mapping

from cni.scenario import Scenario


def daemon_environment(scenario: Scenario, tags: Mapping[str, str]) -> dict[str, str]:
    """Environment variables of the container `aws-node`.

    :param tags: of the network interfaces that it makes.
    """
    env = {"ADDITIONAL_ENI_TAGS": json.dumps(dict(tags), sort_keys=True)}
    if scenario.prefix_delegation:
        env["ENABLE_PREFIX_DELEGATION"] = "true"
    return env
