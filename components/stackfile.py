"""A stack's settings from its files, for what runs without the engine."""

from __future__ import annotations

import json
from pathlib import Path

from components.settings import PROJECT, Settings, SettingsError, from_pulumi_config
from lab.toolchain.stackfiles import settings_of_stack
from lab.toolchain.toolchain import CHECKOUT


def read_settings(stack: str, checkout: Path = CHECKOUT) -> Settings:
    """The settings of ``Pulumi.<stack>.yaml`` over the project's defaults in ``Pulumi.yaml``, as
    the engine would pass them.

    :raises SettingsError: they are refused.
    :raises lab.toolchain.errors.ToolchainError: there is no such stack.
    """
    tree = settings_of_stack(checkout, stack)
    raw = {f"{PROJECT}:{name}": _as_the_engine(value) for name, value in tree.items()}
    return from_pulumi_config(raw, stack)


def _as_the_engine(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


__all__ = ["SettingsError", "read_settings"]
