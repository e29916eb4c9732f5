"""A stack's settings from its files, for what runs without the engine."""

from __future__ import annotations

import json

from components.settings import PROJECT, Settings, TargetSettings, from_pulumi_config
from lab.toolchain.cache import CHECKOUT
from lab.toolchain.pulumi import settings_of_stack


def read_settings(stack: str, target: TargetSettings) -> Settings:
    """A stack's settings for one target, whatever target its file names.

    :raises SettingsError: they are refused.
    :raises lab.errors.ToolchainError: there is no such stack.
    """
    tree = settings_of_stack(CHECKOUT, stack)
    names = {"scenario", "benchmark", *target.sections} & tree.keys()
    raw = {f"{PROJECT}:{name}": _as_the_engine(tree[name]) for name in sorted(names)}
    return from_pulumi_config(raw | {f"{PROJECT}:target": target.name}, stack, [target])


def _as_the_engine(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
