"""Numbers and messages as people read them, and what readers of tools' output raise.

Stored values are never rounded here.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError


def number(value: float, digits: int = 3) -> str:
    """``value`` with ``digits`` significant digits, thousands separated, never in e-notation.

    Whole digits are never dropped: 12345.6 is "12,346". A whole number has no decimals.
    """
    if value == int(value):
        return f"{int(value):,}"
    magnitude = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    if magnitude == 0:
        decimals = min(6, digits - 1 - int(f"{abs(value):e}".split("e")[1]))
    else:
        decimals = max(0, digits - magnitude)
    return f"{value:,.{decimals}f}"


def latency(microseconds: float) -> str:
    """A latency with its unit: µs below one millisecond, ms below one second, else s."""
    if microseconds < 1_000:
        return f"{number(microseconds)} µs"
    if microseconds < 1_000_000:
        return f"{number(microseconds / 1_000)} ms"
    return f"{number(microseconds / 1_000_000)} s"


def minutes(seconds: float) -> str:
    """A span of time for people: ``45 s``, ``7 min``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def tally(counts: Mapping[str, int]) -> str:
    """Reasons with how often each occurred: "timed out (3), SERVFAIL (1)"."""
    return ", ".join(f"{reason} ({count})" for reason, count in counts.items())


def tail(text: str, characters: int = 300) -> str:
    """The end of a tool's output on one line, for an error message."""
    line = " ".join(text.split())
    return line if len(line) <= characters else "…" + line[-characters:]


class ParseError(ValueError):
    """An output that is no measurement: truncated, an error report, or all failures.

    The message is the reason, with the tool's own words where it has any.
    """


def load_json(text: str | bytes) -> Any:
    """JSON, parsed.

    :raises ValueError: it is none, or has a number or a depth that Python does not read.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def problem(error: ValidationError, whole: str = "") -> str:
    """The first thing that is wrong with data: where, and what.

    :param whole: what the data is called, where all of it is wrong.
    """
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or whole
    return tail(f"{where}: {first['msg']}")
