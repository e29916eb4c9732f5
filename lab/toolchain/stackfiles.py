"""A checkout's stacks and what each of them needs, by its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.toolchain.errors import ToolchainError, UnknownStackError
from lab.toolchain.launcher import LAB_TARGET, PROJECT_FILE, read_yaml, settings_tree, target_of
from lab.toolchain.programs import ENGINE, Need, needs_of_lab


def stacks(checkout: Path) -> list[str]:
    """The scenarios of a checkout: one per ``Pulumi.<stack>.yaml``."""
    files = checkout.glob("Pulumi.*.yaml")
    return sorted(file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in files)


def stack_file(checkout: Path, stack: str) -> Path:
    """The file of a stack.

    :raises UnknownStackError: there is none; the message lists those that there are.
    """
    known = stacks(checkout)
    if stack not in known:
        listed = ", ".join(known) or "(none)"
        reason = f"unknown stack {stack!r}" if stack else "name a stack, as in STACK=scenario-e"
        raise UnknownStackError(f"{reason}; the stacks are: {listed}")
    return checkout / f"Pulumi.{stack}.yaml"


def project_name(checkout: Path) -> str | None:
    """The ``name:`` of ``Pulumi.yaml``; None where there is no project."""
    try:
        return str(read_yaml(checkout / PROJECT_FILE)["name"])
    except (OSError, KeyError, ValueError):
        return None


def settings_of_stack(checkout: Path, stack: str) -> dict[str, Any]:
    """A stack's settings over the project's defaults, not yet validated.

    :raises UnknownStackError: there is no such stack.
    :raises ToolchainError: a file is no YAML.
    """
    try:
        return settings_tree(checkout, stack_file(checkout, stack))
    except ValueError as error:
        raise ToolchainError(str(error)) from None


def needs_of_stack(checkout: Path, stack: str) -> frozenset[Need]:
    """What has to be there for a stack, and no more.

    Settings that are refused later need the engine alone, by which the preview refuses them.

    :raises ToolchainError: there is no such stack, or a file is no YAML.
    """
    settings = settings_of_stack(checkout, stack)
    scenario = settings.get("scenario")
    if target_of(settings) != LAB_TARGET or not isinstance(scenario, dict):
        return frozenset({ENGINE})
    cni, version = str(scenario.get("cni")), str(scenario.get("cniVersion"))
    return needs_of_lab(cni, version, kube_proxy=scenario.get("kubeProxy") != "none")
