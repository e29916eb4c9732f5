"""What IAM decides about a request, by policies of the kinds that this project has.

Sources: "Policy evaluation logic" and "IAM JSON policy elements: Condition operators", IAM User
Guide. An element or an operator that is not here is an error, not a guess.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from moto.iam.aws_managed_policies import aws_managed_policies_data

_ELEMENTS = {"Sid", "Effect", "Principal", "Action", "Resource", "Condition"}


def _like(pattern: str, value: str) -> bool:
    parts = (".*" if each == "*" else "." if each == "?" else re.escape(each) for each in pattern)
    return re.fullmatch("".join(parts), value, re.DOTALL) is not None


def _arn_like(pattern: str, value: str) -> bool:
    """Each of an ARN's six parts by itself; ArnEquals is the same."""
    wanted, given = pattern.split(":", 5), value.split(":", 5)
    return len(wanted) == len(given) == 6 and all(map(_like, wanted, given))


_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": str.__eq__,
    "StringLike": _like,
    "ArnEquals": _arn_like,
    "ArnLike": _arn_like,
}


@dataclass(frozen=True, slots=True)
class Request:
    """What IAM is asked.

    :param resource: an ARN, or `*` of an action that takes none; a trust policy has no resource.
    :param context: condition keys with their values.
    :param principal: who asks, where the policy is a role's trust: kind and name.
    """

    action: str
    resource: str = "*"
    context: Mapping[str, str] = field(default_factory=dict)
    principal: tuple[str, str] | None = None


def allows(policy: Mapping[str, Any], request: Request) -> bool:
    """Whether one policy by itself allows a request: some statement does, and none denies it.

    :raises ValueError: the policy has something that is not known here.
    """
    effects = {each["Effect"] for each in policy["Statement"] if concerns(each, request)}
    return effects == {"Allow"}


def concerns(statement: Mapping[str, Any], request: Request) -> bool:
    """Whether a statement is about a request.

    :raises ValueError: it has an element or an operator that is not known here.
    """
    if unknown := {*statement} - _ELEMENTS:
        raise ValueError(f"statements with {', '.join(sorted(unknown))} are not evaluated here")
    # Names of actions are the same in any case of letters; ARNs are not.
    actions = [each.lower() for each in several(statement["Action"])]
    if not any(_like(each, request.action.lower()) for each in actions):
        return False
    if "Principal" in statement and not _is_from(statement["Principal"], request.principal):
        return False
    if "Resource" in statement:
        resources = several(statement["Resource"])
        if not any(each == "*" or _like(each, request.resource) for each in resources):
            return False
    context = {key.lower(): value for key, value in request.context.items()}
    return all(
        _holds(operator, key, several(values), context)
        for operator, tests in statement.get("Condition", {}).items()
        for key, values in tests.items()
    )


def _is_from(principals: Mapping[str, Any], asking: tuple[str, str] | None) -> bool:
    return asking is not None and asking[1] in several(principals.get(asking[0], []))


def _holds(operator: str, key: str, values: Iterable[str], context: Mapping[str, str]) -> bool:
    """A key that the request does not have fails its test."""
    if operator not in _OPERATORS:
        raise ValueError(f"the condition operator {operator} is not evaluated here")
    given = context.get(key.lower())
    return given is not None and any(_OPERATORS[operator](value, given) for value in values)


def several(value: str | list[str]) -> list[str]:
    """An element's values, which may be one or a list."""
    return [value] if isinstance(value, str) else value


def managed(name: str) -> dict[str, Any]:
    """A policy of AWS's own, as moto has it of the AWS Managed Policy Reference Guide."""
    document: dict[str, Any] = json.loads(aws_managed_policies_data)[name]["Document"]
    return document
