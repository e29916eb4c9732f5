"""The platform does not hold traffic back while nothing is measured."""

from __future__ import annotations

from collections.abc import Callable

from bench.checks.check import Check
from bench.limits import growth
from bench.probes.base import Bench
from bench.session import SessionError
from bench.text import tally

NAME = "allowances"


def allowances(bench: Bench) -> Callable[[], Check]:
    """Reads the counters now; the check is made when what it returns is called."""
    try:
        before, start = bench.session.allowances(), bench.clock.monotonic()
    except SessionError as error:
        failed = Check(NAME, False, str(error))
        return lambda: failed

    def check() -> Check:
        try:
            after = bench.session.allowances()
        except SessionError as error:
            return Check(NAME, False, str(error))
        seconds = bench.clock.monotonic() - start
        if not after:
            return Check(NAME, True, "this platform has none")
        grown = growth(before, after)
        if grown:
            listed = "; ".join(f"{node}: {tally(counters)}" for node, counters in grown.items())
            return Check(NAME, False, f"traffic was held back in {seconds:.1f} idle s: {listed}")
        return Check(NAME, True, f"no counter of {', '.join(after)} grew in {seconds:.1f} idle s")

    return check
