"""Whether the caller may do what a deployment does, as far as IAM's simulation can tell."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from components.eks.preflight.findings import Caution, Finding

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

_NAMED = 6


class NotSimulatedError(Exception):
    """Who calls is nobody whose policies could be simulated; says who."""


def principal(iam: IAMClient, arn: str) -> str | None:
    """The user or role behind a caller's ARN; None for the account's root, who may do all.

    :raises NotSimulatedError: a federated user or another service.
    """
    if re.fullmatch(r"arn:[\w-]+:iam::\d+:root", arn):
        return None
    if re.match(r"arn:[\w-]+:iam::\d+:(user|role)/", arn):
        return arn
    # The role's own ARN has a path that a session's lacks.
    session = re.match(r"arn:[\w-]+:sts::\d+:assumed-role/([^/]+)/", arn)
    if session is None:
        raise NotSimulatedError(f"IAM cannot simulate {arn}")
    return iam.get_role(RoleName=session[1])["Role"]["Arn"]


def denied(
    iam: IAMClient, arn: str, actions: Sequence[str], context: Mapping[str, str]
) -> tuple[str, ...]:
    """Those of the actions that the caller's policies do not allow on everything.

    :param context: values of condition keys, as they are when a stack is deployed.
    :raises NotSimulatedError: see :func:`principal`.
    """
    source = principal(iam, arn)
    if source is None:
        return ()
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=source,
        ActionNames=list(actions),
        ContextEntries=[
            {"ContextKeyName": key, "ContextKeyValues": [value], "ContextKeyType": "string"}
            for key, value in context.items()
        ],
    )
    return tuple(
        result["EvalActionName"]
        for page in pages
        for result in page["EvaluationResults"]
        if result["EvalDecision"] != "allowed"
    )


def judge(actions: Sequence[str]) -> Iterator[Finding]:
    """A warning: policies for certain resources or tags look denied here, and work all the same."""
    if actions:
        more = f" and {len(actions) - _NAMED} more" if len(actions) > _NAMED else ""
        yield Caution(
            f"IAM's simulation denies you {', '.join(actions[:_NAMED])}{more}; unless your "
            "policies allow them for certain resources only, the deployment will fail: see "
            "docs/eks.md, Permissions"
        )
