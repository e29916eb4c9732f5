"""What is checked before anything is created on EKS, and what it will cost."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pulumi

from bench.plan import Plan
from cni.platform import PlatformFacts
from components.eks.names import PROJECT, cluster_name
from components.eks.preflight.cost import Cost
from components.eks.preflight.findings import report
from components.eks.preflight.subject import Subject
from components.eks.preflight.survey import Account, survey
from components.settings import Settings
from components.settings_errors import StackFile

__all__ = ["Account", "Cost", "Preflight", "check"]


@dataclass(frozen=True, slots=True)
class Preflight:
    """What is known of the account and the platform before the first resource.

    :param account: the AWS account's number and partition.
    :param facts: of the instance type, as EC2 describes it.
    :param api_cidrs: who may reach the API server, as networks.
    :param cost: of a whole run, and per hour.
    :param vpc_cni: the add-on's build, v1.19.2-eksbuild.5; None where the CNI is another one.
    :param warnings: what the reader of the results, and of the bill, should know.
    """

    account: Account
    facts: PlatformFacts
    api_cidrs: tuple[str, ...]
    cost: Cost
    vpc_cni: str | None
    warnings: tuple[str, ...]


def check(settings: Settings, plan: Plan) -> Preflight:
    """Ask AWS, and this machine, whether a stack can be deployed as its settings say.

    :raises pulumi.RunError: it cannot; every problem is in it, in one line each.
    """
    stack, scenario = pulumi.get_stack(), settings.scenario
    found = survey(
        Subject(
            eks=settings.eks,
            vpc_cni=scenario.cni_version if scenario.cni == "vpc-cni" else None,
            plan=plan,
            stack=stack,
            cluster=cluster_name(pulumi.get_organization(), stack),
            now=datetime.now(UTC),
        )
    )
    told = report(found.findings, StackFile(PROJECT, stack))
    if told.problems:
        raise pulumi.RunError("\n".join(told.problems))
    assert found.account and found.facts and found.cost and found.api_cidrs
    return Preflight(
        found.account, found.facts, found.api_cidrs, found.cost, found.vpc_cni, told.warnings
    )
