"""Which values the Cilium chart has, by version, and which of a scenario's it does not know."""

import json
import re
import sys
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel

from cni.cilium.versions import DEFAULT
from cni.settings import (
    KeyPath,
    did_you_mean,
    leaf_paths,
    leaves,
    property_path,
    show,
)

_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a map of values",
}
# Where the chart's schema takes more than its default shows. Source: values.schema.json.
_ALSO: tuple[tuple[str, tuple[type, ...]], ...] = (
    (r"autoDirectNodeRoutes|endpointRoutes\.enabled", (str,)),
    (r"ipam\.operator\.clusterPoolIPv[46]PodCIDRList", (str,)),
    (r"k8sServicePort", (int,)),
    (r".*\.rollingUpdate\.max(Surge|Unavailable)", (int, str)),
    (r".*\.podDisruptionBudget\.maxUnavailable", (str,)),
)
# Maps with defaults that templates render whole: they take any key of Kubernetes' own.
_RENDERED_WHOLE = re.compile(
    r"(.*\.)?(affinity|nodeSelector|podSecurityContext|resources|seLinuxOptions|updateStrategy)"
    r"|(clustermesh|hubble|nodeinit)\..*securityContext|nodeinit\.securityContext"
)
_MISSING = object()


class Chart(BaseModel):
    """What one version of the chart takes, so that the chart is not needed to find unknown values.

    :ivar values: its values.yaml with every scalar and list emptied.
    :ivar optional: values that it documents in comments only: templates test them with ``hasKey``,
        so the parsed values.yaml lacks them (``install/kubernetes/cilium/values.yaml``).
    """

    values: dict[str, object]
    optional: tuple[str, ...]


@cache
def chart_keys(version: str = DEFAULT) -> Chart:
    """The keys of a chart. ``values`` in the file are made from the chart's values.yaml, and
    ``optional`` is written by hand; tests compare both with the chart:

        helm show values cilium --repo https://helm.cilium.io --version VERSION \\
            | python -m cni.cilium.values > cni/cilium/chart-VERSION.json
    """
    file = Path(__file__).with_name(f"chart-{version}.json")
    return Chart.model_validate_json(file.read_text())


def skeleton(defaults: object) -> object:
    """A chart's default values with every scalar and list emptied; keys and types stay.

    What takes any content, `{}` or null, stays what it is.
    """
    if isinstance(defaults, Mapping):
        return {key: skeleton(value) for key, value in defaults.items()}
    return None if defaults is None else type(defaults)()


def rendered_whole(path: str) -> bool:
    """Whether the map at a path may have keys beside those of the chart's default."""
    return _RENDERED_WHOLE.fullmatch(path) is not None


def unknown_values(
    values: Mapping[str, object],
    chart_defaults: Mapping[str, object],
    optional: Collection[str] | None = None,
) -> list[str]:
    """The dotted paths in `values` that a chart does not know so, each as one sentence.

    `chart_defaults` is the chart's parsed values.yaml, or a tree with the same keys and types;
    `optional` are paths it leaves out. Where a default is `{}` or null, any content below is
    free-form and accepted. The Cilium chart's own schema rejects no unknown key, so without this a
    misspelt one silently renders to nothing; a wrong type it refuses when it is installed, which on
    a cloud is long after the cluster has been made.
    """
    optional = chart_keys().optional if optional is None else optional
    known = [path for path, _ in leaves(chart_defaults)] + list(optional)
    lines = []
    for keys, value in leaf_paths(values):
        path = property_path(keys)
        default = None if path in optional else _default(chart_defaults, keys)
        if default is _MISSING:
            lines.append(f"{path}: not a value of this chart{did_you_mean(path, known)}")
        elif not _fits(path, value, default):
            shown = f'"{value}"' if isinstance(value, str) else show(value)
            lines.append(f"{path}: {shown}: must be {_KINDS[type(default)]}, as in the chart")
    return lines


def kinds(path: str, default: object) -> frozenset[type]:
    """The types that a value at this path may have beside null; none for whatever one likes."""
    if default is None or default == {}:
        return frozenset()
    also = [types for pattern, types in _ALSO if re.fullmatch(pattern, path)]
    return frozenset({type(default)}.union(*also))


def _fits(path: str, value: object, default: object) -> bool:
    allowed = kinds(path, default)
    # Null is the chart's own default; a whole number does where any number does.
    if value is None or not allowed or type(value) in allowed:
        return True
    return isinstance(value, int) and not isinstance(value, bool) and float in allowed


def _default(defaults: Mapping[str, object], path: KeyPath) -> object:
    """The chart's value at a path, None where it is free-form, _MISSING where there is none."""
    node: object = defaults
    for depth, key in enumerate(path):
        if node is None or node == {}:
            return None
        if not isinstance(node, Mapping) or key not in node:
            above = (property_path(path[:end]) for end in range(1, depth + 1))
            return None if any(map(rendered_whole, above)) else _MISSING
        node = node[key]
    return node


if __name__ == "__main__":
    made = {"optional": [], "values": skeleton(yaml.safe_load(sys.stdin))}
    print(json.dumps(made, indent=1, sort_keys=True))
