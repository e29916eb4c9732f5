"""Calibration: how fast the load generator is where neither server nor network slows it.

fortio runs at full speed against the fortio server of its own pod, which answers with next to
nothing. What it reaches there bounds what it can tell of a Service. Client and server share CPUs
meanwhile, so the figure errs on the low side.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.checks.check import Check
from bench.parse import ParseError
from bench.plan import Plan
from bench.probes.base import Bench, Invocation, SampleError
from bench.probes.fortio import fortio_argv, load_of
from bench.results import CalibrationResult
from bench.text import number
from bench.workloads import NULL_HTTP_PORT

NAME = "generator"
HEADROOM = 1.5
"""The generator must be able to make so many times the requests of the highest fixed rate."""
NEAR = 0.8
"""A result of this share of the generator's own speed says more of it than of the network."""
_RESOLUTION_US = 50.0


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the generator reached, or why that cannot be told."""

    result: CalibrationResult | None
    failure: str = ""


def calibrate(bench: Bench, plan: Plan) -> Calibration:
    """Run fortio for ``plan.calibration_seconds``."""
    url = f"http://{bench.targets.one('fortio-client').ip}:{NULL_HTTP_PORT}/"
    argv = fortio_argv(
        url, seconds=plan.calibration_seconds, connections=plan.http_max_connections,
        rate=None, resolution_us=_RESOLUTION_US,
    )  # fmt: skip
    try:
        load = load_of(bench.run(Invocation("fortio-client", argv), plan.calibration_seconds))
    except (SampleError, ParseError) as error:
        return Calibration(None, str(error))
    return Calibration(
        CalibrationResult(
            generator="fortio",
            command=list(argv),
            rate=round(load.rate, 1),
            wanted=max(plan.http_rates),
        )
    )


def generator(calibration: Calibration) -> Check:
    """The generator can offer the highest fixed rate, and more."""
    if calibration.result is None:
        return Check(NAME, False, calibration.failure)
    result = calibration.result
    reached, wanted = result.rate, result.wanted
    evidence = (
        f"{result.generator} reaches {number(reached)} requests/s against a null server, "
        f"{number(reached / wanted)} times the highest fixed rate"
    )
    return Check(NAME, reached >= HEADROOM * wanted, evidence)


def near_limit(calibration: CalibrationResult | None, reached: float | None) -> str | None:
    """A warning if the full-speed result is close to what the generator itself can do.

    :param reached: requests/s at full speed; None where that was not measured.
    """
    if calibration is None or reached is None or reached < NEAR * calibration.rate:
        return None
    return (
        f"http_max: {number(reached)} requests/s is near what {calibration.generator} reaches "
        f"against a null server ({number(calibration.rate)}): the generator, not the network, may "
        "be the limit"
    )
