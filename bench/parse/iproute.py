"""iproute2's JSON (``ip -json``): the MTU of a device and of a route."""

from __future__ import annotations

import json
from typing import Any

from bench.parse import ParseError
from bench.text import tail


def device_mtu(stdout: str) -> int:
    """MTU in bytes, from ``ip -json link show DEVICE``.

    :raises ParseError: the output is not that.
    """
    link = _first(stdout)
    try:
        return int(link["mtu"])
    except (KeyError, TypeError, ValueError):
        raise ParseError(f"ip: no MTU in: {tail(stdout)}") from None


def route_mtu(stdout: str) -> tuple[str, int | None]:
    """Device, and the route's own MTU in bytes if it has one, from ``ip -json route get ADDRESS``.

    :raises ParseError: the output is not that.
    """
    route = _first(stdout)
    try:
        limits = [int(metric["mtu"]) for metric in route.get("metrics", []) if "mtu" in metric]
        return str(route["dev"]), min(limits, default=None)
    except (KeyError, TypeError, ValueError):
        raise ParseError(f"ip: no route in: {tail(stdout)}") from None


def _first(stdout: str) -> dict[str, Any]:
    try:
        found = json.loads(stdout)
    except json.JSONDecodeError:
        raise ParseError(f"ip: no JSON: {tail(stdout) or 'nothing'}") from None
    entry = found[0] if isinstance(found, list) and found else None
    if not isinstance(entry, dict):
        raise ParseError(f"ip: nothing listed: {tail(stdout)}")
    return entry
