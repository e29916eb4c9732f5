"""Counters of a component, from Prometheus's text exposition format."""

from __future__ import annotations

import json
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from bench.parse import ParseError


def from_cilium(text: str) -> str:
    """The text format of what ``cilium-dbg metrics list -o json`` prints.

    It tells a histogram as the sum of its values alone (Cilium 1.16.5,
    ``pkg/metrics/registry.go``, ``DumpMetrics``), which here stands under the histogram's own name,
    and leaves out a value of 0.

    :raises ParseError: it is not that list.
    """
    try:
        return "".join(
            f"{each['name']}{_labels(each.get('labels') or {})} {float(each.get('value', 0))!r}\n"
            for each in json.loads(text)
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ParseError(f"cilium-dbg: no list of metrics: {error}") from None


def _labels(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f"{name}={json.dumps(value)}" for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def total(text: str, name: str, **labels: str) -> float | None:
    """The sum of a metric's samples that have these labels; None where it has no sample.

    :param name: of the sample, so with ``_sum``, ``_count`` or ``_total``.
    :raises ParseError: the text is not of that format.
    """
    try:
        values = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
    except ValueError as error:
        raise ParseError(f"no metrics in Prometheus's format: {error}") from None
    return sum(values) if values else None
