"""One sample of one probe, tried again a bounded number of times."""

from __future__ import annotations

from dataclasses import dataclass

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from bench.probes.base import Bench, BoundReachedError, Probe, Reading, SampleError

PAUSE_SECONDS = 0.5
BOUND_REASON = "the benchmark's time was over"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one sample: its reading, or None; and why each failed attempt failed."""

    reading: Reading | None
    failures: tuple[str, ...] = ()


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

    def attempt() -> Reading:
        try:
            return probe.measure(bench)
        except SampleError as error:
            failures.append(str(error))
            raise

    try:
        return Outcome(retrying(attempt), tuple(failures))
    except SampleError:
        return Outcome(None, tuple(failures))
    except BoundReachedError:
        return Outcome(None, (*failures, BOUND_REASON))
