"""One sample of one probe, tried again a bounded number of times."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from bench.limits import Limit, Observation, between
from bench.probes.base import Bench, BoundReachedError, Probe, Reading, SampleError

PAUSE_SECONDS = 0.5
BOUND_REASON = "the benchmark's time was over"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one sample: its reading, or None; and why each failed attempt failed.

    ``observation`` is what happened on the machines during the attempt that gave the reading, and
    ``limit`` what was at its limit then.
    """

    reading: Reading | None
    failures: tuple[str, ...] = ()
    observation: Observation | None = None
    limit: Limit | None = None


def sample(probe: Probe, bench: Bench, *, attempts: int = 3) -> Outcome:
    """Measure once, again after a failure, at most ``attempts`` times.

    A failed attempt never yields a number; its reason is kept also where a later one succeeds.
    """
    failures: list[str] = []
    retrying = Retrying(
        stop=stop_after_attempt(attempts),
        wait=wait_fixed(PAUSE_SECONDS),
        retry=retry_if_exception_type(SampleError),
        reraise=True,
        sleep=bench.clock.sleep,
    )

    def attempt() -> Outcome:
        try:
            return _observed(probe, bench)
        except SampleError as error:
            failures.append(str(error))
            raise

    try:
        return replace(retrying(attempt), failures=tuple(failures))
    except SampleError:
        return Outcome(None, tuple(failures))
    except BoundReachedError:
        return Outcome(None, (*failures, BOUND_REASON))


def _observed(probe: Probe, bench: Bench) -> Outcome:
    """A reading with what happened meanwhile; counters that cannot be read cost no sample."""
    try:
        before = bench.snapshot()
    except SampleError as error:
        return Outcome(probe.measure(bench), limit=Limit("unknown", str(error)))
    reading = probe.measure(bench)
    try:
        seen = between(before, bench.snapshot())
    except (SampleError, ValueError) as error:
        return Outcome(reading, limit=Limit("unknown", str(error)))
    limit = reading.limit or seen.limit(bench.targets.nodes("server"))
    return Outcome(reading, observation=seen, limit=limit)
