"""The committed keys of the chart's values are the real chart's."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cni.chart_keys import chart_keys, skeleton
from cni.value_tree import unknown_values
from lab.toolchain import Toolchain, ToolchainError


def test_the_keys_are_the_charts() -> None:
    try:
        module = Toolchain.default().share("cilium")
    except ToolchainError as missing:
        pytest.skip(f"the toolchain is not set up: {missing}")
    text = Path(module, "install/kubernetes/cilium/values.yaml").read_text()
    assert skeleton(yaml.safe_load(text)) == chart_keys()


def test_a_skeleton_keeps_keys_and_types_and_what_takes_anything() -> None:
    defaults = {"a": {"b": "text", "c": 3, "d": True, "e": ["x"]}, "free": {}, "unset": None}
    assert skeleton(defaults) == {
        "a": {"b": "", "c": 0, "d": False, "e": []},
        "free": {},
        "unset": None,
    }


def test_unknown_keys_are_found_by_them() -> None:
    values = {"bpf": {"masqerade": True, "masquerade": True}, "eni": {"eniTags": {"any": "thing"}}}
    (line,) = unknown_values(values, chart_keys())
    assert line.startswith("bpf.masqerade: not a value of this chart (did you mean bpf.masquerade")
