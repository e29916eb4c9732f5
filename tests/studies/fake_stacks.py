"""Stacks without Pulumi: their sessions replay recorded outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.environment import About
from bench.results import Results
from studies.matrix.run import Progress, StackFailedError, StackState
from tests.bench.fakes import FakeClock, FakeSession


@dataclass
class FakeStacks:
    """Every operation is remembered; ``fails`` has the reason by operation and stack.

    ``boots`` counts how often each stack came up: another boot is another session.
    """

    time: FakeClock = field(default_factory=FakeClock)
    there: set[str] = field(default_factory=set)
    overdue: dict[str, str] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    fails: dict[str, str] = field(default_factory=dict)
    handed: dict[str, Results] = field(default_factory=dict)
    boots: dict[str, int] = field(default_factory=dict)
    renewed: list[tuple[str, Mapping[str, Any] | None]] = field(default_factory=list)
    before: Callable[[str], None] = lambda operation: None
    sessions: dict[str, FakeSession] = field(default_factory=dict)
    spoil: dict[str, Callable[[FakeSession], None]] = field(default_factory=dict)

    def state(self, stack: str) -> StackState:
        """See ``studies.matrix.run.Stacks``."""
        if stack not in self.there:
            return StackState(exists=False)
        session = {"factory": "a:fake", "args": {"stack": stack}, "boot": self.boots.get(stack, 0)}
        toggles = {"dsr": {"requested": stack == "e"}}
        return StackState(True, session, toggles, self.overdue.get(stack))

    def up(self, stack: str, say: Progress) -> StackState:
        """See ``studies.matrix.run.Stacks``."""
        self._do("up", stack)
        if stack not in self.there:
            self.boots[stack] = self.boots.get(stack, 0) + 1
            self.there.add(stack)
        say("came up")
        return self.state(stack)

    def renew(self, stack: str, session: Mapping[str, Any] | None, say: Progress) -> StackState:
        """See ``studies.matrix.run.Stacks``."""
        self.renewed.append((stack, session))
        self.destroy(stack, say)
        return self.up(stack, say)

    def hand_over(
        self, stack: str, session: Mapping[str, Any], results: Results, say: Progress
    ) -> None:
        """See ``studies.matrix.run.Stacks``."""
        self._do("hand over", stack)
        assert session == self.state(stack).session
        self.handed[stack] = results

    def destroy(self, stack: str, say: Progress) -> None:
        """See ``studies.matrix.run.Stacks``."""
        self._do("destroy", stack)
        self.there.discard(stack)

    def interrupt(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Remembered, too."""
        self.done.append("close")

    def connect(self, descriptor: Mapping[str, Any]) -> FakeSession:
        """A session factory, all on one clock."""
        stack = descriptor["args"]["stack"]
        session = FakeSession()
        session.time = self.time
        session.told = About(bring_up=f"{stack}{descriptor['boot']}")
        if stack in self.spoil:
            self.spoil[stack](session)
        self.sessions[stack] = session
        return session

    def _do(self, operation: str, stack: str) -> None:
        self.before(f"{operation} {stack}")
        self.done.append(f"{operation} {stack}")
        if why := self.fails.get(f"{operation} {stack}"):
            raise StackFailedError(why)
