"""Label and field selectors, as far as this project asks with them (Kubernetes "Labels")."""

from __future__ import annotations

import re
from typing import Any

_TERM = re.compile(r"\s*([^=,()\s]+)(?:\s*=\s*([^,]*)|\s+in\s+\(([^)]*)\))?\s*(?:,|$)")


def matches(item: dict[str, Any], selector: str) -> bool:
    """Whether an object's labels fulfil every term: ``a=b``, ``a in (b,c)``, or ``a`` alone."""
    labels: dict[str, str] = item["metadata"].get("labels") or {}
    return all(
        key in labels and (not allowed or labels[key] in allowed)
        for key, allowed in _terms(selector)
    )


def _terms(selector: str) -> list[tuple[str, set[str]]]:
    terms, position = [], 0
    while position < len(selector):
        found = _TERM.match(selector, position)
        if found is None:
            raise ValueError(f"selector {selector!r} is not understood here")
        values = found[2] if found[2] is not None else found[3]
        terms.append((found[1], set(re.split(r"\s*,\s*", values.strip())) if values else set()))
        position = found.end()
    return terms


def matches_field(item: dict[str, Any], selector: str) -> bool:
    """Whether an object's field, by its dotted path, has the value asked for."""
    if not selector:
        return True
    path, _, wanted = selector.partition("=")
    node: Any = item
    for key in path.split("."):
        node = node.get(key, {})
    return bool(node == wanted)
