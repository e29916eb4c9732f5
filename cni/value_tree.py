"""Nested Helm values: merging, listing leaves, and finding keys that a chart does not know."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from cni.cilium.versions import DEFAULT, VERSIONS
from cni.problems import did_you_mean, property_path, show

HelmValues = dict[str, object]
Path = tuple[str, ...]

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


def merge(*trees: Mapping[str, object]) -> HelmValues:
    """Merge value trees as `helm -f a -f b` does: maps merge by key, anything later wins."""
    merged: HelmValues = {}
    for tree in trees:
        for key, value in tree.items():
            present = merged.get(key)
            if isinstance(value, Mapping):
                merged[key] = merge(present, value) if isinstance(present, dict) else merge(value)
            else:
                merged[key] = value
    return merged


def leaves(tree: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Each dotted path with its value, `("bpf.masquerade", True)`; lists and `{}` are leaves.

    A key that has dots itself is quoted: `nodeSelector["kubernetes.io/os"]`.
    """
    for path, value in _leaves(tree):
        yield property_path(path), value


def _leaves(tree: Mapping[str, object], above: Path = ()) -> Iterator[tuple[Path, object]]:
    for key, value in tree.items():
        path = (*above, key)
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, path)
        else:
            yield path, value


def rendered_whole(path: str) -> bool:
    """Whether the map at a path may have keys beside those of the chart's default."""
    return _RENDERED_WHOLE.fullmatch(path) is not None


def unknown_values(
    values: Mapping[str, object],
    chart_defaults: Mapping[str, object],
    optional: Collection[str] = VERSIONS[DEFAULT].optional_values,
) -> list[str]:
    """The dotted paths in `values` that a chart does not know so, each as one sentence.

    `chart_defaults` is the chart's parsed values.yaml, or a tree with the same keys and types;
    `optional` are paths it leaves out. Where a default is `{}` or null, any content below is
    free-form and accepted. The Cilium chart's own schema rejects no unknown key, so without this a
    misspelt one silently renders to nothing; a wrong type it refuses when it is installed, which on
    a cloud is long after the cluster has been made.
    """
    known = [path for path, _ in leaves(chart_defaults)] + list(optional)
    found = []
    for keys, value in _leaves(values):
        path = property_path(keys)
        default = None if path in optional else _default(chart_defaults, keys)
        if default is _MISSING:
            found.append(f"{path}: not a value of this chart{did_you_mean(path, known)}")
        elif not _fits(path, value, default):
            shown = f'"{value}"' if isinstance(value, str) else show(value)
            found.append(f"{path}: {shown}: must be {_KINDS[type(default)]}, as in the chart")
    return found


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


def _default(defaults: Mapping[str, object], path: Path) -> object:
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
