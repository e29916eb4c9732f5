"""Stacks that cost money for as long as they exist, and have existed for longer than was meant.

What is known of one is its output ``cluster``: ``since`` when it exists (ISO 8601), for how many
hours it was meant to (``ttl_hours``), what an hour costs (``usd_per_hour``), and the command that
ends it (``clean_up``).
"""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any


def overdue(stack: str, cluster: Mapping[str, Any] | None, now: datetime) -> str | None:
    """What is to be said of a stack past its time; None before it, and where nothing costs."""
    if not cluster or "since" not in cluster or "ttl_hours" not in cluster:
        return None
    hours = (now - datetime.fromisoformat(cluster["since"])).total_seconds() / 3600
    if hours <= cluster["ttl_hours"]:
        return None
    price = cluster["usd_per_hour"]
    return (
        f"{stack} exists for {hours:.0f} hours, and was meant to for {cluster['ttl_hours']:g} "
        f"(eks.ttlHours). It costs ${price:.2f} per hour, about ${price * hours:.2f} so far. To "
        f"end it: {cluster['clean_up']}"
    )


def warn_if_overdue(stack: str, cluster: Mapping[str, Any] | None) -> None:
    """Say it on standard error."""
    if warning := overdue(stack, cluster, datetime.now(UTC)):
        print(f"warning: {warning}", file=sys.stderr, flush=True)
