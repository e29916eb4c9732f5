"""Turns: what the generator is asked, and what is made of its answer."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bench.probes.base import Bench, SampleError
from bench.probes.turns import KINDS, Kind, in_turns, take_turns
from bench.session import TurnClient, resolve_targets
from bench.text import ParseError
from bench.turns import Subject, Task, parse, plan
from tests.bench.fakes import FOLDER, FakeSession
from tests.bench.record import TURNS
from tests.bench.turns_output import NANOSECONDS, SLICES, turns_output

TASK = Task("roundtrip", batch=4, drop=2, bytes=24)
SUBJECTS = [
    Subject(name, TurnClient("m", ("enter", name), cpu=0, usage=("cpu.stat",)), "10.0.0.1:8100")
    for name in "ab"
]
ASKED = plan(TASK, SUBJECTS, seconds=1.5, seed=7)


def bench_of(session: FakeSession) -> Bench:
    return Bench(session, resolve_targets(session), session.time.clock())


def test_a_plan_is_json_that_names_every_subject() -> None:
    asked = json.loads(ASKED)
    assert (asked["drop"], asked["batch"], asked["milliseconds"], asked["seed"]) == (2, 4, 1500, 7)
    assert [each["enter"] for each in asked["subjects"]] == [["enter", "a"], ["enter", "b"]]
    assert {each["task"]["address"] for each in asked["subjects"]} == {"10.0.0.1:8100"}


@pytest.mark.parametrize("spoilt", [b"", b"no JSON\n", b"{}\n", turns_output(ASKED)[:-1]])
def test_an_answer_that_is_cut_or_has_no_head_is_no_answer(spoilt: bytes) -> None:
    with pytest.raises(ParseError):
        parse(spoilt)


def test_slices_are_of_whole_cycles_and_the_same_for_all() -> None:
    turns = parse(turns_output(ASKED))
    a, b = turns.by_slice(0), turns.by_slice(1)
    assert len(a) == len(b) == SLICES, "the last one is left out"
    assert [mask.sum() for mask in a] == [mask.sum() for mask in b]
    assert all(np.all(turns.subject[mask] == 1) for mask in b)


def test_a_dead_subject_and_a_set_clock_are_told() -> None:
    turns = parse(turns_output(ASKED, errors=("", "refused"), step_ns=50_000_000))
    assert turns.errors == ("", "refused")
    assert not turns.of(1).any()
    assert turns.clock_step_ms == pytest.approx(50)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_gives_all_its_metrics(kind: Kind, session: FakeSession) -> None:
    probe = in_turns(kind.name, 1.0)
    reading = probe.measure(bench_of(session))
    assert set(reading.values) == {metric.name for metric in probe.metrics}
    assert set(reading.slices) <= set(reading.values)


def test_values_are_in_their_units(session: FakeSession) -> None:
    bench = bench_of(session)
    rtt = in_turns("rtt", 1.0).measure(bench).values
    assert rtt["rtt_p50"] == pytest.approx(NANOSECONDS["roundtrip"] / 1_000, rel=0.02)
    assert rtt["rtt_cold_p50"] == pytest.approx(2 * rtt["rtt_p50"], rel=0.05)
    transfer = in_turns("transfer", 1.0).measure(bench).values
    assert transfer["tcp_throughput"] == pytest.approx(8 * (8 << 20) / 4e6, rel=0.05)
    burst = in_turns("burst_64", 1.0).measure(bench).values
    assert burst["packet_rate_64"] == pytest.approx(255 / 400e-6 / 1_000, rel=0.05)
    assert burst["packet_loss_64"] == 0
    http = in_turns("http", 1.0).measure(bench).values
    assert http["cpu_per_request"] == pytest.approx(120, rel=0.01)


def test_sides_of_one_machine_are_measured_in_one_run() -> None:
    a, b, other = FakeSession(), FakeSession(), FakeSession()
    other.machine = "another"
    probe = in_turns("rtt", 1.0)
    taken = take_turns([probe] * 3, [bench_of(each) for each in (a, other, b)])
    assert not any(isinstance(each, SampleError) for each in taken)
    assert [len(each.calls) for each in (a, other, b)] == [1, 1, 0], "b is in a's run"


@pytest.mark.parametrize("name", ["turns-roundtrip", "turns-burst"])
def test_what_the_real_generator_has_written_is_understood(name: str) -> None:
    task, _ = TURNS[name]
    output = (FOLDER / f"{name}.bin").read_bytes()
    turns = parse(output)
    assert turns.drop == task.drop
    assert turns.took.shape == (len(turns.subject), task.drop + task.batch)
    assert turns.errors[:2] == ("", "")
    assert "connection refused" in turns.errors[2]
    counts = [int(turns.of(subject).sum()) for subject in range(3)]
    assert counts[0] == counts[1] > 2, "each once a cycle"
    assert counts[2] == 0
    # Between 1 µs and 10 ms: a layout that is off by a field would be far out.
    assert np.all((turns.took > 1e3) & (turns.took < 1e7))
    assert np.all(turns.arrived == task.datagrams)
    assert not turns.cpu.any(), "no files were named that tell it"
    assert turns.clock_step_ms < 1
    assert [len(turns.by_slice(subject)) for subject in (0, 1)] == [1, 1]
    with pytest.raises(ParseError, match="cut off"):
        parse(output[:-1])
