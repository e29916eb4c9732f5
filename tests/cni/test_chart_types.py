"""The types that values may have are those of the real chart's schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from cni.cilium.values import chart_keys, kinds, unknown_values

_TYPES: dict[str, type] = {
    "boolean": bool,
    "integer": int,
    "number": float,
    "string": str,
    "array": list,
    "object": dict,
}


def _typed(
    schema: Mapping[str, Any], defaults: object, above: str = ""
) -> Iterator[tuple[str, object, frozenset[type]]]:
    """Every path with a default, that default, and the types that the schema takes there."""
    for key, below in schema.get("properties", {}).items():
        if not isinstance(defaults, Mapping) or key not in defaults:
            continue
        path = f"{above}{key}"
        named = below.get("type", [])
        names = {named} if isinstance(named, str) else set(named)
        if names:
            yield path, defaults[key], frozenset(_TYPES[name] for name in names - {"null"})
        yield from _typed(below, defaults[key], f"{path}.")


def test_every_value_takes_the_types_of_the_charts_schema(release: tuple[str, Path]) -> None:
    version, chart = release
    schema = json.loads((chart / "values.schema.json").read_text())
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    compared = 0
    for path, default, types in _typed(schema, defaults):
        ours = kinds(chart_keys(version), path, default)
        if ours:  # what has no default of its own is left to the chart
            assert ours == types, path
            compared += 1
    assert compared > 1000


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"bpf": "fast"}, 'bpf: "fast": must be a map of values, as in the chart'),
        ({"l7Proxy": "false"}, 'l7Proxy: "false": must be true or false, as in the chart'),
        ({"MTU": "1500"}, 'MTU: "1500": must be a whole number, as in the chart'),
        ({"MTU": True}, "MTU: true: must be a whole number, as in the chart"),
        ({"tunnelProtocol": 5}, "tunnelProtocol: 5: must be text, as in the chart"),
        (
            {"eni": {"subnetIDsFilter": "subnet-1"}},
            'eni.subnetIDsFilter: "subnet-1": must be a list, as in the chart',
        ),
        (
            {"nodeSelector": {"kubernetes.io/os": True}},
            'nodeSelector["kubernetes.io/os"]: true: must be text, as in the chart',
        ),
    ],
)
def test_a_wrong_type_is_refused(values: dict[str, Any], told: str) -> None:
    assert unknown_values(values, chart_keys()) == [told]


@pytest.mark.parametrize(
    "values",
    [
        {"MTU": None},
        {"endpointRoutes": {"enabled": "true"}},
        {"k8sServicePort": 443},
        {"bpf": {"mapDynamicSizeRatio": 1}},
        {"operator": {"updateStrategy": {"rollingUpdate": {"maxSurge": 1}}}},
        {"podAnnotations": {"any": ["thing"]}},
        {"nodeSelector": {"kubernetes.io/os": "linux"}},
        {"operator": {"nodeSelector": {"node.kubernetes.io/instance-type": "m6i.xlarge"}}},
        {"affinity": {"nodeAffinity": {"any": ["thing"]}}},
        {"hubble": {"relay": {"securityContext": {"runAsUser": 1}}}},
    ],
)
def test_what_the_chart_takes_is_taken(values: dict[str, Any]) -> None:
    assert unknown_values(values, chart_keys()) == []
