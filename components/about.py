"""What a stack tells its session, for the results: scenario, CNI, decisions, bring-up.

The values that the CNI's installer took are known to the session by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.environment import About, CniRecord, Environment, ScenarioRecord, toggle_records
from cni.scenario import Scenario


def about(
    scenario: Scenario,
    environment: Environment,
    *,
    stack: str = "",
    toggles: Mapping[str, Any] | None = None,
    bring_up: str = "",
) -> dict[str, Any]:
    """The argument of that name of a session's descriptor.

    :param environment: the facts that only the target knows.
    :param stack: the stack's name; nothing where a lab is no stack's.
    :param toggles: every toggle's state by name, as the stack's output has them.
    :param bring_up: names the cluster's life.
    """
    told = About(
        scenario=ScenarioRecord(
            name=stack,
            title=scenario.title,
            settings=scenario.model_dump(mode="json", by_alias=True, exclude_unset=True),
        ),
        cni=CniRecord(name=scenario.cni, version=scenario.cni_version),
        decisions=toggle_records(toggles),
        bring_up=bring_up,
        environment=environment,
    )
    return told.model_dump(mode="json", exclude_defaults=True)
