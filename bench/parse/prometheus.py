"""Counters of a component, from Prometheus's text exposition format."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from bench.parse import ParseError


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
