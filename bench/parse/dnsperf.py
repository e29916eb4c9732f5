"""dnsperf's statistics.

Source: dnsperf 2.10.0, ``src/dnsperf.c`` (print_statistics). Latencies are in seconds with six
decimals. A query without an answer within its time-out is lost; an answer with any response code
is completed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from bench.parse import ParseError
from bench.text import tail, tally

_FIELD = re.compile(r"^[ \t]*(?P<name>[A-Z][^:\n]+):[ \t]+(?P<value>\S.*?)[ \t]*$", re.MULTILINE)
_CODE = re.compile(r"([A-Z]\w*) (\d+) \(")


@dataclass(frozen=True, slots=True)
class DnsLoad:
    """One run: good answers per second, queries sent, and the failed ones by reason."""

    rate: float
    sent: int
    failures: Counter[str]


def parse_dnsperf(stdout: str, stderr: str = "") -> DnsLoad:
    """Read a run's statistics.

    :raises ParseError: they are not complete, do not add up, or no query was answered well.
    """
    fields = {match["name"]: match["value"] for match in _FIELD.finditer(stdout)}
    if "Average Latency (s)" not in fields:  # the last one that is always there
        raise ParseError(
            f"dnsperf: no complete statistics; it said: {tail(stderr) or tail(stdout) or 'nothing'}"
        )
    sent, lost = _number(fields, "Queries sent"), _number(fields, "Queries lost")
    completed, seconds = _number(fields, "Queries completed"), _number(fields, "Run time (s)")
    codes = Counter({code: int(n) for code, n in _CODE.findall(fields.get("Response codes", ""))})
    if completed != codes.total() or seconds <= 0:
        raise ParseError(
            f"dnsperf: {completed:.0f} queries completed in {seconds} s, but response codes of "
            f"{codes.total()}"
        )
    good = codes.pop("NOERROR", 0)
    failures = codes + Counter({"lost": int(lost)})
    if good == 0:
        raise ParseError(
            f"dnsperf: none of {sent:.0f} queries was answered well ({tally(failures)})"
        )
    return DnsLoad(good / seconds, int(sent), failures)


def _number(fields: Mapping[str, str], name: str) -> float:
    text = fields.get(name, "").split(" ")[0]
    try:
        return float(text)
    except ValueError:
        raise ParseError(f"dnsperf: {name!r} is {text!r}, not a number") from None
