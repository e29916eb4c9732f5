"""The matrix itself: for each bring-up up, preconditions and rounds; then results, and down.

The bring-up is the replicate, so with several of them every process, namespace and map is made anew
for each. A stopped matrix goes on: bring-ups that are over are kept, the one that was interrupted
begins anew. A single bring-up goes on in its rounds, as long as its clusters are there.

Who brings stacks up (:class:`Stacks`) and who shows what happens (:class:`Display`) are protocols;
with Pulumi they are :mod:`components.automation` and the command line's.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from dataclasses import dataclass, replace
from threading import Event
from typing import Any, Protocol

from bench.interleave import Build, Side, Step, interleave, prepare_all, time_bound
from bench.journal import Journal
from bench.merge import Lost, MergeError, merge
from bench.probes import build_probes
from bench.readiness import Calibrations
from bench.results import Results
from bench.session import Clock, Opener, Session, SessionError
from studies.matrix.state import MatrixFolder, MatrixState, StateKeeper

Progress = Callable[[str], None]


class StandingError(Exception):
    """A stack is up that is to be brought up anew; the message has the fix. Nothing was done."""


class StackFailedError(Exception):
    """An operation on a stack failed; the message says why, in the words of who made it."""


@dataclass(frozen=True, slots=True)
class StackState:
    """What is known of a stack.

    ``exists``: it has resources. ``session`` is the descriptor of its session, None as long as its
    workloads are not there. ``toggles`` is its output of that name, if it is known. ``overdue``
    says that it exists for longer than was meant.
    """

    exists: bool
    session: Mapping[str, Any] | None = None
    toggles: object = None
    overdue: str | None = None


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

    def renew(self, stack: str, session: Mapping[str, Any] | None, say: Progress) -> StackState:
        """End the cluster of a stack, whole or not, and bring another one up as the first one was:
        no process, namespace or map of it is the same.

        :param session: the descriptor of its session, as far as it had come.
        :raises StackFailedError: it did not come up, or something else would change with it.
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
        """Leave things as they were before, but for what was done to stacks.

        :raises StackFailedError: that is not possible.
        """
        ...


class Surroundings(Protocol):
    """What is in the clusters around what is measured, the same in all."""

    def furnish(self, session: Session, say: Progress) -> None:
        """Have it in a cluster, also where a part of it is there already.

        :raises SessionError: it cannot be had.
        """
        ...

    def clear(self, session: Session, say: Progress) -> None:
        """Remove it from a cluster.

        :raises SessionError: something may be left.
        """
        ...

    def at_work(self, sides: Sequence[Side]) -> AbstractContextManager[None]:
        """Have it do what it does for the length of the block."""
        ...

    def failure(self, label: str) -> str | None:
        """Why it was not at work around a side in the last block; None where it was."""
        ...


AT_ONCE = 2
"""Stacks that are brought up or taken down at the same time."""


def refuse_standing(state: MatrixState, stacks: Stacks) -> None:
    """Several bring-ups are of clusters made for each, so that none may be there before.

    :raises StandingError: one is.
    :raises StackFailedError: a stack's state cannot be read.
    """
    if not state.anew:
        return
    others = [stack for stack in state.stacks if stack not in state.brought_up]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        known = dict(zip(others, pool.map(stacks.state, others), strict=True))
    if standing := [stack for stack, found in known.items() if found.exists]:
        raise StandingError(
            f"{', '.join(standing)}: up already, and {state.bring_ups} bring-ups begin with none. "
            f"Fix: make down STACK={standing[0]}, or --bring-ups 1 to measure it as it is"
        )


Remember = Callable[[str, Results], None]
Afterwards = Callable[[Sequence[Side]], None]


class Matrix:
    """One matrix in its folder, from wherever it is at.

    :param open_session: what opens a stack's session by its descriptor.
    :param keep_up: leave up what it has brought up.
    :param remember: gets every scenario's results once they are complete.
    :param afterwards: what else is done with the clusters of the last bring-up, ready and measured.
    :param build: makes the probes of a round (:func:`bench.interleave.prepare_all`).
    :param around: what is in the clusters meanwhile. It is taken away from those that stay.
    :param all_or_none: one that has no results of the first bring-up ends it: the others alone
        answer nothing.
    """

    def __init__(
        self,
        folder: MatrixFolder,
        state: MatrixState,
        stacks: Stacks,
        display: Display,
        open_session: Opener,
        *,
        keep_up: bool = False,
        remember: Remember = lambda stack, results: None,
        afterwards: Afterwards | None = None,
        clock: Clock | None = None,
        build: Build = build_probes,
        around: Surroundings | None = None,
        all_or_none: bool = False,
    ) -> None:
        self._clock = clock or Clock()
        self._folder = folder
        self._keeper = StateKeeper(folder, state, self._clock)
        self._stacks = stacks
        self._display = display
        self._keep_up = keep_up
        self._remember = remember
        self._afterwards = afterwards
        self._open_session = open_session
        self._build = build
        self._around = around
        self._fatal = 1 if all_or_none else len(state.stacks)
        self._calibrations = Calibrations()
        self._number, self._begun = 0, 0.0
        self._stopping = False

    @property
    def state(self) -> MatrixState:
        """Where it is at."""
        return self._keeper.state

    def run(self) -> MatrixState:
        """Do what is left to do.

        What fails for one scenario is in the state's ``failed``, and the others go on.

        :raises JournalError: the samples so far are damaged.
        :raises OSError: the folder cannot be written.
        """
        keeper = self._keeper
        if self.state.status == "measuring":
            for number in range(self.state.over + 1, self.state.bring_ups + 1):
                self._bring_up(number)
                if len(self.state.lost[-1]) >= self._fatal and number == 1:
                    break  # what keeps all of them from coming up will do so again
            self._conclude()
            keeper.reach("measured")
        with keeper.timed("hand over"):
            self._hand_over()
        if not self._keep_up:
            self.take_down()
        # What could not be taken down is tried again by the same command.
        if self._keep_up or not self.state.brought_up:
            keeper.reach("finished")
        return self.state

    def end(self) -> MatrixState:
        """Take down what was brought up; a matrix that is not finished does not go on."""
        self.take_down()
        if self.state.status != "finished" and not self.state.brought_up:
            self._keeper.reach("ended")
        return self.state

    def take_down(self) -> None:
        """Remove the stacks that this matrix has brought up.

        One that cannot be removed is warned of and stays in ``brought_up``.
        """
        if self.state.brought_up:
            self._display.phase("taking down what was brought up")
            with self._keeper.timed("take down"):
                self._each(self.state.brought_up, self._down)

    def _say(self, stack: str) -> Progress:
        return lambda line: self._display.about(stack, line)

    def _lose(self, stack: str, why: str) -> None:
        self._keeper.lose(stack, why)
        self._display.about(stack, f"failed: {why}")

    def _warn(self, stack: str, what: str) -> None:
        self._keeper.warn(stack, what)
        self._display.about(stack, what)

    def _up(self, stack: str) -> None:
        say = self._say(stack)
        try:
            state = self._brought_up(stack, say)
        except StackFailedError as error:
            if not self._stopping:
                self._lose(stack, str(error))
            return
        if state.session is None:
            self._lose(stack, "it came up without a session to measure in")
            return
        self._keeper.record_up(stack, dict(state.session), state.toggles)
        if state.overdue:
            self._warn(stack, state.overdue)
        say("up")

    def _brought_up(self, stack: str, say: Progress) -> StackState:
        ours = stack in self.state.brought_up
        # A stack that stays up has to know its cluster, as only its own `up` makes it.
        stays = self._keep_up and self._number == self.state.bring_ups
        if self.state.anew and ours:
            if not stays:
                return self._stacks.renew(stack, self.state.sessions.get(stack), say)
            self._stacks.destroy(stack, say)
            self._keeper.record_down(stack)
        state = self._stacks.state(stack)
        if self.state.anew and state.exists:
            raise StackFailedError("somebody else has brought it up")
        # What this matrix began to bring up may be torn; what was up before is left as it is.
        if state.session is None or ours:
            if not state.exists:
                self._keeper.record_start(stack)
            return self._stacks.up(stack, say)
        return state

    def _down(self, stack: str) -> None:
        try:
            self._stacks.destroy(stack, self._say(stack))
        except StackFailedError as error:
            if not self._stopping:
                self._warn(stack, f"could not be taken down: {error}")
            return
        self._keeper.record_down(stack)
        self._display.about(stack, "down")

    def _each(self, stacks: Sequence[str], do: Callable[[str], None]) -> None:
        """Several at a time. Interrupted, those under way are waited for, and no other begins."""
        pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="stack")
        # A thread whose start is interrupted is unknown to its pool, which would not wait for it.
        go, stopped = Event(), Event()

        def begin(stack: str) -> None:
            go.wait()
            if stopped.is_set():
                return
            try:
                do(stack)
            except BaseException:  # before this thread takes the next stack
                stopped.set()
                raise

        try:
            futures = [pool.submit(begin, stack) for stack in stacks]
            go.set()
            for future in futures:
                future.result()
        except BaseException:
            self._stopping = True  # operations that end early now have not failed by themselves
            stopped.set()
            raise
        finally:
            go.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _bring_up(self, number: int) -> None:
        """One replicate, from bringing up to the results of each stack."""
        self._begun, self._number = self._clock.monotonic(), number
        self._keeper.begin_bring_up(number)
        self._folder.begin(number, anew=self.state.anew)
        with self._keeper.timed("bring up"):
            self._phase(f"bringing stacks up, {AT_ONCE} at a time")
            self._each(self._keeper.remaining(), self._up)
        self._measure()
        self._keeper.end_bring_up()

    def _phase(self, name: str) -> None:
        several = f"bring-up {self._number} of {self.state.bring_ups}: "
        self._display.phase(several * self.state.anew + name)

    def _step(self, step: Step) -> None:
        """Show a step, with the time that all bring-ups are going to take."""
        spent = self._clock.monotonic() - self._begun
        later = self.state.bring_ups - self._number
        left = step.seconds_left + later * (spent + step.seconds_left)
        self._display.step(replace(step, seconds_left=left))

    def _measure(self) -> None:
        labels = self._keeper.remaining()
        with ExitStack() as opened:
            with self._keeper.timed("preconditions"):
                self._phase("checking preconditions")
                sides = self._prepared(labels, opened)
            if sides:
                with self._keeper.timed("rounds"):
                    self._phase("measuring")
                    with self._around.at_work(sides) if self._around else nullcontext():
                        by_stack = self._rounds(sides)
                for stack, results in by_stack.items():
                    if self._around and (why := self._around.failure(stack)):
                        self._lose(stack, why)
                    else:
                        self._take(stack, results)
                if self._afterwards and self._number == self.state.bring_ups:
                    with self._keeper.timed("explain"):
                        self._afterwards(sides)

    def _prepared(self, labels: Sequence[str], opened: ExitStack) -> list[Side]:
        sessions: dict[str, Session] = {}
        for stack in labels:
            try:
                session = closing(self._open_session(self.state.sessions[stack]))
                sessions[stack] = opened.enter_context(session)
                if self._around:
                    self._furnish(self._around, stack, sessions[stack], opened)
            except SessionError as error:
                sessions.pop(stack, None)
                self._lose(stack, str(error))
        # From now on: to open a session may take as long as somebody else measures.
        plan = self.state.plan_of(self._number)
        bound = time_bound(plan, self._build(plan, ()))
        deadline = self._clock.monotonic() + len(labels) * bound
        found = prepare_all(
            sessions, plan,
            clock=self._clock, deadline=deadline, say=self._display.about,
            calibrations=self._calibrations, build=self._build,
        )  # fmt: skip
        for stack, each in found.items():
            if not isinstance(each, Side):
                self._lose(stack, str(each))
        return [each for each in found.values() if isinstance(each, Side)]

    def _furnish(
        self, around: Surroundings, stack: str, session: Session, opened: ExitStack
    ) -> None:
        say = self._say(stack)

        def clear() -> None:
            try:
                around.clear(session, say)
            except SessionError as error:
                self._warn(stack, f"what was put around it may be left: {error}")

        stays = self._keep_up or stack not in self.state.brought_up
        if stays and self._number == self.state.bring_ups:
            opened.callback(clear)
        around.furnish(session, say)

    def _rounds(self, sides: Sequence[Side]) -> dict[str, Results]:
        sessions = self.state.sessions
        identities = {
            side.label: json.dumps(sessions[side.label], sort_keys=True) for side in sides
        }
        journal = self._journal(identities)
        known = journal.entries(identities)
        self._keeper.begin_part(anew=not known)
        return interleave(
            sides,
            self.state.plan_of(self._number),
            journal.header.order,
            known=known,
            keep=journal.keep(identities),
            watch=self._step,
            shared=journal.header.shared(),
        )

    def _journal(self, identities: Mapping[str, str]) -> Journal:
        """The journal to go on with: an empty one if a cluster is another than it was."""
        file, header = self._folder.samples(self._number), self.state.header(self._number)
        if not file.exists():
            return Journal.begin(file, header)
        journal = Journal.open(file)
        rebuilt = sorted(journal.strays(identities))
        if journal.header.id == header.id and not rebuilt:
            return journal
        # Samples of a cluster that is gone say nothing of the new one, and samples that are made
        # up for later would not be right after those of the other sides.
        for stack in rebuilt:
            self._warn(stack, "its cluster is another one than before, so all rounds begin anew")
        return Journal.begin(file, header)

    def _take(self, stack: str, results: Results) -> None:
        """Keep what one bring-up gave."""
        changes: dict[str, Any] = {}
        notes = []
        if self.state.parts > 1:
            notes.append(
                "the matrix was stopped and went on: its rounds were measured in "
                f"{self.state.parts} parts"
            )
            changes["started"] = min(self.state.started, results.started)
        if self._number in self.state.torn:
            notes.append("it was interrupted and begun anew: its samples until then are dropped")
        changes["warnings"] = [*notes, *results.warnings]
        self._folder.save_results(stack, results.model_copy(update=changes), self._number)

    def _conclude(self) -> None:
        """Put the bring-ups of every scenario together."""
        for stack in self.state.stacks:
            parts = self._parts(stack)
            if all(isinstance(part, Lost) for part in parts.values()):
                told = {why[stack]: None for why in self.state.lost}
                self._keeper.fail(stack, "; ".join(told))
                continue
            try:
                results = merge(parts, self.state.header(1).shared())
            except MergeError as error:
                self._keeper.fail(stack, str(error))
                continue
            if results.metrics:
                self._folder.save_results(stack, results)
            if results.errors:
                lacking = "; ".join(each.text() for each in results.errors)
                self._keeper.fail(stack, f"no number for {lacking}")
            else:
                self._remember(stack, results)

    def _parts(self, stack: str) -> dict[str, Results | Lost]:
        return {
            f"{stack}, bring-up {number}": (
                Lost(lost[stack], self.state.rounds)
                if stack in lost
                else self._folder.results(stack, number)
            )
            for number, lost in enumerate(self.state.lost, 1)
        }

    def _hand_over(self) -> None:
        """Give the stacks that stay up their results."""
        last, lost = len(self.state.lost), self.state.lost[-1]
        gone = {*lost, *self.state.failed, *([] if self._keep_up else self.state.own)}
        stay = [stack for stack in self.state.stacks if stack not in gone]
        if stay:
            self._display.phase("writing results back")
        for stack in stay:
            # A stack's own results are those of the cluster that it has.
            say, results = self._say(stack), self._folder.results(stack, last)
            try:
                self._stacks.hand_over(stack, self.state.sessions[stack], results, say)
            except StackFailedError as error:
                self._warn(stack, f"its results are not its stack's output: {error}")
            else:
                say("has its results")
