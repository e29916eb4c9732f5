"""Which values the Cilium chart has, by version, and which of a scenario's it does not know."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel

from cni.cilium.versions import DEFAULT
from cni.settings import (
    KeyPath,
    did_you_mean,
    leaf_paths,
    leaves,
    merge,
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
_JSON_TYPES: dict[str, type] = {
    "boolean": bool,
    "integer": int,
    "number": float,
    "string": str,
    "array": list,
    "object": dict,
}
# Maps with defaults that templates render whole: they take any key of Kubernetes' own.
_RENDERED_WHOLE = re.compile(
    r"(.*\.)?(affinity|nodeSelector|podSecurityContext|resources|seLinuxOptions|updateStrategy)"
    r"|(clustermesh|hubble|nodeinit|operator|preflight)\.(.*\.)?securityContext"
)
_MISSING = object()


class Chart(BaseModel):
    """What one version of the chart takes, so that the chart is not needed to find unknown values.

    :ivar values: its values.yaml with every scalar and list emptied.
    :ivar optional: values that its templates read and its values.yaml lacks.
    :ivar also: JSON types that its schema takes, by path, where the default is of another one.
    """

    values: dict[str, object]
    optional: tuple[str, ...] = ()
    also: dict[str, tuple[str, ...]] = {}


class _File(Chart):
    """A chart as it is committed.

    :ivar base: the version that ``values`` add to and ``gone`` takes from; None where they are all.
    :ivar gone: each a path, key by key.
    """

    base: str | None = None
    gone: tuple[KeyPath, ...] = ()


@cache
def chart_keys(version: str = DEFAULT) -> Chart:
    """The keys of a chart. Its file is made from the chart, here by what differs from another one's
    (``tests/cni/test_chart_keys.py`` compares both with the chart):

        python -m cni.cilium.values FOLDER_OF_THE_CHART 1.16.5 > cni/cilium/chart-VERSION.json
    """
    text = Path(__file__).with_name(f"chart-{version}.json").read_text()
    file = _File.model_validate_json(text)
    values = merge(chart_keys(file.base).values) if file.base else {}
    for path in file.gone:
        node: Any = values
        for key in path[:-1]:
            node = node[key]
        del node[path[-1]]
    return Chart(values=merge(values, file.values), optional=file.optional, also=file.also)


def read_chart(folder: Path) -> Chart:
    """The keys of the chart in a folder."""
    defaults = yaml.safe_load((folder / "values.yaml").read_text())
    # validate.yaml names what older charts had, to refuse it.
    templates = "\n".join(
        file.read_text()
        for file in (folder / "templates").rglob("*")
        if file.is_file() and file.name != "validate.yaml"
    )
    # A variable of a template, as in `hasKey $socketLB "tracing"`, has its value's name.
    named = re.findall(r'(?:hasKey|get) (?:\.Values\.?|\$)([\w.]*) "(\w+)"', templates)
    read = {f"{above}.{key}" if above else key for above, key in named if above in {"", *defaults}}
    read.update(re.findall(r"\.Values\.([a-z]\w*(?:\.\w+)*)", templates))
    lacking = {path for path in read if _default(defaults, tuple(path.split("."))) is _MISSING}
    schema = json.loads((folder / "values.schema.json").read_text())
    return Chart(
        values=cast("dict[str, object]", skeleton(defaults)),
        optional=tuple(sorted(lacking)),
        also=dict(_also(schema, defaults)),
    )


def _also(
    schema: Mapping[str, Any], defaults: object, above: str = ""
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The types of a schema beside those of the defaults."""
    for key, below in schema.get("properties", {}).items():
        if not isinstance(defaults, Mapping) or key not in defaults:
            continue
        path, default, named = f"{above}{key}", defaults[key], below.get("type", [])
        names = {named} if isinstance(named, str) else set(named)
        others = {
            name for name in names & _JSON_TYPES.keys() if _JSON_TYPES[name] is not type(default)
        }
        if others and default is not None and default != {}:
            yield path, tuple(sorted(others))
        yield from _also(below, default, f"{path}.")


def _difference(
    old: Mapping[str, object], new: Mapping[str, object], above: KeyPath = ()
) -> tuple[list[KeyPath], dict[str, object]]:
    """What to take from a skeleton, and then to merge into it, for another one."""
    gone: list[KeyPath] = [(*above, key) for key in old.keys() - new.keys()]
    added: dict[str, object] = {}
    for key, value in new.items():
        before = old.get(key, _MISSING)
        if isinstance(before, Mapping) and before and isinstance(value, Mapping) and value:
            gone_below, added_below = _difference(before, value, (*above, key))
            gone += gone_below
            if added_below:
                added[key] = added_below
        elif (type(before), before) != (type(value), value):
            # What is merged into a map does not take its place.
            gone += [(*above, key)] if isinstance(before, Mapping) else []
            added[key] = value
    return sorted(gone), added


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


def unknown_values(values: Mapping[str, object], chart: Chart) -> list[str]:
    """The dotted paths in `values` that a chart does not know so, each as one sentence.

    Where a default is `{}` or null, any content below is
    free-form and accepted. The Cilium chart's own schema rejects no unknown key, so without this a
    misspelt one silently renders to nothing; a wrong type it refuses when it is installed, which on
    a cloud is long after the cluster has been made.
    """
    known = [path for path, _ in leaves(chart.values)] + list(chart.optional)
    lines = []
    for keys, value in leaf_paths(values):
        path = property_path(keys)
        default = None if path in chart.optional else _default(chart.values, keys)
        if default is _MISSING:
            lines.append(f"{path}: not a value of this chart{did_you_mean(path, known)}")
        elif not _fits(value, kinds(chart, path, default)):
            shown = f'"{value}"' if isinstance(value, str) else show(value)
            lines.append(f"{path}: {shown}: must be {_KINDS[type(default)]}, as in the chart")
    return lines


def kinds(chart: Chart, path: str, default: object) -> frozenset[type]:
    """The types that a value at this path may have beside null; none for whatever one likes."""
    if default is None or default == {}:
        return frozenset()
    return frozenset({type(default), *(_JSON_TYPES[name] for name in chart.also.get(path, ()))})


def _fits(value: object, allowed: frozenset[type]) -> bool:
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


def _main(folder: str, base: str | None = None) -> None:
    chart = read_chart(Path(folder))
    gone, values = _difference(chart_keys(base).values if base else {}, chart.values)
    file = _File(
        base=base, gone=tuple(gone), values=values, optional=chart.optional, also=chart.also
    )
    made = file.model_dump(mode="json", exclude_defaults=True)
    print(json.dumps(made, indent=1, sort_keys=True))


if __name__ == "__main__":
    _main(*sys.argv[1:])
