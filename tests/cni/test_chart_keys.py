"""The committed keys of the chart's values are the real chart's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from cni.cilium.values import (
    chart_keys,
    read_chart,
    rendered_whole,
    skeleton,
    unknown_values,
)


def test_the_keys_are_the_charts(release: tuple[str, Path]) -> None:
    version, chart = release
    assert read_chart(chart) == chart_keys(version)
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    assert skeleton(defaults) == chart_keys(version).values


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


@pytest.mark.parametrize(
    ("values", "key"),
    [
        # One key with a dot is no way to say two.
        ({"bpf.masquerade": True}, '["bpf.masquerade"]'),
        ({"bpf": {"kubernetes.io/os": "linux"}}, 'bpf["kubernetes.io/os"]'),
        # Of these the agent's template takes three keys by their names.
        ({"securityContext": {"runAsUser": 1}}, "securityContext.runAsUser"),
    ],
)
def test_what_no_template_looks_at_is_unknown(values: dict[str, object], key: str) -> None:
    (line,) = unknown_values(values, chart_keys())
    assert line.startswith(f"{key}: not a value of this chart")


_NOT_ALONE = {
    "nodeinit.securityContext.seLinuxOptions",  # part of another one
    "preflight.updateStrategy",  # in no template
}


def _maps(tree: Mapping[str, object], above: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield f"{above}{key}"
            yield from _maps(value, f"{above}{key}.")


def test_maps_that_are_rendered_whole_are_those_of_the_templates(
    release: tuple[str, Path],
) -> None:
    version, chart = release
    files = (file for file in (chart / "templates").rglob("*") if file.is_file())
    templates = "\n".join(file.read_text() for file in files)
    block = r"with \.Values\.([\w.]+) }}(?:(?!{{- end).)*?toYaml"
    whole = set(re.findall(block, templates, re.DOTALL))
    whole |= set(re.findall(r"toYaml \.Values\.([\w.]+)", templates))
    assert len(whole) > 100
    for path in _maps(chart_keys(version).values):
        assert rendered_whole(path) == (path in whole or path in _NOT_ALONE), path
