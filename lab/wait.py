"""Bounded waiting: readiness is checked, never slept for."""

from collections.abc import Callable
from pathlib import Path

import tenacity

from lab.errors import WaitTimeoutError

#: A probe answers None once the awaited state is reached, else a word on what is still missing.
Probe = Callable[[], str | None]


def until(
    what: str,
    probe: Probe,
    *,
    timeout: float,
    interval: float = 0.1,
    log: Path | None = None,
) -> None:
    """Call ``probe`` every ``interval`` seconds until it answers None.

    :param timeout: seconds; afterwards :class:`WaitTimeoutError` names ``what``, the probe's last
        answer and the tail of ``log``.
    """
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_delay(timeout),
        wait=tenacity.wait_fixed(interval),
        retry=tenacity.retry_if_result(lambda missing: missing is not None),
    )
    try:
        retrying(probe)
    except tenacity.RetryError as error:
        last = error.last_attempt
        answer = str(last.result()) if not last.failed else repr(last.exception())
        raise WaitTimeoutError(what, timeout, answer, log) from None
