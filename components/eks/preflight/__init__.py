"""What is checked before anything is created on EKS, and what it will cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import pulumi

from bench.plan import Plan
from cni.platform import PlatformFacts
from cni.settings import Problem
from components.eks.aws import Caution, Finding, Refusal
from components.eks.names import cluster_name
from components.eks.preflight.cost import Cost
from components.eks.preflight.survey import Account, Subject, survey
from components.eks.settings import EksSettings
from components.settings import PROJECT, Settings, StackFile

__all__ = ["Account", "Cost", "Preflight", "Report", "check", "report"]


@dataclass(frozen=True, slots=True)
class Preflight:
    """What is known of the account and the platform before the first resource.

    :param account: the AWS account's number and partition.
    :param facts: of the instance type, as EC2 describes it.
    :param api_cidrs: who may reach the API server, as networks.
    :param cost: of a whole run, and per hour.
    :param cni_build: the add-on's build, v1.19.2-eksbuild.5; None for a CNI that is no add-on.
    :param warnings: what the reader of the results, and of the bill, should know.
    """

    account: Account
    facts: PlatformFacts
    api_cidrs: tuple[str, ...]
    cost: Cost
    cni_build: str | None
    warnings: tuple[str, ...]


def check(settings: Settings, plan: Plan) -> Preflight:
    """Ask AWS, and this machine, whether a stack can be deployed as its settings say.

    :raises pulumi.RunError: it cannot; the text has one line for every problem.
    """
    stack = pulumi.get_stack()
    result = survey(
        Subject(
            eks=settings.section(EksSettings),
            scenario=settings.scenario,
            plan=plan,
            stack=stack,
            cluster=cluster_name(pulumi.get_organization(), stack),
            now=datetime.now(UTC),
        )
    )
    lines = report(result.findings, StackFile(PROJECT, stack))
    if lines.problems:
        raise pulumi.RunError("\n".join(lines.problems))
    assert result.account and result.facts and result.cost and result.api_cidrs
    return Preflight(
        result.account,
        result.facts,
        result.api_cidrs,
        result.cost,
        result.cni_build,
        lines.warnings,
    )


@dataclass(frozen=True, slots=True)
class Report:
    """The findings of all checks as text: each line once, in the order of the checks."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def report(findings: Iterable[Finding], file: StackFile) -> Report:
    """The findings as lines; a setting comes with its file and the command that corrects it."""
    problems: dict[str, None] = {}
    warnings: dict[str, None] = {}
    for finding in findings:
        match finding:
            case Problem():
                problems[file.contradiction(finding)] = None
            case Refusal():
                problems[str(finding)] = None
            case Caution(text):
                warnings[text] = None
    return Report(tuple(problems), tuple(warnings))
