"""Stack configurations as the engine passes them on, with single settings changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.settings import Settings, SettingsError
from components.targets import settings_of

ROOT = Path(__file__).parents[2]
STACKS = [f"scenario-{letter}" for letter in "abcde"]
EKS: dict[str, Any] = {
    "version": "1.35",
    "region": "ap-northeast-2",
    "zones": ["ap-northeast-2a", "ap-northeast-2c"],
    "nodeZone": "ap-northeast-2a",
    "instanceType": "m6i.xlarge",
    "nodes": 3,
    "vpcCidr": "10.0.0.0/16",
    "serviceCidr": "10.100.0.0/16",
    "apiCidrs": ["caller"],
    "maxCostUsd": 10,
    "ttlHours": 12,
}

Tree = dict[str, Any]


def stack_tree(stack: str, changes: dict[str, object] | None = None) -> Tree:
    """A stack's configuration by top-level name, with values changed at dotted paths."""
    config = yaml.safe_load((ROOT / f"Pulumi.{stack}.yaml").read_text())["config"]
    tree: Tree = {"eks": dict(EKS)}
    tree |= {key.removeprefix("cni-benchmark:"): value for key, value in config.items()}
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return tree


def pulumi_config(tree: Tree) -> dict[str, str]:
    """PULUMI_CONFIG of a configuration: strings as they are, everything else as JSON."""
    return {
        f"cni-benchmark:{name}": value if isinstance(value, str) else json.dumps(value)
        for name, value in tree.items()
    }


def read(stack: str = "scenario-e", changes: dict[str, object] | None = None) -> Settings:
    """The settings of a changed stack."""
    return settings_of(pulumi_config(stack_tree(stack, changes)), stack)


def refusal(config: dict[str, str], stack: str = "scenario-e") -> list[str]:
    """The lines with which a configuration is refused."""
    with pytest.raises(SettingsError) as caught:
        settings_of(config, stack)
    return str(caught.value).splitlines()
