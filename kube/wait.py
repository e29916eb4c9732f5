"""Bounded waiting with progress, for what a cluster does on its own time."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from kube.objects import ApiError, KubernetesError

#: Answers None once the awaited state is reached, else a word on what is still missing.
Probe = Callable[[], str | None]
Say = Callable[[str], None]

_REPEAT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Waiter:
    """Waits for one thing after the other.

    :param say: gets a line whenever the answer changes, and every half minute.
    :param interval: seconds between two questions.
    """

    say: Say
    interval: float = 2.0
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def until(
        self, what: str, probe: Probe, *, timeout: float, evidence: Callable[[], str] = lambda: ""
    ) -> None:
        """Ask ``probe`` until it answers None, for ``timeout`` seconds.

        An API server that does not answer is an answer too: it may be one that is being replaced.

        :param evidence: asked when the time is over, for what the error should show.
        :raises KubernetesError: names ``what``, the last answer, and the evidence.
        """
        start = self.monotonic()
        said, said_at = "", start
        while (missing := _answer(probe)) is not None:
            now = self.monotonic()
            if now - start >= timeout:
                raise KubernetesError(
                    f"waited {timeout:.0f} s for {what}: {missing}{_evidence_text(evidence)}"
                )
            if missing != said or now - said_at >= _REPEAT_SECONDS:
                self.say(f"waiting for {what}: {missing} ({now - start:.0f} s)")
                said, said_at = missing, now
            self.sleep(self.interval)
        self.say(f"{what}: yes ({self.monotonic() - start:.0f} s)")


def _answer(probe: Probe) -> str | None:
    try:
        return probe()
    except ApiError as error:
        if error.status in (401, 403):
            raise
        return str(error)


def _evidence_text(evidence: Callable[[], str]) -> str:
    try:
        text = evidence()
    except KubernetesError as error:
        text = f"(nothing more can be told: {error})"
    return f"\n{text}" if text else ""
