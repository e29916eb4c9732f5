"""Operations in turns as probes: several sides in one run, what fails alone and what spoils all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from bench.interleave import Entry, Side, abba, interleave
from bench.metrics import PRIMARY
from bench.probes.base import Bench, Reading, SampleError
from bench.probes.turns import NO_MORE_THAN_AT_REST, in_turns, take_turns
from bench.results import from_json
from bench.sampling import BOUND_REASON, PAUSE_SECONDS, Outcome, sample_in_turn
from bench.session import MachineUsage, Pod, SessionError, TurnClient, resolve_targets
from tests.bench.fakes import PLAN, FakeSession, failing
from tests.bench.turns_output import CYCLES, SLICES, turns_output

RTT, REQUEST = in_turns("rtt", 1.0), in_turns("http", 1.0)
EACH = list(range(1, SLICES + 1))
"""The slices of a round."""


def bench_of(session: FakeSession) -> Bench:
    return Bench(session, resolve_targets(session), session.time.clock())


def benches(count: int, kind: type[FakeSession] = FakeSession) -> list[Bench]:
    """Sides that share a machine and its time."""
    sessions = [kind() for _ in range(count)]
    for session in sessions:
        session.time = sessions[0].time
    return [bench_of(session) for session in sessions]


def session_of(bench: Bench) -> FakeSession:
    assert isinstance(bench.session, FakeSession)
    return bench.session


def values(outcomes: Sequence[Outcome | Reading | SampleError], name: str) -> list[float]:
    """A metric's value of each that has one."""
    readings = [each.reading if isinstance(each, Outcome) else each for each in outcomes]
    return [each.values[name] for each in readings if isinstance(each, Reading)]


# -- several sides in one run -----------------------------------------------------------------


def test_a_dead_side_fails_alone_and_the_others_keep_their_numbers() -> None:
    a, b, c = benches(3)
    session_of(a).turns = lambda plan: turns_output(
        plan, factors=(1.0, 1.0, 1.5), errors=("", "read: connection reset by peer", "")
    )
    taken = take_turns([RTT] * 3, [a, b, c])
    assert [isinstance(each, SampleError) for each in taken] == [False, True, False]
    assert "connection reset" in str(taken[1])
    first, third = values(taken, "rtt_p50")
    assert third == pytest.approx(1.5 * first, rel=0.02)


def test_a_side_that_cannot_be_reached_is_left_out_of_the_run() -> None:
    class Gone(FakeSession):
        def turn_client(self, pod: Pod) -> TurnClient:
            raise SessionError("the pod is gone")

    (a, b), gone = benches(2), bench_of(Gone())
    asked: list[str] = []
    session_of(a).turns = lambda plan: asked.append(plan) or turns_output(plan)  # type: ignore[func-returns-value]
    taken = take_turns([RTT] * 3, [a, gone, b])
    assert str(taken[1]) == "the pod is gone"
    assert len(values(taken, "rtt_p50")) == 2
    assert len(json.loads(asked[0])["subjects"]) == 2


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda plan: turns_output(plan, step_ns=50_000_000), "the wall clock was set by 50 ms"),
        (lambda plan: turns_output(plan)[:-1], "cut off"),
        (lambda plan: b"", "no head"),
    ],
)
def test_a_set_clock_and_an_answer_that_is_none_void_the_run_for_all(
    answer: Callable[[str], bytes], why: str
) -> None:
    a, b = benches(2)
    session_of(a).turns = answer
    taken = take_turns([RTT] * 2, [a, b])
    assert all(isinstance(each, SampleError) and why in str(each) for each in taken)


def test_a_clock_that_is_slewed_voids_nothing() -> None:
    a, b = benches(2)
    session_of(a).turns = lambda plan: turns_output(plan, step_ns=1_000_000)
    assert len(values(take_turns([RTT] * 2, [a, b]), "rtt_p50")) == 2


# -- operations that fail -----------------------------------------------------------------------

HEAD = 40
"""Bytes of a turn before its operations."""


def spoilt(plan: str, hit: Callable[[int, int, int], bool]) -> bytes:
    """An answer in which operations have failed: those for whose slice, turn and place within the
    turn (0 …) ``hit`` says so."""
    asked = json.loads(plan)
    operations = asked["drop"] + asked["batch"]
    head, _, data = turns_output(plan).partition(b"\n")
    size = HEAD + 8 * operations
    turns = len(data) // size
    rows = np.frombuffer(data, np.uint8).reshape(turns, size).copy()
    records = rows[:, HEAD:].view(np.uint32).reshape(turns, operations, 2)
    for turn in range(turns):
        for place in range(operations):
            if hit(turn * (SLICES + 1) // turns, turn, place):
                records[turn, place] = 0xFFFF_FFFF, 0
    return head + b"\n" + rows.tobytes()


def measured(hit: Callable[[int, int, int], bool]) -> Reading | SampleError:
    session = FakeSession()
    session.turns = lambda plan: spoilt(plan, hit)
    (taken,) = take_turns([RTT], [bench_of(session)])
    return taken


def test_operations_that_fail_are_a_share_and_no_duration() -> None:
    reading = measured(lambda slice_, turn, place: place % 4 == 3)
    assert isinstance(reading, Reading)
    assert reading.values["rtt_errors"] == 25
    assert reading.values["rtt_p50"] == pytest.approx(30, rel=0.02)


def test_where_none_succeeds_there_is_no_number() -> None:
    taken = measured(lambda slice_, turn, place: True)
    assert isinstance(taken, SampleError)
    assert "no operation succeeded" in str(taken)


def test_a_slice_in_which_none_succeeds_has_no_sample() -> None:
    sides = [Side(label, bench, (RTT,)) for label, bench in zip("ab", benches(2), strict=True)]
    session_of(sides[0].bench).turns = lambda plan: spoilt(
        plan, lambda slice_, turn, place: slice_ == 1
    )
    found = interleave(sides, PLAN, abba("ab", 1))["a"]
    for name in ("rtt_p50", "rtt_cold_p50"):
        assert found.metrics[name].slices == [1, *range(3, SLICES + 1)]
    assert found.metrics["rtt_errors"].samples == pytest.approx([100 / (SLICES + 1)], rel=1e-5)
    assert from_json(found.to_json()) == found


def test_where_every_first_operation_fails_only_the_cold_metric_is_missing() -> None:
    reading = measured(lambda slice_, turn, place: place == 0)
    assert isinstance(reading, Reading)
    assert set(reading.missing) == {"rtt_cold_p50"}
    assert reading.values["rtt_p50"] == pytest.approx(30, rel=0.02)


def test_slices_are_of_sides_that_take_turns_with_others() -> None:
    alone = take_turns([RTT], benches(1))
    together = take_turns([RTT] * 2, benches(2))
    assert [each.slices for each in alone if isinstance(each, Reading)] == [{}]
    assert [
        len(each.slices["rtt_p50"]) for each in together if isinstance(each, Reading)
    ] == [SLICES] * 2  # fmt: skip


# -- CPU time -----------------------------------------------------------------------------------


class OnMachines(FakeSession):
    """A session that tells the CPU time of machines, as that of a cluster, not of a side's nodes.

    They are busy by a fifth of a CPU each; ``spent`` are the CPU seconds that a run takes besides.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spent, self.so_far = 0.5, 0.0
        self.turns = self._work

    def _work(self, plan: str) -> bytes:
        self.so_far += self.spent
        return turns_output(plan)

    def turn_client(self, pod: Pod) -> TurnClient:
        return TurnClient(self.machine, ("enter", pod.name))

    def machines(self) -> Sequence[MachineUsage]:
        return [
            replace(each, busy_seconds=each.busy_seconds + self.so_far)
            for each in super().machines()
        ]


def test_cpu_time_is_what_the_machines_of_client_and_server_use_beyond_their_idle_use() -> None:
    (bench,) = benches(1, OnMachines)
    reading = REQUEST.measure(bench)
    # Two machines, half a second each; (SLICES + 1) slices of some turns of 20 requests.
    requests = (SLICES + 1) * CYCLES * 20
    assert reading.values["cpu_per_request"] == pytest.approx(1e6 * 1.0 / requests, rel=1e-6)
    assert "cpu_per_request" not in reading.slices
    assert reading.missing == {}


def test_no_more_cpu_time_than_at_rest_is_no_measurement_and_no_zero() -> None:
    (bench,) = benches(1, OnMachines)
    on = session_of(bench)
    assert isinstance(on, OnMachines)
    on.spent = 0.0
    reading = REQUEST.measure(bench)
    assert reading.missing == {"cpu_per_request": NO_MORE_THAN_AT_REST}
    assert reading.values["http_p50"] > 0


def test_cpu_time_of_machines_is_nobodys_where_several_sides_use_them() -> None:
    taken = take_turns([REQUEST] * 2, benches(2, OnMachines))
    assert len(values(taken, "http_p50")) == 2
    for each in taken:
        assert isinstance(each, Reading)
        assert set(each.missing) == {"cpu_per_request"}


def test_machines_that_cannot_be_read_cost_the_sample_of_a_probe_that_asks_for_them() -> None:
    (bench,) = benches(1, OnMachines)
    session_of(bench).lacking.add("machines")
    with pytest.raises(SampleError, match="CPU time"):
        REQUEST.measure(bench)
    assert RTT.measure(bench).values["rtt_p50"] > 0


# -- attempts and the end of the time -----------------------------------------------------------


def failing_first(*errors: str) -> Callable[[str], bytes]:
    """The first answer has these errors by side; later ones have none."""
    left = [errors]
    return lambda plan: turns_output(plan, errors=left.pop() if left else ())


def test_only_the_sides_without_a_number_take_turns_again() -> None:
    a, b, c = benches(3)
    session_of(a).turns = failing_first("", "refused", "")
    found = sample_in_turn([RTT] * 3, [a, b, c], attempts=3)
    assert len(values(found, "rtt_p50")) == 3
    assert [each.failures for each in found] == [(), ("turns: refused",), ()]
    assert [len(session_of(each).calls) for each in (a, b, c)] == [1, 1, 0], "b alone, by its own"
    assert session_of(a).time.slept == [PAUSE_SECONDS]


def test_a_side_that_stays_dead_has_a_reason_for_each_attempt() -> None:
    a, b = benches(2)
    session_of(a).turns = lambda plan: turns_output(plan, errors=("", "refused"))
    session_of(b).turns = lambda plan: turns_output(plan, errors=("still refused",))
    alive, dead = sample_in_turn([RTT] * 2, [a, b], attempts=3)
    assert alive.reading is not None
    assert alive.failures == ()
    assert dead.reading is None
    assert dead.failures == ("turns: refused", "turns: still refused", "turns: still refused")


def test_a_run_that_fails_is_tried_again_for_all() -> None:
    a, b = benches(2)
    session_of(a).spoil["turns-roundtrip"] = [failing("the host is gone")]
    found = sample_in_turn([RTT] * 2, [a, b], attempts=2)
    assert [each.failures for each in found] == [("turns: the host is gone",)] * 2
    assert len(values(found, "rtt_p50")) == 2


def test_no_run_starts_or_lasts_beyond_the_end_of_the_time() -> None:
    a, b = benches(2)
    late = [replace(each, deadline=3.0) for each in (a, b)]
    assert len(values(sample_in_turn([RTT] * 2, late), "rtt_p50")) == 2
    ((_, _, timeout),) = session_of(a).calls
    assert timeout == pytest.approx(3.0)
    over = [replace(each, deadline=session_of(a).time.seconds) for each in (a, b)]
    found = sample_in_turn([RTT] * 2, over)
    assert [each.failures for each in found] == [(BOUND_REASON,)] * 2
    assert len(session_of(a).calls) == 1


def test_a_side_that_has_its_number_keeps_it_when_the_time_is_over() -> None:
    a, b = benches(2)
    session_of(a).turns = failing_first("", "refused")
    # The first run takes one second.
    found = sample_in_turn([RTT] * 2, [replace(each, deadline=1.2) for each in (a, b)])
    assert found[0].reading is not None
    assert found[1].failures == ("turns: refused", BOUND_REASON)


# -- rounds -------------------------------------------------------------------------------------


def sides_of(count: int) -> list[Side]:
    labels = "abc"[:count]
    return [
        Side(label, bench, (RTT, REQUEST))
        for label, bench in zip(labels, benches(count), strict=True)
    ]


def runs_of(sides: Sequence[Side]) -> list[int]:
    """How many runs of the generator each side's session was asked for."""
    return [len(session_of(side.bench).calls) for side in sides]


def test_sides_are_in_one_run_but_those_on_which_something_is_imposed_are_alone() -> None:
    imposed: list[str] = []

    @contextmanager
    def on_path() -> Iterator[None]:
        imposed.append("on")
        yield
        imposed.append("off")

    a, b, c = sides_of(3)
    c = replace(c, imposed=on_path)
    seen: list[tuple[str, int]] = []

    def work(name: str) -> Callable[[str], bytes]:
        def turns(plan: str) -> bytes:
            seen.append((name, len(json.loads(plan)["subjects"])))
            assert (imposed[-1:] == ["on"]) == (name == "c")
            return turns_output(plan)

        return turns

    for side in (a, b, c):
        session_of(side.bench).turns = work(side.label)
    found = interleave([a, b, c], PLAN, (("a", "b", "c"), ("c", "b", "a")))
    # The run is asked of the side that comes first in the round.
    assert seen == [("a", 2), ("c", 1)] * 2 + [("b", 2), ("c", 1)] * 2
    assert imposed == ["on", "off"] * 4
    for each in found.values():
        assert each.metrics["rtt_p50"].n == 2
        assert each.errors == []
    slices = {label: each.metrics["rtt_p50"].slices for label, each in found.items()}
    assert slices == {"a": EACH * 2, "b": EACH * 2, "c": []}


def test_samples_are_placed_by_round_and_slice() -> None:
    found = interleave(sides_of(2), PLAN, abba("ab", 2))["b"]
    of = found.metrics
    assert [(p.round, p.slice) for p in of["rtt_p50"].places] == [
        (round_, slice_) for round_ in (1, 2) for slice_ in range(1, SLICES + 1)
    ]
    assert [(p.round, p.slice) for p in of["rtt_p99"].places] == [(1, 0), (2, 0)]
    assert (of["cpu_per_request"].n, len(of["cpu_per_request"].samples)) == (2, 2 * SLICES)
    assert {"rtt_p50", "http_p50", "cpu_per_request"} <= set(PRIMARY)


def test_a_round_that_was_stopped_goes_on_with_all_sides_of_its_turns() -> None:
    kept: list[Entry] = []

    def stop(entry: Entry) -> None:
        kept.append(entry)
        if len(kept) == 3:
            raise KeyboardInterrupt

    order = (("a", "b"), ("b", "a"))
    with pytest.raises(KeyboardInterrupt):
        interleave(sides_of(2), PLAN, order, keep=stop)
    # Of round 1 both sides' round trips are kept, and a's requests.
    assert [(each.label, each.probe) for each in kept] == [
        ("a", "rtt"), ("b", "rtt"), ("a", "http")
    ]  # fmt: skip
    sides = sides_of(2)
    more: list[Entry] = []
    found = interleave(sides, PLAN, order, known=kept, keep=more.append)
    assert [(each.round, each.label, each.probe) for each in more] == [
        (1, "a", "http"), (1, "b", "http"),
        (2, "b", "rtt"), (2, "a", "rtt"), (2, "b", "http"), (2, "a", "http"),
    ]  # fmt: skip
    assert runs_of(sides) == [1, 2], (
        "always both sides in one run: by a in round 1, by b in round 2"
    )
    again = {each.label: each.outcome for each in more if (each.round, each.probe) == (1, "http")}
    for label, each in found.items():
        slices = {
            place.slice: value
            for place, value in each.metrics["http_p50"].by_place().items()
            if place.round == 1
        }
        reading = again[label].reading
        assert reading is not None
        assert list(slices) == EACH
        assert list(slices.values()) == pytest.approx(reading.slices["http_p50"], rel=1e-5)
