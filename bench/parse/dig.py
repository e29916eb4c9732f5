"""dig's text output for many queries in one process.

Source: dig's manual (BIND 9.18): ``-u`` prints query times in microseconds ("usec"), else they
are whole milliseconds ("msec"). Per answer it prints a header line with the status, one with the
number of answers, and ``;; Query time:``; a lost query prints a ``communications error`` and
``no servers could be reached`` instead. The exit code is 0 although some queries failed.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from bench.parse import ParseError
from bench.text import tail, tally

_LINE = re.compile(
    r"^;; ->>HEADER<<-.*\bstatus: (?P<status>[A-Z0-9]+)"
    r"|^;; flags:.*\bANSWER: (?P<answers>\d+)"
    r"|^;; Query time: (?P<time>\d+) (?P<unit>[a-z]+)"
    r"|^;; (?:communications error to .*?: |Connection to .*? failed: )(?P<lost>.+)$",
    re.MULTILINE,
)
_MICROSECONDS = {"usec": 1, "msec": 1_000, "sec": 1_000_000}


@dataclass(frozen=True, slots=True)
class DigReport:
    """Query times of the successful answers in µs, ascending, and the failures by reason."""

    microseconds: tuple[float, ...]
    failures: Counter[str]
    coarse: bool
    """Some times were printed in milliseconds."""

    @property
    def queries(self) -> int:
        """Answered and failed."""
        return len(self.microseconds) + self.failures.total()


def parse_dig(stdout: str, expected: int, stderr: str = "") -> DigReport:
    """Read the output of ``dig`` with ``+comments +stats`` for ``expected`` queries.

    A status other than NOERROR, an answer without records and a lost query are failures; their
    times are not among ``microseconds``. Queries of which no trace is in the output (dig was
    ended early) are failures "no output".

    :raises ParseError: no query was answered, more were than asked, or a time's unit is unknown.
    """
    times: list[float] = []
    failures: Counter[str] = Counter()
    coarse = False
    status = ""
    answers = 0
    for match in _LINE.finditer(stdout):
        if match["status"] is not None:
            status, answers = match["status"], 0
        elif match["answers"] is not None:
            answers = int(match["answers"])
        elif match["lost"] is not None:
            failures[match["lost"].strip()] += 1
        else:
            unit = match["unit"]
            if unit not in _MICROSECONDS:
                raise ParseError(f"dig: unknown unit of time {unit!r}")
            coarse |= unit != "usec"
            if status == "NOERROR" and answers > 0:
                times.append(float(int(match["time"]) * _MICROSECONDS[unit]))
            else:
                failures["empty answer" if status == "NOERROR" else status or "no header"] += 1
            status, answers = "", 0
    seen = len(times) + failures.total()
    if seen > expected:
        raise ParseError(f"dig: {seen} answers for {expected} queries")
    if seen < expected:
        failures["no output"] += expected - seen
    if not times:
        said = f"; it said: {tail(stderr)}" if stderr.strip() else ""
        raise ParseError(f"dig: none of {expected} queries was answered ({tally(failures)}){said}")
    return DigReport(tuple(sorted(times)), failures, coarse)
