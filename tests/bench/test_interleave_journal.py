"""Rounds on disk: what is kept comes back, a torn line does not, another identity's neither."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path

import pytest

from bench.interleave import Entry, Side, abba, interleave
from bench.journal import Journal, JournalError, RoundsHeader, write_whole
from bench.limits import Limit, Load, Observation
from bench.metrics import Note
from bench.probes import build_probes
from bench.probes.base import Bench, Reading
from bench.sampling import Outcome
from bench.session import resolve_targets
from tests.bench.fakes import PLAN, FakeSession
from tests.bench.turns_output import SLICES

IDENTITIES = {"a": "lab 1", "b": "lab 2"}


def header(runs: int = 2) -> RoundsHeader:
    return RoundsHeader(
        id="m1", labels=["a", "b"], seed=5, order=abba("ab", runs), plan=PLAN.as_dict()
    )


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal.begin(tmp_path / "samples.jsonl", header())


def entry(round_: int = 1, label: str = "a", value: float = 12.5) -> Entry:
    """A sample with everything that a sample can have."""
    pod = Load("httpbin-0", 0.3, math.inf)
    seen = Observation(
        seconds=2.0,
        machines=(Load("node-1", 1.5, 4.0),),
        nodes={"node-1": ("node-1",)},
        pods={"server": (pod,), "client": ()},
        stolen=0.4,
        held_back={"node-1": {"bw_in_allowance_exceeded": 3}},
    )
    reading = Reading(
        {"tcp_streams_throughput": value, "tcp_retransmits": 0.0},
        missing={"x": "not told"},
        warnings=("odd",),
        notes={"tcp_streams_throughput": (Note(kind="lower-bound"),)},
        facts={"mss": 8949, "version": "3.12", "gigabytes": 1.25},
        limit=Limit("client", "iperf3 says so"),
        failures=("a trial failed",),
    )
    outcome = Outcome(reading, ("refused",), seen, Limit("machine", "97 % busy"))
    return Entry(round_, label, "tcp", outcome, 3.25)


def test_a_sample_comes_back_as_it_was(journal: Journal) -> None:
    keep = journal.keep(IDENTITIES)
    missing = Entry(2, "b", "tcp", Outcome(None, ("no route", "no route")), 0.5)
    for each in (entry(), missing):
        keep(each)
    again = Journal.open(journal.path)
    assert again.header == journal.header
    assert again.entries(IDENTITIES) == [entry(), missing]


def test_a_torn_line_is_cut_off_and_writing_goes_on(journal: Journal) -> None:
    keep = journal.keep(IDENTITIES)
    keep(entry(1))
    keep(entry(2))
    data = journal.path.read_bytes()
    journal.path.write_bytes(data[:-20])
    again = Journal.open(journal.path)
    assert [each.round for each in again.entries(IDENTITIES)] == [1]
    again.keep(IDENTITIES)(entry(2, value=7.0))
    assert [each.round for each in again.entries(IDENTITIES)] == [1, 2]


def test_samples_of_something_else_are_left_out(journal: Journal) -> None:
    journal.keep(IDENTITIES)(entry(1, "a"))
    journal.keep(IDENTITIES)(entry(1, "b"))
    now = {**IDENTITIES, "b": "lab 3"}
    assert [each.label for each in journal.entries(now)] == ["a"]
    assert journal.strays(now) == {"b"}
    assert journal.strays(IDENTITIES) == frozenset()


def test_a_sample_that_was_missing_is_replaced_by_a_later_one(journal: Journal) -> None:
    keep = journal.keep(IDENTITIES)
    keep(Entry(1, "a", "tcp", Outcome(None, ("gone",)), 0.1))
    keep(entry())
    assert journal.entries(IDENTITIES) == [entry()]


@pytest.mark.parametrize("text", ["", "[]\n", '{"schema": "other"}\n', "no json\n"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text(text)
    with pytest.raises(JournalError, match=r"no journal of rounds: .*Fix: remove it"):
        Journal.open(path)


def test_a_damaged_line_is_refused_by_its_number(journal: Journal) -> None:
    journal.keep(IDENTITIES)(entry())
    with journal.path.open("a") as file:
        file.write('{"identity": "lab 1", "round": "first"}\n')
    with pytest.raises(JournalError, match="line 3: damaged"):
        journal.entries(IDENTITIES)


def test_rounds_that_go_on_give_the_results_of_rounds_at_one_go(tmp_path: Path) -> None:
    def sides() -> list[Side]:
        sessions = {label: FakeSession() for label in "ab"}
        return [
            Side(
                label,
                Bench(session, resolve_targets(session), session.time.clock()),
                build_probes(PLAN),
            )
            for label, session in sessions.items()
        ]

    at_one_go = interleave(sides(), PLAN, header().order)
    journal = Journal.begin(tmp_path / "samples.jsonl", header())
    keep, count = journal.keep(IDENTITIES), 0

    def stop(one: Entry) -> None:
        nonlocal count
        keep(one)
        count += 1
        if count == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interleave(sides(), PLAN, header().order, keep=stop)
    again = Journal.open(journal.path)
    known = again.entries(IDENTITIES)
    assert len(known) == 20
    found = interleave(sides(), PLAN, header().order, known=known, keep=again.keep(IDENTITIES))
    for label in "ab":
        went_on, whole = found[label], at_one_go[label]
        assert went_on.metrics.keys() == whole.metrics.keys()
        assert {m.n for m in went_on.metrics.values()} == {2}
        assert {len(m.samples) for m in went_on.metrics.values()} == {2, 2 * SLICES}
        assert went_on.metrics["tcp_streams_throughput"] == whole.metrics["tcp_streams_throughput"]
        assert went_on.probes["tcp"] == whole.probes["tcp"]


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "results.json"
    write_whole(file, "first")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, "second")
    assert file.read_text() == "first"
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_no_file_is_written_to_as_it_is() -> None:
    write_whole(Path(os.devnull), "text")
    assert not Path(os.devnull).is_file()
