"""Readers of the tools' output: pure functions from text to numbers, or a reason."""

from __future__ import annotations


class ParseError(ValueError):
    """An output that is no measurement: truncated, an error report, or all failures.

    The message is the reason, with the tool's own words where it has any.
    """
