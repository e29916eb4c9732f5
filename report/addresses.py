"""Where pods' addresses come from, as a table: what an environment says of ENIs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

_ROOM = (
    "On a node of type {instance_type}, with {enis:.0f} ENIs, {pods:.0f} pods have an address of "
    "their own: {pods_with_single_addresses:.0f} with single addresses, {pods_with_prefixes:.0f} "
    "with prefixes. A kubelet there should run {recommended_max_pods:.0f} at most."
)


def render(environment: Mapping[str, Any]) -> list[RenderableType]:
    """The pods' addresses with their ENIs, and how many pods a node has room for; nothing where the
    environment does not say."""
    parts: list[RenderableType] = []
    if rows := environment.get("pod_addresses"):
        table = Table(
            title="Pod addresses",
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        for heading in ("pod", "node", "address", "of", "ENI", "device"):
            table.add_column(heading, no_wrap=heading != "ENI", overflow="fold")
        for row in rows:
            words = (str(row[key]) for key in ("pod", "node", "address", "block", "eni"))
            table.add_row(*map(escape, words), f"{row['device']:.0f}")
        parts.append(table)
    if room := environment.get("pods_per_node"):
        parts += [Text(_ROOM.format(**room), style="dim"), Text()]
    return parts
