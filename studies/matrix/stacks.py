"""The seams of the matrix: whoever brings stacks up, and whoever shows what happens.

With Pulumi that is :mod:`components.automation`, which only the command line knows of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bench.interleave import Step
from bench.results import Results

Progress = Callable[[str], None]


class StackFailedError(Exception):
    """An operation on a stack failed; the message says why, in the words of who made it."""


@dataclass(frozen=True, slots=True)
class StackState:
    """What is known of a stack.

    ``exists``: it has resources. ``session`` is the descriptor of its session, None as long as its
    workloads are not there.
    """

    exists: bool
    session: Mapping[str, Any] | None = None
    toggles: object = None


class Display(Protocol):
    """Takes in what happens; from any thread."""

    def phase(self, name: str) -> None:
        """A phase of the whole begins."""
        ...

    def about(self, stack: str, text: str) -> None:
        """What a stack is at."""
        ...

    def step(self, step: Step) -> None:
        """A sample begins or has ended."""
        ...


class Stacks(Protocol):
    """What a matrix does with stacks. Different stacks may be handled from different threads."""

    def state(self, stack: str) -> StackState:
        """As it is recorded, without a look at the cluster.

        :raises StackFailedError: its state cannot be read.
        """
        ...

    def up(self, stack: str, say: Progress) -> StackState:
        """Bring a stack up, up to its workloads: nothing is measured.

        :raises StackFailedError: it did not come up.
        """
        ...

    def hand_over(
        self, stack: str, session: Mapping[str, Any], results: Results, say: Progress
    ) -> None:
        """Make ``results``, which were measured in ``session``, the stack's own.

        :raises StackFailedError: it does not take them, or something else would change with it.
        """
        ...

    def destroy(self, stack: str, say: Progress) -> None:
        """Remove all that a stack has.

        :raises StackFailedError: something may be left.
        """
        ...

    def interrupt(self) -> None:
        """Tell operations that are under way to stop as soon as they can."""
        ...

    def close(self) -> None:
        """Leave things as they were found, but for what was done to stacks.

        :raises StackFailedError: that is not possible.
        """
        ...
