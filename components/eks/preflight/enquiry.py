"""Calls of AWS APIs, all at once and each bounded, whose failures are findings."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from components.eks.preflight.failures import (
    AwsError,
    first_line,
    of_credentials,
    permission_denied,
    refusal,
)
from components.eks.preflight.findings import Caution, Finding

T = TypeVar("T")

_WORKERS = 24  # more than there are questions in any preflight


@dataclass(frozen=True, slots=True)
class Asked(Generic[T]):
    """A call under way, and the service whose permission it takes."""

    service: str
    answer: Future[T]


class Enquiry:
    """Asks in parallel, and keeps what the failed calls say.

    :param login: the command that gets new credentials, for the findings.
    """

    def __init__(self, login: str) -> None:
        self._login = login
        self._pool = ThreadPoolExecutor(max_workers=_WORKERS, thread_name_prefix="preflight")
        self.findings: list[Finding] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What still runs is bounded by its own time-outs, and nobody waits for its answer.
        self._pool.shutdown(wait=False, cancel_futures=True)

    def ask(self, service: str, call: Callable[[], T]) -> Asked[T]:
        """Start a call.

        :param service: the prefix of the IAM actions that it takes, `ec2` say.
        """
        return Asked(service, self._pool.submit(call))

    def needed(self, asked: Asked[T]) -> T | None:
        """The answer to a call that the deployment cannot do without; None is a problem noted."""
        try:
            return asked.answer.result()
        except AwsError as error:
            self.findings.append(refusal(error, asked.service, self._login))
            return None

    def tried(self, asked: Asked[T]) -> T | str:
        """The answer, or in a few words why there is none, for who has another way."""
        try:
            return asked.answer.result()
        except AwsError as error:
            if of_credentials(error):
                self.findings.append(refusal(error, asked.service, self._login))
            return _why(error, asked)

    def wanted(self, asked: Asked[T], unchecked: str) -> T | None:
        """The answer to a call that only makes a check better; None is a warning noted.

        :param unchecked: what is not checked without it, as the warning says.
        """
        try:
            return asked.answer.result()
        except AwsError as error:
            if of_credentials(error):
                self.findings.append(refusal(error, asked.service, self._login))
            else:
                self.findings.append(Caution(f"not checked: {unchecked} ({_why(error, asked)})"))
            return None


def _why(error: Exception, asked: Asked[T]) -> str:
    permission = permission_denied(error, asked.service)
    return f"AWS denies {permission}" if permission else first_line(error)
