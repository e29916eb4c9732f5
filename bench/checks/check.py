"""One precondition's outcome, and the gate that stops at a failed one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from bench.plan import ALLOWABLE
from bench.results import CheckResult


@dataclass(frozen=True, slots=True)
class Check:
    """One precondition's outcome."""

    name: str
    passed: bool
    evidence: str


class PreconditionError(Exception):
    """A precondition does not hold, so nothing is measured. ``checks`` are all made so far."""

    def __init__(self, checks: tuple[Check, ...]) -> None:
        self.checks = checks
        failed = checks[-1]
        message = f"precondition {failed.name!r} failed: {failed.evidence}"
        if failed.name in ALLOWABLE:
            message += (
                f". To measure all the same, with a mark in the results: --allow {failed.name} "
                f"(in a stack's settings benchmark.allow: [{failed.name}])"
            )
        super().__init__(message)


class Gate:
    """Collects checks and stops at the first that fails.

    :param allow: names of those that may fail.
    """

    def __init__(self, allow: Collection[str] = ()) -> None:
        self._allow = frozenset(allow)
        self._checks: list[Check] = []

    def require(self, check: Check) -> None:
        """Take in a check.

        :raises PreconditionError: it failed and is not allowed to.
        """
        self._checks.append(check)
        if not check.passed and not self.allows(check):
            raise PreconditionError(self.checks)

    def allows(self, check: Check) -> bool:
        """Whether a check may fail."""
        return check.name in self._allow

    @property
    def checks(self) -> tuple[Check, ...]:
        """All so far."""
        return tuple(self._checks)

    def results(self) -> list[CheckResult]:
        """All so far, for the results."""
        return [
            CheckResult(
                name=each.name, passed=each.passed, evidence=each.evidence, allowed=not each.passed
            )
            for each in self._checks
        ]
