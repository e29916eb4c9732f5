"""The search for the highest UDP rate without notable loss: on paths whose limit is known."""

from __future__ import annotations

import pytest

from bench.probes.base import Bench, Reading, SampleError
from bench.probes.udp import Trial, bits_per_second, search, udp_search_probe
from bench.session import resolve_targets
from tests.bench.fakes import PLAN, FakeSession, instead
from tests.bench.sample_results import texts

GBIT = 1e9


class Path:
    """A path that carries ``capacity`` bit/s of what a sender puts out, at most ``sender``."""

    def __init__(self, capacity: float, sender: float = 1e12, base_loss: float = 0.0) -> None:
        self.capacity, self.sender, self.base_loss = capacity, sender, base_loss
        self.offered: list[float] = []

    def run(self, rate: float) -> Trial:
        """One trial."""
        self.offered.append(rate)
        sent = min(rate, self.sender)
        received = min(sent, self.capacity)
        return Trial(rate, sent, received, max(100 * (1 - received / sent), self.base_loss))


@pytest.mark.parametrize("capacity", [9.9, 8.0, 5.1, 3.3, 1.0, 0.05])
def test_the_limit_is_found_from_below(capacity: float) -> None:
    path = Path(capacity * GBIT)
    found = search(path.run, 10 * GBIT, 0.1, 14)
    assert found.best is not None
    assert found.best.loss_percent <= 0.1
    assert 0.96 * capacity * GBIT <= found.best.received <= capacity * GBIT * 1.001
    assert not found.unlimited


def test_more_trials_come_closer() -> None:
    reached = []
    for most in (3, 5, 7):
        best = search(Path(7.3 * GBIT).run, 10 * GBIT, 0.1, most).best
        assert best is not None
        reached.append(best.received)
    assert reached == sorted(reached)
    assert reached[0] < 0.98 * reached[-1]


def test_a_path_faster_than_all_that_is_offered_takes_one_trial() -> None:
    found = search(Path(99 * GBIT).run, 10 * GBIT, 0.1, 8)
    assert found.unlimited
    assert len(found.trials) == 1


def test_a_sender_that_is_slower_than_asked_costs_no_trials() -> None:
    path = Path(capacity=0.9 * GBIT, sender=1.2 * GBIT)
    found = search(path.run, 10 * GBIT, 0.1, 8)
    assert found.best is not None
    assert found.best.received > 0.85 * GBIT
    assert path.offered[1] == pytest.approx(0.6 * GBIT), "half of what was put out"


def test_a_path_that_always_loses_has_no_such_rate_and_ends() -> None:
    path = Path(99 * GBIT, base_loss=1.0)
    found = search(path.run, 10 * GBIT, 0.1, 4)
    assert found.best is None
    assert len(found.trials) < 12
    assert path.offered == sorted(path.offered, reverse=True)


def test_the_probe_tells_its_trials() -> None:
    session = FakeSession()
    probe = udp_search_probe(PLAN)
    reading = probe.measure(Bench(session, resolve_targets(session), session.time.clock()))
    assert reading.values["udp_max_goodput"] == pytest.approx(0.01, rel=0.2)
    assert str(reading.facts["trials"]).startswith("10.00 Gbit/s: ")
    assert float(reading.facts["loss_percent"]) == 0
    assert not reading.notes
    assert "0.1 % lost" in probe.summary(reading)


def test_no_rate_and_no_answer_are_no_number() -> None:
    session = FakeSession()
    bench = Bench(session, resolve_targets(session), session.time.clock())
    session.spoil["iperf3-udp-slow"] = [instead("iperf3-udp")] * 30
    with pytest.raises(SampleError, match=r"no rate with at most 0.1 % loss \(10.00 Gbit/s: "):
        udp_search_probe(PLAN).measure(bench)
    session.spoil["iperf3-udp"] = [instead("iperf3-refused")] * 2
    with pytest.raises(SampleError, match="unable to connect"):
        udp_search_probe(PLAN).measure(bench)


def search_with_overflows(per_read: int) -> Reading:
    session = FakeSession()
    session.overflow_per_read = per_read
    bench = Bench(session, resolve_targets(session), session.time.clock())
    return udp_search_probe(PLAN).measure(bench)


def test_a_limit_that_is_the_receivers_socket_is_noted() -> None:
    """The recording of the trial that does not hold has lost 17,839 datagrams."""
    at_socket = search_with_overflows(17_000)
    assert at_socket.facts["lost_datagrams"] == 17_839
    assert at_socket.facts["lost_at_the_socket"] == 17_000
    (note,) = at_socket.notes["udp_max_goodput"]
    assert note.kind == "socket-buffer"
    assert note.figures == {"percent": 95}
    on_the_way = search_with_overflows(100)
    assert on_the_way.facts["lost_at_the_socket"] == 100
    assert not on_the_way.notes


def test_the_trial_that_limits_is_the_lowest_that_failed() -> None:
    found = search(Path(8.0 * GBIT).run, 10 * GBIT, 0.1, 14)
    failed = [trial for trial in found.trials if trial.loss_percent > 0.1]
    assert found.failed == min(failed, key=lambda trial: trial.offered)
    assert search(Path(99 * GBIT).run, 10 * GBIT, 0.1, 8).failed is None


def test_one_lost_command_costs_no_search() -> None:
    session = FakeSession()
    session.spoil["iperf3-udp-slow"] = [instead("iperf3-busy")]
    bench = Bench(session, resolve_targets(session), session.time.clock())
    reading = udp_search_probe(PLAN).measure(bench)
    assert "udp_max_goodput" in reading.values
    (failure,) = reading.failures
    assert "server is busy" in failure


def test_nothing_lost_at_the_highest_rate_is_a_lower_bound() -> None:
    session = FakeSession()
    session.spoil["iperf3-udp"] = [instead("iperf3-udp-slow")]
    bench = Bench(session, resolve_targets(session), session.time.clock())
    reading = udp_search_probe(PLAN).measure(bench)
    assert texts(reading.notes["udp_max_goodput"]).endswith("a lower bound")


@pytest.mark.parametrize(
    ("text", "value"), [("10G", 1e10), ("2.5g", 2.5e9), ("500M", 5e8), ("64K", 64e3), ("800", 800)]
)
def test_rates_in_iperf3s_notation(text: str, value: float) -> None:
    assert bits_per_second(text) == value


def test_other_text_is_no_rate() -> None:
    with pytest.raises(ValueError, match="fast"):
        bits_per_second("fast")
