"""What tests ask of a declared stack."""

from __future__ import annotations

from typing import Any

from components.eks.settings import cluster_name
from tests.components.engine_mocks import Program, Registered
from tests.components.stack_config import STACKS

CILIUM = STACKS[1:]
RELEASE = "cilium (kubernetes:helm.sh/v3:Release)"
ROLE = "aws:iam/role:Role"
ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"


def name_of(stack: str) -> str:
    """The name of a stack's cluster under mocks."""
    return cluster_name("organization", stack)


def chart_values(program: Program) -> dict[str, Any]:
    """What the Cilium chart is told."""
    values: dict[str, Any] = program.resources[RELEASE].inputs["values"]
    return values


def of_type(program: Program, kind: str) -> list[Registered]:
    """All resources of one type."""
    return [each for each in program.resources.values() if each.type == kind]


def before(program: Program, name: str) -> set[str]:
    """Everything that must be there before a resource: by dependencies, and its parents'."""
    result: set[str] = set()
    todo = [name]
    while todo:
        resource = program.resources.get(todo.pop())
        if resource is None:  # the cluster's own resource, inside the component
            continue
        for other in (*resource.after, resource.parent):
            if other not in result:
                result.add(other)
                todo.append(other)
    return result
