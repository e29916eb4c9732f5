"""A matrix of a lab that is up: what goes on between samples, without the engine.

Run as ``python -m tests.faults.rounds SESSION FOLDER``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.journal import JournalError
from bench.plan import ALLOWABLE, Plan, plan_for
from bench.probes.base import Probe
from bench.probes.turns import in_turns
from bench.results import Results
from cli.display import Lines
from components.targets import open_session
from studies.matrix.run import Matrix, Progress, StackState
from studies.matrix.state import MatrixFolder, MatrixState

_STACK, _ROUNDS = "lab", 3


class Standing:
    """One stack that is up already; see ``studies.matrix.run.Stacks``."""

    def __init__(self, session: Mapping[str, Any]) -> None:
        self._state = StackState(True, session, {})

    def state(self, stack: str) -> StackState:
        return self._state

    def up(self, stack: str, say: Progress) -> StackState:
        return self._state

    def renew(self, stack: str, session: Mapping[str, Any] | None, say: Progress) -> StackState:
        raise AssertionError("there is one bring-up")

    def hand_over(
        self, stack: str, session: Mapping[str, Any], results: Results, say: Progress
    ) -> None:
        say(f"handed over {len(results.metrics)} metrics")

    def destroy(self, stack: str, say: Progress) -> None:
        raise AssertionError("it was up before")

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass


def probes(plan: Plan, _components: tuple[str, ...]) -> tuple[Probe, ...]:
    """The shortest that there are."""
    return tuple(in_turns(name, plan.turn_seconds) for name in ("rtt", "connect"))


def main(session: str, folder: str) -> int:
    kept = MatrixFolder(Path(folder))
    plan = plan_for("quick", runs=_ROUNDS, seconds=1, allow=ALLOWABLE)
    try:
        with kept.only_one():
            state = kept.load() or MatrixState(
                id="faults", stacks=[_STACK], seed=1, bring_ups=1, rounds=_ROUNDS,
                order=[[_STACK]] * _ROUNDS, plan=plan.as_dict(), started="now",
            )  # fmt: skip
            stacks = Standing(json.loads(Path(session).read_text()))
            matrix = Matrix(
                kept, state, stacks, Lines(lambda line: print(line, flush=True)), open_session,
                keep_up=True, build=probes,
            )  # fmt: skip
            matrix.run()
    except (JournalError, OSError) as error:
        print(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        print("stopped")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
