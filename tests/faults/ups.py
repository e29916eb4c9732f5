"""Faults of `make up` and `make down` under the real engine: they are told to stop or killed at
each stage, and the next command goes on by itself."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from functools import partial

from lab.wait import until
from tests.engine.checkout import Checkout
from tests.faults.engine import Stacks, first_error
from tests.faults.ground import Ground
from tests.faults.table import Injection, Seen, line_of, plain
from tests.lab.leftovers import Footprint, Host

_CYCLES = 3
_OF_A_KILL = ("freeing the lock of a command that was killed", "forgetting what a killed command")
"""What is said of what is cleared."""
STAGES = (
    ("bring-up", "starting etcd and kube-apiserver", "while etcd starts"),
    ("bring-up", "starting cilium-operator", "while agents start"),
    ("CNI ready", "the CNI is ready on every node", "once the CNI is ready"),
    ("workloads", "pods wired by the CNI plugin", "once pods are wired"),
    ("measuring", "[1/", "after its first sample"),
)
"""Of an `up`: the stage, the line that it begins with, and in words."""
_INT, _TERM, _KILL = signal.SIGINT, signal.SIGTERM, signal.SIGKILL


class Ups(Stacks):
    """One stack at a time, brought up by `make up` until it is interrupted."""

    def __init__(self, ground: Ground, user: Checkout) -> None:
        super().__init__(ground, user)
        self._host = Host.now()
        self._up = ""

    def make(self, target: str, stack: str) -> str:
        """What a command says that must end well."""
        return self.user.ok("make", target, f"STACK={stack}")

    def interrupted(self, by: signal.Signals, line: str) -> tuple[str, str]:
        """The stack whose `make up` gets a signal, and the last words."""
        stack = self.new()
        process = self.user.start("make", "up", f"STACK={stack}")
        told = self.user.interrupt(process, line, by)
        assert "Traceback" not in told, told
        assert process.returncode, "it ended well"
        return stack, words(told)

    def pending(self, stack: str) -> list[str]:
        """What the engine would warn of."""
        kept = json.loads(self.state(stack).read_text())["checkpoint"]["latest"]
        operations = kept.get("pending_operations") or []
        return [each["resource"]["urn"] for each in operations]

    def assert_cleared(self, by: signal.Signals, stack: str, told: str) -> str:
        """What a command says that follows: of what was killed, always. An engine that was told to
        stop frees its lock, and may have to leave a creation unfinished."""
        said = [line for line in told.splitlines() if any(each in line for each in _OF_A_KILL)]
        freed = any(_OF_A_KILL[0] in line for line in said)
        assert freed == (by is _KILL), f"it says {said}"
        assert self.pending(stack) == [], "a creation is pending"
        return "; ".join(line.removeprefix(f"{stack}: ") for line in said)

    def assert_gone(self, stack: str) -> None:
        assert self.user.resources(stack) == {}, "the stack has resources"
        left = [each for each in self.user.lab_folders() if each.startswith(f"{stack}-")]
        assert not left, "the lab has files"
        as_before = lambda: None if Host.now() == self._host else "it has more"  # noqa: E731
        until("the machine to be as before", as_before, timeout=10)

    # -- what happens ---------------------------------------------------------------------------

    def then_down(self, by: signal.Signals, line: str) -> Seen:
        """`make up` is interrupted, and `make down` removes all."""
        stack, told = self.interrupted(by, line)
        said = self.assert_cleared(by, stack, self.make("down", stack))
        self.assert_gone(stack)
        return Seen(plain(f"{told}; then: {said or 'no more'}"), "nothing, after `make down`")

    def then_up(self, by: signal.Signals, line: str) -> Seen:
        """`make up` is interrupted, and `make up` goes on."""
        stack, told = self.interrupted(by, line)
        self._up = stack
        said = self.assert_cleared(by, stack, self.make("up", stack))
        assert self.user.output(stack, "results")["metrics"], "nothing was measured"
        # A second agent beside the first would be measured with it, and nobody would know.
        agents = self.user.lab(stack).sandbox.run(["pgrep", "-cx", "cilium-agent"]).stdout
        assert int(agents) == 2, f"{agents} agents run on two nodes"
        kept = "the stack: `make up` once more ends well"
        return Seen(plain(f"{told}; then: {said or 'no more'}"), kept)

    def down_again(self, by: signal.Signals) -> Seen:
        """`make down` is interrupted, and done again."""
        stack, self._up = self._up, ""
        assert stack, "no stack is up"
        footprint = Footprint.of(self.user.lab(stack))
        process = self.user.start("make", "down", f"STACK={stack}")
        told = self.user.interrupt(process, "deleting", by)
        assert "Traceback" not in told, told
        self.make("down", stack)
        footprint.wait_until_gone()
        self.assert_gone(stack)
        return Seen(words(told), "nothing, after `make down` once more")

    def cycles(self) -> Seen:
        """The engine's own few; :mod:`tests.faults.cycles` has more, without it."""
        stack = self.new()
        for _ in range(_CYCLES):
            self.user.ok("pulumi", "up", "--yes", "-s", stack, CNI_BENCHMARK_MEASURE="later")
            footprint = Footprint.of(self.user.lab(stack))
            self.make("down", stack)
            footprint.wait_until_gone()
            self.assert_gone(stack)
            self.ground.assert_no_strays()
        return Seen(f"nothing: the machine is as before, after each of {_CYCLES}", "–")


def words(told: str) -> str:
    """What a user reads of an end: the engine's error, which Make only says that there was."""
    return first_error(told) if "error: " in told else line_of(told)


def injections(ground: Ground, user: Checkout) -> Iterator[Injection]:
    stacks = Ups(ground, user)
    # Each signal once at another stage with `make up` after it, whose stack `make down` then has.
    goes_on = {(_KILL, STAGES[1][1]), (_TERM, STAGES[3][1]), (_INT, STAGES[4][1])}
    for stage, line, when in STAGES:
        for by in (_INT, _TERM, _KILL):
            kind, up = f"{by.name} to a command", (by, line) in goes_on
            do = partial(stacks.then_up if up else stacks.then_down, by, line)
            yield Injection(stage, kind, f"`make up`, {when}; then `make {_NEXT[up]}`", do)
            if up:
                again = partial(stacks.down_again, by)
                what = "`make down`, while it deletes; then `make down`"
                yield Injection("destroy", kind, what, again)
    what = f"{_CYCLES} times `pulumi up` and `make down`, scenario-c"
    yield Injection("destroyed", "many cycles", what, stacks.cycles)


_NEXT = {True: "up", False: "down"}
