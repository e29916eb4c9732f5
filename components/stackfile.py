"""A stack's settings from its files, for what runs without the engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from components.settings import PROJECT, Settings, SettingsError, from_pulumi_config
from lab.toolchain.scenarios import stack_file
from lab.toolchain.toolchain import CHECKOUT

_PREFIX = f"{PROJECT}:"


def read_settings(stack: str, checkout: Path = CHECKOUT) -> Settings:
    """The settings of ``Pulumi.<stack>.yaml`` over the project's defaults in ``Pulumi.yaml``, as
    the engine would pass them.

    :raises SettingsError: they are refused.
    :raises lab.toolchain.errors.ToolchainError: there is no such stack.
    """
    project = yaml.safe_load((checkout / "Pulumi.yaml").read_text(encoding="utf-8"))
    own = yaml.safe_load(stack_file(checkout, stack).read_text(encoding="utf-8"))
    tree: dict[str, Any] = {}
    for key, declared in (project.get("config") or {}).items():
        if isinstance(declared, dict) and "default" in declared:
            _put(tree, key.removeprefix(_PREFIX), declared["default"])
    for key, value in ((own or {}).get("config") or {}).items():
        _put(tree, key.removeprefix(_PREFIX), value)
    raw = {f"{_PREFIX}{name}": _as_the_engine(value) for name, value in tree.items()}
    return from_pulumi_config(raw, stack)


def _put(tree: dict[str, Any], path: str, value: object) -> None:
    """Set a value at a dotted path; a map goes over what is there."""
    *parents, last = path.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    if isinstance(value, dict) and isinstance(tree.get(last), dict):
        tree[last] = {**tree[last], **value}
    else:
        tree[last] = value


def _as_the_engine(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


__all__ = ["SettingsError", "read_settings"]
