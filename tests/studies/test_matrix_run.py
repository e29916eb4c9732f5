"""A matrix from up to down: what is measured, what is left, what a failure or a stop costs."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from bench.interleave import Side, Step, shuffled
from bench.probes import build_probes
from bench.results import Results
from bench.session import Session, SessionError
from report.sources import load
from studies.matrix.run import (
    Afterwards,
    Matrix,
    Progress,
    StackFailedError,
    StandingError,
    Surroundings,
    refuse_standing,
)
from studies.matrix.state import SCHEMA, FolderError, MatrixFolder, MatrixState
from tests.bench.fakes import PLAN, FakeSession, failing
from tests.studies.fake_stacks import FakeStacks

ABC = ("a", "b", "c")
SEED = 11
PROBES = len(build_probes(PLAN))


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


def state_of(stacks: Sequence[str] = ABC, runs: int = 2, bring_ups: int = 1) -> MatrixState:
    order = shuffled(stacks, bring_ups * runs, SEED)
    return MatrixState(
        id="m1",
        stacks=list(stacks),
        seed=SEED,
        bring_ups=bring_ups,
        rounds=runs,
        order=[list(each) for each in order],
        plan=replace(PLAN, runs=runs).as_dict(),
        started="2026-01-02T03:00:00+00:00",
    )


def rounds_of(results: Results, metric: str = "tcp_throughput") -> list[tuple[int, int]]:
    """Bring-up and round of what was measured, whatever number of slices each has."""
    places = results.metrics[metric].by_place()
    return list(dict.fromkeys((place.bring_up, place.round) for place in places))


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
    afterwards: Afterwards | None = None,
    around: Surroundings | None = None,
) -> Matrix:
    kept = {} if kept is None else kept
    return Matrix(
        folder, state or folder.load() or state_of(), stacks, shown or Shown(), stacks.connect,
        keep_up=keep_up, remember=kept.__setitem__, clock=stacks.time.clock(),
        afterwards=afterwards, around=around,
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
        assert rounds_of(results) == [(1, 1), (1, 2)]
        assert len(results.checks) == 21
        assert results.rounds is not None
        assert (results.rounds.id, results.rounds.seed) == ("m1", SEED)
        assert kept[stack] == results
    assert folder.results("a").interleaved_with(folder.results("c"))
    assert {"bring up", "preconditions", "rounds", "take down"} <= state.seconds.keys()
    # What is there can be compared and reported.
    assert [each.name for each in load([str(folder.path)]).scenarios] == list(ABC)


def test_a_stack_past_its_time_is_warned_of(folder: MatrixFolder, stacks: FakeStacks) -> None:
    stacks.overdue["b"] = "b exists for 30 hours"
    assert matrix(folder, stacks).run().warnings == ["b: b exists for 30 hours"]


def test_the_record_says_what_was_done(folder: MatrixFolder, stacks: FakeStacks) -> None:
    matrix(folder, stacks, state_of(("d", "e"))).run()
    record = json.loads((folder.path / "matrix.json").read_text())
    assert record["schema"] == "cni-benchmark/matrix/v2"
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
    assert rounds_of(folder.results("a")) == [(1, 1), (1, 2)]
    assert not folder.results_file("b").exists()
    # What it had begun is removed, too.
    assert "destroy b" in stacks.done
    assert load([str(folder.path)]).failed == {"b": "could not install the CNI"}


def test_failed_preconditions_cost_no_other(folder: MatrixFolder, stacks: FakeStacks) -> None:
    stacks.spoil["c"] = _on_one_node
    state = matrix(folder, stacks).run()
    assert list(state.failed) == ["c"]
    assert "placement" in state.failed["c"]
    assert rounds_of(folder.results("b")) == [(1, 1), (1, 2)]


def test_a_metric_without_a_number_fails_its_scenario_but_the_rest_is_kept(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    stacks.there.add("a")
    stacks.spoil["a"] = _without_dns
    kept = dict[str, Results]()
    state = matrix(folder, stacks, kept=kept).run()
    assert state.failed["a"].startswith("no number for dig_p50")
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
    assert not folder.samples(1).exists()


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
    # The twentieth had been finished and kept when the stop came: the second of three that are
    # measured in turns, so the first two are taken again, with the third.
    assert len(shown.steps) + len(more.steps) == 2 * PROBES * 3 + 2
    results = folder.results("a")
    assert rounds_of(results) == [(1, 1), (1, 2)]
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
    assert len(more.steps) == 2 * PROBES * 3
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
    file = folder.path / "matrix.json"
    fix = "Fix: choose another folder"
    for text in ("", "[]", '{"seed": 1}', f'{{"schema": "{SCHEMA}"}}'):
        file.write_text(text)
        with pytest.raises(FolderError, match=f"no state of a matrix.*: .*{fix}"):
            folder.load()
    file.write_text('{"schema": "cni-benchmark/matrix/v1"}')
    with pytest.raises(FolderError, match=rf"its schema is 'cni-benchmark/matrix/v1'.*{fix}"):
        folder.load()


def several(runs: int = 1) -> MatrixState:
    return state_of(("a", "b"), runs, bring_ups=3)


def test_with_several_bring_ups_all_is_made_anew_for_each(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    shown, kept = Shown(), dict[str, Results]()
    state = matrix(folder, stacks, several(2), shown, kept).run()
    assert (state.status, state.failed, state.warnings, state.over) == ("finished", {}, [], 3)
    for stack in "ab":
        done = [each for each in stacks.done if each.endswith(stack)]
        assert done == [f"{verb} {stack}" for _ in range(3) for verb in ("up", "destroy")]
        results = folder.results(stack)
        assert kept == {**kept, stack: results}
        assert results.bring_ups == [f"{stack}{boot}" for boot in (1, 2, 3)]
        assert rounds_of(results) == [
            (bring_up, 2 * bring_up - 2 + round_) for bring_up in (1, 2, 3) for round_ in (1, 2)
        ]
        assert results.plan["runs"] == 6
    first, second = ({"factory": "a:fake", "args": {"stack": "a"}, "boot": n} for n in (1, 2))
    assert [each for each in stacks.renewed if each[0] == "a"] == [("a", first), ("a", second)]
    assert folder.results("a").interleaved_with(folder.results("b"))
    # The rounds of all bring-ups have one order, and each has its own.
    tcp = [step.label for step in shown.steps if step.probe.name == "tcp"]
    assert tcp == [label for order in state.order for label in order]
    assert "bring-up 2 of 3: measuring" in shown.told
    assert [each.name for each in load([str(folder.path)]).scenarios] == ["a", "b"]


def test_the_time_that_is_left_is_that_of_all_bring_ups(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    shown = Shown()

    def slow(operation: str) -> None:
        stacks.time.seconds += 50 * operation.startswith("up")

    stacks.before = slow
    start = stacks.time.seconds
    matrix(folder, stacks, several(), shown).run()
    spent = stacks.time.seconds - start
    at_first, at_last = shown.steps[0], shown.steps[-1]
    assert 0.7 * spent < at_first.seconds_left + 100 < 1.3 * spent
    assert at_last.seconds_left == 0


def test_what_fails_in_one_bring_up_is_missing_there_and_tried_again_in_the_next(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    def second_time(operation: str) -> None:
        if operation == "up b":
            second = stacks.done.count(operation) == 1
            stacks.fails = {operation: "the agent hangs"} if second else {}

    stacks.before = second_time
    state = matrix(folder, stacks, several()).run()
    assert (state.failed, state.lost) == ({}, [{}, {"b": "the agent hangs"}, {}])
    tcp = folder.results("b").metrics["tcp_throughput"]
    assert [(each.bring_up, each.round, each.reason) for each in tcp.missing] == [
        (2, 2, "the agent hangs")
    ]
    assert rounds_of(folder.results("b")) == [(1, 1), (3, 3)]
    assert rounds_of(folder.results("a")) == [(1, 1), (2, 2), (3, 3)]


def test_what_fails_in_all_bring_ups_has_failed(folder: MatrixFolder, stacks: FakeStacks) -> None:
    stacks.fails["up b"] = "no memory"
    stacks.spoil["a"] = _without_dns
    state = matrix(folder, stacks, several()).run()
    assert state.failed["b"] == "no memory"
    assert state.failed["a"].startswith("no number for dig_p50: bring-up 1: no sample")
    assert not folder.results_file("b").exists()
    assert "tcp_throughput" in folder.results("a").metrics


def test_what_cannot_be_taken_down_misses_the_next_bring_up(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    def once(operation: str) -> None:
        if operation == "destroy b":
            stacks.fails = {} if operation in stacks.done else {operation: "it hangs"}

    stacks.before = once
    state = matrix(folder, stacks, several()).run()
    assert state.lost == [{}, {"b": "it hangs"}, {}]
    assert stacks.there == set()


def test_if_none_comes_up_at_first_no_other_bring_up_is_tried(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    stacks.fails = {f"up {stack}": "no memory" for stack in "ab"}
    state = matrix(folder, stacks, several()).run()
    assert state.failed == dict.fromkeys("ab", "no memory")
    assert stacks.done.count("up a") == 1


def test_an_interrupted_bring_up_begins_anew_and_those_before_are_kept(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    shown = Shown()
    shown.stop_after = 2 * PROBES + 10
    with pytest.raises(KeyboardInterrupt):
        matrix(folder, stacks, several(), shown).run()
    stopped = folder.load()
    assert stopped is not None
    assert (stopped.over, sorted(stopped.brought_up)) == (1, ["a", "b"])
    more = Shown()
    state = matrix(folder, stacks, shown=more).run()
    assert (state.status, state.torn, state.failed) == ("finished", [2], {})
    assert len(more.steps) == 2 * 2 * PROBES
    results = folder.results("a")
    # The second cluster's samples are dropped; the third and fourth are bring-ups 2 and 3.
    assert results.bring_ups == ["a1", "a3", "a4"]
    assert rounds_of(results) == [(1, 1), (2, 2), (3, 3)]
    assert results.warnings[0] == (
        "bring-up 2: it was interrupted and begun anew: its samples until then are dropped"
    )


def test_kept_stacks_get_the_results_of_the_last_bring_up(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    state = matrix(folder, stacks, several(), keep_up=True).run()
    assert (state.status, sorted(stacks.there)) == ("finished", ["a", "b"])
    # The last cluster is the one that the stack itself has made and knows.
    assert sorted(stack for stack, _ in stacks.renewed) == ["a", "b"]
    assert stacks.done.count("up a") == 3
    for stack in "ab":
        assert stacks.handed[stack].bring_ups == [f"{stack}3"]
        assert rounds_of(stacks.handed[stack]) == [(1, 1)]
        assert rounds_of(folder.results(stack)) == [(1, 1), (2, 2), (3, 3)]


def test_what_is_up_before_several_bring_ups_is_refused_with_the_fix(stacks: FakeStacks) -> None:
    refuse_standing(several(), stacks)
    stacks.there.add("b")
    with pytest.raises(StandingError, match=r"^b: up already.*Fix: make down STACK=b, or"):
        refuse_standing(several(), stacks)
    refuse_standing(several().model_copy(update={"brought_up": ["b"]}), stacks)
    refuse_standing(state_of(), stacks)


def test_a_stack_that_somebody_else_brings_up_meanwhile_is_left_alone(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    stacks.there.add("b")
    state = matrix(folder, stacks, several()).run()
    assert state.failed == {"b": "somebody else has brought it up"}
    assert stacks.there == {"b"}


def test_tools_measure_in_the_first_bring_ups_and_turns_in_all(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    state = matrix(folder, stacks, state_of(("a", "b"), runs=1, bring_ups=4)).run()
    assert state.failed == {}
    results = folder.results("a")
    assert rounds_of(results, "http_max_qps") == [(1, 1), (2, 2), (3, 3)]
    assert rounds_of(results, "rtt_p50") == rounds_of(results, "cni_cpu_idle")
    assert rounds_of(results, "rtt_p50") == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert [name for name, metric in results.metrics.items() if metric.missing] == []


def test_the_last_bring_ups_clusters_are_there_for_more(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    seen: list[tuple[list[str], set[str]]] = []

    def more(sides: Sequence[Side]) -> None:
        seen.append(([side.label for side in sides], set(stacks.there)))

    state = state_of(("a", "b"), runs=1, bring_ups=2)
    state = matrix(folder, stacks, state, afterwards=more).run()
    assert seen == [(["a", "b"], {"a", "b"})]
    assert (state.brought_up, stacks.there) == ([], set())
    assert "explain" in state.seconds


# -- with something around what is measured -------------------------------------------------------


class Around:
    """Surroundings that remember."""

    def __init__(self, *, refused: str = "", failing: str = "") -> None:
        self.done: list[str] = []
        self._refused, self._failing = refused, failing

    def furnish(self, session: Session, say: Progress) -> None:
        """See ``studies.matrix.run.Surroundings``."""
        name = session.about().bring_up
        self.done.append(f"furnish {name}")
        if name == self._refused:
            raise SessionError("no room for more")

    def clear(self, session: Session, say: Progress) -> None:
        """See ``studies.matrix.run.Surroundings``."""
        self.done.append(f"clear {session.about().bring_up}")

    @contextmanager
    def at_work(self, sides: Sequence[Side]) -> Iterator[None]:
        """See ``studies.matrix.run.Surroundings``."""
        self.done.append(f"begin {' '.join(side.label for side in sides)}")
        yield
        self.done.append("end")

    def failure(self, label: str) -> str | None:
        """See ``studies.matrix.run.Surroundings``."""
        return "it stopped" if label == self._failing else None


def test_surroundings_are_made_anew_with_each_bring_up_and_go_with_it(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    around = Around()
    state = matrix(folder, stacks, state_of(bring_ups=2, runs=1), around=around).run()
    assert (state.status, state.failed) == ("finished", {})
    assert around.done == [
        *("furnish a1", "furnish b1", "furnish c1", "begin a b c", "end"),
        *("furnish a2", "furnish b2", "furnish c2", "begin a b c", "end"),
    ]


def test_what_stays_up_is_left_without_surroundings(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    stacks.there.add("b")
    around = Around()
    matrix(folder, stacks, around=around).run()
    assert [each for each in around.done if "clear" in each] == ["clear b0"]
    assert around.done.index("clear b0") > around.done.index("end")


def test_kept_stacks_are_left_without_surroundings(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    around = Around()
    matrix(folder, stacks, state_of(bring_ups=2, runs=1), keep_up=True, around=around).run()
    cleared = sorted(each for each in around.done if "clear" in each)
    assert cleared == ["clear a2", "clear b2", "clear c2"]


def test_a_stack_whose_surroundings_cannot_be_had_is_not_measured(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    state = matrix(folder, stacks, around=Around(refused="b1")).run()
    assert state.failed == {"b": "no room for more"}
    assert not folder.results_file("b").exists()
    assert folder.results_file("c").exists()


def test_a_stack_whose_surroundings_were_not_at_work_has_no_numbers(
    folder: MatrixFolder, stacks: FakeStacks
) -> None:
    state = matrix(folder, stacks, around=Around(failing="b")).run()
    assert state.failed == {"b": "it stopped"}
    assert not folder.results_file("b").exists()
