"""Whether the caller has the IAM permissions that a stack takes.

They are the policy beside this module, which docs/eks.md shows. After the statement `Preflight`,
which changes nothing, it has what pulumi-aws calls to create, read, change and delete each kind of
resource in `components.eks`, after the source of the Terraform provider that it is made of.
`RunInstances` is among them because EKS starts nodes only for a caller who could start them from
the launch template. Accounts that have used EKS before have its service-linked roles already.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.eks.aws import Caution, Finding

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

_LISTED = 6  # denied actions that the warning names

POLICY: Mapping[str, Any] = json.loads(Path(__file__).with_name("policy.json").read_text())
"""The permissions as an IAM policy document."""

ACTIONS = tuple(str(action) for each in POLICY["Statement"] for action in each["Action"])


def conditions() -> dict[str, str]:
    """A value that each condition key has when a stack is deployed, for IAM's simulation."""
    return {
        key: values[0]
        for statement in POLICY["Statement"]
        for wanted in statement.get("Condition", {}).values()
        for key, values in wanted.items()
    }


class NotSimulatedError(Exception):
    """IAM cannot simulate this caller's policies; the text names the caller."""


def _principal(iam: IAMClient, arn: str) -> str | None:
    """The user or role behind a caller's ARN; None for the account's root, which may do all."""
    if re.fullmatch(r"arn:[\w-]+:iam::\d+:root", arn):
        return None
    if re.match(r"arn:[\w-]+:iam::\d+:(user|role)/", arn):
        return arn
    # The role's own ARN has a path that a session's lacks.
    session = re.match(r"arn:[\w-]+:sts::\d+:assumed-role/([^/]+)/", arn)
    if session is None:
        raise NotSimulatedError(f"IAM cannot simulate {arn}")
    return iam.get_role(RoleName=session[1])["Role"]["Arn"]


def denied(iam: IAMClient, arn: str, region: str) -> tuple[str, ...]:
    """Those of :data:`ACTIONS` that the caller's policies do not allow on every resource.

    :param arn: the caller's.
    :raises NotSimulatedError: the caller is neither a user nor a role.
    """
    source = _principal(iam, arn)
    if source is None:
        return ()
    # Many organisations deny what is not in a region of theirs.
    context = {"aws:RequestedRegion": region, **conditions()}
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=source,
        ActionNames=list(ACTIONS),
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


def check(actions: Sequence[str]) -> Iterator[Finding]:
    """A warning only: a policy for certain resources or tags looks denied here and still works."""
    if actions:
        more = f" and {len(actions) - _LISTED} more" if len(actions) > _LISTED else ""
        yield Caution(
            f"IAM's simulation denies you {', '.join(actions[:_LISTED])}{more}; unless your "
            "policies allow them for certain resources only, the deployment will fail: see "
            "docs/eks.md, Permissions"
        )
