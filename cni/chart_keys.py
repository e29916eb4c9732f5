"""The keys that the Cilium chart's values have, so that unknown ones are found without the chart.

`cilium/chart-1.16.5.json` is made from chart 1.16.5's values.yaml, with which a test compares it:

    helm show values cilium --repo https://helm.cilium.io --version 1.16.5 \\
        | python -m cni.chart_keys > cni/cilium/chart-1.16.5.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

_FILE = Path(__file__).parent / "cilium/chart-1.16.5.json"


def skeleton(defaults: object) -> object:
    """A chart's default values with every scalar and list emptied; keys and types stay.

    What takes any content, `{}` or null, stays what it is.
    """
    if isinstance(defaults, Mapping):
        return {key: skeleton(value) for key, value in defaults.items()}
    return None if defaults is None else type(defaults)()


@cache
def chart_keys() -> Mapping[str, object]:
    """Chart 1.16.5's emptied values, for :func:`cni.value_tree.unknown_values`."""
    keys: dict[str, object] = json.loads(_FILE.read_text())
    return keys


if __name__ == "__main__":
    print(json.dumps(skeleton(yaml.safe_load(sys.stdin)), indent=1, sort_keys=True))
