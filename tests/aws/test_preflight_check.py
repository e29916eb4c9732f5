"""`check` as a Pulumi program calls it."""

from __future__ import annotations

import pulumi
import pytest

from bench.plan import plan_for
from components.eks.preflight import Account, Preflight, check
from tests.aws.conftest import ADDRESS
from tests.aws.server import AwsServer
from tests.components import engine_mocks
from tests.components.stack_config import read


def checked(changes: dict[str, object]) -> Preflight:
    made: list[Preflight] = []

    def program() -> dict[str, pulumi.Input[object]]:
        settings = read("scenario-e", {"target": "eks", **changes})
        made.append(check(settings, plan_for("standard")))
        return {}

    engine_mocks.run("scenario-e", program)
    return made[0]


def test_a_stack_that_can_be_deployed(aws: AwsServer) -> None:
    result = checked({"scenario.cniVersion": "1.16.5"})
    assert result.account == Account("123456789012", "aws")
    assert result.api_cidrs == (f"{ADDRESS}/32",)
    assert result.facts.instance_type == "m6i.xlarge"
    assert 0 < result.cost.usd < 10
    assert any("tested by its makers" in line for line in result.warnings)


def test_a_stack_that_cannot_be_is_one_error_with_every_line(aws: AwsServer) -> None:
    aws.account.quotas["L-1216C47A"] = 4
    with pytest.raises(pulumi.RunError) as caught:
        checked({"eks.version": "1.29", "eks.maxCostUsd": 0.01})
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all("Fix: " in line for line in lines)
