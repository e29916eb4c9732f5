"""A matrix from up to down: what is measured, what is left, what a failure or a stop costs."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench.interleave import Step, shuffled
from bench.results import Results
from report.sources import load
from studies.matrix.run import Matrix, StackFailedError
from studies.matrix.state import FolderError, MatrixFolder, MatrixState
from tests.bench.fakes import PLAN, FakeSession, failing
from tests.studies.fake_stacks import FakeStacks

ABC = ("a", "b", "c")
SEED = 11


class Shown:
    """A display that remembers."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.steps: list[Step] = []
        self.stop_after: int | None = None

    def phase(self, name: str) -> None:
        """See ``studies.matrix.run.Display``."""
        self.told.append(name)

    def about(self, stack: str, text: str) -> None:
        """See ``studies.matrix.run.Display``."""
        self.told.append(f"{stack}: {text}")

    def step(self, step: Step) -> None:
        """See ``studies.matrix.run.Display``; may press Ctrl-C."""
        if step.outcome is not None:
            self.steps.append(step)
            if len(self.steps) == self.stop_after:
                raise KeyboardInterrupt


def state_of(stacks: Sequence[str] = ABC, runs: int = 2) -> MatrixState:
    order = shuffled(stacks, runs, SEED)
    return MatrixState(
        id="m1",
        stacks=list(stacks),
        seed=SEED,
        rounds=runs,
        order=[list(each) for each in order],
        plan=replace(PLAN, runs=runs).as_dict(),
        started="2026-01-02T03:00:00+00:00",
    )


@pytest.fixture
def folder(tmp_path: Path) -> MatrixFolder:
    (tmp_path / "out").mkdir()
    return MatrixFolder(tmp_path / "out")


@pytest.fixture
def stacks() -> FakeStacks:
    return FakeStacks()


def matrix(
    folder: MatrixFolder,
    stacks: FakeStacks,
    state: MatrixState | None = None,
    shown: Shown | None = None,
    kept: dict[str, Results] | None = None,
    *,
    keep_up: bool = False,
) -> Matrix:
    kept = {} if kept is None else kept
    return Matrix(
        folder, state or folder.load() or state_of(), stacks, shown or Shown(), stacks.connect,
        keep_up=keep_up, remember=kept.__setitem__, clock=stacks.time.clock(),
    )  # fmt: skip


def test_all_are_measured_in_the_stored_order_and_taken_down(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    shown, kept = Shown(), dict[str, Results]()
    state = matrix(folder, stacks, shown=shown, kept=kept).run()
    assert (state.status, state.failed, state.warnings) == ("finished", {}, [])
    assert state.brought_up == []
    assert stacks.there == set()
    assert sorted(stacks.done) == sorted(
        [f"{verb} {stack}" for verb in ("up", "destroy") for stack in ABC]
    )
    first = [(step.round, step.label) for step in shown.steps if step.probe.name == "tcp"]
    assert first == [(n, label) for n, order in enumerate(state.order, 1) for label in order]
    for stack in ABC:
        results = folder.results(stack)
        assert results.metrics["tcp_throughput"].n == 2
        assert len(results.checks) == 17
        assert results.rounds is not None
        assert (results.rounds.id, results.rounds.seed) == ("m1", SEED)
        assert kept[stack] == results
    assert folder.results("a").interleaved_with(folder.results("c"))
    assert {"bring up", "preconditions", "rounds", "take down"} <= state.seconds.keys()
    # What is there can be compared and reported.
    assert [each.name for each in load([str(folder.path)]).scenarios] == list(ABC)


def test_the_record_says_what_was_done(folder: MatrixFolder, stacks: FakeStacks) -> None:
    matrix(folder, stacks, state_of(("d", "e"))).run()
    record = json.loads((folder.path / "matrix.json").read_text())
    assert record["schema"] == "cni-benchmark/matrix/v1"
    assert (record["seed"], record["rounds"]) == (SEED, 2)
    assert [sorted(each) for each in record["order"]] == [["d", "e"]] * 2
    assert record["toggles"] == {
        "d": {"dsr": {"requested": False}}, "e": {"dsr": {"requested": True}}
    }  # fmt: skip
    assert record["finished"] >= record["started"]


def test_what_was_up_before_is_left_as_it_is_and_gets_its_results(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    stacks.there.add("b")
    state = matrix(folder, stacks).run()
    assert state.status == "finished"
    assert stacks.there == {"b"}
    assert {each for each in stacks.done if each.endswith(" b")} == {"hand over b"}
    assert stacks.handed == {"b": folder.results("b")}


def test_kept_stacks_get_their_results(folder: MatrixFolder, stacks: FakeStacks) -> None:
    state = matrix(folder, stacks, keep_up=True).run()
    assert state.status == "finished"
    assert stacks.there == set(ABC) == set(stacks.handed) == set(state.brought_up)


def _on_one_node(session: FakeSession) -> None:
    session.nodes["server"] = "node-1"


def _without_dns(session: FakeSession) -> None:
    session.spoil["dig-answers"] = [failing("no answer")] * 999


def test_a_stack_that_does_not_come_up_costs_no_other(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    stacks.fails["up b"] = "could not install the CNI"
    state = matrix(folder, stacks).run()
    assert state.failed == {"b": "could not install the CNI"}
    assert folder.results("a").metrics["tcp_throughput"].n == 2
    assert not folder.results_file("b").exists()
    # What it had begun is removed, too.
    assert "destroy b" in stacks.done
    assert load([str(folder.path)]).failed == {"b": "could not install the CNI"}


def test_failed_preconditions_cost_no_other(folder: MatrixFolder, stacks: FakeStacks) -> None:
    stacks.spoil["c"] = _on_one_node
    state = matrix(folder, stacks).run()
    assert list(state.failed) == ["c"]
    assert "placement" in state.failed["c"]
    assert folder.results("b").metrics["tcp_throughput"].n == 2


def test_a_metric_without_a_number_fails_its_scenario_but_the_rest_is_kept(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    stacks.there.add("a")
    stacks.spoil["a"] = _without_dns
    kept = dict[str, Results]()
    state = matrix(folder, stacks, kept=kept).run()
    assert state.failed["a"].startswith("no number for dns_p50")
    assert "tcp_throughput" in folder.results("a").metrics
    # No stack output and no history of what is not whole.
    assert stacks.handed == {}
    assert set(kept) == {"b", "c"}


def test_without_any_scenario_there_is_nothing_to_measure(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    stacks.fails = {f"up {stack}": "no" for stack in ABC}
    state = matrix(folder, stacks).run()
    assert set(state.failed) == set(ABC)
    assert stacks.sessions == {}
    assert not folder.samples.exists()


def test_a_stopped_matrix_goes_on_with_what_it_has(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    shown = Shown()
    shown.stop_after = 20
    with pytest.raises(KeyboardInterrupt):
        matrix(folder, stacks, shown=shown).run()
    stopped = folder.load()
    assert stopped is not None
    assert (stopped.status, sorted(stopped.brought_up)) == ("measuring", list(ABC))
    assert stacks.there == set(ABC)
    more = Shown()
    state = matrix(folder, stacks, shown=more).run()
    assert state.status == "finished"
    # The twentieth had been finished and kept when the stop came.
    assert len(shown.steps) + len(more.steps) == 2 * 12 * 3
    results = folder.results("a")
    assert results.metrics["tcp_throughput"].n == 2
    assert "measured in 2 parts" in results.warnings[0]
    assert results.started == state.started


def test_a_kill_while_stacks_come_up_leaves_none_forgotten(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    def kill(operation: str) -> None:
        if operation == "up b":
            stacks.there.add("b")  # it has begun
            raise SystemExit

    stacks.before = kill
    with pytest.raises(SystemExit):
        matrix(folder, stacks).run()
    left = folder.load()
    assert left is not None
    assert "b" in left.brought_up
    stacks.before = lambda operation: None
    matrix(folder, stacks).run()
    # Torn or not, it is brought up again by the engine, which knows.
    assert "up b" in stacks.done
    assert stacks.there == set()


def test_an_operation_that_was_told_to_stop_has_not_failed(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    def stop(operation: str) -> None:
        if operation == "up b":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)  # the main thread is told meanwhile
            raise StackFailedError("update canceled")

    stacks.before = stop
    with pytest.raises(KeyboardInterrupt):
        matrix(folder, stacks).run()
    left = folder.load()
    assert left is not None
    assert left.failed == {}
    stacks.before = lambda operation: None
    assert matrix(folder, stacks).run().status == "finished"
    assert folder.results("b").metrics


def test_rounds_begin_anew_when_a_cluster_is_another_one(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    shown = Shown()
    shown.stop_after = 40
    with pytest.raises(KeyboardInterrupt):
        matrix(folder, stacks, shown=shown).run()
    stacks.boots["b"] += 1
    more = Shown()
    state = matrix(folder, stacks, shown=more).run()
    assert len(more.steps) == 2 * 12 * 3
    assert state.warnings == ["b: its cluster is another one than before, so all rounds begin anew"]
    assert folder.results("a").interleaved_with(folder.results("b"))
    assert state.parts == 1
    assert folder.results("a").warnings == []


def test_what_has_failed_stays_failed_when_going_on(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    stacks.fails["up a"] = "no"
    shown = Shown()
    shown.stop_after = 5
    with pytest.raises(KeyboardInterrupt):
        matrix(folder, stacks, shown=shown).run()
    stacks.fails.clear()
    state = matrix(folder, stacks).run()
    # Its rounds would not be those of the others.
    assert state.failed == {"a": "no"}
    assert not folder.results_file("a").exists()


def test_stopped_after_the_rounds_only_the_rest_is_done(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    def stop(operation: str) -> None:
        if operation.startswith("destroy"):
            raise KeyboardInterrupt

    stacks.before = stop
    with pytest.raises(KeyboardInterrupt):
        matrix(folder, stacks).run()
    left = folder.load()
    assert left is not None
    assert left.status == "measured"
    stacks.before = lambda operation: None
    more = Shown()
    assert matrix(folder, stacks, shown=more).run().status == "finished"
    assert more.steps == []
    assert stacks.there == set()


def test_what_cannot_be_taken_down_is_tried_again(folder: MatrixFolder, stacks: FakeStacks) -> None:
    stacks.fails["destroy a"] = "the agent hangs"
    state = matrix(folder, stacks).run()
    assert state.status == "measured"
    assert state.brought_up == ["a"]
    assert state.warnings == ["a: could not be taken down: the agent hangs"]
    stacks.fails.clear()
    assert matrix(folder, stacks).run().status == "finished"
    assert stacks.there == set()


def test_results_that_a_stack_does_not_take_are_warned_of(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    stacks.there.add("a")
    stacks.fails["hand over a"] = "its file has changed"
    state = matrix(folder, stacks).run()
    assert state.warnings == ["a: its results are not its stack's output: its file has changed"]
    assert state.failed == {}
    assert folder.results("a").metrics


def test_ended_it_takes_down_what_it_brought_up_and_nothing_else(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    stacks.there.add("c")
    shown = Shown()
    shown.stop_after = 3
    with pytest.raises(KeyboardInterrupt):
        matrix(folder, stacks, shown=shown).run()
    state = matrix(folder, stacks).end()
    assert (state.status, state.brought_up) == ("ended", [])
    assert stacks.there == {"c"}


def test_two_matrices_do_not_share_a_folder(folder: MatrixFolder) -> None:
    other = MatrixFolder(folder.path)
    refused = pytest.raises(FolderError, match="another matrix is at work")
    with folder.only_one(), refused, other.only_one():
        raise AssertionError


def test_a_strange_matrix_json_is_refused(folder: MatrixFolder) -> None:
    (folder.path / "matrix.json").write_text('{"seed": 1}')
    with pytest.raises(FolderError, match=r"no state of a matrix: .*Fix: choose another folder"):
        folder.load()
