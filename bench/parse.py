"""What readers of the tools' output raise; each is in its probe's module."""

from __future__ import annotations


class ParseError(ValueError):
    """An output that is no measurement: truncated, an error report, or all failures.

    The message is the reason, with the tool's own words where it has any.
    """
