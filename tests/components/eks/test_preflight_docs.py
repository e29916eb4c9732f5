"""What docs/eks.md says of permissions, costs and settings is what the code says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bench.plan import plan_for
from cni.settings import setting_name
from components.eks.cluster import VOLUME_GIB
from components.eks.dataplane import DATAPLANES
from components.eks.iam import NODE_POLICIES
from components.eks.preflight import cost
from components.eks.preflight.account import ACTIONS, POLICY, conditions
from components.eks.settings import EksSettings

PAGE = (Path(__file__).parents[3] / "docs/eks.md").read_text()
LARGEST_POLICY = 6144  # characters without white space, of a managed policy


def test_the_policy_is_the_one_that_the_checks_simulate() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert json.loads(shown) == POLICY


def test_the_policy_fits_and_names_nothing_twice() -> None:
    assert len(json.dumps(POLICY, separators=(",", ":"))) < LARGEST_POLICY
    assert len(ACTIONS) == len(set(ACTIONS))
    names = [statement["Sid"] for statement in POLICY["Statement"]]
    assert len(set(names)) == len(names)


def test_every_condition_of_the_policy_is_met_in_the_simulation() -> None:
    assert conditions() == {
        "iam:PolicyARN": "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly",
        "iam:AWSServiceName": "eks.amazonaws.com",
    }


def test_the_policy_allows_to_attach_what_roles_have_and_nothing_else() -> None:
    (statement,) = [each for each in POLICY["Statement"] if each["Sid"] == "ManagedPolicies"]
    attached = {"AmazonEKSClusterPolicy", *NODE_POLICIES}
    for cni in DATAPLANES.values():
        attached.update(cni.managed_policies)
    arns = statement["Condition"]["ArnEquals"]["iam:PolicyARN"]
    assert arns == [f"arn:aws:iam::aws:policy/{name}" for name in sorted(attached)]


@pytest.mark.parametrize("extended", [False, True])
def test_the_costs_are_the_estimates(extended: bool) -> None:
    unread = dict.fromkeys(cost.products("m6i.xlarge"), "not read")
    made = cost.estimate_cost(
        cost.Footprint("m6i.xlarge", 3, VOLUME_GIB, 1, 1, 3.0, extended),
        cost.complete(unread, "ap-northeast-2", "m6i.xlarge"),
        cost.Duration(20, 30, 14),
    )
    column = 3 if extended else 2
    hour = _row("**while it exists**").split("|")[column]
    run = _row("**one run, destroyed right after**").split("|")[column]
    assert f"${made.usd_per_hour:.2f} per hour" in hour
    assert f"about ${made.usd:.1f}" in run


def test_the_times_are_the_estimates() -> None:
    quick = cost.estimate_duration(plan_for("quick"), cluster_exists=False)
    assert "takes ten minutes at most" in PAGE
    assert "about 45 from nothing to nothing" in PAGE
    assert 8 < quick.measure <= 10
    assert 42 < quick.total <= 45
    whole = cost.estimate_duration(plan_for("standard"), cluster_exists=False)
    assert "about 20 minutes to create, up to 35 to measure, and about 14" in PAGE
    assert (whole.create, whole.destroy) == (20, 14)
    assert 33 < whole.measure <= 35
    far = cost.estimate_duration(plan_for("standard"), cluster_exists=False, round_trip=0.25)
    assert "`standard` may take 105 minutes in place of 35" in PAGE
    assert 100 < far.measure <= 105


def test_settings_that_are_named_exist() -> None:
    known = {setting_name(EksSettings, name) for name in EksSettings.model_fields}
    assert set(re.findall(r"\beks\.([a-z]\w+)", PAGE)) - {"amazonaws"} <= known


def _row(start: str) -> str:
    return next(line for line in PAGE.splitlines() if line.startswith(f"| {start}"))
